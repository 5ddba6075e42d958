"""Staged data in the database: where it lies, if that is a store which has images too; who needs it; when it expires.

A row is there before the first byte and goes after the last, so that no object is ever without one. A folder needs no
rows: there a file's name says whose it is.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, and_, delete, false, insert, select, update

from blick.db import import_lock, jobs, rows, uploads
from blick.db.images import get as get_image
from blick.db.images import remove_properties, set_status
from blick.db.tables import images, leases, resumable_uploads, staged_data
from blick.db.tables import jobs as jobs_table
from blick.model.blob import Location
from blick.model.errors import Conflict
from blick.model.image import IMPORTING, QUEUED, SAVING, STAGE_HOST, UPLOADING

_IN_USE = (UPLOADING, IMPORTING, SAVING)


@dataclass(frozen=True, slots=True)
class StagedRow:
    """Data of `image_id` in `store`, under a `key` of its own; `location` None: it is on its way, or broke off."""

    image_id: str
    store: str
    key: str
    location: Location | None = None
    size_bytes: int | None = None
    created_at_ms: int = 0


def of_image(connection: Connection, image_id: str) -> list[StagedRow]:
    """What is staged of that image, and what was and is not removed yet; the newest first."""
    wanted = select(staged_data).where(staged_data.c.image_id == image_id)
    newest_first = wanted.order_by(staged_data.c.created_at_ms.desc(), staged_data.c.object_key)
    return [_row(row) for row in connection.execute(newest_first)]


def after(connection: Connection, key: str, limit: int) -> list[StagedRow]:
    """The next rows behind that of `key`, by their keys; all rows are behind the empty one."""
    wanted = select(staged_data).where(staged_data.c.object_key > key).order_by(staged_data.c.object_key).limit(limit)
    return [_row(row) for row in connection.execute(wanted)]


def begin(connection: Connection, row: StagedRow) -> None:
    """Data is about to come."""
    values = {
        "object_key": row.key,
        "image_id": row.image_id,
        "store": row.store,
        "uri": "",
        "meta_data": "{}",
        "size_bytes": None,
        "created_at_ms": row.created_at_ms,
    }
    connection.execute(insert(staged_data), values)


def finish(connection: Connection, row: StagedRow, location: Location, size_bytes: int) -> bool:
    """The data is whole, and lies there. False: it was removed meanwhile."""
    values = {
        "uri": location.uri,
        "meta_data": msgspec.json.encode(dict(location.metadata)).decode(),
        "size_bytes": size_bytes,
    }
    same = staged_data.c.object_key == row.key
    return connection.execute(update(staged_data).where(same).values(values)).rowcount == 1


def drop(connection: Connection, row: StagedRow) -> None:
    """There is no such data any more."""
    connection.execute(delete(staged_data).where(staged_data.c.object_key == row.key))


def _row(row: Row[Any]) -> StagedRow:
    location = Location(row.store, row.uri, msgspec.json.decode(row.meta_data)) if row.uri else None
    return StagedRow(row.image_id, row.store, row.object_key, location, row.size_bytes, row.created_at_ms)


@dataclass(frozen=True, slots=True)
class Needs:
    """Of some ids, in lower case: those of images whose data somebody works on, and those that are known at all."""

    needed: frozenset[str]
    known: frozenset[str]


def needs(connection: Connection, image_ids: Collection[str]) -> Needs:
    """Who may still want files and objects that were there before this was asked.

    Statements stand in the order in which things happen (upload or lease, then job, then status): what moves on between
    two of them is seen twice, never missed.
    """
    ids = tuple(set(image_ids))
    needed: set[str] = set()
    of_others: Sequence[tuple[ColumnElement[str], ColumnElement[bool]]] = (
        (resumable_uploads.c.image_id, resumable_uploads.c.image_id.in_(ids)),
        (leases.c.image_id, leases.c.image_id.in_(ids)),
        (jobs_table.c.image_id, and_(jobs_table.c.image_id.in_(ids), jobs_table.c.outcome == jobs.UNFINISHED)),
    )
    for column, wanted in of_others:
        needed.update(found.lower() for found in connection.execute(select(column).where(wanted)).scalars())
    known: set[str] = set()
    for row in connection.execute(select(images.c.id, images.c.status, images.c.deleted).where(images.c.id.in_(ids))):
        known.add(row.id.lower())
        if not row.deleted and row.status in _IN_USE:
            needed.add(row.id.lower())
    return Needs(frozenset(needed), frozenset(known))


def is_idle(connection: Connection, image_id: str) -> bool:
    """Is nobody at the image's data, whatever its status?"""
    return not uploads.is_held(connection, image_id) and not jobs.of_image(connection, image_id)


@dataclass(frozen=True, slots=True)
class Expiry:
    """Which images have waited too long: with data on the node `node` since `before`; on others, which may be gone for
    good, since `before_elsewhere`.
    """

    node: str
    before: datetime
    before_elsewhere: datetime


def waiting_since(connection: Connection, before: datetime, after_id: str, limit: int) -> list[str]:
    """The next ids, behind `after_id`, of images that have been uploading since before then."""
    old = and_(images.c.status == UPLOADING, images.c.deleted == false(), images.c.updated_at < before)
    wanted = select(images.c.id).where(old, images.c.id > after_id).order_by(images.c.id).limit(limit)
    return list(connection.execute(wanted).scalars())


def expire(connection: Connection, image_id: str, expiry: Expiry, now: datetime) -> bool:
    """uploading → queued, as if nothing had been staged. False: somebody is at it, or it is another node's to say."""
    if not rows.hold(connection, image_id):
        return False
    image = get_image(connection, image_id, None)
    if image is None or image.status != UPLOADING or image.updated_at >= expiry.before:
        return False
    host = image.properties.get(STAGE_HOST) or ""
    if host not in ("", expiry.node) and image.updated_at >= expiry.before_elsewhere:
        return False
    if not is_idle(connection, image_id):
        return False
    try:
        import_lock.require_free(connection, image_id, now)
    except Conflict:
        return False
    set_status(connection, image_id, (UPLOADING,), QUEUED, now, {"size": None})
    remove_properties(connection, image_id, [STAGE_HOST], now)
    return True
