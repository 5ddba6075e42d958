"""Tasks, as users see them (spec: images-api §11.2)."""

from collections.abc import Sequence

from blick.db import tasks
from blick.model.context import RequestContext
from blick.model.task import Task
from blick.ops import access
from blick.ops.services import Services


async def list_of_image(services: Services, context: RequestContext, image_id: str) -> Sequence[Task]:
    """What the caller's project, or for an administrator anybody, had done to the image; oldest first.

    Tasks that have expired are gone. Raises NotFound.
    """
    image = await access.load_for(services, context, image_id, "get_image")
    owner = None if context.is_admin else context.project_id or ""
    return await services.database.read(tasks.of_image, image.id, owner, services.now())


async def expire(services: Services) -> int:
    """Put away the tasks whose time is over; gives how many there were. Raises ServiceUnavailable."""
    return await services.database.write(tasks.expire, services.now())
