"""Tasks, as users see them (spec: images-api §11.2, §18)."""

from collections.abc import Sequence
from dataclasses import dataclass

from blick.db import task_pages, tasks
from blick.model.context import RequestContext
from blick.model.errors import NotFound
from blick.model.task import Task
from blick.model.task_query import TaskQuery
from blick.ops import access
from blick.ops.services import Services


@dataclass(frozen=True, slots=True)
class TaskPage:
    """Part of a list. `last_id` is set where more tasks may follow, and names the one to go on after."""

    tasks: Sequence[Task]
    last_id: str | None


async def require_access(services: Services, context: RequestContext) -> None:
    """The one gate of the tasks API. Raises Forbidden."""
    own = {"project_id": context.project_id, "owner": context.project_id}
    await services.policy.require("tasks_api_access", context, own)


async def list_tasks(services: Services, context: RequestContext, query: TaskQuery) -> TaskPage:
    """What the caller's project, or for an administrator anybody, had done. Raises Forbidden, Invalid (marker)."""
    await require_access(services, context)
    found = await services.database.read(task_pages.page, query, _owner(context), services.now())
    return TaskPage(found, found[-1].id if found and len(found) == query.limit else None)


async def show(services: Services, context: RequestContext, task_id: str) -> Task:
    """One task. Raises Forbidden, NotFound (also where it is another project's, or has expired)."""
    await require_access(services, context)
    task = await services.database.read(tasks.get, task_id)
    owner = _owner(context)
    if task is None or owner not in (None, task.owner) or task.is_expired(services.now()):
        raise NotFound(f"Could not find task {task_id}")
    return task


async def list_of_image(services: Services, context: RequestContext, image_id: str) -> Sequence[Task]:
    """What the caller's project, or for an administrator anybody, had done to the image; oldest first.

    Tasks that have expired are gone. Raises NotFound.
    """
    image = await access.load_for(services, context, image_id, "get_image")
    return await services.database.read(tasks.of_image, image.id, _owner(context), services.now())


def _owner(context: RequestContext) -> str | None:
    """Whose tasks the caller sees; None: everybody's."""
    return None if context.is_admin else context.project_id or ""


async def expire(services: Services) -> int:
    """Put away the tasks whose time is over; gives how many there were. Raises ServiceUnavailable."""
    return await services.database.write(tasks.expire, services.now())
