"""Where a task came from: image, request and user (adr/0005).

Glance's `tasks` has columns for them since Wallaby. In a database of an older Glance, which we must not change, they
are in a table of ours. A task lives for two days: what was there is not carried over when Glance adds the columns.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, delete, insert, or_, select, true

from blick.db.adoption import has_task_origin
from blick.db.tables import task_origins, tasks

ORIGIN = ("image_id", "request_id", "user_id")
_KEY = "blick_task_origin_is_own"
_BATCH = 500


def with_origin(connection: Connection) -> tuple[FromClause, Mapping[str, ColumnElement[Any]]]:
    """`tasks`, joined to what else it takes to know their origin; and the columns of `ORIGIN` in that."""
    if _own_columns(connection):
        return tasks, {name: tasks.c[name] for name in ORIGIN}
    joined = tasks.outerjoin(task_origins, task_origins.c.task_id == tasks.c.id)
    return joined, {name: task_origins.c[name] for name in ORIGIN}


def insert_task(connection: Connection, values: Mapping[str, Any]) -> None:
    """Store a new row of `tasks`; `values` has the names of `ORIGIN` too."""
    if _own_columns(connection):
        connection.execute(insert(tasks), dict(values))
        return
    connection.execute(insert(tasks), {name: value for name, value in values.items() if name not in ORIGIN})
    connection.execute(insert(task_origins), {"task_id": values["id"], **{name: values[name] for name in ORIGIN}})


def forget_dead(connection: Connection) -> None:
    """Remove what belongs to tasks that were deleted or purged; some of it, where there is much."""
    mine = task_origins.c.task_id
    joined = task_origins.outerjoin(tasks, tasks.c.id == mine)
    dead = select(mine).select_from(joined).where(or_(tasks.c.id.is_(None), tasks.c.deleted == true()))
    # Read first: a deletion that looks at the other table as well would lock rows of tasks that others work on.
    found = connection.execute(dead.limit(_BATCH)).scalars().all()
    if found:
        connection.execute(delete(task_origins).where(mine.in_(found)))


def _own_columns(connection: Connection) -> bool:
    """Has `tasks` columns for it? Looked up once per connection of the pool."""
    if _KEY not in connection.info:
        connection.info[_KEY] = has_task_origin(connection)
    found: bool = connection.info[_KEY]
    return found
