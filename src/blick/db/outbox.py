"""Bytes to remove: rows written in the transaction that gave the bytes up, worked off after it, until done.

A row is claimed by whoever tries it next; `attempts` names the claim. A claim that has lapsed may be taken by anybody,
and whoever had it changes nothing any more.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, and_, delete, insert, null, or_, select, update

from blick.db import image_deletion
from blick.db.rows import hold_waiting
from blick.db.tables import location_deletes
from blick.model.image import ImageLocation

LEFTOVERS: Final = "blick-leftovers"
"""The scheme of entries that name no object: whatever a broken writer left of an image's in a store, if anything."""


def leftovers(image_id: str, store_id: str) -> ImageLocation:
    """What an entry says to have the store discard what it has of the image."""
    return ImageLocation(f"{LEFTOVERS}:{image_id}", {"store": store_id})


@dataclass(frozen=True, slots=True)
class LocationDelete:
    """One location whose bytes are to be removed: tried `attempts` times so far, a try under way included.

    Not to be tried before `not_before_ms`. `last_error` is what the last try met; None while nobody has failed, or
    while somebody tries.
    """

    id: int
    image_id: str
    location: ImageLocation
    attempts: int
    not_before_ms: int
    last_error: str | None = None


def add(
    connection: Connection,
    image_id: str,
    locations: Iterable[ImageLocation],
    not_before_ms: int,
    *,
    is_claimed: bool = True,
) -> None:
    """Note that these locations' bytes are nobody's any more.

    If `is_claimed` they are the caller's to remove until `not_before_ms`; else nobody's before then.
    """
    rows = [
        {
            "image_id": image_id,
            "uri": location.uri,
            "meta_data": msgspec.json.encode(dict(location.metadata)).decode(),
            "attempts": int(is_claimed),
            "not_before_ms": not_before_ms,
        }
        for location in locations
    ]
    if rows:
        connection.execute(insert(location_deletes), rows)


def delete_image(
    connection: Connection, image_id: str, now: datetime, not_before_ms: int, *, delayed: bool = False
) -> list[LocationDelete] | None:
    """Delete the record of an image and note its bytes for removal, in one: never the one without the other.

    The entries are claimed by the caller until `not_before_ms`. With `delayed` there are none for an image that had
    data: it is left to the scrubber. None: there is no such image any more, or it is protected.
    """
    locations = image_deletion.delete(connection, image_id, now, delayed=delayed)
    if locations is None:
        return None
    add(connection, image_id, locations, not_before_ms)
    return of_image(connection, image_id) if locations else []


def due(
    connection: Connection, now_ms: int, limit: int, after_id: int = 0, *, put_off_too: bool = False
) -> list[LocationDelete]:
    """Up to `limit` deletions whose time has come, by id, from after `after_id` on.

    `put_off_too`: those as well that failed and wait to be tried again.
    """
    table = location_deletes.c
    wanted: ColumnElement[bool] = table.not_before_ms <= now_ms
    if put_off_too:
        wanted = or_(wanted, table.last_error.is_not(None))
    return _entries(connection, and_(wanted, table.id > after_id), limit)


def entries(connection: Connection, after_id: int, limit: int) -> list[LocationDelete]:
    """The next `limit` deletions behind the one of id `after_id`, due or not, in the order in which they came up."""
    return _entries(connection, location_deletes.c.id > after_id, limit)


def of_image(connection: Connection, image_id: str) -> list[LocationDelete]:
    """What is still to be removed of one image."""
    return _entries(connection, location_deletes.c.image_id == image_id)


def of_images(connection: Connection, image_ids: Collection[str]) -> list[LocationDelete]:
    """What is still to be removed of these images."""
    return _entries(connection, location_deletes.c.image_id.in_(image_ids))


def claim(connection: Connection, entry: LocationDelete, until_ms: int) -> LocationDelete | None:
    """Make sure that for now only we try this one; gives it as it is then. None: someone else does, or it is done."""
    ours = replace(entry, attempts=entry.attempts + 1, not_before_ms=until_ms, last_error=None)
    values = {"attempts": ours.attempts, "not_before_ms": until_ms, "last_error": null()}
    return ours if _change(connection, entry, values) else None


def renew(connection: Connection, entry: LocationDelete, until_ms: int) -> bool:
    """Go on trying what we have claimed. False: it is not ours any more."""
    return _change(connection, entry, {"not_before_ms": until_ms})


def done(connection: Connection, entry: LocationDelete, now: datetime) -> None:
    """The bytes are gone; a `pending_delete` image of which these were the last is `deleted` now.

    Without effect if the claim was lost: whoever has it finds the bytes gone.
    """
    # First, so that two who are done with the last two at the same moment see each other's.
    is_waiting = hold_waiting(connection, entry.image_id, now)
    gone = connection.execute(delete(location_deletes).where(_claimed(entry))).rowcount
    if gone and is_waiting and not _entries(connection, location_deletes.c.image_id == entry.image_id, 1):
        image_deletion.finish(connection, entry.image_id, now)


def failed(connection: Connection, entry: LocationDelete, error: str, retry_at_ms: int) -> None:
    """The store refused; try again at `retry_at_ms`. Without effect if the claim was lost."""
    _change(connection, entry, {"not_before_ms": retry_at_ms, "last_error": error})


def _change(connection: Connection, entry: LocationDelete, values: Mapping[str, Any]) -> bool:
    return connection.execute(update(location_deletes).where(_claimed(entry)).values(dict(values))).rowcount == 1


def _claimed(entry: LocationDelete) -> ColumnElement[bool]:
    table = location_deletes.c
    # SQLite gives the id of a row that is gone to the next one.
    return and_(table.id == entry.id, table.image_id == entry.image_id, table.attempts == entry.attempts)


def _entries(connection: Connection, wanted: ColumnElement[bool], limit: int | None = None) -> list[LocationDelete]:
    found = select(location_deletes).where(wanted).order_by(location_deletes.c.id).limit(limit)
    return [_entry(row) for row in connection.execute(found)]


def _entry(row: Row[Any]) -> LocationDelete:
    location = ImageLocation(row.uri, msgspec.json.decode(row.meta_data))
    return LocationDelete(row.id, row.image_id, location, row.attempts, row.not_before_ms, row.last_error)
