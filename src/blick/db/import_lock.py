"""The lock that keeps two imports from one image: a property that names the task behind it (spec: import-and-tasks §2).

It is the reference's own, so that clients see what they have always seen. Whoever takes it holds the image's row.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Connection, false, select

from blick.db import images, jobs, tasks
from blick.db.exact import exactly
from blick.db.tables import image_properties
from blick.model.errors import Conflict
from blick.model.task import FAILURE, PENDING, UNFINISHED, Task

PROPERTY: Final = "os_glance_import_task"

# How long after its last sign of life a task is taken to be dead.
_SILENT = timedelta(minutes=60)
_SILENT_PENDING = timedelta(minutes=120)
_PREEMPTED = "Expired lock preempted"


def owner(connection: Connection, image_id: str) -> str | None:
    """The id of the task that has the lock of a live image; None if nobody has."""
    table = image_properties
    held = select(table.c.value).where(
        table.c.image_id == image_id, exactly(table.c.name, PROPERTY), table.c.deleted == false()
    )
    value: str | None = connection.execute(held).scalar()
    return value


def take(connection: Connection, image_id: str, task_id: str, now: datetime) -> None:
    """Have the lock for `task_id`. A task that gave no sign of life for too long loses it, and has failed.

    Raises Conflict if another task has it and is alive.
    """
    held_by = owner(connection, image_id)
    if held_by is not None:
        _preempt(connection, held_by, now)
    images.set_properties(connection, image_id, {PROPERTY: task_id}, now)


def require_free(connection: Connection, image_id: str, now: datetime) -> None:
    """Raises Conflict if a task that is alive has the lock. One that gave no sign of life for too long loses it."""
    held_by = owner(connection, image_id)
    if held_by is not None:
        _preempt(connection, held_by, now)
        release(connection, image_id, held_by, now)


def release(connection: Connection, image_id: str, task_id: str, now: datetime) -> None:
    """Give the lock back, if `task_id` has it."""
    if owner(connection, image_id) == task_id:
        images.remove_properties(connection, image_id, [PROPERTY], now)


def _preempt(connection: Connection, task_id: str, now: datetime) -> None:
    task = tasks.get(connection, task_id)
    if task is None:
        return
    if not _is_stale(task, now):
        raise Conflict("Image has active task")
    tasks.set_status(connection, task_id, UNFINISHED, FAILURE, now, expires_at=now, message=_PREEMPTED)
    jobs.call_off(connection, task_id, int(now.replace(tzinfo=UTC).timestamp() * 1000), _PREEMPTED)


def _is_stale(task: Task, now: datetime) -> bool:
    return now - task.updated_at >= (_SILENT_PENDING if task.status == PENDING else _SILENT)
