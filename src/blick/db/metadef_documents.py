"""Namespaces of metadata definitions as wholes: made, read and deleted together with all that lies in them."""

from collections.abc import Iterable
from datetime import datetime
from operator import attrgetter
from typing import Any, TypeVar

from sqlalchemy import Connection, Integer, Select, Table, delete, literal, null, select, union_all

from blick.db import (
    metadef_namespaces,
    metadef_objects,
    metadef_properties,
    metadef_resource_types,
    metadef_tags,
    tables,
)
from blick.model.metadef import (
    Children,
    MetadefNamespace,
    NewNamespace,
    require_unprotected,
)

Record = TypeVar("Record")

_ASSOCIATION, _PROPERTY, _OBJECT, _TAG = range(4)


def create(
    connection: Connection, new: NewNamespace, children: Children, owner: str, now: datetime
) -> MetadefNamespace:
    """A namespace and what lies in it. Raises Conflict where a name is taken, its own or one inside."""
    made = metadef_namespaces.add(connection, new, owner, now)
    metadef_resource_types.insert_all(connection, made.id, children.associations, now)
    metadef_properties.insert_all(connection, made.id, children.properties, now)
    metadef_objects.insert_all(connection, made.id, children.objects, now)
    metadef_tags.insert_all(connection, made.id, children.tags, now)
    return made


def delete_whole(connection: Connection, namespace_id: int) -> None:
    """The namespace and what lies in it; resource types stay. Raises NotFound, Forbidden (it is protected)."""
    require_unprotected(metadef_namespaces.hold(connection, namespace_id))
    remove_whole(connection, namespace_id)


def remove_whole(connection: Connection, namespace_id: int) -> None:
    """The same for a namespace that is held, protected or not."""
    for table in (
        tables.metadef_tags,
        tables.metadef_objects,
        tables.metadef_properties,
        tables.metadef_namespace_resource_types,
    ):
        connection.execute(delete(table).where(table.c.namespace_id == namespace_id))
    namespaces = tables.metadef_namespaces
    connection.execute(delete(namespaces).where(namespaces.c.id == namespace_id))


def children(connection: Connection, namespace_id: int) -> Children:
    """What lies in a namespace: tags newest first, all else in the order in which it came. One statement.

    Rows that are malformed are left out, with a line in the log.
    """
    objects, properties, tags = tables.metadef_objects, tables.metadef_properties, tables.metadef_tags
    statement = union_all(
        _associations(namespace_id),
        _kept(_PROPERTY, properties, namespace_id, properties.c.json_schema),
        _kept(_OBJECT, objects, namespace_id, objects.c.json_schema, objects.c.description, objects.c.required),
        _kept(_TAG, tags, namespace_id),
    )
    rows: dict[int, list[Any]] = {kind: [] for kind in (_ASSOCIATION, _PROPERTY, _OBJECT, _TAG)}
    for row in connection.execute(statement):
        rows[row.kind].append(row)
    for kind, found in rows.items():
        found.sort(key=_by_id if kind in (_PROPERTY, _OBJECT) else _by_time, reverse=kind == _TAG)
    return Children(
        associations=[metadef_resource_types.record(_of_association(row)) for row in rows[_ASSOCIATION]],
        properties=_sound(metadef_properties.record((row.name, row.first)) for row in rows[_PROPERTY]),
        objects=_sound(metadef_objects.record(_of_object(row)) for row in rows[_OBJECT]),
        tags=[metadef_tags.record((row.name, row.created_at, row.updated_at)) for row in rows[_TAG]],
    )


_by_id = attrgetter("id")
_by_time = attrgetter("created_at", "id")
_of_association = attrgetter("name", "first", "second", "created_at", "updated_at")
_of_object = attrgetter("name", "second", "third", "first", "created_at", "updated_at")


def _sound(records: Iterable[Record | None]) -> list[Record]:
    return [record for record in records if record is not None]


def _associations(namespace_id: int) -> Select[Any]:
    links, types = tables.metadef_namespace_resource_types, tables.metadef_resource_types
    return (
        select(
            literal(_ASSOCIATION, Integer).label("kind"),
            types.c.id,
            types.c.name,
            links.c.prefix.label("first"),
            links.c.properties_target.label("second"),
            null().label("third"),
            links.c.created_at,
            links.c.updated_at,
        )
        .select_from(links.join(types, types.c.id == links.c.resource_type_id))
        .where(links.c.namespace_id == namespace_id)
    )


def _kept(kind: int, table: Table, namespace_id: int, *texts: Any) -> Select[Any]:
    first, second, third = [*texts, null(), null(), null()][:3]
    return select(
        literal(kind, Integer).label("kind"),
        table.c.id,
        table.c.name,
        first.label("first"),
        second.label("second"),
        third.label("third"),
        table.c.created_at,
        table.c.updated_at,
    ).where(table.c.namespace_id == namespace_id)
