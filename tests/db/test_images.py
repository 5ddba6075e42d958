"""Images and their children in the database."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, func, select, update

from blick.db import image_deletion, images, members, outbox, tags
from blick.db.engine import Database
from blick.db.images import ChangeLimits
from blick.db.tables import image_locations, image_members, image_properties, image_tags
from blick.db.tables import images as table
from blick.model.errors import Conflict, Forbidden, LimitExceeded, NotFound
from blick.model.image import ImageLocation
from blick.model.image_patch import PatchPlan
from tests.support.records import ID, NOW, image, race

LATER = NOW + timedelta(hours=1)
LIMITS = ChangeLimits(image_property_quota=-1, statuses=(), project_id="p1")


def test_what_is_stored_comes_back(database: Database) -> None:
    stored = image(
        name="Bär \"x\" 'y' \\ 日",
        visibility="community",
        min_disk=2**31 - 1,
        protected=True,
        os_hidden=True,
        properties={"b": "2", "a": "", "c": 'line\nbreak \\ "quoted" é', "d": None},
        tags=("t1", "t2", "with, comma"),
    )
    database.write_now(images.insert_image, stored)
    found = database.read_now(images.get, ID, "p1")
    assert found is not None
    assert sorted(found.tags) == sorted(stored.tags)
    assert dict(found.properties) == dict(stored.properties)
    assert replace(found, tags=(), properties={}) == replace(stored, tags=(), properties={})


def test_nothing_is_there(database: Database) -> None:
    for image_id in (ID, "", "x" * 37, "ä", "a\x00b", "'; --"):
        assert database.read_now(images.get, image_id, "p1") is None


def test_get_is_one_statement(database: Database) -> None:
    database.write_now(images.insert_image, image(properties={"a": "b"}, tags=("t",)))
    seen: list[str] = []
    event.listen(database.engines.reading, "before_cursor_execute", lambda *call: seen.append(call[2]))
    database.read_now(images.get, ID, "p1")
    assert len([statement for statement in seen if statement.startswith("SELECT")]) == 1


def test_an_id_is_taken_for_ever(database: Database) -> None:
    database.write_now(images.insert_image, image())
    with pytest.raises(Conflict):
        database.write_now(images.insert_image, image(properties={"a": "b"}))
    assert database.write_now(image_deletion.delete, ID, LATER) is not None
    with pytest.raises(Conflict):
        database.write_now(images.insert_image, image())
    assert count(database, image_properties) == 0


def test_membership_is_told_of_shared_images_only(database: Database) -> None:
    database.write_now(images.insert_image, image())
    database.write_now(members.add, ID, "p2", -1, NOW)
    found = database.read_now(images.get, ID, "p2")
    assert found is not None
    assert (found.member_id, found.member_status) == ("p2", "pending")
    for project in ("p1", "p3", None):
        found = database.read_now(images.get, ID, project)
        assert found is not None
        assert (found.member_id, found.member_status) == (None, None)
    database.write_now(images.change, ID, PatchPlan(base={"visibility": "private"}), LIMITS, NOW)
    found = database.read_now(images.get, ID, "p2")
    assert found is not None
    assert found.member_id is None


def test_set_status_compares(database: Database) -> None:
    database.write_now(images.insert_image, image())
    assert not database.write_now(images.set_status, ID, ("saving",), "active", LATER)
    assert database.write_now(images.set_status, ID, ("queued",), "saving", LATER, {"size": 5})
    found = database.read_now(images.get, ID, None)
    assert found is not None
    assert (found.status, found.size, found.updated_at) == ("saving", 5, LATER)
    assert not database.write_now(images.set_status, "unknown", ("queued",), "saving", LATER)
    with pytest.raises(AssertionError):
        database.write_now(images.set_status, ID, ("active",), "saving", LATER)
    database.write_now(image_deletion.delete, ID, LATER)
    assert not database.write_now(images.set_status, ID, ("saving",), "active", LATER)


def test_racing_set_status_has_one_winner(database: Database) -> None:
    for _ in range(3):
        database.write_now(images.insert_image, image())
        outcomes = race(
            [lambda: database.write_now(images.set_status, ID, ("queued",), "saving", NOW) for _ in range(8)]
        )
        assert sorted(outcomes, key=bool) == [False] * 7 + [True]
        with database.engine.begin() as connection:
            connection.execute(table.delete())


def change(database: Database, plan: PatchPlan, limits: ChangeLimits = LIMITS) -> Any:
    return database.write_now(images.change, ID, plan, limits, LATER)


def test_change_writes_what_is_named(database: Database) -> None:
    database.write_now(images.insert_image, image(name="n", properties={"a": "1", "b": "2"}, tags=("x", "y")))
    plan = PatchPlan(
        base={"min_ram": 5},
        tags=("y", "z", "z"),
        set_properties={"a": "3", "c": "4"},
        remove_properties=frozenset({"b"}),
        created=frozenset({"c"}),
    )
    changed = change(database, plan)
    assert changed == database.read_now(images.get, ID, "p1")
    assert (changed.name, changed.min_ram, changed.updated_at) == ("n", 5, LATER)
    assert dict(changed.properties) == {"a": "3", "c": "4"}
    assert sorted(changed.tags) == ["y", "z"]
    assert changed.created_at == NOW


def test_a_property_keeps_one_row(database: Database) -> None:
    database.write_now(images.insert_image, image(properties={"a": "1"}))
    for _ in range(2):
        change(database, PatchPlan(remove_properties=frozenset({"a"})))
        change(database, PatchPlan(set_properties={"a": "2"}, created=frozenset({"a"})))
    assert count(database, image_properties) == 1
    found = database.read_now(images.get, ID, None)
    assert found is not None
    assert dict(found.properties) == {"a": "2"}


def test_change_of_what_is_gone_or_moved_on(database: Database) -> None:
    with pytest.raises(NotFound):
        change(database, PatchPlan(base={"name": "x"}))
    database.write_now(images.insert_image, image(status="active"))
    with pytest.raises(Forbidden):
        change(database, PatchPlan(base={"disk_format": "iso"}), replace(LIMITS, statuses=("queued",)))
    found = database.read_now(images.get, ID, None)
    assert found is not None
    assert (found.disk_format, found.updated_at) == ("raw", NOW)


def test_quota_counts_what_will_be_there(database: Database) -> None:
    database.write_now(images.insert_image, image(properties={"a": "1", "os_glance_x": "not counted"}))
    limits = replace(LIMITS, image_property_quota=2)
    change(database, PatchPlan(set_properties={"b": "2"}, created=frozenset({"b"})), limits)
    with pytest.raises(LimitExceeded):
        change(database, PatchPlan(set_properties={"c": "3"}, created=frozenset({"c"})), limits)
    found = database.read_now(images.get, ID, None)
    assert found is not None
    assert found.properties.keys() == {"a", "b", "os_glance_x"}


def test_racing_changes_all_survive(database: Database) -> None:
    database.write_now(images.insert_image, image())
    plans = [PatchPlan(set_properties={f"p{n}": "x"}, created=frozenset({f"p{n}"})) for n in range(6)]
    plans += [PatchPlan(base={"name": "n"}), PatchPlan(base={"min_ram": 7})]
    outcomes = race([lambda plan=plan: change(database, plan) for plan in plans])  # type: ignore[misc]
    assert [each for each in outcomes if isinstance(each, Exception)] == []
    found = database.read_now(images.get, ID, None)
    assert found is not None
    assert found.properties.keys() == {f"p{n}" for n in range(6)}
    assert (found.name, found.min_ram) == ("n", 7)


def test_racing_changes_do_not_pass_the_quota_together(database: Database) -> None:
    database.write_now(images.insert_image, image())
    limits = replace(LIMITS, image_property_quota=2)
    plans = [PatchPlan(set_properties={f"p{n}": "x"}, created=frozenset({f"p{n}"})) for n in range(6)]
    outcomes = race([lambda plan=plan: change(database, plan, limits) for plan in plans])  # type: ignore[misc]
    assert sum(isinstance(each, LimitExceeded) for each in outcomes) == 4
    assert count(database, image_properties) == 2


def test_racing_tags(database: Database) -> None:
    database.write_now(images.insert_image, image())
    calls = [lambda n=n: database.write_now(tags.add, ID, f"t{n % 4}", 4, NOW) for n in range(8)]
    assert race(calls) == [None] * 8  # type: ignore[arg-type]
    found = database.read_now(images.get, ID, None)
    assert found is not None
    assert sorted(found.tags) == ["t0", "t1", "t2", "t3"]
    with pytest.raises(LimitExceeded):
        database.write_now(tags.add, ID, "t4", 4, NOW)
    with pytest.raises(NotFound):
        database.write_now(tags.add, "unknown", "t", 4, NOW)
    assert database.write_now(tags.remove, ID, "t0", NOW)
    assert not database.write_now(tags.remove, ID, "t0", NOW)
    assert count(database, image_tags) == 4


def test_locations_come_in_the_order_they_were_added(database: Database) -> None:
    database.write_now(images.insert_image, image())
    for number in range(12):
        database.write_now(
            images.add_location, ID, f"file:///x/{number}", {"store": f"s{number}", "deep": [1, {"a": "é"}]}, NOW
        )
    with database.engine.begin() as connection:
        connection.execute(
            update(image_locations).where(image_locations.c.value == "file:///x/3").values(status="deleted")
        )
        connection.execute(
            update(image_locations).where(image_locations.c.value == "file:///x/4").values(meta_data=None)
        )
    found = database.read_now(images.get, ID, None)
    assert found is not None
    assert [place.uri for place in found.locations] == [f"file:///x/{n}" for n in range(12) if n != 3]
    assert found.locations[0].metadata == {"store": "s0", "deep": [1, {"a": "é"}]}
    assert found.locations[3] == ImageLocation("file:///x/4", {}, found.locations[3].id)


def test_delete_takes_everything_along(database: Database) -> None:
    database.write_now(images.insert_image, image(properties={"a": "1"}, tags=("t",)))
    database.write_now(images.add_location, ID, "file:///x", {}, NOW)
    database.write_now(members.add, ID, "p2", -1, NOW)
    entries = database.write_now(outbox.delete_image, ID, LATER, 1000)
    assert entries is not None
    assert [(entry.image_id, entry.location.uri) for entry in entries] == [(ID, "file:///x")]
    assert database.read_now(images.get, ID, "p1") is None
    with database.engine.connect() as connection:
        for child in (table, image_properties, image_tags, image_members, image_locations):
            assert connection.execute(select(child.c.deleted, child.c.deleted_at)).all() == [(True, LATER)]
        assert connection.execute(select(table.c.status)).scalar() == "deleted"
        assert connection.execute(select(image_locations.c.status)).scalar() == "deleted"
    assert database.write_now(outbox.delete_image, ID, LATER, 1000) is None


def test_protected_is_not_deleted(database: Database) -> None:
    database.write_now(images.insert_image, image(protected=True, tags=("t",)))
    assert database.write_now(outbox.delete_image, ID, LATER, 0) is None
    assert database.write_now(image_deletion.delete, ID, LATER) is None
    assert database.read_now(images.get, ID, None) is not None


def test_racing_deletes_have_one_winner(database: Database) -> None:
    database.write_now(images.insert_image, image())
    database.write_now(images.add_location, ID, "file:///x", {}, NOW)
    outcomes = race([lambda: database.write_now(outbox.delete_image, ID, LATER, 0) for _ in range(6)])
    assert sum(each is not None for each in outcomes) == 1
    assert len(database.read_now(outbox.of_image, ID)) == 1


def count(database: Database, counted: Any) -> int:
    with database.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(counted)).scalar_one()


def test_a_great_deal_of_properties(database: Database) -> None:
    """More than MariaDB's own limit for what an aggregate gives."""
    properties = {f"property {number}": f"{number} " + 'ä"' * 3_300 for number in range(200)}  # 10 KB each
    database.write_now(images.insert_image, image(properties=properties, tags=tuple(f"t{n}" for n in range(128))))
    found = database.read_now(images.get, ID, None)
    assert found is not None
    assert dict(found.properties) == properties
    assert len(found.tags) == 128


