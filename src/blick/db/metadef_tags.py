"""Tags of metadata definitions."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, insert
from sqlalchemy.exc import IntegrityError

from blick.db.tables import metadef_tags
from blick.model.errors import Conflict
from blick.model.metadef import MetadefTag

COLUMNS: Final = (metadef_tags.c.name, metadef_tags.c.created_at, metadef_tags.c.updated_at)


def record(row: Sequence[Any]) -> MetadefTag:
    """A row of `COLUMNS`."""
    return MetadefTag(*row)


def insert_all(connection: Connection, namespace_id: int, tags: Sequence[MetadefTag], now: datetime) -> None:
    """Put them into a namespace that is held. Raises Conflict where one of them is there already."""
    if not tags:
        return
    rows = [{"namespace_id": namespace_id, "name": each.name, "created_at": now, "updated_at": now} for each in tags]
    try:
        connection.execute(insert(metadef_tags), rows)
    except IntegrityError as error:
        raise taken([each.name for each in tags]) from error


def taken(names: Sequence[str]) -> Conflict:
    """The answer where one of these tags, which were to come into a namespace, is there already."""
    return Conflict(f"A metadata definition tag of this name exists already: {', '.join(names):.200}")
