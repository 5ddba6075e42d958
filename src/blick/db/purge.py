"""What was deleted long ago is removed for good, a batch of rows at a time (spec: commands, `db purge`).

A row is dead if its `deleted` says so and its `deleted_at` lies before a given time: that time alone says nothing,
because Glance leaves it on rows that were taken back. Candidates are found by reading, in the order of the table's key;
their removal is a short transaction that looks at them again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, cast

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, select, true, union
from sqlalchemy.exc import IntegrityError

from blick.db.jobs import UNFINISHED
from blick.db.tables import (
    image_locations,
    image_members,
    image_properties,
    image_tags,
    images,
    jobs,
    leases,
    location_deletes,
    resumable_uploads,
    staged_data,
    task_info,
    task_origins,
    tasks,
)
from blick.model.errors import Conflict
from blick.model.image import PENDING_DELETE

Key = int | str
"""What a row is known by: the value of its table's primary key."""


@dataclass(frozen=True, slots=True)
class Found:
    """Candidates, in the order of their keys. `last` is where to go on; None: there are no more behind these."""

    keys: Sequence[Key]
    last: Key | None


@dataclass(frozen=True, slots=True)
class Removed:
    """What became of candidates: rows removed, by table; how many were left because rows of other tables belong to
    them (`held`), and how many because somebody still needs them (`needed`).
    """

    rows: Mapping[str, int]
    held: int = 0
    needed: int = 0


@dataclass(frozen=True, slots=True)
class Purge:
    """How one table is purged. `find(connection, before, after, limit)` only reads; `remove(connection, before, keys)`
    removes those of the candidates that still are ones.
    """

    table: str
    find: Callable[[Connection, datetime, Key | None, int], Found]
    remove: Callable[[Connection, datetime, Sequence[Key]], Removed]


def _name(table: Table) -> str:
    return str(table.name)  # not SQLAlchemy's own kind of text


def _dead(table: Table, before: datetime) -> ColumnElement[bool]:
    return and_(table.c.deleted == true(), table.c.deleted_at < before)


def _found(
    connection: Connection, table: Table, dead: ColumnElement[bool], after: Key | None, limit: int
) -> Sequence[Key]:
    wanted = select(table.c.id).where(dead).order_by(table.c.id).limit(limit)
    if after is not None:
        wanted = wanted.where(table.c.id > after)
    return cast("Sequence[Key]", connection.execute(wanted).scalars().all())


def _page(keys: Sequence[Key], limit: int) -> Found:
    return Found(keys, keys[-1] if len(keys) == limit else None)


# Properties, tags, members, locations


def _children(table: Table) -> Purge:
    """Those of an image whose deletion is delayed stay, because the image may be restored; so do data that wait."""

    def dead(before: datetime) -> ColumnElement[bool]:
        if table is image_locations:
            return and_(_dead(table, before), table.c.status != PENDING_DELETE)
        return _dead(table, before)

    def find(connection: Connection, before: datetime, after: Key | None, limit: int) -> Found:
        return _page(_found(connection, table, dead(before), after, limit), limit)

    def remove(connection: Connection, before: datetime, keys: Sequence[Key]) -> Removed:
        owners = connection.execute(select(table.c.id, table.c.image_id).where(table.c.id.in_(keys))).all()
        image_ids = {row.image_id for row in owners}
        wanted = select(images.c.id).where(images.c.id.in_(image_ids), images.c.status == PENDING_DELETE)
        waiting = set(connection.execute(wanted).scalars())
        free = [row.id for row in owners if row.image_id not in waiting]
        count = connection.execute(delete(table).where(table.c.id.in_(free), dead(before))).rowcount
        return Removed({_name(table): count}, needed=len(owners) - len(free))

    return Purge(_name(table), find, remove)


# Jobs and tasks


