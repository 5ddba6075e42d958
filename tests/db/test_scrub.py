"""Deletions that are delayed: rows as Glance makes them, given to the outbox once, finished at last, or restored."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, select, update

from blick.db import images, members, outbox, scrub, tags, usage
from blick.db.engine import Database
from blick.db.outbox import LocationDelete
from blick.db.tables import image_locations, image_members, image_properties, image_tags
from blick.db.tables import images as table
from blick.model.errors import Conflict, NotFound
from blick.model.image import ImageLocation
from blick.model.quota import Measure
from tests.support.records import ID, NOW, image, race

EARLIER, LATER = NOW - timedelta(minutes=1), NOW + timedelta(minutes=1)
CHILDREN = (image_properties, image_tags, image_members, image_locations)
OTHER = "a" + ID[1:]


def stored(database: Database, *uris: str, image_id: str = ID, **attributes: Any) -> None:
    """An active image of four bytes with a property, a tag, a member and data at `uris`."""
    usual = {"status": "active", "size": 4, "properties": {"p": "1", "gone": "x"}, "tags": ("t", "gone")}
    database.write_now(images.insert_image, image(image_id, **{**usual, **attributes}))
    for uri in uris:
        database.write_now(images.add_location, image_id, uri, {"store": "s"}, EARLIER)
    for member in ("m", "gone"):
        database.write_now(members.add, image_id, member, -1, EARLIER)
    database.write_now(members.remove, image_id, "gone", EARLIER)
    database.write_now(images.remove_properties, image_id, ["gone"], EARLIER)
    database.write_now(tags.remove, image_id, "gone", EARLIER)


def delete(database: Database, image_id: str = ID) -> list[LocationDelete] | None:
    return database.write_now(outbox.delete_image, image_id, NOW, 0, delayed=True)


def begin(database: Database, image_id: str = ID) -> list[LocationDelete]:
    """The image's entries, claimed."""
    claimed = [
        database.write_now(outbox.claim, entry, 9000) for entry in database.write_now(scrub.begin, image_id, LATER, 0)
    ]
    return [entry for entry in claimed if entry is not None]


def record(database: Database, image_id: str = ID) -> tuple[str, bool, Any]:
    with database.engine.connect() as connection:
        found = select(table.c.status, table.c.deleted, table.c.deleted_at).where(table.c.id == image_id)
        return tuple(connection.execute(found).one())  # type: ignore[return-value]


def locations(database: Database, image_id: str = ID) -> Mapping[str, tuple[str, bool]]:
    columns = image_locations.c
    with database.engine.connect() as connection:
        found = select(columns.value, columns.status, columns.deleted).where(columns.image_id == image_id)
        return {row.value: (row.status, row.deleted) for row in connection.execute(found)}


def due(database: Database, after_id: str = "", limit: int = 10) -> list[str]:
    return database.read_now(scrub.due, NOW, after_id, limit)


def test_deleted_for_everybody_but_kept(database: Database) -> None:
    stored(database, "file:///a", "file:///b")
    assert database.read_now(usage.measured, "p1", [Measure.STORED]) == {Measure.STORED: 8}
    assert delete(database) == []
    assert record(database) == ("pending_delete", True, NOW)
    assert locations(database) == dict.fromkeys(("file:///a", "file:///b"), ("pending_delete", True))
    with database.engine.connect() as connection:
        for child in CHILDREN:
            assert set(connection.execute(select(child.c.deleted))) == {(True,)}
    assert database.read_now(images.get, ID, "p1") is None
    assert database.read_now(usage.measured, "p1", [Measure.STORED]) == {Measure.STORED: 0}
    assert database.read_now(outbox.of_image, ID) == []
    with pytest.raises(Conflict):
        database.write_now(images.insert_image, image())
    assert delete(database) is None
    assert database.write_now(outbox.delete_image, ID, LATER, 0) is None


def test_deleted_at_once_without_data(database: Database) -> None:
    stored(database)
    assert delete(database) == []
    assert record(database) == ("deleted", True, NOW)


def test_deleted_at_once_while_it_is_not_active(database: Database) -> None:
    stored(database, "http://refused", status="queued")
    entries = delete(database)
    assert entries is not None
    assert [entry.location.uri for entry in entries] == ["http://refused"]
    assert record(database) == ("deleted", True, NOW)


def test_a_deactivated_image_waits_too(database: Database) -> None:
    stored(database, "file:///a", status="deactivated")
    assert delete(database) == []
    assert record(database)[0] == "pending_delete"


