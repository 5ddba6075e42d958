"""The transactions around one upload: lease and status move together, or not at all (design: crash safety).

A lease says that some process is working on an image's data. It begins in the transaction that makes the image
`saving` and ends in the one that makes it `active` or `queued` again; that of data to be staged begins with `uploading`
and ends when the data is there. Whoever ends it must name its token, so a process that lost its lease (it stalled,
somebody cleaned up) cannot change anything any more.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from blick.db import images, import_lock, outbox, usage
from blick.db.rows import hold, set_base
from blick.db.tables import leases, location_deletes
from blick.model.blob import Digests, Location
from blick.model.errors import Conflict, Gone, NotFound
from blick.model.image import ACTIVE, QUEUED, SAVING, STAGE_HOST, UPLOADING
from blick.model.quota import NOTHING, Measure, Quota, Usage


@dataclass(frozen=True, slots=True)
class Lease:
    """Who works on the data of `image_id`, where the bytes go, and until when nobody else may step in.

    `reserved_bytes` count as used by the image's owner for as long as the lease is there: of storage, or, while the
    image is `uploading`, of the room for staged data.
    """

    image_id: str
    token: str
    holder: str
    store: str
    expires_at_ms: int
    reserved_bytes: int = 0


def begin(
    connection: Connection, lease: Lease, now: datetime, quota: Quota | None = None, status: str = SAVING
) -> Usage:
    """queued → `status`, with a lease and what it reserves; gives the usage beside it that `quota` was asked about.

    `status` is SAVING, or UPLOADING for data to be staged. Raises NotFound if the image is gone, Conflict if it is not
    queued, or being imported, or someone is at its data still; LimitExceeded.
    """
    if quota is not None:
        usage.hold(connection, quota.project_id)
    if not images.set_status(connection, lease.image_id, (QUEUED,), status, now):
        if not hold(connection, lease.image_id):
            raise NotFound(f"No image found with ID {lease.image_id}")
        raise Conflict(f"Image {lease.image_id} takes data only while it is queued.")
    locked, waiting = _obstacles(connection, lease.image_id)
    if locked:
        import_lock.require_free(connection, lease.image_id, now)
    if waiting:
        _require_cleaned_up(connection, lease)
    take(connection, lease)
    if quota is None:
        return NOTHING
    used = usage.measured(connection, quota.project_id, quota.measures, except_image=lease.image_id)
    quota.require(used, {Measure.STAGED if status == UPLOADING else Measure.STORED: lease.reserved_bytes})
    return used


def _obstacles(connection: Connection, image_id: str) -> tuple[bool, bool]:
    """Does a task have the lock of the image; does data of it wait for its removal? Hardly ever, so in one question."""
    locked = import_lock.of_image(image_id).exists()
    waiting = select(location_deletes.c.id).where(location_deletes.c.image_id == image_id).exists()
    found = connection.execute(select(locked.label("locked"), waiting.label("waiting"))).one()
    return bool(found.locked), bool(found.waiting)


def _require_cleaned_up(connection: Connection, lease: Lease) -> None:
    """What an import left in the store, and waits for its removal, must not take new data along. Raises Conflict."""
    for entry in outbox.of_image(connection, lease.image_id):
        if entry.location.metadata.get("store", lease.store) == lease.store:
            raise Conflict(f"Earlier data of image {lease.image_id} is still being removed. Try again.")


def take(connection: Connection, lease: Lease) -> None:
    """Note that `lease.holder` is at the image's data. Raises Conflict, and ends the transaction, if somebody is."""
    try:
        connection.execute(
            insert(leases),
            {
                "image_id": lease.image_id,
                "token": lease.token,
                "holder": lease.holder,
                "store": lease.store,
                "expires_at_ms": lease.expires_at_ms,
                "reserved_bytes": lease.reserved_bytes,
            },
        )
    except IntegrityError as error:
        raise Conflict(f"The data of image {lease.image_id} is still being cleaned up. Try again.") from error


