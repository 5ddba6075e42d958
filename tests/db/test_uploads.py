"""The transactions around an upload: lease and status move together."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from blick.db import image_deletion, images, uploads
from blick.db.engine import Database
from blick.db.tables import image_locations, leases
from blick.db.uploads import Lease
from blick.model.blob import Digests, Location
from blick.model.errors import Conflict, Gone
from blick.model.image import Image
from blick.model.quota import NOTHING
from tests.support.records import ID, NOW, image, race

LATER = NOW + timedelta(hours=1)
LEASE = Lease(ID, "token-1", "holder-1", "file", 1000)
PLACE = Location("file", "file:///x", {"store": "file"})
DIGESTS = Digests(2**40, "c" * 32, "sha512", "h" * 128)


@pytest.fixture(autouse=True)
def an_image(database: Database) -> None:
    database.write_now(images.insert_image, image())


def now(database: Database) -> Image:
    found = database.read_now(images.get, ID, None)
    assert found is not None
    return found


def count(database: Database, table: Any) -> int:
    with database.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def finish(database: Database, lease: Lease = LEASE) -> None:
    database.write_now(uploads.finish, lease, PLACE, DIGESTS, 7, LATER)


def test_begin_and_finish(database: Database) -> None:
    database.write_now(uploads.begin, LEASE, NOW)
    assert now(database).status == "saving"
    assert database.read_now(uploads.all_leases) == [LEASE]
    finish(database)
    found = now(database)
    assert (found.status, found.size, found.virtual_size, found.checksum) == ("active", 2**40, 7, "c" * 32)
    assert (found.os_hash_algo, found.os_hash_value) == ("sha512", "h" * 128)
    assert [(place.uri, place.metadata) for place in found.locations] == [("file:///x", {"store": "file"})]
    assert database.read_now(uploads.all_leases) == []


def test_begin_only_while_queued(database: Database) -> None:
    database.write_now(uploads.begin, LEASE, NOW)
    with pytest.raises(Conflict):
        database.write_now(uploads.begin, replace(LEASE, token="token-2"), NOW)
    assert database.read_now(uploads.all_leases) == [LEASE]


def test_begin_waits_for_the_cleaning_up(database: Database) -> None:
    """A queued image whose lease is still there: nothing changes."""
    database.write_now(uploads.begin, LEASE, NOW)
    database.write_now(images.set_status, ID, ("saving",), "queued", NOW)
    with pytest.raises(Conflict):
        database.write_now(uploads.begin, replace(LEASE, token="token-2"), NOW)
    assert now(database).status == "queued"
    assert database.read_now(uploads.all_leases) == [LEASE]


def test_racing_begins_have_one_winner(database: Database) -> None:
    calls = [lambda n=n: database.write_now(uploads.begin, replace(LEASE, token=f"t{n}"), NOW) for n in range(8)]
    outcomes = race(calls)  # type: ignore[arg-type]
    assert outcomes.count(NOTHING) == 1
    assert sum(isinstance(each, Conflict) for each in outcomes) == 7
    assert count(database, leases) == 1


def test_give_back_clears(database: Database) -> None:
    database.write_now(uploads.begin, LEASE, NOW)
    with database.engine.begin() as connection:
        connection.execute(images.images.update().values(size=5, checksum="c", os_hash_algo="sha512"))
    database.write_now(uploads.give_back, LEASE, LATER)
    found = now(database)
    assert (found.status, found.size, found.checksum, found.os_hash_algo) == ("queued", None, None, None)
    assert database.read_now(uploads.all_leases) == []
    database.write_now(uploads.give_back, LEASE, LATER)  # once more, without effect
    assert now(database).status == "queued"


def test_deleted_meanwhile(database: Database) -> None:
    database.write_now(uploads.begin, LEASE, NOW)
    database.write_now(image_deletion.delete, ID, LATER)
    with pytest.raises(Gone):
        finish(database)
    assert database.read_now(uploads.all_leases) == [LEASE]
    assert count(database, image_locations) == 0
    database.write_now(uploads.give_back, LEASE, LATER)
    assert database.read_now(uploads.all_leases) == []
    with database.engine.connect() as connection:
        assert connection.execute(select(images.images.c.status)).scalar() == "deleted"


def test_finish_after_a_take_over_changes_nothing(database: Database) -> None:
    database.write_now(uploads.begin, LEASE, NOW)
    ours = database.write_now(uploads.take_over, LEASE, "token-2", "holder-2", 2000)
    assert ours == Lease(ID, "token-2", "holder-2", "file", 2000)
    before = now(database)
    with pytest.raises(Gone):
        finish(database)
    assert now(database) == before
    assert count(database, image_locations) == 0
    assert not database.read_now(uploads.is_ours, LEASE)
    assert database.read_now(uploads.is_ours, ours)
    database.write_now(uploads.give_back, LEASE, LATER)  # the loser's has no effect either
    assert now(database).status == "saving"
    database.write_now(uploads.give_back, ours, LATER)
    assert now(database).status == "queued"
    with pytest.raises(Gone):
        finish(database, ours)
    assert now(database).status == "queued"


def test_racing_take_overs_have_one_winner(database: Database) -> None:
    database.write_now(uploads.begin, LEASE, NOW)
    calls = [lambda n=n: database.write_now(uploads.take_over, LEASE, f"t{n}", f"h{n}", 2000) for n in range(8)]
    winners = [each for each in race(calls) if each is not None]  # type: ignore[arg-type]
    assert len(winners) == 1
    assert database.read_now(uploads.all_leases) == winners


def test_finish_races_take_over(database: Database) -> None:
    """Either the upload is done, or it changed nothing and the lease is the other's."""
    database.write_now(uploads.begin, LEASE, NOW)
    finished, taken = race(
        [lambda: finish(database), lambda: database.write_now(uploads.take_over, LEASE, "t", "h", 2000)]
    )
    if finished is None:
        assert taken is None
        assert now(database).status == "active"
    else:
        assert isinstance(finished, Gone)
        assert taken is not None
        assert now(database).status == "saving"


def test_renew(database: Database) -> None:
    database.write_now(uploads.begin, LEASE, NOW)
    database.write_now(uploads.renew, ("other", "token-1"), 5000)
    assert database.read_now(uploads.all_leases) == [replace(LEASE, expires_at_ms=5000)]
    database.write_now(uploads.renew, (), 9000)
    assert database.read_now(uploads.all_leases) == [replace(LEASE, expires_at_ms=5000)]
