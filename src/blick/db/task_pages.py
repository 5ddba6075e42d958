"""Pages of the list of tasks: one statement each, and one more to look up where a page begins."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, false, func, literal, or_, select

from blick.db.exact import exactly
from blick.db.tables import tasks
from blick.db.task_origins import with_origin
from blick.db.tasks import COLUMNS, record
from blick.model.errors import Invalid
from blick.model.image_query import SortKey
from blick.model.task import Task
from blick.model.task_query import TIMES, TaskQuery

Columns = Mapping[str, ColumnElement[Any]]
# What a time that is not set counts as: before every other.
_NEVER: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - naive UTC, as the database keeps times


def page(connection: Connection, query: TaskQuery, owner: str | None, now: datetime) -> list[Task]:
    """Up to `query.limit` tasks that have not expired, in order, without what they were given and what came of it.

    `owner` None: everybody's. Raises Invalid for an unknown marker.
    """
    source, origin = with_origin(connection)
    columns = {name: origin[name] if name in origin else tasks.c[name] for name in COLUMNS}
    order = _order(query.sort, columns)
    wanted = [tasks.c.deleted == false(), or_(tasks.c.expires_at.is_(None), tasks.c.expires_at > now)]
    if owner is not None:
        wanted.append(exactly(tasks.c.owner, owner))
    if query.marker is not None:
        marker = select(*order).select_from(source).where(tasks.c.id == query.marker)
        place = connection.execute(marker if owner is None else marker.where(exactly(tasks.c.owner, owner))).first()
        if place is None:
            raise Invalid(f"Task with the given id {query.marker} was not found")
        wanted.append(_after(order, tuple(place), descending=query.sort.descending))
    if query.matches_nothing or query.limit == 0:
        return []
    wanted += [
        columns[name] == value if name in TIMES else exactly(columns[name], value)
        for name, value in query.filters.items()
    ]
    listed = select(*[columns[name].label(name) for name in COLUMNS]).select_from(source).where(*wanted)
    listed = listed.order_by(*[each.desc() if query.sort.descending else each.asc() for each in order])
    return [record(row) for row in connection.execute(listed.limit(query.limit))]


def _order(sort: SortKey, columns: Columns) -> list[ColumnElement[Any]]:
    """The keys up to the id, after which there are no ties; all in one direction."""
    names = list(dict.fromkeys((sort.name, "created_at", "id")))
    return [_never_null(name, columns) for name in names[: names.index("id") + 1]]


def _never_null(name: str, columns: Columns) -> ColumnElement[Any]:
    if name == "updated_at":
        return func.coalesce(columns[name], columns["created_at"])
    if name == "expires_at":
        return func.coalesce(columns[name], literal(_NEVER, columns[name].type))
    return func.coalesce(columns[name], "") if name in ("image_id", "request_id", "user_id") else columns[name]


def _after(order: Sequence[ColumnElement[Any]], place: Sequence[Any], *, descending: bool) -> ColumnElement[bool]:
    alternatives = []
    for position, (key, value) in enumerate(zip(order, place, strict=True)):
        ties = [tied == at for tied, at in zip(order[:position], place[:position], strict=True)]
        alternatives.append(and_(*ties, key < value if descending else key > value))
    return or_(*alternatives)
