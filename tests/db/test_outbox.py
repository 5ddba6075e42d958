"""Bytes to remove: noted, claimed, done, or tried again."""

from blick.db import outbox
from blick.db.engine import Database
from blick.model.image import ImageLocation
from tests.support.records import ID, race

PLACES = (ImageLocation("file:///a", {"store": "s", "x": ["é"]}), ImageLocation("file:///b", {}))


def test_due_in_their_time(database: Database) -> None:
    database.write_now(outbox.add, ID, PLACES, 1000)
    database.write_now(outbox.add, ID, (), 1000)
    assert database.read_now(outbox.due, 999, 10) == []
    entries = database.read_now(outbox.due, 1000, 10)
    assert [(entry.image_id, entry.location) for entry in entries] == [(ID, place) for place in PLACES]
    assert entries == database.read_now(outbox.of_image, ID)
    assert len(database.read_now(outbox.due, 1000, 1)) == 1


def test_claimed_by_exactly_one(database: Database) -> None:
    database.write_now(outbox.add, ID, PLACES[:1], 0)
    [entry] = database.read_now(outbox.due, 0, 10)
    outcomes = race([lambda: database.write_now(outbox.claim, entry, 500) for _ in range(8)])
    assert sorted(outcomes, key=bool)[:7] == [False] * 7
    assert sum(bool(each) for each in outcomes) == 1
    assert database.read_now(outbox.due, 499, 10) == []
    assert not database.write_now(outbox.claim, entry, 900)
    [again] = database.read_now(outbox.due, 500, 10)
    assert again.attempts == entry.attempts + 1


def test_done_and_failed(database: Database) -> None:
    database.write_now(outbox.add, ID, PLACES, 0)
    first, second = database.read_now(outbox.due, 0, 10)
    database.write_now(outbox.done, first)
    database.write_now(outbox.done, first)
    database.write_now(outbox.failed, second, "no room \u00e9" * 1000, 700)
    assert database.read_now(outbox.due, 699, 10) == []
    assert [entry.id for entry in database.read_now(outbox.due, 700, 10)] == [second.id]
