"""Bytes to remove: rows written in the transaction that gave the bytes up, worked off after it, until done."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select, update

from blick.db import images
from blick.db.tables import location_deletes
from blick.model.image import ImageLocation


@dataclass(frozen=True, slots=True)
class LocationDelete:
    """One location whose bytes are to be removed; `attempts` have failed so far, the last one with `last_error`.

    Until `not_before_ms` nobody tries, but who has claimed it.
    """

    id: int
    image_id: str
    location: ImageLocation
    attempts: int
    not_before_ms: int = 0
    last_error: str | None = None


def add(connection: Connection, image_id: str, locations: Iterable[ImageLocation], not_before_ms: int) -> None:
    """Note that these locations' bytes are nobody's any more. Until `not_before_ms` they are the caller's to remove."""
    rows = [
        {
            "image_id": image_id,
            "uri": location.uri,
            "meta_data": msgspec.json.encode(dict(location.metadata)).decode(),
            "attempts": 1,
            "not_before_ms": not_before_ms,
        }
        for location in locations
    ]
    if rows:
        connection.execute(insert(location_deletes), rows)


def delete_image(
    connection: Connection, image_id: str, now: datetime, not_before_ms: int
) -> list[LocationDelete] | None:
    """Delete the record of an image and note its bytes for removal, in one: never the one without the other.

    The entries are claimed by the caller until `not_before_ms`. None: there is no such image any more, or it is
    protected.
    """
    locations = images.delete_image(connection, image_id, now)
    if locations is None:
        return None
    add(connection, image_id, locations, not_before_ms)
    return of_image(connection, image_id) if locations else []


def due(connection: Connection, now_ms: int, limit: int) -> list[LocationDelete]:
    """Up to `limit` deletions whose time has come."""
    table = location_deletes
    rows = connection.execute(
        select(table).where(table.c.not_before_ms <= now_ms).order_by(table.c.not_before_ms).limit(limit)
    )
    return [_entry(row) for row in rows]


def of_image(connection: Connection, image_id: str) -> list[LocationDelete]:
    """What is still to be removed of one image."""
    table = location_deletes
    rows = connection.execute(select(table).where(table.c.image_id == image_id).order_by(table.c.id))
    return [_entry(row) for row in rows]


def of_images(connection: Connection, image_ids: Collection[str]) -> list[LocationDelete]:
    """What is still to be removed of these images."""
    table = location_deletes
    rows = connection.execute(select(table).where(table.c.image_id.in_(image_ids)).order_by(table.c.id))
    return [_entry(row) for row in rows]


def entries(connection: Connection, after_id: int, limit: int) -> list[LocationDelete]:
    """The next `limit` deletions behind the one of id `after_id`, due or not, in the order in which they came up."""
    table = location_deletes
    rows = connection.execute(select(table).where(table.c.id > after_id).order_by(table.c.id).limit(limit))
    return [_entry(row) for row in rows]


def claim(connection: Connection, entry: LocationDelete, until_ms: int) -> bool:
    """Make sure that for now only we try this one. False: someone else does, or it is done."""
    table = location_deletes
    changed = connection.execute(
        update(table)
        .where(table.c.id == entry.id, table.c.attempts == entry.attempts)
        .values(attempts=entry.attempts + 1, not_before_ms=until_ms)
    )
    return changed.rowcount == 1


def done(connection: Connection, entry: LocationDelete) -> None:
    """The bytes are gone."""
    connection.execute(delete(location_deletes).where(location_deletes.c.id == entry.id))


def failed(connection: Connection, entry: LocationDelete, error: str, retry_at_ms: int) -> None:
    """The store refused; try again at `retry_at_ms`."""
    connection.execute(
        update(location_deletes)
        .where(location_deletes.c.id == entry.id)
        .values(not_before_ms=retry_at_ms, last_error=error)
    )


def _entry(row: Row[Any]) -> LocationDelete:
    location = ImageLocation(row.uri, msgspec.json.decode(row.meta_data))
    return LocationDelete(row.id, row.image_id, location, row.attempts, row.not_before_ms, row.last_error)
