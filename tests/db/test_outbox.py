"""Bytes to remove: noted, claimed, done, or tried again."""

import threading

from sqlalchemy import Connection

from blick.db import images, outbox, uploads
from blick.db.engine import Database
from blick.db.outbox import LocationDelete
from blick.db.uploads import Lease
from blick.model.blob import Digests, Location
from blick.model.image import ImageLocation
from tests.support.records import ID, NOW, image, race

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
    assert sorted(outcomes, key=bool)[:7] == [None] * 7
    assert sum(bool(each) for each in outcomes) == 1
    assert database.read_now(outbox.due, 499, 10) == []
    assert not database.write_now(outbox.claim, entry, 900)
    [again] = database.read_now(outbox.due, 500, 10)
    assert again.attempts == entry.attempts + 1


def test_done_and_failed(database: Database) -> None:
    database.write_now(outbox.add, ID, PLACES, 0)
    first, second = database.read_now(outbox.due, 0, 10)
    database.write_now(outbox.done, first, NOW)
    database.write_now(outbox.done, first, NOW)
    database.write_now(outbox.failed, second, "no room \u00e9" * 1000, 700)
    assert database.read_now(outbox.due, 699, 10) == []
    assert [entry.id for entry in database.read_now(outbox.due, 700, 10)] == [second.id]


def test_a_claim_is_kept_and_lost(database: Database) -> None:
    """Who lost it changes nothing any more, not even on a row that has the id of one that is gone (SQLite)."""
    database.write_now(outbox.add, ID, PLACES[:1], 0)
    [entry] = database.read_now(outbox.due, 0, 10)
    slow = database.write_now(outbox.claim, entry, 100)
    assert slow is not None
    assert database.write_now(outbox.renew, slow, 200)
    assert database.read_now(outbox.due, 199, 10) == []
    [seen] = database.read_now(outbox.due, 200, 10)
    other = database.write_now(outbox.claim, seen, 300)
    assert other is not None
    assert not database.write_now(outbox.renew, slow, 900)
    database.write_now(outbox.failed, slow, "too late", 900)
    database.write_now(outbox.done, slow, NOW)
    assert database.read_now(outbox.of_image, ID) == [other]
    database.write_now(outbox.done, other, NOW)
    database.write_now(outbox.add, "another", PLACES[:1], 0)
    [fresh] = database.read_now(outbox.due, 0, 10)
    database.write_now(outbox.claim, fresh, 300)
    for stale in (slow, other):
        database.write_now(outbox.done, stale, NOW)
        database.write_now(outbox.failed, stale, "too late", 900)
        assert not database.write_now(outbox.renew, stale, 900)
    [left] = database.read_now(outbox.of_image, "another")
    assert (left.attempts, left.not_before_ms, left.last_error) == (2, 300, None)


def test_what_was_put_off_may_be_tried_at_once(database: Database) -> None:
    database.write_now(outbox.add, ID, PLACES, 0)
    first, second = database.read_now(outbox.due, 0, 10)
    database.write_now(outbox.failed, first, "no answer", 900)
    database.write_now(outbox.claim, second, 900)
    assert database.read_now(outbox.due, 0, 10) == []
    [put_off] = database.read_now(outbox.due, 0, 10, put_off_too=True)
    assert (put_off.id, put_off.last_error) == (first.id, "no answer")
    assert database.read_now(outbox.due, 0, 10, first.id, put_off_too=True) == []
    assert database.write_now(outbox.claim, put_off, 900) is not None
    assert database.read_now(outbox.due, 0, 10, put_off_too=True) == []  # it is somebody's now


def test_an_upload_that_ends_while_its_image_is_deleted(database: Database) -> None:
    """Whichever comes first: the bytes are noted for removal, or the upload is told that the image is gone."""
    database.write_now(images.insert_image, image())
    lease = Lease(ID, "token", "holder", "file", 1000)
    database.write_now(uploads.begin, lease, NOW)
    finished = threading.Event()

    def finish_slowly(connection: Connection) -> list[LocationDelete] | None:
        uploads.finish(connection, lease, Location("file", "file:///x"), Digests(1, "c", "sha512", "h"), None, NOW)
        finished.set()
        threading.Event().wait(0.5)  # the deletion begins meanwhile
        return None

    def delete() -> list[LocationDelete] | None:
        finished.wait(60)
        return database.write_now(outbox.delete_image, ID, NOW, 0)

    uploaded, deleted = race([lambda: database.write_now(finish_slowly), delete])
    assert uploaded is None
    assert isinstance(deleted, list)
    assert [entry.location.uri for entry in deleted] == ["file:///x"]


def test_everything_that_waits_is_told_page_by_page(database: Database) -> None:
    database.write_now(outbox.add, ID, PLACES, 1000)
    database.write_now(outbox.add, "another", PLACES[:1], 2000)
    first = database.read_now(outbox.entries, 0, 1)
    database.write_now(outbox.failed, first[0], "no answer", 700)
    [told] = database.read_now(outbox.entries, 0, 1)
    assert (told.location, told.not_before_ms, told.last_error) == (PLACES[0], 700, "no answer")
    rest = database.read_now(outbox.entries, told.id, 10)
    assert [(entry.image_id, entry.location, entry.last_error) for entry in rest] == [
        (ID, PLACES[1], None),
        ("another", PLACES[0], None),
    ]
    assert database.read_now(outbox.entries, rest[-1].id, 10) == []
    assert [entry.id for entry in database.read_now(outbox.of_images, ["another", "nobody"])] == [rest[-1].id]
