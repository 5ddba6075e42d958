"""Properties of metadata definitions."""

import json
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from blick.db.metadef_namespaces import hold
from blick.db.tables import metadef_namespace_resource_types, metadef_properties, metadef_resource_types
from blick.model.errors import Conflict
from blick.model.metadef import MetadefProperty, require_unprotected

_log = logging.getLogger(__name__)

COLUMNS: Final = (metadef_properties.c.name, metadef_properties.c.json_schema)


def record(row: Sequence[Any]) -> MetadefProperty | None:
    """A row of `COLUMNS`; None, and a line in the log, where it is malformed."""
    name, text = row
    try:
        schema = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        schema = None
    if not isinstance(schema, dict):
        _log.error("metadata definition property %s is left out: what is kept of it is malformed", name)
        return None
    return MetadefProperty(name, schema)


def values(item: MetadefProperty) -> dict[str, Any]:
    """What is kept of it, by column."""
    return {"name": item.name, "json_schema": json.dumps(item.schema)}


def insert_all(connection: Connection, namespace_id: int, properties: Sequence[MetadefProperty], now: datetime) -> None:
    """Put them into a namespace that is held. Raises Conflict where one of the names is taken."""
    if not properties:
        return
    rows = [{"namespace_id": namespace_id, **values(each), "created_at": now, "updated_at": now} for each in properties]
    try:
        connection.execute(insert(metadef_properties), rows)
    except IntegrityError as error:
        raise taken([each.name for each in properties]) from error


def taken(names: Sequence[str]) -> Conflict:
    """The answer where one of these names, which were to come into a namespace, is there already."""
    return Conflict(f"A metadata definition property of this name exists already: {', '.join(names):.200}")


def of_namespace(connection: Connection, namespace_id: int) -> list[MetadefProperty]:
    """All of a namespace, in the order in which they came. One statement."""
    table = metadef_properties
    statement = select(*COLUMNS).where(table.c.namespace_id == namespace_id).order_by(table.c.id)
    return [item for row in connection.execute(statement) if (item := record(row)) is not None]


def get(connection: Connection, namespace_id: int, name: str) -> MetadefProperty | None:
    """The property of that name, compared as the database's collation says: so it is unique. One statement."""
    row = connection.execute(select(*COLUMNS).where(_is(namespace_id, name))).first()
    return None if row is None else record(row)


def prefix_on(connection: Connection, namespace_id: int, resource_type: str) -> str | None:
    """What the namespace's properties' names begin with on resources of that type.

    None where they are not put on such, or have no prefix there. One statement.
    """
    types, associations = metadef_resource_types, metadef_namespace_resource_types
    statement = (
        select(associations.c.prefix)
        .join_from(associations, types, types.c.id == associations.c.resource_type_id)
        .where(associations.c.namespace_id == namespace_id, types.c.name == resource_type)
    )
    prefix: str | None = connection.execute(statement).scalar()
    return prefix


def add(connection: Connection, namespace_id: int, item: MetadefProperty, now: datetime) -> None:
    """Put it into the namespace. Raises Conflict where its name is taken, NotFound where the namespace went away."""
    hold(connection, namespace_id)
    insert_all(connection, namespace_id, [item], now)


def replace(connection: Connection, namespace_id: int, name: str, item: MetadefProperty, now: datetime) -> bool:
    """Put `item` in the place of the property `name`, which may get another name by that. False: there is none.

    Raises Conflict where the new name is taken, NotFound where the namespace went away.
    """
    hold(connection, namespace_id)
    statement = update(metadef_properties).where(_is(namespace_id, name)).values(**values(item), updated_at=now)
    try:
        return connection.execute(statement).rowcount > 0
    except IntegrityError as error:
        raise taken([item.name]) from error


def remove(connection: Connection, namespace_id: int, name: str) -> bool:
    """Delete it. False: there is none. Raises Forbidden where there is one in a protected namespace, NotFound."""
    namespace = hold(connection, namespace_id)
    is_removed = connection.execute(delete(metadef_properties).where(_is(namespace_id, name))).rowcount > 0
    if is_removed:
        require_unprotected(namespace)  # takes the deletion back, with the transaction
    return is_removed


def remove_all(connection: Connection, namespace_id: int) -> None:
    """Delete all properties of the namespace. Raises Forbidden where it is protected, NotFound."""
    require_unprotected(hold(connection, namespace_id))
    connection.execute(delete(metadef_properties).where(metadef_properties.c.namespace_id == namespace_id))


def _is(namespace_id: int, name: str) -> ColumnElement[bool]:
    return and_(metadef_properties.c.namespace_id == namespace_id, metadef_properties.c.name == name)
