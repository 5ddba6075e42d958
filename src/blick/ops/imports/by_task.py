"""What POST /v2/tasks starts (spec: images-api §18): an import of the old type, or what other calls of the API start.

Tasks of the newer types are made by those calls; asked for here they do the same, and what the call would refuse is
told by the task.
"""

from collections.abc import Mapping
from typing import Any, Final

from blick.db import tasks as db_tasks
from blick.model import import_input, location
from blick.model.context import RequestContext
from blick.model.errors import Conflict, Forbidden, Invalid, LimitExceeded, NotFound
from blick.model.task import FAILURE, IMAGE_IMPORT, LEGACY_IMPORT, SUCCESS, Task
from blick.model.task_input import NewTask, without_secrets
from blick.ops import access, locations, tasks
from blick.ops.imports import legacy
from blick.ops.imports import start as starting
from blick.ops.imports.enabled import enabled_methods
from blick.ops.services import Services

# What a call is refused with; here the task fails for it.
_REFUSALS: Final = (Conflict, Forbidden, Invalid, LimitExceeded, NotFound)


async def start(services: Services, context: RequestContext, new: NewTask) -> Task:
    """Make the task, and have it done. Raises Forbidden; Invalid where an old import's URL may not be fetched."""
    access.require_writer(context)
    await tasks.require_access(services, context)
    if new.type == LEGACY_IMPORT:
        return await legacy.start(services, context, tasks.record(services, context, new))
    try:
        if not new.input:
            raise Invalid(f"Input to {new.type} task is empty.")
        if new.type == IMAGE_IMPORT:
            task_id = await _import_image(services, context, new.input)
        else:
            task_id = await _import_location(services, context, new.input)
    except _REFUSALS as error:
        return await _ended(services, context, new, FAILURE, message=str(error))
    if task_id is None:
        return await _ended(services, context, new, SUCCESS, result={"image_id": new.input["image_id"]})
    made = await services.database.read(db_tasks.get, task_id)
    if made is None:
        raise NotFound(f"Could not find task {task_id}")
    return made


async def _import_image(services: Services, context: RequestContext, asked: Mapping[str, Any]) -> str | None:
    """As POST /v2/images/{image_id}/import does it; gives the id of the task, None if there was nothing to do."""
    document = _field(asked, "import_req", dict)
    backend = asked.get("backend")
    if backend and not document.get("all_stores"):
        document = {"stores": backend, **document}
    wanted = import_input.parse(
        document, None, enabled_methods(services.settings), multi_store=services.settings.stores.multi_store
    )
    image = await starting.require_startable(services, context, _field(asked, "image_id", str), wanted)
    return await starting.start(services, context, image, wanted)


async def _import_location(services: Services, context: RequestContext, asked: Mapping[str, Any]) -> str:
    """As POST /v2/images/{image_id}/locations does it; gives the id of the task."""
    new = location.parse({"url": asked.get("loc_url"), "validation_data": asked.get("validation_data") or {}})
    return await locations.register(services, context, _field(asked, "image_id", str), new)


def _field(asked: Mapping[str, Any], name: str, kind: type) -> Any:
    if not isinstance(asked.get(name), kind):
        raise Invalid(f"Input does not contain '{name}' field, or it is not what it should be")
    return asked[name]


async def _ended(
    services: Services,
    context: RequestContext,
    new: NewTask,
    status: str,
    message: str = "",
    result: Mapping[str, Any] | None = None,
) -> Task:
    """A task that was over as soon as it began."""
    told = NewTask(new.type, without_secrets(new.input))
    task = tasks.record(services, context, told, status, message, result)
    await services.database.write(db_tasks.add, task)
    return task
