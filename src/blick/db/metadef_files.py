"""Namespaces of metadata definitions as files have them: loaded, all read, all removed (spec: metadefs-api §10).

Unlike what comes over the API, rows that come from files have no time of their last change, and resource types that
are made for them are protected.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any

from sqlalchemy import Connection, Table, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from blick.db import metadef_documents, metadef_namespaces, metadef_objects, metadef_properties, tables
from blick.db import metadef_resource_types as resource_types
from blick.model.errors import Conflict, NotFound
from blick.model.metadef import Association, Children, MetadefNamespace
from blick.model.metadef_file import Mode, NamespaceFile

Row = Mapping[str, Any]


class Outcome(Enum):
    """What became of a namespace of a file."""

    ADDED = "added"
    SKIPPED = "skipped: exists already"
    MERGED = "merged"
    REPLACED = "replaced"


def load(connection: Connection, file: NamespaceFile, mode: Mode, now: datetime) -> Outcome:
    """Put a namespace with all that lies in it into the database. Raises Conflict where a name comes twice."""
    known = metadef_namespaces.get(connection, file.namespace.name)
    try:
        if known is None:
            _add(connection, file, now)
            return Outcome.ADDED
        if mode is Mode.SKIP:
            return Outcome.SKIPPED
        metadef_namespaces.hold(connection, known.id)
        if mode is Mode.OVERWRITE:
            metadef_documents.remove_whole(connection, known.id)
            _add(connection, file, now)
            return Outcome.REPLACED
        _merge(connection, known.id, file, now, prefers_new=mode is Mode.PREFER_NEW)
    except IntegrityError as error:
        raise Conflict(
            f"The namespace {file.namespace.name}, or something in it, comes twice, or came from somebody else "
            "at the same moment."
        ) from error
    return Outcome.MERGED


def load_first(connection: Connection, files: Sequence[NamespaceFile], now: datetime) -> bool:
    """Put all of these namespaces into a database that has none. False: it has some. Raises Conflict."""
    if connection.execute(select(tables.metadef_namespaces.c.id).limit(1)).first() is not None:
        return False
    for file in files:
        load(connection, file, Mode.SKIP, now)
    return True


def names(connection: Connection) -> list[str]:
    """Of all namespaces, in no order. One statement."""
    return list(connection.execute(select(tables.metadef_namespaces.c.namespace)).scalars())


def whole(connection: Connection, name: str) -> tuple[MetadefNamespace, Children] | None:
    """A namespace with all that lies in it, as it is at one moment; None: there is none. Holds it so long."""
    known = metadef_namespaces.get(connection, name)
    if known is None:
        return None
    try:
        held = metadef_namespaces.hold(connection, known.id)
    except NotFound:
        return None
    return held, metadef_documents.children(connection, held.id)


def remove_everything(connection: Connection) -> int:
    """Empty all six tables. How many namespaces there were."""
    for table in (
        tables.metadef_tags,
        tables.metadef_objects,
        tables.metadef_properties,
        tables.metadef_namespace_resource_types,
    ):
        connection.execute(delete(table))
    count = connection.execute(delete(tables.metadef_namespaces)).rowcount
    connection.execute(delete(tables.metadef_resource_types))
    return count


def _add(connection: Connection, file: NamespaceFile, now: datetime) -> None:
    values = {**_values(file), "created_at": now, "updated_at": None}
    key = connection.execute(insert(tables.metadef_namespaces), values).inserted_primary_key
    assert key is not None
    for table, rows in _children(file.children):
        if rows:
            added = {"namespace_id": key[0], "created_at": now, "updated_at": None}
            connection.execute(insert(table), [{**row, **added} for row in rows])
    for each in file.children.associations:
        _associate(connection, key[0], each, now)


def _merge(connection: Connection, namespace_id: int, file: NamespaceFile, now: datetime, *, prefers_new: bool) -> None:
    if prefers_new:
        table = tables.metadef_namespaces
        connection.execute(update(table).where(table.c.id == namespace_id).values(**_values(file), updated_at=now))
    for table, rows in _children(file.children):
        for row in rows:
            # Names are the same where the database's collation says so: hence one by one.
            same = and_(table.c.namespace_id == namespace_id, table.c.name == row["name"])
            if connection.execute(select(table.c.id).where(same)).first() is None:
                added = {"namespace_id": namespace_id, "created_at": now, "updated_at": None}
                connection.execute(insert(table), {**row, **added})
            elif prefers_new:
                connection.execute(update(table).where(same).values(**row, updated_at=now))
    for each in file.children.associations:
        _associate(connection, namespace_id, each, now, is_merge=True, prefers_new=prefers_new)


def _associate(
    connection: Connection,
    namespace_id: int,
    item: Association,
    now: datetime,
    *,
    is_merge: bool = False,
    prefers_new: bool = False,
) -> None:
    links, types = tables.metadef_namespace_resource_types, tables.metadef_resource_types
    type_id = resource_types.type_id(connection, item.name, now, from_file=True)
    same = and_(links.c.namespace_id == namespace_id, links.c.resource_type_id == type_id)
    values = {"prefix": item.prefix, "properties_target": item.properties_target}
    if not is_merge or connection.execute(select(links.c.namespace_id).where(same)).first() is None:
        added = {"namespace_id": namespace_id, "resource_type_id": type_id, "created_at": now, "updated_at": None}
        connection.execute(insert(links), {**values, **added})
    elif prefers_new:
        connection.execute(update(links).where(same).values(**values, updated_at=now))
    if prefers_new:
        connection.execute(update(types).where(types.c.id == type_id).values(updated_at=now))


def _values(file: NamespaceFile) -> Row:
    return metadef_namespaces.values(file.namespace, file.owner)


def _children(children: Children) -> Iterable[tuple[Table, Sequence[Row]]]:
    """All but associations: what goes into which table."""
    yield tables.metadef_properties, [metadef_properties.values(each) for each in children.properties]
    yield tables.metadef_objects, [metadef_objects.values(each) for each in children.objects]
    yield tables.metadef_tags, [{"name": each.name} for each in children.tags]