def test_names_that_differ_by_case_or_spaces_only(database: Database) -> None:
    """Where the database takes two for one, the second is refused; one of them always works, and keeps its spelling."""
    database.write_now(images.insert_image, image(properties={"Name": "1"}))
    same = database.dialect == "mysql"
    for other in ("name", "Name ", "Namé"):
        plan = PatchPlan(set_properties={other: "2"}, created=frozenset({other}))
        if same:
            with pytest.raises(Conflict, match="case"):
                change(database, plan)
            assert dict(database.read_now(images.get, ID, None).properties) == {"Name": "1"}  # type: ignore[union-attr]
        else:
            assert change(database, plan).properties[other] == "2"
    swap = PatchPlan(
        set_properties={"NAME": "3"},
        remove_properties=frozenset({"Name"}),
        created=frozenset({"NAME"}),
    )
    properties = change(database, swap).properties
    assert properties["NAME"] == "3"
    assert "Name" not in properties


def test_tags_and_members_are_told_apart_to_the_letter(database: Database) -> None:
    database.write_now(images.insert_image, image(tags=("a", "A", "ä")))
    assert database.write_now(tags.remove, ID, "a", LATER)
    assert database.read_now(tags.of_image, ID) == {"A", "ä"}
    for member in ("p2", "P2"):
        database.write_now(members.add, ID, member, -1, NOW)
    changed = database.write_now(members.set_status, ID, "P2", "accepted", LATER)
    assert changed is not None
    assert changed.member_id == "P2"
    statuses = {member.member_id: member.status for member in database.read_now(members.of_image, ID)}
    assert statuses == {"p2": "pending", "P2": "accepted"}
    found = database.read_now(images.get, ID, "p2")
    assert found is not None
    assert found.member_status == "pending"
    assert database.write_now(members.remove, ID, "p2", LATER)
    assert [member.member_id for member in database.read_now(members.of_image, ID)] == ["P2"]


def test_times_are_cut_off_not_rounded(database: Database) -> None:
    made_at = NOW.replace(microsecond=999_999)
    database.write_now(images.insert_image, image(created_at=made_at, updated_at=made_at))
    found = database.read_now(images.get, ID, None)
    assert found is not None
    assert found.created_at == (NOW if database.dialect == "mysql" else made_at)