def finish(
    connection: Connection,
    lease: Lease,
    location: Location,
    digests: Digests,
    virtual_size: int | None,
    now: datetime,
    quota: Quota | None = None,
) -> None:
    """saving → active with size, hashes and location; the lease ends.

    `quota` is what the data must fit into yet, because it was not reserved. Raises LimitExceeded; Gone if the image
    was deleted meanwhile or the lease is no longer ours. Either way nothing has changed.
    """
    if quota is not None:
        usage.take(connection, quota, {Measure.STORED: digests.size_bytes}, except_image=lease.image_id)
    values: Mapping[str, Any] = {
        "size": digests.size_bytes,
        "virtual_size": virtual_size,
        "checksum": digests.checksum,
        "os_hash_algo": digests.os_hash_algo,
        "os_hash_value": digests.os_hash_value,
    }
    if not images.set_status(connection, lease.image_id, (SAVING,), ACTIVE, now, values):
        raise Gone(f"Image {lease.image_id} was deleted or changed while its data was uploaded.")
    if not drop(connection, lease):
        raise Gone(f"The upload to image {lease.image_id} took too long without a sign of life and was given up.")
    images.drop_locations(connection, lease.image_id, now)
    images.add_location(connection, lease.image_id, location.uri, location.metadata, now)


def finish_staging(
    connection: Connection, lease: Lease, size_bytes: int, node: str, now: datetime, quota: Quota | None = None
) -> None:
    """The image stays uploading and has its size; the lease ends. `node` is the one that has the data, if not all have.

    `quota` is what the data must fit into yet, because it was not reserved. Raises LimitExceeded; Gone if the image
    was deleted meanwhile or the lease is no longer ours. Either way nothing has changed.
    """
    if quota is not None:
        usage.take(connection, quota, {Measure.STAGED: size_bytes}, except_image=lease.image_id)
    if not set_base(connection, lease.image_id, {"size": size_bytes}, now, (UPLOADING,)):
        raise Gone(f"Image {lease.image_id} was deleted or changed while its data was staged.")
    if not drop(connection, lease):
        raise Gone(f"Staging data of image {lease.image_id} took too long without a sign of life and was given up.")
    if node:
        images.set_properties(connection, lease.image_id, {STAGE_HOST: node}, now)


def give_back(connection: Connection, lease: Lease, now: datetime) -> None:
    """saving or uploading → queued, as if nothing had been sent; the lease ends. Only after the bytes are removed.

    An image that was deleted meanwhile stays deleted. Without effect if the lease is no longer ours.
    """
    if drop(connection, lease):
        cleared: Mapping[str, Any] = dict.fromkeys(
            ("size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value")
        )
        images.set_status(connection, lease.image_id, (SAVING, UPLOADING), QUEUED, now, cleared)


def take_over(connection: Connection, lease: Lease, token: str, holder: str, expires_at_ms: int) -> Lease | None:
    """Make a dead or lapsed lease ours, to clean up behind it. None: someone else was faster, or it ended."""
    changed = connection.execute(
        update(leases)
        .where(leases.c.image_id == lease.image_id, leases.c.token == lease.token)
        .values(token=token, holder=holder, expires_at_ms=expires_at_ms)
    )
    if changed.rowcount != 1:
        return None
    return replace(lease, token=token, holder=holder, expires_at_ms=expires_at_ms)


def renew(connection: Connection, tokens: Collection[str], expires_at_ms: int) -> None:
    """Keep the leases with these tokens alive until `expires_at_ms`. One statement, however many there are."""
    if tokens:
        connection.execute(update(leases).where(leases.c.token.in_(tokens)).values(expires_at_ms=expires_at_ms))


def all_leases(connection: Connection) -> list[Lease]:
    """Every lease there is, the one that lapses first at the head."""
    rows = connection.execute(select(leases).order_by(leases.c.expires_at_ms))
    return [
        Lease(row.image_id, row.token, row.holder, row.store, row.expires_at_ms, row.reserved_bytes) for row in rows
    ]


def is_held(connection: Connection, image_id: str) -> bool:
    """Is somebody at the image's data now?"""
    return connection.execute(select(leases.c.token).where(leases.c.image_id == image_id)).first() is not None


def is_ours(connection: Connection, lease: Lease) -> bool:
    """Does the lease still exist, with our token?"""
    found = select(leases.c.token).where(leases.c.image_id == lease.image_id, leases.c.token == lease.token)
    return connection.execute(found).first() is not None


def drop(connection: Connection, lease: Lease) -> bool:
    """End the lease. False: it is no longer ours."""
    changed = connection.execute(
        delete(leases).where(leases.c.image_id == lease.image_id, leases.c.token == lease.token)
    )
    return changed.rowcount == 1
