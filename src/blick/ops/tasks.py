"""Tasks, as users see them (spec: images-api §11.2, §18)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from blick.db import task_pages, tasks
from blick.model.context import RequestContext
from blick.model.errors import NotFound
from blick.model.task import LEGACY_IMPORT, PENDING, Task
from blick.model.task_input import NewTask
from blick.model.task_query import TaskQuery
from blick.ops import access
from blick.ops.services import Services

_ID_CHARACTERS: Final = 36
_REQUEST_ID_CHARACTERS: Final = 64


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

    Tasks that have expired are gone. Of more than a list may hold there are the newest. Raises NotFound.
    """
    image = await access.load_for(services, context, image_id, "get_image")
    limit = services.settings.api.api_limit_max
    return await services.database.read(tasks.of_image, image.id, _owner(context), services.now(), limit)


def _owner(context: RequestContext) -> str | None:
    """Whose tasks the caller sees; None: everybody's."""
    return None if context.is_admin else context.project_id or ""


def record(
    services: Services,
    context: RequestContext,
    new: NewTask,
    status: str = PENDING,
    message: str = "",
    result: Mapping[str, Any] | None = None,
) -> Task:
    """The record of a task that the caller starts; with another status, one that is over as soon as it began."""
    now = services.now()
    # The image of an import of the old type is not there yet.
    image_id = new.input.get("image_id") if new.type != LEGACY_IMPORT else None
    lasts = timedelta(hours=services.settings.imports.task_time_to_live_h)
    return Task(
        id=services.new_id(),
        type=new.type,
        status=status,
        owner=context.project_id or "",
        image_id=image_id if isinstance(image_id, str) and len(image_id) <= _ID_CHARACTERS else None,
        request_id=context.request_id[:_REQUEST_ID_CHARACTERS],
        user_id=context.user_id,
        created_at=now,
        updated_at=now,
        input=new.input,
        expires_at=None if status == PENDING else now + lasts,
        result=result,
        message=message,
    )


async def expire(services: Services) -> int:
    """Put away the tasks whose time is over; gives how many there were. Raises ServiceUnavailable."""
    return await services.database.write(tasks.expire, services.now())