def _over(before: datetime) -> ColumnElement[bool]:
    ended_before_ms = int(before.replace(tzinfo=UTC).timestamp() * 1000)
    return and_(jobs.c.outcome != UNFINISHED, jobs.c.ended_at_ms < ended_before_ms)


def _find_jobs(connection: Connection, before: datetime, after: Key | None, limit: int) -> Found:
    return _page(_found(connection, jobs, _over(before), after, limit), limit)


def _remove_jobs(connection: Connection, before: datetime, keys: Sequence[Key]) -> Removed:
    over = delete(jobs).where(jobs.c.id.in_(keys), _over(before))
    return Removed({_name(jobs): connection.execute(over).rowcount})


def _find_tasks(connection: Connection, before: datetime, after: Key | None, limit: int) -> Found:
    return _page(_found(connection, tasks, _dead(tasks, before), after, limit), limit)


def _remove_tasks(connection: Connection, before: datetime, keys: Sequence[Key]) -> Removed:
    # A task that was deleted stays so. What belongs to it goes first, as its foreign key asks.
    told = connection.execute(delete(task_info).where(task_info.c.task_id.in_(keys))).rowcount
    connection.execute(delete(task_origins).where(task_origins.c.task_id.in_(keys)))
    count = connection.execute(delete(tasks).where(tasks.c.id.in_(keys), _dead(tasks, before))).rowcount
    return Removed({_name(task_info): told, _name(tasks): count})


# Images

_CHILDREN: Final = (image_properties, image_members, image_tags, image_locations)


def _dead_images(before: datetime) -> ColumnElement[bool]:
    return and_(_dead(images, before), images.c.status != PENDING_DELETE)


def _find_images(connection: Connection, before: datetime, after: Key | None, limit: int) -> Found:
    return _page(_found(connection, images, _dead_images(before), after, limit), limit)


def _remove_images(connection: Connection, before: datetime, keys: Sequence[Key]) -> Removed:
    needed = _needed(connection, keys)
    held = _with_children(connection, keys) - needed
    free = [key for key in keys if key not in needed | held]
    connection.execute(delete(jobs).where(jobs.c.image_id.in_(free), jobs.c.outcome != UNFINISHED))
    try:
        count = connection.execute(delete(images).where(images.c.id.in_(free), _dead_images(before))).rowcount
    except IntegrityError as error:  # nobody adds to what is deleted, or nearly so
        raise Conflict("Something was just added to an image that is deleted. Run this again.") from error
    return Removed({_name(images): count}, held=len(held), needed=len(needed))


def _needed(connection: Connection, keys: Sequence[Key]) -> set[Key]:
    """Those whose id is not free yet: bytes are to be removed under it, or somebody is still at work."""
    tables = (location_deletes, leases, staged_data, resumable_uploads)
    at_work = select(jobs.c.image_id).where(jobs.c.image_id.in_(keys), jobs.c.outcome == UNFINISHED)
    rest = (select(table.c.image_id).where(table.c.image_id.in_(keys)) for table in tables)
    return set(connection.execute(union(at_work, *rest)).scalars())


def _with_children(connection: Connection, keys: Sequence[Key]) -> set[Key]:
    # SQLite does not look after foreign keys by itself, and Glance does not ask it to.
    each = (select(table.c.image_id).where(table.c.image_id.in_(keys)) for table in _CHILDREN)
    return set(connection.execute(union(*each)).scalars())


TABLES: Final[Mapping[str, Purge]] = MappingProxyType(
    {
        **{_name(table): _children(table) for table in _CHILDREN},
        _name(jobs): Purge(_name(jobs), _find_jobs, _remove_jobs),
        _name(tasks): Purge(_name(tasks), _find_tasks, _remove_tasks),
    }
)
"""Everything but images, in the order in which it goes. A task takes what belongs to it along."""

IMAGES: Final = Purge(_name(images), _find_images, _remove_images)
"""The images themselves: once they are gone their ids are free. Those that anything else belongs to stay."""
