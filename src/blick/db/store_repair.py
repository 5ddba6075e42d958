"""The transactions around one repair: what an upload's lease does for an upload, it does for a repair.

A lease of (image, store) says that what the store has under the image's id is no recorded, good copy: whoever finds the
lease deserted discards it. So a repair that is killed is undone by the next housekeeping, and the next check finds what
is missing then. A lease may be taken only where that is true, which is what the transactions here make sure of.
"""

from collections.abc import Iterable
from datetime import datetime

import msgspec
from sqlalchemy import Connection, exists, select, update

from blick.db import rows, store_check, uploads
from blick.db.jobs import UNFINISHED
from blick.db.store_check import UNDER_WAY, InStore, RecordedCopy, Standing
from blick.db.tables import image_locations, jobs
from blick.db.uploads import Lease
from blick.model.blob import Location
from blick.model.errors import Conflict, Gone
from blick.model.image import ACTIVE, DEACTIVATED, ImageLocation


def claim_orphan(connection: Connection, lease: Lease, in_store: InStore, uri: str | None, since_id: int) -> None:
    """Have what the store keeps under this id, to discard it, because nobody needs it.

    `uri` is where it lies, None for what is no whole object; no location up to the one of id `since_id` names it.
    Raises Conflict, saying why, if it is somebody's by now.
    """
    _take(connection, lease)
    standing = _standing(connection, lease.image_id)
    _require_idle(connection, lease.image_id, standing)
    if standing.is_staged:
        raise Conflict("it waits for its import")
    if _any_in_store(standing.places, in_store):
        raise Conflict("the image has a location in this store")
    if _any_in_store(standing.deletes, in_store):
        raise Conflict("it waits for its removal already")
    if uri is not None and store_check.is_named_since(connection, uri, since_id):
        raise Conflict("another image has a location there")


def claim_copy(connection: Connection, lease: Lease, wanted: RecordedCopy, in_store: InStore) -> None:
    """Have the image's place in the store, to write its bytes there anew.

    Raises Conflict, saying why, if that is not possible, or must not be, by now.
    """
    _take(connection, lease)
    current = store_check.again(connection, wanted.place.id or 0)
    if current is None or not current.is_still(wanted) or current.status not in (ACTIVE, DEACTIVATED):
        raise Conflict("the image or its location was changed meanwhile")
    standing = _standing(connection, lease.image_id)
    _require_idle(connection, lease.image_id, standing)
    if any(place.id != wanted.place.id for place in standing.places if in_store(place.uri, place.metadata)):
        raise Conflict("the image has another location in this store, which might be the same data")
    if _any_in_store(standing.deletes, in_store):
        raise Conflict("data of this image waits for its removal from this store")


def finish_copy(connection: Connection, lease: Lease, wanted: RecordedCopy, location: Location, now: datetime) -> None:
    """The bytes are there again, at `location`; the lease ends. Raises Gone if they are nobody's any more."""
    held = rows.hold(connection, lease.image_id)
    current = store_check.again(connection, wanted.place.id or 0)
    if not held or current is None or not current.is_still(wanted):
        raise Gone("the image or its location was changed meanwhile")
    if not uploads.drop(connection, lease):
        raise Gone("it took too long without a sign of life, and was given up")
    values = {"value": location.uri, "meta_data": msgspec.json.encode(dict(location.metadata)).decode()}
    if (location.uri, location.metadata) != (wanted.place.uri, wanted.place.metadata):
        place = image_locations.c.id == wanted.place.id
        connection.execute(update(image_locations).where(place).values(values | {"updated_at": now}))


def _take(connection: Connection, lease: Lease) -> None:
    # Nothing happens to the image, if there is one, before this transaction ends; nobody uploads before the lease does.
    rows.hold(connection, lease.image_id)
    uploads.take(connection, lease)


def _standing(connection: Connection, image_id: str) -> Standing:
    return store_check.standings(connection, [image_id])[image_id.lower()]


def _require_idle(connection: Connection, image_id: str, standing: Standing) -> None:
    at_work = exists().where(jobs.c.image_id == image_id, jobs.c.outcome == UNFINISHED)
    if standing.is_importing or connection.execute(select(at_work)).scalar():
        raise Conflict("a job is at work on the image")
    if standing.status in UNDER_WAY:
        raise Conflict(f"the image is {standing.status}")


def _any_in_store(places: Iterable[ImageLocation], in_store: InStore) -> bool:
    return any(in_store(place.uri, place.metadata) for place in places)
