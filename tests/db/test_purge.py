"""What was deleted long ago is removed for good; nothing else is."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Table, func, insert, select, update

from blick.db import image_deletion, jobs, members, outbox
from blick.db import images as db_images
from blick.db.engine import Database
from blick.db.jobs import NewJob
from blick.db.purge import Purge, Removed
from blick.db.tables import (
    image_locations,
    image_members,
    image_properties,
    image_tags,
    images,
    leases,
    location_deletes,
    resumable_uploads,
    staged_data,
    task_info,
    task_origins,
    tasks,
)
from blick.db.tables import jobs as jobs_table
from blick.model.image import ImageLocation
from blick.ops import purge as ops
from blick.ops.purge import ALL_BUT_IMAGES, ONLY_IMAGES, Wanted
from tests.support.jobs import fail
from tests.support.records import NOW, image

LONG_AGO = NOW - timedelta(days=40)
BEFORE = NOW - timedelta(days=30)
CHILDREN = (image_properties, image_tags, image_members, image_locations)
_LIVE = {"created_at": LONG_AGO, "deleted": False, "deleted_at": None}
DEAD = {"created_at": LONG_AGO, "deleted": True, "deleted_at": LONG_AGO}


def name_of(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def add_image(connection: Connection, number: int, status: str = "deleted", **stamp: Any) -> str:
    """An image with one row of each kind that belongs to images, stamped as it is."""
    image_id = name_of(number)
    stamps = DEAD | stamp
    row = {"id": image_id, "status": status, "min_disk": 0, "min_ram": 0, **stamps}
    connection.execute(insert(images), row)
    child = {"image_id": image_id, **stamps}
    connection.execute(insert(image_properties), {**child, "name": "p", "value": "v"})
    connection.execute(insert(image_tags), {**child, "value": "t"})
    connection.execute(insert(image_members), {**child, "member": "m", "can_share": False})
    place = {"value": f"file:///{number}", "meta_data": "{}", "status": status if stamps["deleted"] else "active"}
    connection.execute(insert(image_locations), {**child, **place})
    return image_id


def add_task(connection: Connection, number: int, **stamp: Any) -> str:
    task_id = name_of(number)
    row = {"id": task_id, "type": "import", "status": "success", "owner": "p1", **DEAD, **stamp}
    connection.execute(insert(tasks), row)
    connection.execute(insert(task_info), {"task_id": task_id, "message": "m"})
    connection.execute(insert(task_origins), {"task_id": task_id})
    return task_id


def purge(
    database: Database, targets: Sequence[Purge], limit: int | None = None, before: datetime = BEFORE
) -> tuple[Counter[str], Removed]:
    """Rows removed by table, and what was left."""
    rows: Counter[str] = Counter()
    held = needed = 0
    for _, batch in ops.purge(database, targets, Wanted(before, limit)):
        rows.update(batch.rows)
        held, needed = held + batch.held, needed + batch.needed
    return +rows, Removed({}, held, needed)


def count(database: Database, table: Table) -> int:
    return int(
        database.read_now(lambda connection: connection.execute(select(func.count()).select_from(table)).scalar_one())
    )


def ids(database: Database, table: Table) -> list[str]:
    return list(database.read_now(lambda connection: connection.execute(select(table.c.id)).scalars().all()))


def test_everything_that_is_dead_goes_in_two_steps(database: Database) -> None:
    def fill(connection: Connection) -> None:
        add_image(connection, 1)
        add_image(connection, 2, "active", **_LIVE)
        add_image(connection, 3, deleted_at=BEFORE + timedelta(seconds=1))
        add_task(connection, 4)
        add_task(connection, 5, **_LIVE)

    database.write_now(fill)
    assert purge(database, ALL_BUT_IMAGES) == (
        Counter(image_properties=1, image_tags=1, image_members=1, image_locations=1, task_info=1, tasks=1),
        Removed({}),
    )
    assert [count(database, table) for table in CHILDREN] == [2] * 4
    assert [count(database, table) for table in (tasks, task_info, task_origins)] == [1] * 3
    assert count(database, images) == 3
    assert purge(database, ONLY_IMAGES) == (Counter(images=1), Removed({}))
    assert sorted(ids(database, images)) == [name_of(2), name_of(3)]
    assert purge(database, ALL_BUT_IMAGES + ONLY_IMAGES) == (Counter(), Removed({}))


def test_what_was_taken_back_stays_though_the_time_of_its_deletion_does_too(database: Database) -> None:
    """Glance leaves `deleted_at` on what it revives, and then purges it while it is in use."""
    revived = {"deleted": False, "deleted_at": LONG_AGO}

    def fill(connection: Connection) -> None:
        add_image(connection, 1, "active", **revived)
        add_task(connection, 2, **revived)

    database.write_now(fill)
    assert purge(database, ALL_BUT_IMAGES + ONLY_IMAGES) == (Counter(), Removed({}))


def test_removed_parts_of_a_living_image_go(database: Database) -> None:
    database.write_now(db_images.insert_image, image(name_of(1)))
    database.write_now(members.add, name_of(1), "m", -1, LONG_AGO)
    database.write_now(members.remove, name_of(1), "m", LONG_AGO)
    assert purge(database, ALL_BUT_IMAGES)[0] == Counter(image_members=1)
    assert database.write_now(members.add, name_of(1), "m", -1, NOW).created_at == NOW


def test_an_image_that_may_be_restored_is_restored_whole(database: Database) -> None:
    def fill(connection: Connection) -> None:
        add_image(connection, 1, "active", **_LIVE)
        image_deletion.delete(connection, name_of(1), LONG_AGO, delayed=True)

    database.write_now(fill)
    rows, left = purge(database, ALL_BUT_IMAGES + ONLY_IMAGES)
    assert rows == Counter()
    assert left.needed == 3  # the location waits for the scrubber, and is not even looked at
    database.write_now(image_deletion.restore, name_of(1), NOW)
    for table in CHILDREN:
        alive = select(func.count()).select_from(table).where(table.c.deleted.is_(False))
        assert database.read_now(lambda connection, alive=alive: connection.execute(alive).scalar_one()) == 1


def test_a_location_that_waits_for_the_scrubber_stays(database: Database) -> None:
    """One that Glance took from an image that lives on, with delayed_delete."""

    def fill(connection: Connection) -> None:
        add_image(connection, 1, "active", **_LIVE)
        connection.execute(update(image_locations).values(status="pending_delete", **DEAD))

    database.write_now(fill)
    assert purge(database, ALL_BUT_IMAGES)[0] == Counter()


def test_images_with_rows_left_stay_and_are_counted(database: Database) -> None:
    def fill(connection: Connection) -> None:
        for number in range(1, 6):
            add_image(connection, number)
        for table in CHILDREN:
            connection.execute(table.delete().where(table.c.image_id > name_of(2)))
        # Alive in a dead image: what no purge of the others removes.
        connection.execute(insert(image_tags), {**_LIVE, "image_id": name_of(5), "value": "alive"})

    database.write_now(fill)
    assert purge(database, ONLY_IMAGES) == (Counter(images=2), Removed({}, held=3))
    purge(database, ALL_BUT_IMAGES)
    assert purge(database, ONLY_IMAGES) == (Counter(images=2), Removed({}, held=1))
    assert ids(database, images) == [name_of(5)]


def _outbox(connection: Connection, image_id: str) -> None:
    outbox.add(connection, image_id, [ImageLocation("file:///x", {})], 0)


def _lease(connection: Connection, image_id: str) -> None:
    values = {"image_id": image_id, "token": "t", "holder": "h", "store": "s", "expires_at_ms": 0}
    connection.execute(insert(leases), values)


def _job(connection: Connection, image_id: str) -> None:
    jobs.add(connection, NewJob("j", "api_image_import", {}, image_id=image_id), 0)


def _staged(connection: Connection, image_id: str) -> None:
    values = {
        "object_key": "k", "image_id": image_id, "store": "s", "uri": "", "meta_data": "{}", "created_at_ms": 0,
    }  # fmt: skip
    connection.execute(insert(staged_data), values)


def _upload(connection: Connection, image_id: str) -> None:
    values = {
        "id": "u", "image_id": image_id, "node": "", "kind": "", "state": "", "store": "", "offset_bytes": 0,
        "client_metadata": "", "concatenation": "", "token": "", "holder": "", "lease_until_ms": 0, "created_at_ms": 0,
        "expires_at_ms": 0,
    }  # fmt: skip
    connection.execute(insert(resumable_uploads), values)


@pytest.mark.parametrize(
    ("need", "table"),
    [
        (_outbox, location_deletes),
        (_lease, leases),
        (_job, jobs_table),
        (_staged, staged_data),
        (_upload, resumable_uploads),
    ],
)
def test_an_id_under_which_there_is_work_is_not_set_free(database: Database, need: Any, table: Table) -> None:
    def fill(connection: Connection) -> None:
        for number in (1, 2):
            add_image(connection, number)
        need(connection, name_of(1))

    database.write_now(fill)
    purge(database, ALL_BUT_IMAGES)
    assert purge(database, ONLY_IMAGES) == (Counter(images=1), Removed({}, needed=1))
    assert ids(database, images) == [name_of(1)]
    database.write_now(lambda connection: connection.execute(table.delete()))
    assert purge(database, ONLY_IMAGES)[0] == Counter(images=1)


def test_jobs_that_are_over(database: Database) -> None:
    def fill(connection: Connection) -> None:
        add_image(connection, 1)
        for name in ("old", "young", "open"):
            jobs.add(connection, NewJob(name, "api_image_import", {}, image_id=name_of(1)), 0)
        for name, ended in (("old", LONG_AGO), ("young", NOW)):
            fail(connection, name, int(ended.replace(tzinfo=UTC).timestamp() * 1000), "m")

    database.write_now(fill)
    assert purge(database, ALL_BUT_IMAGES)[0]["blick_jobs"] == 1
    assert sorted(ids(database, jobs_table)) == ["open", "young"]
    assert purge(database, ONLY_IMAGES) == (Counter(), Removed({}, needed=1))
    database.write_now(fail, "open", 0, "m")
    assert purge(database, ONLY_IMAGES)[0] == Counter(images=1)
    assert ids(database, jobs_table) == []


@pytest.mark.parametrize(("limit", "removed"), [(0, 0), (2, 2), (7, 7), (9, 7), (None, 7)])
def test_the_limit_is_each_tables_own(
    database: Database, monkeypatch: pytest.MonkeyPatch, limit: int | None, removed: int
) -> None:
    monkeypatch.setattr(ops, "BATCH_ROWS", 3)

    def fill(connection: Connection) -> None:
        for number in range(7):
            add_image(connection, number)
            add_task(connection, number)

    database.write_now(fill)
    tables = ("image_properties", "image_tags", "image_members", "image_locations", "task_info", "tasks")
    assert purge(database, ALL_BUT_IMAGES, limit)[0] == +Counter(dict.fromkeys(tables, removed))
    assert [count(database, table) for table in (*CHILDREN, task_info, task_origins)] == [7 - removed] * 6


def test_what_stays_does_not_keep_the_rest_from_going(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "BATCH_ROWS", 2)

    def fill(connection: Connection) -> None:
        for number in range(6):
            add_image(connection, number, "pending_delete" if number < 4 else "deleted")

    database.write_now(fill)
    assert purge(database, ALL_BUT_IMAGES, 2)[0]["image_tags"] == 2
    assert purge(database, ONLY_IMAGES, 2)[0] == Counter(images=2)
    assert sorted(ids(database, images)) == [name_of(number) for number in range(4)]


def test_it_goes_on_where_it_was_broken_off(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "BATCH_ROWS", 2)

    def fill(connection: Connection) -> None:
        for number in range(5):
            add_image(connection, number)

    database.write_now(fill)
    begun = ops.purge(database, ALL_BUT_IMAGES, Wanted(BEFORE, None))
    next(begun)
    del begun
    assert sum(count(database, table) for table in CHILDREN) == 20 - 2
    purge(database, ALL_BUT_IMAGES)
    assert [count(database, table) for table in CHILDREN] == [0] * 4


def test_what_is_taken_back_between_looking_and_removing_stays(database: Database) -> None:
    database.write_now(add_image, 1)
    for target, table in zip(
        ALL_BUT_IMAGES, (image_properties, image_members, image_tags, image_locations), strict=False
    ):
        assert target.table == table.name
        found = database.read_now(target.find, BEFORE, None, 10)
        assert len(found.keys) == 1
        revived = update(table).values(deleted=False)
        database.write_now(lambda connection, revived=revived: connection.execute(revived))
        assert database.write_now(target.remove, BEFORE, found.keys).rows == {table.name: 0}
