"""Getting at one image: there, visible, allowed (spec: policies §2)."""

from blick.db import images
from blick.model.context import RequestContext
from blick.model.errors import Forbidden, NotFound
from blick.model.image import Image, is_visible
from blick.ops.services import Services


def require_writer(context: RequestContext) -> None:
    """Raises Forbidden for callers that may only look (anonymous ones)."""
    if context.read_only:
        raise Forbidden("Read-only access: this request changes something.")


async def load(services: Services, context: RequestContext, image_id: str) -> Image:
    """The image, if the caller may know of it. Raises NotFound otherwise. One transaction, one statement."""
    image = await services.database.read(images.get, image_id, context.project_id)
    if image is None or not is_visible(image, context):
        raise NotFound(f"No image found with ID {image_id}")
    return image


async def load_for(services: Services, context: RequestContext, image_id: str, rule: str) -> Image:
    """The image, if the caller may do `rule` to it. Raises NotFound or Forbidden."""
    image = await load(services, context, image_id)
    await services.policy.require_on_image(rule, context, image)
    return image


def require_owner_in_database(context: RequestContext, image: Image) -> None:
    """Whatever policy says, a project never writes another project's image (spec: policies §3)."""
    if not context.is_admin and (image.owner is None or image.owner != context.project_id):
        raise Forbidden("You do not own this image")


def require_owner_by_old_defaults(services: Services, context: RequestContext, image: Image) -> None:
    """The old defaults ask for nothing; what they left to the service is checked here (spec: policies §3)."""
    if not services.settings.policy.enforce_new_defaults:
        require_owner_in_database(context, image)
