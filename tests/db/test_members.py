"""Memberships in the database."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from blick.db import images, members
from blick.db.engine import Database
from blick.db.tables import image_members
from blick.model.errors import Conflict, LimitExceeded, NotFound
from blick.model.member import Member
from tests.support.records import ID, NOW, image, race

LATER = NOW + timedelta(hours=1)


@pytest.fixture(autouse=True)
def an_image(database: Database) -> None:
    database.write_now(images.insert_image, image())


def test_life_of_a_membership(database: Database) -> None:
    assert database.write_now(members.add, ID, "p2", -1, NOW) == Member(ID, "p2", "pending", NOW, NOW)
    assert database.write_now(members.set_status, ID, "p2", "accepted", LATER) == Member(
        ID, "p2", "accepted", NOW, LATER
    )
    assert database.write_now(members.set_status, ID, "p3", "accepted", LATER) is None
    assert database.write_now(members.remove, ID, "p2", LATER)
    assert not database.write_now(members.remove, ID, "p2", LATER)
    assert database.write_now(members.set_status, ID, "p2", "accepted", LATER) is None
    assert database.read_now(members.of_image, ID) == []


def test_sharing_again_revives(database: Database) -> None:
    for moment in (NOW, LATER, LATER):
        added = database.write_now(members.add, ID, "p2", -1, moment)
        assert added == Member(ID, "p2", "pending", NOW, moment)
        database.write_now(members.set_status, ID, "p2", "rejected", moment)
        database.write_now(members.remove, ID, "p2", moment)
    with database.engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(image_members)).scalar() == 1


def test_refusals(database: Database) -> None:
    for member in ("p2", "p3"):
        database.write_now(members.add, ID, member, 2, NOW)
    with pytest.raises(Conflict):
        database.write_now(members.add, ID, "p2", 2, NOW)
    with pytest.raises(LimitExceeded):
        database.write_now(members.add, ID, "p4", 2, NOW)
    with pytest.raises(NotFound):
        database.write_now(members.add, "unknown", "p4", 2, NOW)
    assert [each.member_id for each in database.read_now(members.of_image, ID)] == ["p2", "p3"]
    assert [each.member_id for each in database.read_now(members.of_image, ID, "p3")] == ["p3"]


def test_racing_adds(database: Database) -> None:
    same = race([lambda: database.write_now(members.add, ID, "p2", -1, NOW) for _ in range(8)])
    assert sum(isinstance(each, Member) for each in same) == 1
    assert sum(isinstance(each, Conflict) for each in same) == 7
    calls = [lambda n=n: database.write_now(members.add, ID, f"m{n}", 4, NOW) for n in range(8)]
    several = race(calls)  # type: ignore[arg-type]
    assert sum(isinstance(each, Member) for each in several) == 3
    assert sum(isinstance(each, LimitExceeded) for each in several) == 5
    assert len(database.read_now(members.of_image, ID)) == 4