def test_protected(database: Database) -> None:
    stored(database, "file:///a", protected=True)
    assert delete(database) is None
    assert record(database) == ("active", False, None)


def test_racing_deletes_have_one_winner(database: Database) -> None:
    stored(database, "file:///a")
    outcomes = race([lambda: delete(database) for _ in range(6)])
    assert sorted(outcomes, key=str) == [None] * 5 + [[]]


def test_due_in_their_time_page_by_page(database: Database) -> None:
    ids = [f"{number}{ID[1:]}" for number in range(5)]
    for image_id in ids:
        stored(database, f"file:///{image_id}", image_id=image_id)
        delete(database, image_id)
    stored(database, "file:///alive", image_id=OTHER)
    assert database.read_now(scrub.due, NOW - timedelta(seconds=1), "", 10) == []
    assert due(database, limit=3) == ids[:3]
    assert due(database, ids[2], 3) == ids[3:]
    begin(database, ids[1])
    assert due(database) == [ids[0], *ids[2:]]


def test_begun_once_and_finished_with_the_last(database: Database) -> None:
    stored(database, "file:///a", "file:///b")
    delete(database)
    first, second = begin(database)
    assert [first.location, second.location] == [
        ImageLocation("file:///a", {"store": "s"}),
        ImageLocation("file:///b", {"store": "s"}),
    ]
    assert begin(database) == []
    database.write_now(outbox.done, first, LATER)
    assert record(database) == ("pending_delete", True, NOW)
    assert set(locations(database).values()) == {("pending_delete", True)}
    database.write_now(outbox.failed, second, "in use", 500)
    assert record(database)[0] == "pending_delete"
    assert due(database) == []
    [second] = database.read_now(outbox.due, 500, 10)
    again = database.write_now(outbox.claim, second, 900)
    assert again is not None
    database.write_now(outbox.done, again, LATER)
    assert record(database) == ("deleted", True, NOW)
    assert set(locations(database).values()) == {("deleted", True)}
    assert database.read_now(outbox.of_image, ID) == []


def test_racing_scrubbers(database: Database) -> None:
    stored(database, "file:///a", "file:///b")
    delete(database)
    race([lambda: database.write_now(scrub.begin, ID, LATER, 0) for _ in range(6)])
    entries = database.read_now(outbox.of_image, ID)
    assert [entry.location.uri for entry in entries] == ["file:///a", "file:///b"]
    claims = race([lambda entry=entry: database.write_now(outbox.claim, entry, 9000) for entry in entries * 3])  # type: ignore[misc]
    ours = [entry for entry in claims if isinstance(entry, LocationDelete)]
    assert len(ours) == 2
    race([lambda entry=entry: database.write_now(outbox.done, entry, LATER) for entry in ours])  # type: ignore[misc]
    assert record(database) == ("deleted", True, NOW)


def test_nothing_to_remove(database: Database) -> None:
    """As a scrubber of Glance's leaves an image that it was killed at."""
    stored(database, "file:///a")
    delete(database)
    execute(database, update(image_locations).values(status="deleted"))
    assert begin(database) == []
    assert record(database) == ("deleted", True, NOW)


def test_glances_scrubber_was_faster(database: Database) -> None:
    stored(database, "file:///a")
    delete(database)
    [entry] = begin(database)
    execute(database, update(table).values(status="deleted", updated_at=EARLIER))
    execute(database, update(image_locations).values(status="deleted"))
    database.write_now(outbox.done, entry, LATER)
    assert database.read_now(outbox.of_image, ID) == []
    with database.engine.connect() as connection:
        assert connection.execute(select(table.c.updated_at)).scalar() == EARLIER


def test_restored_with_what_the_deletion_took(database: Database) -> None:
    stored(database, "file:///a", "file:///b")
    before = database.read_now(images.get, ID, "m")
    assert before is not None
    delete(database)
    database.write_now(scrub.restore, ID, LATER)
    after = database.read_now(images.get, ID, "m")
    assert after is not None
    assert (after.status, after.properties, after.tags, after.locations) == (
        "active",
        {"p": "1"},
        ("t",),
        before.locations,
    )
    assert after.member_id == "m"
    assert [member.member_id for member in database.read_now(members.of_image, ID)] == ["m"]
    assert record(database) == ("active", False, None)
    assert database.read_now(usage.measured, "p1", [Measure.STORED]) == {Measure.STORED: 8}
    assert begin(database) == []
    assert delete(database) == []
    assert len(begin(database)) == 2


