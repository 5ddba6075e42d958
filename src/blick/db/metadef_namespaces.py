"""Namespaces of metadata definitions; what lies in them: blick.db.metadef_documents and the modules of each kind."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, case, exists, func, insert, literal, or_, select, true, update
from sqlalchemy.exc import IntegrityError

from blick.db.exact import can_hold, exactly
from blick.db.tables import metadef_namespace_resource_types, metadef_namespaces, metadef_resource_types
from blick.model.errors import Conflict, NotFound
from blick.model.metadef import PUBLIC, Association, MetadefNamespace, NewNamespace
from blick.model.metadef_query import NamespaceQuery

COLUMNS: Final = tuple(metadef_namespaces.c[name] for name in (
    "id", "namespace", "display_name", "description", "visibility", "protected", "owner", "created_at", "updated_at"
))  # fmt: skip

Listed = tuple[MetadefNamespace, Sequence[Association]]
"""What a list shows: a namespace and what it is associated with."""


def record(row: Sequence[Any]) -> MetadefNamespace:
    """A row of `COLUMNS`."""
    return MetadefNamespace(*row)


def get(connection: Connection, name: str) -> MetadefNamespace | None:
    """The namespace of that name, compared as the database's collation says: so it is unique. One statement."""
    if not can_hold(connection, name):
        return None
    row = connection.execute(select(*COLUMNS).where(metadef_namespaces.c.namespace == name)).first()
    return None if row is None else record(row)


def hold(connection: Connection, namespace_id: int) -> MetadefNamespace:
    """Take the namespace's row for the rest of the transaction, so that it does not go while something comes into it.

    Every transaction that changes a namespace or what lies in it begins with this. Raises NotFound if it went away.
    """
    # SQLite knows no row locks and needs none: there a writing transaction is alone from its beginning.
    wanted = select(*COLUMNS).where(metadef_namespaces.c.id == namespace_id).with_for_update()
    row = connection.execute(wanted).first()
    if row is None:
        raise NotFound("The metadata definition namespace was deleted meanwhile.")
    return record(row)


def add(connection: Connection, new: NewNamespace, owner: str, now: datetime) -> MetadefNamespace:
    """A namespace with nothing in it. Raises Conflict where its name is taken."""
    row = {**values(new, owner), "created_at": now, "updated_at": now}
    try:
        key = connection.execute(insert(metadef_namespaces), row).inserted_primary_key
    except IntegrityError as error:
        raise Conflict(f"The metadata definition namespace={new.name} already exists.") from error
    assert key is not None
    return MetadefNamespace(
        key[0], new.name, new.display_name, new.description, new.visibility, new.protected, owner, now, now
    )


def replace(
    connection: Connection, namespace_id: int, new: NewNamespace, owner: str, now: datetime
) -> MetadefNamespace:
    """Set everything anew, but leave what lies in it. Raises NotFound, Conflict where the new name is taken."""
    held = hold(connection, namespace_id)
    changing = update(metadef_namespaces).where(metadef_namespaces.c.id == namespace_id)
    try:
        connection.execute(changing.values(**values(new, owner), updated_at=now))
    except IntegrityError as error:
        raise Conflict(
            "Invalid update. It would result in a duplicate metadata definition namespace with the same name of "
            f"{new.name}"
        ) from error
    return MetadefNamespace(
        held.id,
        new.name,
        new.display_name,
        new.description,
        new.visibility,
        new.protected,
        owner,
        held.created_at,
        now,
    )


def values(new: NewNamespace, owner: str) -> dict[str, Any]:
    """What is kept of it, by column."""
    return {
        "namespace": new.name,
        "display_name": new.display_name,
        "description": new.description,
        "visibility": new.visibility,
        "protected": new.protected,
        "owner": owner,
    }


