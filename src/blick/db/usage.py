"""What a project uses, and the transactions that may not take more than is left.

Two transactions that both take from one quota must not both see what only one can have: whoever takes holds the
project first (`hold`), then measures, then writes, all in one transaction. What gives back need not hold.
"""

import zlib
from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, Connection, ScalarSelect, and_, false, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from blick.db.tables import PROJECT_LOCKS, image_locations, image_properties, images, leases, project_locks
from blick.model.image import DELETED, IMPORTING, KILLED, PENDING_DELETE, SAVING, UPLOADING
from blick.model.quota import NOTHING, Measure, Quota, Usage

_NOT_COUNTED = (KILLED, DELETED, PENDING_DELETE)
# Whose data is on its way.
_UPLOADING = (SAVING, UPLOADING, IMPORTING)
_COPYING_TO = "os_glance_importing_to_stores"


def take(connection: Connection, quota: Quota, added: Usage = NOTHING, *, except_image: str | None = None) -> Usage:
    """Make sure that `added` fits in, and that nobody else takes it before this transaction ends; gives the usage.

    What the transaction itself has written counts as used. `except_image` is the image whose stored bytes do not
    count, nor its staged ones. Raises LimitExceeded. Two statements; one on SQLite.
    """
    hold(connection, quota.project_id)
    usage = measured(connection, quota.project_id, quota.measures, except_image=except_image)
    quota.require(usage, added)
    return usage


def hold(connection: Connection, project_id: str | None) -> None:
    """Let no other transaction take from this project's quota before this one ends. To be called before other writes.

    Writes a row, because a row that is only locked is free to the other members of a Galera cluster.
    """
    # SQLite needs none of that: there a writing transaction is alone from its beginning.
    if connection.dialect.name == "sqlite":
        return
    slot = zlib.crc32((project_id or "").encode()) % PROJECT_LOCKS
    if _write(connection, slot):
        return
    try:
        with connection.begin_nested():
            connection.execute(insert(project_locks), {"slot": slot, "taken": 1})
    except IntegrityError:
        # Somebody else was first, and is done: else the insertion would still wait.
        _write(connection, slot)


def _write(connection: Connection, slot: int) -> bool:
    held = update(project_locks).where(project_locks.c.slot == slot).values(taken=project_locks.c.taken + 1)
    return connection.execute(held).rowcount == 1


def measured(
    connection: Connection, project_id: str | None, measures: Collection[Measure], *, except_image: str | None = None
) -> Usage:
    """The project's usage as far as `measures` ask for it. One statement, whatever the project has.

    One on purpose: an upload that ends between two would be missed by both.
    """
    if not measures:
        return NOTHING
    owned = and_(
        images.c.owner == project_id if project_id is not None else images.c.owner.is_(None),
        images.c.deleted == false(),
        images.c.status.not_in(_NOT_COUNTED),
    )
    asked = sorted(measures, key=lambda measure: measure.value)
    row = connection.execute(select(*(_column(measure, owned, except_image) for measure in asked))).one()
    return {measure: int(value or 0) for measure, value in zip(asked, row, strict=True)}


def _column(measure: Measure, owned: ColumnElement[bool], except_image: str | None) -> ColumnElement[int]:
    match measure:
        case Measure.STORED:
            return _stored(and_(owned, images.c.id != except_image) if except_image is not None else owned)
        case Measure.STAGED:
            return _staged(and_(owned, images.c.id != except_image) if except_image is not None else owned)
        case Measure.IMAGES:
            return _of(func.count(), owned)
        case Measure.UPLOADING:
            return _of(func.count(), owned, _UPLOADING) + _of_copied(func.count(), owned)


def _of(total: ColumnElement[int], owned: ColumnElement[bool], statuses: Sequence[str] = ()) -> ScalarSelect[int]:
    """`total` over the images with one of those statuses, with any if there are none given."""
    wanted = and_(owned, images.c.status.in_(statuses)) if statuses else owned
    return select(total).select_from(images).where(wanted).scalar_subquery()


def _of_copied(total: ColumnElement[int], owned: ColumnElement[bool]) -> ScalarSelect[int]:
    """`total` over the images that get one more copy: few, and found by the property that says so."""
    copying = image_properties.c
    named = and_(copying.name == _COPYING_TO, copying.value != "", copying.deleted == false())
    return (
        select(total)
        .select_from(image_properties.join(images, copying.image_id == images.c.id))
        .where(named, owned, images.c.status.not_in(_UPLOADING))
        .scalar_subquery()
    )


def _staged(owned: ColumnElement[bool]) -> ColumnElement[int]:
    total = func.sum(images.c.size)
    there = _number(_of(total, owned, (UPLOADING, IMPORTING))) + _number(_of_copied(total, owned))
    return there + _number(_reserved(and_(owned, images.c.status == UPLOADING)))


def _stored(owned: ColumnElement[bool]) -> ColumnElement[int]:
    located = image_locations.c.image_id == images.c.id
    there = (
        select(func.sum(images.c.size))
        .select_from(images.join(image_locations, located))
        .where(owned, image_locations.c.deleted == false())
        .scalar_subquery()
    )
    return _number(there) + _number(_reserved(and_(owned, images.c.status != UPLOADING)))


def _reserved(owned: ColumnElement[bool]) -> ScalarSelect[int]:
    """What data that is on its way was promised: of storage, or of the room for staged data while it is staged."""
    return (
        select(func.sum(leases.c.reserved_bytes))
        .select_from(leases.join(images, leases.c.image_id == images.c.id))
        .where(owned)
        .scalar_subquery()
    )


def _number(total: ColumnElement[int]) -> ColumnElement[int]:
    # The sum of nothing is null; sums of PostgreSQL and MySQL are decimals.
    return func.coalesce(total, 0)
