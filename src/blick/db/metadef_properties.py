"""Properties of metadata definitions."""

import json
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, insert
from sqlalchemy.exc import IntegrityError

from blick.db.tables import metadef_properties
from blick.model.errors import Conflict
from blick.model.metadef import MetadefProperty

_log = logging.getLogger(__name__)

COLUMNS: Final = (metadef_properties.c.name, metadef_properties.c.json_schema)


def record(row: Sequence[Any]) -> MetadefProperty | None:
    """A row of `COLUMNS`; None, and a line in the log, where it is malformed."""
    name, text = row
    try:
        schema = json.loads(text)
    except ValueError:
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
