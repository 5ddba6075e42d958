"""Tasks: what users see of work in the background."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, false, insert, or_, select, update

from blick.db import task_origins
from blick.db.tables import task_info, tasks
from blick.db.task_origins import insert_task, with_origin
from blick.model.task import STATUS, Task

COLUMNS = (
    "id", "type", "status", "owner", "image_id", "request_id", "user_id", "created_at", "updated_at", "expires_at",
)  # fmt: skip


def add(connection: Connection, task: Task) -> None:
    """Store a new task."""
    insert_task(connection, {name: getattr(task, name) for name in COLUMNS} | {"deleted": False})
    texts = {"task_id": task.id, "input": _text(task.input), "result": _text(task.result), "message": task.message}
    connection.execute(insert(task_info), texts)


def get(connection: Connection, task_id: str) -> Task | None:
    """The task, expired or not; None if there is none."""
    row = connection.execute(_selected(connection).where(tasks.c.id == task_id)).one_or_none()
    return None if row is None else _task(row)


def of_image(
    connection: Connection, image_id: str, owner: str | None, now: datetime, limit: int | None = None
) -> list[Task]:
    """The newest `limit` tasks (None: all) that worked on the image and have not expired, oldest first.

    None as owner: everybody's.
    """
    _, origin = with_origin(connection)
    wanted = _selected(connection).where(
        origin["image_id"] == image_id, or_(tasks.c.expires_at.is_(None), tasks.c.expires_at > now)
    )
    if owner is not None:
        wanted = wanted.where(tasks.c.owner == owner)
    newest = wanted.order_by(tasks.c.created_at.desc(), tasks.c.id.desc()).limit(limit)
    return [_task(row) for row in connection.execute(newest)][::-1]


def expire(connection: Connection, now: datetime) -> int:
    """Soft-delete every task whose time is over; gives how many there were."""
    over = update(tasks).where(tasks.c.deleted == false(), tasks.c.expires_at <= now)
    count = connection.execute(over.values(deleted=True, deleted_at=now, updated_at=now)).rowcount
    if count:
        task_origins.forget_dead(connection)
    return count


def set_status(
    connection: Connection,
    task_id: str,
    from_: Sequence[str],
    to: str,
    now: datetime,
    *,
    expires_at: datetime | None = None,
    message: str = "",
    result: Mapping[str, Any] | None = None,
) -> bool:
    """Compare and set: the only place where a task's status is written. False: it has another status, or is gone."""
    for status in from_:
        if to not in STATUS[status]:
            raise AssertionError(f"a task never goes from {status} to {to}")
    changed = connection.execute(
        update(tasks)
        .where(tasks.c.id == task_id, tasks.c.status.in_(from_), tasks.c.deleted == false())
        .values(status=to, updated_at=now, expires_at=expires_at)
    )
    if changed.rowcount != 1:
        return False
    if message or result is not None:
        told = {"message": message, "result": _text(result)}
        connection.execute(update(task_info).where(task_info.c.task_id == task_id).values(told))
    return True


def touch(connection: Connection, task_id: str, now: datetime, message: str | None = None) -> None:
    """A sign of life, with a message if there is one: what a task holds is not taken from it while that is young."""
    connection.execute(update(tasks).where(tasks.c.id == task_id).values(updated_at=now))
    if message is not None:
        connection.execute(update(task_info).where(task_info.c.task_id == task_id).values(message=message))


def _selected(connection: Connection) -> Select[Any]:
    source, origin = with_origin(connection)
    columns = [origin[name] if name in origin else tasks.c[name] for name in COLUMNS]
    texts = [task_info.c.input, task_info.c.result, task_info.c.message]
    joined = source.outerjoin(task_info, task_info.c.task_id == tasks.c.id)
    return select(*columns, *texts).select_from(joined).where(tasks.c.deleted == false())


def record(row: Row[Any]) -> Task:
    """The task in a row of `COLUMNS`; without what it was given, and what came of it."""
    own = {name: getattr(row, name) for name in COLUMNS}
    own["updated_at"] = own["updated_at"] or own["created_at"]
    return Task(**own, input=None)


def _task(row: Row[Any]) -> Task:
    return replace(record(row), input=_record(row.input), result=_record(row.result), message=row.message or "")


def _text(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else msgspec.json.encode(dict(value)).decode()


def _record(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)
