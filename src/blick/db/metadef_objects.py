"""Objects of metadata definitions: properties that belong together."""

import json
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, insert
from sqlalchemy.exc import IntegrityError

from blick.db.tables import metadef_objects
from blick.model.errors import Conflict
from blick.model.metadef import MetadefObject

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
        properties = json.loads(text) or {}
    except ValueError:
        properties = None
    if not isinstance(properties, dict):
        _log.error("metadata definition object %s is left out: what is kept of it is malformed", name)
        return None
    sound = {key: value for key, value in properties.items() if isinstance(value, dict)}
    if len(sound) < len(properties):
        _log.error("metadata definition object %s: malformed properties are left out", name)
    names = tuple(each for each in (required or "").split(",") if each)
    return MetadefObject(name, description, names, sound, created_at, updated_at)


def values(item: MetadefObject) -> dict[str, Any]:
    """What is kept of it, by column."""
    return {
        "name": item.name,
        "description": item.description,
        "required": ",".join(item.required) or None,
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
