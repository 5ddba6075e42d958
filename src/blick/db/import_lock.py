"""The lock that keeps two imports from one image: a property that names the task behind it (spec: import-and-tasks §2).

It is the reference's own, so that clients see what they have always seen. Whoever takes it holds the image's row.
"""

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Select, false, select

from blick.db import images, jobs, tasks
from blick.db.exact import exactly
from blick.db.tables import image_properties
from blick.model.errors import Conflict
from blick.model.task import FAILURE, PENDING, UNFINISHED, Task

PROPERTY: Final = "os_glance_import_task"
# The stores that an import is still to write to, and those that did not take its data.
IMPORTING_TO: Final = "os_glance_importing_to_stores"
FAILED: Final = "os_glance_failed_import"

# How long after its last sign of life a task is taken to be dead.
_SILENT = timedelta(minutes=60)
_SILENT_PENDING = timedelta(minutes=120)
_PREEMPTED = "Expired lock preempted"


def of_image(image_id: str) -> Select[Any]:
    """The lock of a live image, as rows: none, or one with the id of the task that has it."""
    table = image_properties
    return select(table.c.value).where(
        table.c.image_id == image_id, exactly(table.c.name, PROPERTY), table.c.deleted == false()
    )


def owner(connection: Connection, image_id: str) -> str | None:
    """The id of the task that has the lock of a live image; None if nobody has."""
    value: str | None = connection.execute(of_image(image_id)).scalar()
    return value


def take(connection: Connection, image_id: str, task_id: str, now: datetime) -> None:
    """Have the lock for `task_id`. A task that gave no sign of life for too long loses it, and has failed.

    Raises Conflict if another task has it and is alive, or a job does its work: that one ends by itself, whatever dies.
    """
    held_by = owner(connection, image_id)
    if held_by is not None:
        _preempt(connection, image_id, held_by, now)
    images.set_properties(connection, image_id, {PROPERTY: task_id}, now)


def require_free(connection: Connection, image_id: str, now: datetime) -> None:
    """As `take`, for data that comes in another way. Raises Conflict."""
    held_by = owner(connection, image_id)
    if held_by is not None:
        _preempt(connection, image_id, held_by, now)
        release(connection, image_id, held_by, now)


def release(connection: Connection, image_id: str, task_id: str, now: datetime) -> None:
    """Give the lock back, if `task_id` has it."""
    if owner(connection, image_id) == task_id:
        images.remove_properties(connection, image_id, [PROPERTY], now)


def _preempt(connection: Connection, image_id: str, task_id: str, now: datetime) -> None:
    task = tasks.get(connection, task_id)
    if task is None:
        return
    job = jobs.get(connection, task_id)
    if not _is_stale(task, now) or (job is not None and job.outcome == jobs.UNFINISHED):
        raise Conflict("Image has active task")
    tasks.set_status(connection, task_id, UNFINISHED, FAILURE, now, expires_at=now, message=_PREEMPTED)
    _forget_stores(connection, image_id, task, now)


def _forget_stores(connection: Connection, image_id: str, task: Task, now: datetime) -> None:
    """Take the stores of a task that is dead off both lists."""
    image = images.get(connection, image_id, None)
    dead = {store for store in (task.input or {}).get("backend") or () if store}
    if image is None or not dead:
        return
    lists = {name: image.properties.get(name) for name in (IMPORTING_TO, FAILED)}
    left = {
        name: ",".join(store for store in text.split(",") if store and store not in dead)
        for name, text in lists.items()
        if text
    }
    images.set_properties(connection, image_id, left, now)


def _is_stale(task: Task, now: datetime) -> bool:
    return now - task.updated_at >= (_SILENT_PENDING if task.status == PENDING else _SILENT)
