"""Where staged data lies, if that is a store which has images too (design: ops/staging.py); a folder needs no rows.

A row is there before the first byte and goes after the last, so that nothing staged is ever without one.
"""

from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from blick.db.tables import staged_data
from blick.model.blob import Location
from blick.model.errors import Conflict


@dataclass(frozen=True, slots=True)
class StagedRow:
    """Data of `image_id` in `store` under `key`; `location` None: it is still on its way, or broke off.

    `token` is that of whoever wrote it last.
    """

    image_id: str
    token: str
    store: str
    key: str
    location: Location | None = None
    size_bytes: int | None = None
    created_at_ms: int = 0


def get(connection: Connection, image_id: str) -> StagedRow | None:
    """The row of that image, if it has staged data."""
    row = connection.execute(select(staged_data).where(staged_data.c.image_id == image_id)).first()
    return None if row is None else _row(row)


def after(connection: Connection, image_id: str, limit: int) -> list[StagedRow]:
    """The next rows behind that of `image_id`, by the images' ids; all rows are behind the empty one."""
    wanted = select(staged_data).where(staged_data.c.image_id > image_id).order_by(staged_data.c.image_id).limit(limit)
    return [_row(row) for row in connection.execute(wanted)]


def begin(connection: Connection, row: StagedRow) -> None:
    """Data is about to come, in the place of what there was; earlier writers can end nothing any more.

    Raises Conflict, and ends the transaction, if somebody begins at the same moment.
    """
    values = {
        "token": row.token,
        "store": row.store,
        "object_key": row.key,
        "uri": "",
        "meta_data": "{}",
        "size_bytes": None,
        "created_at_ms": row.created_at_ms,
    }
    found = update(staged_data).where(staged_data.c.image_id == row.image_id)
    if connection.execute(found.values(values)).rowcount == 1:
        return
    try:
        connection.execute(insert(staged_data), values | {"image_id": row.image_id})
    except IntegrityError as error:
        raise Conflict(f"Data of image {row.image_id} is being staged by somebody else.") from error


def finish(connection: Connection, row: StagedRow, location: Location, size_bytes: int) -> bool:
    """The data is whole, and lies there. False: somebody else has begun meanwhile."""
    values = {
        "uri": location.uri,
        "meta_data": msgspec.json.encode(dict(location.metadata)).decode(),
        "size_bytes": size_bytes,
    }
    return connection.execute(update(staged_data).where(_same(row)).values(values)).rowcount == 1


def drop(connection: Connection, row: StagedRow) -> bool:
    """There is no data any more. False: the row is somebody else's by now."""
    return connection.execute(delete(staged_data).where(_same(row))).rowcount == 1


def _same(row: StagedRow) -> ColumnElement[bool]:
    return and_(staged_data.c.image_id == row.image_id, staged_data.c.token == row.token)


def _row(row: Row[Any]) -> StagedRow:
    location = Location(row.store, row.uri, msgspec.json.decode(row.meta_data)) if row.uri else None
    return StagedRow(row.image_id, row.token, row.store, row.object_key, location, row.size_bytes, row.created_at_ms)
