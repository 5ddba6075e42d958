"""Objects of metadata definitions: properties that belong together."""

import json
import logging
from collections.abc import Sequence
from dataclasses import replace as changed
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from blick.db.metadef_namespaces import hold
from blick.db.tables import metadef_objects
from blick.model.errors import Conflict
from blick.model.metadef import MetadefObject, require_unprotected

_log = logging.getLogger(__name__)

COLUMNS: Final = tuple(
    metadef_objects.c[name] for name in ("name", "description", "required", "json_schema", "created_at", "updated_at")
)


def record(row: Sequence[Any]) -> MetadefObject | None:
    """A row of `COLUMNS`; None, and a line in the log, where it is malformed. Properties that are none go.

    An object that was kept without properties has none.
    """
    name, description, required, text, created_at, updated_at = row
    try:
        properties = msgspec.json.decode(text) or {}
    except (ValueError, RecursionError):
        properties = None
    if not isinstance(properties, dict):
        _log.error("metadata definition object %s is left out: what is kept of it is malformed", name)
        return None
    sound = {key: value for key, value in properties.items() if isinstance(value, dict)}
    if len(sound) < len(properties):
        _log.error("metadata definition object %s: malformed properties are left out", name)
    names = [each for each in (required or "").split(",") if each]
    return MetadefObject(name, description, names, sound, created_at, updated_at)


def values(item: MetadefObject) -> dict[str, Any]:
    """What is kept of it, by column."""
    return {
        "name": item.name,
        "description": item.description,
        "required": ",".join(item.required or ()) or None,
        "json_schema": json.dumps(item.properties or {}),
    }


def insert_all(connection: Connection, namespace_id: int, objects: Sequence[MetadefObject], now: datetime) -> None:
    """Put them into a namespace that is held. Raises Conflict where one of the names is taken."""
    if not objects:
        return
    rows = [{"namespace_id": namespace_id, **values(each), "created_at": now, "updated_at": now} for each in objects]
    try:
        connection.execute(insert(metadef_objects), rows)
    except IntegrityError as error:
        raise taken([each.name for each in objects]) from error


def taken(names: Sequence[str]) -> Conflict:
    """The answer where one of these names, which were to come into a namespace, is there already."""
    return Conflict(f"A metadata definition object of this name exists already: {', '.join(names):.200}")


def of_namespace(connection: Connection, namespace_id: int) -> list[MetadefObject]:
    """All of a namespace, in the order in which they came. One statement."""
    table = metadef_objects
    statement = select(*COLUMNS).where(table.c.namespace_id == namespace_id).order_by(table.c.id)
    return [item for row in connection.execute(statement) if (item := record(row)) is not None]


def get(connection: Connection, namespace_id: int, name: str) -> MetadefObject | None:
    """The object of that name, compared as the database's collation says: so it is unique. One statement."""
    row = connection.execute(select(*COLUMNS).where(_is(namespace_id, name))).first()
    return None if row is None else record(row)


def add(connection: Connection, namespace_id: int, item: MetadefObject, now: datetime) -> MetadefObject:
    """Put it into the namespace; give it as it came, with times. Raises Conflict where its name is taken, NotFound."""
    hold(connection, namespace_id)
    insert_all(connection, namespace_id, [item], now)
    return changed(item, created_at=now, updated_at=now)


def replace(
    connection: Connection, namespace_id: int, name: str, item: MetadefObject, now: datetime
) -> MetadefObject | None:
    """Put `item` in the place of the object `name`, which may get another name by that; None: there is none.

    Gives it as it came, with times.
    Raises Conflict where the new name is taken, NotFound where the namespace went away.
    """
    hold(connection, namespace_id)
    statement = update(metadef_objects).where(_is(namespace_id, name)).values(**values(item), updated_at=now)
    try:
        count = connection.execute(statement).rowcount
    except IntegrityError as error:
        raise taken([item.name]) from error
    kept = get(connection, namespace_id, item.name) if count else None
    return None if kept is None else changed(item, created_at=kept.created_at, updated_at=kept.updated_at)


def remove(connection: Connection, namespace_id: int, name: str) -> bool:
    """Delete it. False: there is none. Raises Forbidden where there is one in a protected namespace, NotFound."""
    namespace = hold(connection, namespace_id)
    is_removed = connection.execute(delete(metadef_objects).where(_is(namespace_id, name))).rowcount > 0
    if is_removed:
        require_unprotected(namespace)  # takes the deletion back, with the transaction
    return is_removed


def remove_all(connection: Connection, namespace_id: int) -> None:
    """Delete all objects of the namespace. Raises Forbidden where it is protected, NotFound."""
    require_unprotected(hold(connection, namespace_id))
    connection.execute(delete(metadef_objects).where(metadef_objects.c.namespace_id == namespace_id))


def _is(namespace_id: int, name: str) -> ColumnElement[bool]:
    return and_(metadef_objects.c.namespace_id == namespace_id, metadef_objects.c.name == name)
