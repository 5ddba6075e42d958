"""Locations of images, as a PATCH changes their list."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, update

from blick.db import images, outbox, rows, usage
from blick.db.outbox import LocationDelete
from blick.db.tables import image_locations
from blick.model.errors import Conflict, Forbidden, Invalid, LimitExceeded
from blick.model.image import ACTIVE, DELETED, QUEUED, Image, ImageLocation
from blick.model.image_patch import PatchPlan
from blick.model.quota import Measure, Quota


@dataclass(frozen=True, slots=True)
class LocationWrites:
    """What becomes of an image's list of locations. Its order is that of the records' making.

    `updated` get other metadata; `reordered`, if not empty, are all that stay, metadata included, in their new order.
    `first_data` are the columns that a queued image gets when its first location makes it active; None: it has to be
    active. `quota` is the most locations it may have (negative: any number). Removed ones' bytes are the caller's to
    remove until `not_before_ms`, then anybody's. `stored_bytes` is what the added ones take of the owner's `storage`.
    """

    added: Sequence[ImageLocation]
    removed: Sequence[ImageLocation]
    updated: Sequence[ImageLocation]
    reordered: Sequence[ImageLocation]
    first_data: Mapping[str, Any] | None
    quota: int
    not_before_ms: int
    storage: Quota | None = None
    stored_bytes: int = 0


def change_image(
    connection: Connection,
    image_id: str,
    wanted: PatchPlan,
    limits: images.ChangeLimits,
    writes: LocationWrites,
    now: datetime,
) -> tuple[Image, list[LocationDelete]]:
    """What a PATCH names, locations included, all or nothing: the image afterwards, and whose bytes to remove.

    Raises what `images.change` raises, and Conflict, Forbidden, Invalid or LimitExceeded where another request changed
    the locations meanwhile so that this one is not possible any more.
    """
    if writes.storage is not None and writes.stored_bytes:
        usage.take(connection, writes.storage, {Measure.STORED: writes.stored_bytes})
    images.change(connection, image_id, wanted, limits, now)
    apply(connection, image_id, writes, now)
    image = images.get(connection, image_id, limits.project_id)
    assert image is not None, "its row is ours in this transaction"
    return image, _to_remove(connection, image_id, writes)


def remove(connection: Connection, image_id: str, writes: LocationWrites, now: datetime) -> list[LocationDelete]:
    """Take locations away, and nothing else: whose bytes to remove. Raises Conflict, Forbidden as `change_image`."""
    apply(connection, image_id, writes, now)
    return _to_remove(connection, image_id, writes)


def _to_remove(connection: Connection, image_id: str, writes: LocationWrites) -> list[LocationDelete]:
    removed = {place.uri for place in writes.removed}
    left = outbox.of_image(connection, image_id) if removed else []
    return [entry for entry in left if entry.location.uri in removed]


def apply(connection: Connection, image_id: str, writes: LocationWrites, now: datetime) -> None:
    """Change the list, and make a queued image active with its first location. Takes the image's row first."""
    if not _take(connection, image_id, writes, now):
        raise Conflict("The image's locations can be changed only while it is active, or queued to get its first.")
    _require_possible(images.live_locations(connection, image_id), writes)
    for place in writes.removed:
        drop(connection, place, now)
    outbox.add(connection, image_id, writes.removed, writes.not_before_ms)
    for place in writes.reordered:
        drop(connection, place, now)
        images.add_location(connection, image_id, place.uri, place.metadata, now)
    for place in () if writes.reordered else writes.updated:
        metadata = msgspec.json.encode(dict(place.metadata)).decode()
        _update(connection, place, {"meta_data": metadata, "updated_at": now})
    for place in writes.added:
        images.add_location(connection, image_id, place.uri, place.metadata, now)


def drop(connection: Connection, place: ImageLocation, now: datetime) -> None:
    """Soft-delete one location's record."""
    _update(connection, place, {"status": DELETED, "deleted": True, "deleted_at": now, "updated_at": now})


def _take(connection: Connection, image_id: str, writes: LocationWrites, now: datetime) -> bool:
    if writes.first_data is None:
        return rows.set_base(connection, image_id, {}, now, (ACTIVE,))
    return images.set_status(connection, image_id, (QUEUED,), ACTIVE, now, writes.first_data)


def _require_possible(current: Sequence[ImageLocation], writes: LocationWrites) -> None:
    present = {place.id for place in current}
    if any(place.id not in present for place in (*writes.removed, *writes.updated)):
        raise Conflict("Another request changed the image's locations. Try again.")
    gone = {place.id for place in (*writes.removed, *writes.updated)}
    after = [*(place for place in current if place.id not in gone), *writes.updated, *writes.added]
    if not after:
        raise Forbidden("The last location of an image cannot be removed.")
    if writes.added and 0 <= writes.quota < len(after):
        raise LimitExceeded(f"The limit has been exceeded on the number of allowed image locations: {writes.quota}")
    if any(
        (one.uri, one.metadata) == (new.uri, new.metadata) for new in writes.added for one in after if one is not new
    ):
        raise Invalid("This location is in the list already.")


def _update(connection: Connection, place: ImageLocation, values: Mapping[str, Any]) -> None:
    connection.execute(update(image_locations).where(image_locations.c.id == place.id).values(values))