def test_restored_as_glance_deletes(database: Database) -> None:
    """Locations and properties go in transactions of their own; a location that a user removed waits as well."""
    stored(database, "file:///removed", "file:///a")
    shortly_before = NOW - timedelta(seconds=1)
    gone = {"deleted": True, "deleted_at": NOW}
    place, prop = image_locations.c, image_properties.c
    waiting = {"status": "pending_delete", "deleted": True}
    execute(
        database,
        update(image_locations).where(place.value == "file:///removed").values(**waiting, deleted_at=EARLIER),
        update(image_locations).where(place.value == "file:///a").values(**waiting, deleted_at=shortly_before),
        update(image_properties).where(prop.name == "p").values(deleted=True, deleted_at=shortly_before),
        update(image_tags).where(image_tags.c.value == "t").values(**gone),
        update(image_members).where(image_members.c.member == "m").values(**gone),
        update(table).values(status="pending_delete", **gone),
    )
    database.write_now(scrub.restore, ID, LATER)
    after = database.read_now(images.get, ID, "m")
    assert after is not None
    assert (after.properties, after.tags, after.member_id) == ({"p": "1"}, ("t",), "m")
    assert [found.uri for found in after.locations] == ["file:///a"]
    assert locations(database)["file:///removed"] == ("pending_delete", True)
    # What waits on an image that is not deleted goes with it, whether that is delayed or not.
    entries = database.write_now(outbox.delete_image, ID, LATER, 0)
    assert entries is not None
    assert [entry.location.uri for entry in entries] == ["file:///removed", "file:///a"]
    assert set(locations(database).values()) == {("deleted", True)}


def test_times_that_say_nothing(database: Database) -> None:
    stored(database, "file:///a")
    delete(database)
    execute(database, update(table).values(deleted_at=None), update(image_locations).values(deleted_at=None))
    assert due(database) == [ID]
    database.write_now(scrub.restore, ID, LATER)
    assert locations(database) == {"file:///a": ("active", False)}


def test_not_restored(database: Database) -> None:
    def refusal(kind: type[Exception] = Conflict) -> str:
        with pytest.raises(kind) as refused:
            database.write_now(scrub.restore, ID, LATER)
        return str(refused.value)

    assert refusal(NotFound) == f"No image found with ID {ID}"
    stored(database, "file:///a", "file:///b")
    assert refusal() == "cannot restore the image from active to active (wanted from_state=pending_delete)"
    delete(database)
    first, second = begin(database)
    assert refusal().startswith("glance-scrubber is already running")
    database.write_now(outbox.done, first, LATER)
    assert refusal().startswith("glance-scrubber is already running")
    assert record(database) == ("pending_delete", True, NOW)
    assert locations(database)["file:///a"] == ("pending_delete", True)
    database.write_now(outbox.done, second, LATER)
    assert refusal() == "cannot restore the image from deleted to active (wanted from_state=pending_delete)"


def test_not_restored_without_data(database: Database) -> None:
    stored(database, "file:///a")
    delete(database)
    execute(database, update(image_locations).values(status="deleted"))
    with pytest.raises(Conflict, match="its data has been removed"):
        database.write_now(scrub.restore, ID, LATER)
    assert record(database)[0] == "pending_delete"


@pytest.mark.parametrize("attempt", range(4))
def test_restored_or_scrubbed_never_both(database: Database, attempt: int) -> None:
    stored(database, "file:///a")
    delete(database)
    begun, restored = race(
        [
            lambda: database.write_now(scrub.begin, ID, LATER, 0),
            lambda: database.write_now(scrub.restore, ID, LATER),
        ]
    )
    assert isinstance(begun, list)
    if begun:
        assert isinstance(restored, Conflict)
        assert record(database)[0] == "pending_delete"
    else:
        assert restored is None
        assert locations(database) == {"file:///a": ("active", False)}


def test_an_upload_that_ends_while_its_image_is_deleted(database: Database) -> None:
    """Its data is recorded before the deletion, and kept; or it comes too late, and nothing is kept."""
    stored(database, status="saving")

    def finish(connection: Connection) -> bool:
        done = images.set_status(connection, ID, ("saving",), "active", NOW)
        if done:
            images.add_location(connection, ID, "file:///a", {}, NOW)
        return done

    finished, deleted = race([lambda: database.write_now(finish), lambda: delete(database)])
    assert deleted == []
    if finished:
        assert record(database)[0] == "pending_delete"
        assert locations(database) == {"file:///a": ("pending_delete", True)}
    else:
        assert record(database)[0] == "deleted"
        assert locations(database) == {}


def execute(database: Database, *statements: Any) -> None:
    with database.engine.begin() as connection:
        for statement in statements:
            connection.execute(statement)
