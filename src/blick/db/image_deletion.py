"""The end of an image's record: at once, or in two steps with its data kept in between (delayed_delete), or taken back.

Glance makes and reads the same rows: an image that waits is `pending_delete` and deleted, as are its locations.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, false, or_, select, true, update

from blick.db.images import IN_USE, find_locations, live_locations, set_status
from blick.db.rows import hold
from blick.db.tables import image_locations, image_members, image_properties, image_tags, images
from blick.model.errors import Conflict, NotFound
from blick.model.image import ACTIVE, DELETED, PENDING_DELETE, STATUS, ImageLocation

_MAY_WAIT = tuple(status for status, following in STATUS.items() if PENDING_DELETE in following)
_WAITING = image_locations.c.status == PENDING_DELETE
_ALIVE: Mapping[str, Any] = MappingProxyType({"deleted": False, "deleted_at": None})
# Glance deletes locations, then properties, in transactions of their own; then the image with tags and members.
_ONE_DELETION = timedelta(seconds=10)


def delete(
    connection: Connection, image_id: str, now: datetime, *, delayed: bool = False
) -> list[ImageLocation] | None:
    """Soft-delete the image, unless it is protected, with all its children. None: gone or protected.

    Gives where bytes lie that are to be removed now: read once the row is ours, so that an upload that ends at the
    same moment has either recorded them before, or finds the image gone. With `delayed` an image that has data keeps
    it, as `pending_delete`, and nothing is to be removed.
    """
    if delayed and _has_data(connection, image_id) and _end(connection, image_id, PENDING_DELETE, now):
        _drop_children(connection, image_id, PENDING_DELETE, now)
        return []
    if not _end(connection, image_id, DELETED, now):
        return None
    # A location that Glance removed from an image, or whose image its scrubber restored, waits as well.
    places = find_locations(connection, image_id, or_(IN_USE, _WAITING))
    _drop_children(connection, image_id, DELETED, now)
    return places


def waiting_locations(connection: Connection, image_id: str) -> list[ImageLocation]:
    """Where the data lies that is kept of a deleted image."""
    return find_locations(connection, image_id, _WAITING)


def finish(connection: Connection, image_id: str, now: datetime) -> None:
    """pending_delete → deleted, because the data is gone. Without effect on other images."""
    if set_status(connection, image_id, (PENDING_DELETE,), DELETED, now):
        waiting = update(image_locations).where(image_locations.c.image_id == image_id, _WAITING)
        connection.execute(waiting.values(status=DELETED, deleted=True, updated_at=now))


def restore(connection: Connection, image_id: str, now: datetime) -> None:
    """pending_delete → active, with the locations, properties, tags and members that the deletion took along.

    What had been removed before the deletion stays so. Raises NotFound; Conflict if the image is not `pending_delete`
    or has no data any more.
    """
    known = connection.execute(select(images.c.status, images.c.deleted_at).where(images.c.id == image_id)).first()
    if known is None:
        raise NotFound(f"No image found with ID {image_id}")
    if not set_status(connection, image_id, (PENDING_DELETE,), ACTIVE, now, _ALIVE):
        raise Conflict(f"cannot restore the image from {known.status} to active (wanted from_state=pending_delete)")
    deleted_at: datetime = known.deleted_at or now
    began_at = _restore_locations(connection, image_id, deleted_at, now)
    _revive(connection, image_properties, image_id, image_properties.c.deleted_at.between(began_at, deleted_at), now)
    for child in (image_tags, image_members):
        _revive(connection, child, image_id, child.c.deleted_at == deleted_at, now)


def _restore_locations(connection: Connection, image_id: str, deleted_at: datetime, now: datetime) -> datetime:
    """Use the image's data again; gives when the deletion began. Raises Conflict where there are no data any more."""
    place = image_locations.c
    rows = connection.execute(select(place.id, place.deleted_at).where(place.image_id == image_id, _WAITING)).all()
    taken = [row for row in rows if row.deleted_at and row.deleted_at >= deleted_at - _ONE_DELETION]
    ids = [row.id for row in taken or rows]
    if not ids:
        raise Conflict(f"cannot restore the image {image_id}: its data has been removed")
    _revive(connection, image_locations, image_id, place.id.in_(ids), now, status=ACTIVE)
    return min((row.deleted_at for row in taken), default=deleted_at)


def _revive(
    connection: Connection, child: Table, image_id: str, taken: ColumnElement[bool], now: datetime, **values: Any
) -> None:
    chosen = update(child).where(child.c.image_id == image_id, child.c.deleted == true(), taken)
    connection.execute(chosen.values(**_ALIVE, updated_at=now, **values))


def _has_data(connection: Connection, image_id: str) -> bool:
    """Has it, and until this transaction ends? What waits because of Glance does not count."""
    return hold(connection, image_id) and bool(live_locations(connection, image_id))


def _end(connection: Connection, image_id: str, to: str, now: datetime) -> bool:
    ending = update(images).where(images.c.id == image_id, images.c.deleted == false(), images.c.protected == false())
    if to == PENDING_DELETE:
        ending = ending.where(images.c.status.in_(_MAY_WAIT))
    values = {"status": to, "deleted": True, "deleted_at": now, "updated_at": now}
    return connection.execute(ending.values(values)).rowcount == 1


def _drop_children(connection: Connection, image_id: str, to: str, now: datetime) -> None:
    """Soft-delete them; locations get the status `to`. Those that waited already go on waiting with the others."""
    for child in (image_properties, image_tags, image_members):
        dropped = update(child).where(child.c.image_id == image_id, child.c.deleted == false())
        connection.execute(dropped.values(deleted=True, deleted_at=now, updated_at=now))
    place = image_locations.c
    present = place.deleted == false() if to == PENDING_DELETE else or_(place.deleted == false(), _WAITING)
    dropped = update(image_locations).where(place.image_id == image_id, present)
    connection.execute(dropped.values(status=to, deleted=True, deleted_at=now, updated_at=now))