def page(connection: Connection, query: NamespaceQuery, seen_by: str | None, *, is_admin: bool) -> list[Listed]:
    """Up to `query.limit` namespaces, in order, that are public or of the project `seen_by`; for an admin of anybody.

    One statement, whatever the number, and one for the marker. Raises NotFound for an unknown marker.
    """
    order = _order(query)
    wanted = [true() if is_admin else _visible(seen_by)]
    if query.marker is not None:
        wanted.append(_after(_place(connection, query.marker, order, wanted[0]), order, query))
    if query.limit == 0:
        return []
    if query.visibility is not None:
        wanted.append(metadef_namespaces.c.visibility == query.visibility)
    if query.resource_types is not None:
        wanted.append(_associated_with([each for each in query.resource_types if can_hold(connection, each)]))
    keys = [key.desc() if query.sort.descending else key.asc() for key in order]
    number = func.row_number().over(order_by=keys).label("number")
    listed = select(*COLUMNS, number).where(*wanted).order_by(*keys).limit(query.limit).subquery()
    links, types = metadef_namespace_resource_types, metadef_resource_types
    joined = listed.outerjoin(links, links.c.namespace_id == listed.c.id).outerjoin(
        types, types.c.id == links.c.resource_type_id
    )
    associated = (types.c.name, links.c.prefix, links.c.properties_target, links.c.created_at, links.c.updated_at)
    statement = select(*(listed.c[column.name] for column in COLUMNS), *associated).select_from(joined)
    rows = connection.execute(statement.order_by(listed.c.number, links.c.created_at, links.c.resource_type_id))
    return [
        (record(each[0][: len(COLUMNS)]), _associations(each))
        for each in (list(group) for _, group in groupby(rows, lambda row: row[0]))
    ]


def _associations(rows: Sequence[Sequence[Any]]) -> list[Association]:
    """Those of one namespace; a namespace without has one row, without the name of a type."""
    return [Association(*row[len(COLUMNS) :]) for row in rows if row[len(COLUMNS)] is not None]


def _visible(seen_by: str | None) -> ColumnElement[bool]:
    public = metadef_namespaces.c.visibility == PUBLIC
    return public if seen_by is None else or_(exactly(metadef_namespaces.c.owner, seen_by), public)


def _associated_with(names: Sequence[str]) -> ColumnElement[bool]:
    links, types = metadef_namespace_resource_types, metadef_resource_types
    of_type = and_(types.c.id == links.c.resource_type_id, types.c.name.in_(names))
    return exists(select(links.c.namespace_id).where(links.c.namespace_id == metadef_namespaces.c.id, of_type))


def _order(query: NamespaceQuery) -> list[ColumnElement[Any]]:
    """The keys up to the id, after which there are no ties; none is ever null."""
    names = list(dict.fromkeys((query.sort.name, "created_at", "id")))
    return [_never_null(name) for name in names[: names.index("id") + 1]]


def _never_null(name: str) -> ColumnElement[Any]:
    columns = metadef_namespaces.c
    if name == "updated_at":
        return func.coalesce(columns.updated_at, columns.created_at)
    if name == "protected":
        return case((columns.protected == true(), 1), else_=0)
    if name in ("display_name", "description", "visibility"):
        return func.coalesce(columns[name], literal(""))
    return columns[name]


def _place(
    connection: Connection, marker: str, order: Sequence[ColumnElement[Any]], visible: ColumnElement[bool]
) -> Sequence[Any]:
    wanted = select(*order).where(metadef_namespaces.c.namespace == marker, visible)
    found = connection.execute(wanted).first() if can_hold(connection, marker) else None
    if found is None:
        raise NotFound(f"Metadata definition namespace={marker} was not found.")
    return tuple(found)


def _after(place: Sequence[Any], order: Sequence[ColumnElement[Any]], query: NamespaceQuery) -> ColumnElement[bool]:
    alternatives = []
    for position, (key, value) in enumerate(zip(order, place, strict=True)):
        ties = [tied == at for tied, at in zip(order[:position], place[:position], strict=True)]
        alternatives.append(and_(*ties, key < value if query.sort.descending else key > value))
    return or_(*alternatives)
