"""Single tags of an image (spec: images-api §14)."""

from blick.db import tags
from blick.model.context import RequestContext
from blick.model.errors import NotFound
from blick.model.image_input import check_tag
from blick.model.text import is_storable
from blick.ops import access
from blick.ops.services import Services


async def add(services: Services, context: RequestContext, image_id: str, tag: str) -> None:
    """Give the image one more tag; fine if it has it. Raises Invalid, LimitExceeded, NotFound, Forbidden."""
    check_tag(tag)
    access.require_writer(context)
    image = await access.load_for(services, context, image_id, "modify_image")
    access.require_owner_in_database(context, image)
    await services.database.write(tags.add, image.id, tag, services.settings.quotas.image_tag_quota, services.now())


async def remove(services: Services, context: RequestContext, image_id: str, tag: str) -> None:
    """Take one tag away. Raises NotFound where the image has none like it."""
    access.require_writer(context)
    image = await access.load_for(services, context, image_id, "modify_image")
    access.require_owner_in_database(context, image)
    removed = is_storable(tag) and await services.database.write(tags.remove, image.id, tag, services.now())
    if not removed:
        raise NotFound(f"Could not find tag {tag!r} on image {image_id}.")
