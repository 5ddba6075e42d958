"""What a project uses, and racing transactions that take from one quota."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, insert, select, text, update

from blick.conf.settings import DatabaseSettings
from blick.db import image_deletion, images, upgrade, uploads, usage
from blick.db.engine import Database, open_database
from blick.db.tables import image_locations, image_properties, leases, project_locks
from blick.db.tables import images as images_table
from blick.db.uploads import Lease
from blick.model.blob import Digests, Location
from blick.model.errors import Conflict, LimitExceeded
from blick.model.quota import (
    IMAGE_COUNT_TOTAL,
    IMAGE_COUNT_UPLOADING,
    IMAGE_SIZE_TOTAL,
    USER_STORAGE_QUOTA,
    Limit,
    LimitKind,
    Measure,
    Quota,
)
from tests.support.databases import Databases
from tests.support.records import NOW, image, race

MIB = 2**20
STORED, STAGED, IMAGES, UPLOADING = Measure.STORED, Measure.STAGED, Measure.IMAGES, Measure.UPLOADING


def id_of(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def add(database: Database, number: int, size: int | None = None, locations: int = 0, **attributes: Any) -> str:
    """An image with that many live locations."""
    image_id = id_of(number)
    database.write_now(images.insert_image, image(image_id, size=size, **attributes))
    for place in range(locations):
        database.write_now(images.add_location, image_id, f"file:///{number}/{place}", {}, NOW)
    return image_id


def lease_of(number: int, reserved_bytes: int = 0) -> Lease:
    return Lease(id_of(number), f"token-{number}", "holder", "file", 1000, reserved_bytes)


def quota(most: int, kind: LimitKind = USER_STORAGE_QUOTA, project_id: str | None = "p1") -> Quota:
    return Quota(project_id, (Limit(kind, most),))


def measured(database: Database, project_id: str | None = "p1", **options: Any) -> dict[Measure, int]:
    return dict(database.read_now(usage.measured, project_id, set(Measure), **options))


def finish(database: Database, lease: Lease, size: int, limits: Quota | None = None) -> None:
    location = Location("file", f"file:///{lease.image_id}", {})
    database.write_now(uploads.finish, lease, location, Digests(size, "c", "sha512", "h"), None, NOW, limits)


def test_nothing(database: Database) -> None:
    assert measured(database) == {STORED: 0, STAGED: 0, IMAGES: 0, UPLOADING: 0}
    assert measured(database, None) == measured(database)
    assert database.read_now(usage.measured, "p1", ()) == {}


def test_size_counts_once_per_live_location(database: Database) -> None:
    add(database, 1, 2**40, locations=1, status="active")
    add(database, 2, 100, locations=3, status="deactivated")
    add(database, 3, 10**9, locations=0, status="queued")
    add(database, 4, 10**9, locations=1, status="active", owner="p2")
    add(database, 5, 7, locations=1, status="active", owner=None)
    assert measured(database)[STORED] == 2**40 + 300
    assert measured(database, None)[STORED] == 7
    with database.engine.begin() as connection:
        gone = image_locations.c.value == "file:///2/1"
        connection.execute(update(image_locations).where(gone).values(deleted=True))
    assert measured(database)[STORED] == 2**40 + 200
    assert measured(database, except_image=id_of(1))[STORED] == 200


@pytest.mark.parametrize("status", ["killed", "deleted", "pending_delete"])
def test_what_is_gone_does_not_count(database: Database, status: str) -> None:
    add(database, 1, 100, locations=1, status="active")
    add(database, 2)
    with database.engine.begin() as connection:
        connection.execute(update(images_table).where(images_table.c.id == id_of(1)).values(status=status))
    assert measured(database) == {STORED: 0, STAGED: 0, IMAGES: 1, UPLOADING: 0}


def test_deleting_gives_back(database: Database) -> None:
    add(database, 1, 100, locations=1, status="active")
    database.write_now(image_deletion.delete, id_of(1), NOW)
    assert measured(database) == {STORED: 0, STAGED: 0, IMAGES: 0, UPLOADING: 0}


def test_staged_and_uploading(database: Database) -> None:
    for number, status in enumerate(("queued", "saving", "uploading", "importing", "active", "active", "active")):
        add(database, number, 10**number, status=status)
    with database.engine.begin() as connection:
        stamp = {"name": "os_glance_importing_to_stores", "created_at": NOW, "deleted": False}
        rows = [(4, "", False), (5, "a,b", False), (6, "a", True)]
        for number, value, deleted in rows:
            values = stamp | {"image_id": id_of(number), "value": value, "deleted": deleted}
            connection.execute(insert(image_properties), values)
    found = measured(database)
    assert found[STAGED] == 10**2 + 10**3 + 10**5
    assert found[UPLOADING] == 4
    assert found[IMAGES] == 7


def test_a_reservation_counts_until_the_upload_ends(database: Database) -> None:
    for number in (1, 2, 3):
        add(database, number)
        database.write_now(uploads.begin, lease_of(number, 100), NOW)
    assert measured(database)[STORED] == 300
    assert measured(database, except_image=id_of(1))[STORED] == 200
    finish(database, lease_of(1, 100), 100)
    assert measured(database)[STORED] == 300
    database.write_now(uploads.give_back, lease_of(2, 100), NOW)
    assert measured(database)[STORED] == 200
    database.write_now(image_deletion.delete, id_of(3), NOW)
    assert measured(database)[STORED] == 100


def test_a_reservation_follows_the_image_to_its_new_owner(database: Database) -> None:
    add(database, 1)
    database.write_now(uploads.begin, lease_of(1, 100), NOW)
    with database.engine.begin() as connection:
        connection.execute(update(images_table).values(owner="p2"))
    assert (measured(database)[STORED], measured(database, "p2")[STORED]) == (0, 100)


def test_a_lease_that_is_taken_over_keeps_its_reservation(database: Database) -> None:
    add(database, 1)
    database.write_now(uploads.begin, lease_of(1, 100), NOW)
    ours = database.write_now(uploads.take_over, lease_of(1, 100), "t2", "h2", 2000)
    assert ours == Lease(id_of(1), "t2", "h2", "file", 2000, 100)
    assert database.read_now(uploads.all_leases) == [ours]
    assert measured(database)[STORED] == 100
    database.write_now(uploads.give_back, ours, NOW)
    assert measured(database)[STORED] == 0


def test_begin_over_quota_changes_nothing(database: Database) -> None:
    add(database, 1, 60, locations=1, status="active")
    add(database, 2)
    with pytest.raises(
        LimitExceeded, match="user_storage_quota is over limit of 100 due to current usage 60 and delta 41"
    ):
        database.write_now(uploads.begin, lease_of(2, 41), NOW, quota(100))
    found = database.read_now(images.get, id_of(2), None)
    assert found is not None
    assert found.status == "queued"
    assert database.read_now(uploads.all_leases) == []
    assert database.write_now(uploads.begin, lease_of(2, 40), NOW, quota(100)) == {STORED: 60}


def test_finish_over_quota_changes_nothing(database: Database) -> None:
    """Of an upload that did not announce its size."""
    for number in (1, 2):
        add(database, number)
    assert database.write_now(uploads.begin, lease_of(1), NOW, quota(100)) == {STORED: 0}
    database.write_now(uploads.begin, lease_of(2, 60), NOW, quota(100))
    with pytest.raises(LimitExceeded):
        finish(database, lease_of(1), 41, quota(100))
    found = database.read_now(images.get, id_of(1), None)
    assert found is not None
    assert (found.status, found.locations) == ("saving", ())
    finish(database, lease_of(1), 40, quota(100))
    assert measured(database)[STORED] == 100


def test_count_of_uploads_holds_the_upload_itself(database: Database) -> None:
    for number in range(3):
        add(database, number)
    two = quota(2, IMAGE_COUNT_UPLOADING)
    for number in range(2):
        database.write_now(uploads.begin, lease_of(number), NOW, two)
    with pytest.raises(
        LimitExceeded, match="image_count_uploading is over limit of 2 due to current usage 3 and delta 0"
    ):
        database.write_now(uploads.begin, lease_of(2), NOW, two)
    assert measured(database)[UPLOADING] == 2


def test_every_limit_that_is_over_is_told(database: Database) -> None:
    add(database, 1, 3 * MIB, locations=1, status="active")
    add(database, 2)
    both = Quota("p1", (Limit(IMAGE_SIZE_TOTAL, 5), Limit(IMAGE_COUNT_UPLOADING, 0)))
    with pytest.raises(LimitExceeded) as caught:
        database.write_now(uploads.begin, lease_of(2, 3 * MIB), NOW, both)
    assert str(caught.value) == (
        "Project p1 is over a limit for ["
        "Resource image_count_uploading is over limit of 0 due to current usage 1 and delta 0, "
        "Resource image_size_total is over limit of 5 due to current usage 3 and delta 3]"
    )


# Racing


@pytest.mark.parametrize("project_id", ["p1", None])
def test_racing_uploads_take_no_more_than_there_is(database: Database, project_id: str | None) -> None:
    for number in range(8):
        add(database, number, owner=project_id)
    limits = quota(100, project_id=project_id)
    outcomes = race(
        [lambda n=n: database.write_now(uploads.begin, lease_of(n, 30), NOW, limits) for n in range(8)]  # type: ignore[misc]
    )
    refused = [each for each in outcomes if isinstance(each, Exception)]
    assert [type(each) for each in refused] == [LimitExceeded] * 5
    assert measured(database, project_id)[STORED] == 90


def test_racing_ends_of_unannounced_uploads(database: Database) -> None:
    for number in range(6):
        add(database, number)
        database.write_now(uploads.begin, lease_of(number), NOW, quota(100))
    outcomes = race([lambda n=n: finish(database, lease_of(n), 30, quota(100)) for n in range(6)])  # type: ignore[misc]
    assert [type(each) for each in outcomes if each is not None] == [LimitExceeded] * 3
    assert measured(database)[STORED] == 90


def test_announced_and_unannounced_race(database: Database) -> None:
    for number in range(2):
        add(database, number)
    database.write_now(uploads.begin, lease_of(0), NOW, quota(100))
    outcomes = race(
        [
            lambda: finish(database, lease_of(0), 60, quota(100)),
            lambda: database.write_now(uploads.begin, lease_of(1, 60), NOW, quota(100)) and None,
        ]
    )
    assert sum(isinstance(each, LimitExceeded) for each in outcomes) == 1
    assert measured(database)[STORED] == 60


def test_racing_creations(database: Database) -> None:
    limits = quota(3, IMAGE_COUNT_TOTAL)
    outcomes = race(
        [lambda n=n: database.write_now(images.insert_image, image(id_of(n)), limits) for n in range(8)]  # type: ignore[misc]
    )
    assert [type(each) for each in outcomes if each is not None] == [LimitExceeded] * 5
    assert measured(database)[IMAGES] == 3


def test_racing_creations_of_one_id_within_a_quota(database: Database) -> None:
    outcomes = race(
        [lambda: database.write_now(images.insert_image, image(), quota(100, IMAGE_COUNT_TOTAL)) for _ in range(6)]
    )
    assert [type(each) for each in outcomes if each is not None] == [Conflict] * 5


def test_other_projects_go_on_meanwhile(database: Database) -> None:
    """Projects whose ids share a row wait for each other, and no more than that."""
    for number in range(16):
        add(database, number, owner=f"q{number}")
    race(
        [
            lambda n=n: database.write_now(uploads.begin, lease_of(n, 1), NOW, quota(1, project_id=f"q{n}"))  # type: ignore[misc]
            for n in range(16)
        ]
    )
    with database.engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(leases)).scalar() == 16
        held = connection.execute(select(func.coalesce(func.sum(project_locks.c.taken), 0))).scalar_one()
    assert held == (0 if database.dialect == "sqlite" else 16)


def test_one_statement_measures_everything(database: Database) -> None:
    for number in range(30):
        add(database, number, 100, locations=2, status="active")
    seen: list[str] = []
    event.listen(
        database.engines.reading, "before_cursor_execute", lambda _c, _u, statement, *_: seen.append(statement)
    )
    assert measured(database)[STORED] == 6000
    assert len([statement for statement in seen if not statement.startswith("BEGIN")]) == 1


def test_reservations_come_to_a_database_of_before(engine: str, databases: Databases, tmp_path: Path) -> None:
    """Uploads that ran meanwhile have none."""
    url = databases.untouched(engine, tmp_path)
    database = open_database(DatabaseSettings(connection=url, sqlite_synchronous=False))
    try:
        upgrade.ensure_current(database)
        with database.engine.begin() as connection:
            connection.execute(insert(leases), {**asdict(lease_of(1)), "reserved_bytes": 9})
            connection.execute(text("ALTER TABLE blick_leases DROP COLUMN reserved_bytes"))
            connection.execute(text("DROP TABLE blick_project_locks"))
            connection.execute(text("UPDATE blick_alembic_version SET version_num = '0002'"))
        assert upgrade.ensure_current(database)
        assert database.read_now(uploads.all_leases) == [lease_of(1)]
        assert measured(database)[STORED] == 0
        database.write_now(images.insert_image, image(), quota(1, IMAGE_COUNT_TOTAL))
    finally:
        database.close()
