"""Pages of the list: visibility, order and the place to go on from, in one statement."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, text

from blick.db import image_deletion, image_pages, images, members
from blick.db.engine import Database
from blick.db.image_visibility import Scope
from blick.db.tables import images as table
from blick.model.errors import Forbidden, Invalid
from blick.model.image import Image
from blick.model.image_query import Comparison, ImageQuery, SortKey, parse
from blick.model.page import PageLimits
from tests.support.records import NOW, image

P1 = Scope("p1", is_admin=False)
P2 = Scope("p2", is_admin=False)
ADMIN = Scope("admin", is_admin=True)


def uuid(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def put(database: Database, number: int, **values: Any) -> None:
    database.write_now(images.insert_image, image(uuid(number), **values))


def page(database: Database, query: str = "limit=100", scope: Scope = P1) -> list[Image]:
    pairs = tuple((name, value) for name, _, value in (part.partition("=") for part in query.split("&") if part))
    return database.read_now(image_pages.page, parse(pairs, PageLimits()), scope)


def numbers(found: list[Image]) -> list[int]:
    return [int(each.id[:8], 16) for each in found]


def test_a_page_has_whole_records(database: Database) -> None:
    put(database, 1, properties={"a": "1", "b": "é"}, tags=("t", "u"))
    put(database, 2)
    database.write_now(images.add_location, uuid(1), "file:///x", {"store": "s"}, NOW)
    by_id = {each.id: each for each in page(database)}
    assert by_id == {uuid(n): database.read_now(images.get, uuid(n), "p1") for n in (1, 2)}


def test_children_do_not_multiply(database: Database) -> None:
    for number in range(5):
        put(
            database,
            number,
            properties={f"p{n}": "x" for n in range(40)},
            tags=tuple(f"t{n}" for n in range(20)),
        )
    seen: list[str] = []
    event.listen(database.engines.reading, "before_cursor_execute", lambda *call: seen.append(call[2]))
    found = page(database)
    assert [(len(each.properties), len(each.tags)) for each in found] == [(40, 20)] * 5
    assert len([statement for statement in seen if statement.startswith("SELECT")]) == 1
    for children in ("properties", "tags", "locations"):
        assert f"JOIN image_{children}" not in "".join(seen)


def test_a_member_learns_through_whom_it_sees(database: Database) -> None:
    put(database, 1)
    put(database, 2, visibility="public")
    database.write_now(members.add, uuid(1), "p2", -1, NOW)
    database.write_now(members.set_status, uuid(1), "p2", "accepted", NOW)
    found = {each.id: each.member_id for each in page(database, "", P2)}
    assert found == {uuid(1): "p2", uuid(2): None}
    assert {each.member_id for each in page(database, "", ADMIN)} == {None}
    assert {each.member_id for each in page(database)} == {None}


def test_scopes_without_a_project(database: Database) -> None:
    put(database, 1, owner=None, visibility="private")
    put(database, 2, visibility="public")
    put(database, 3, visibility="community")
    nobody = Scope(None, is_admin=False)
    assert numbers(page(database, "", nobody)) == [2]
    assert numbers(page(database, "sort=id:asc", Scope(None, is_admin=True))) == [1, 2]
    assert numbers(page(database, "visibility=all&sort=id:asc", Scope(None, is_admin=True))) == [1, 2, 3]
    assert numbers(page(database, "sort=id:asc", ADMIN)) == [1, 2]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(
    "key", ["name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at"]
)
def test_pages_meet_without_gaps(database: Database, key: str, descending: bool) -> None:
    rows = [
        {
            "id": uuid(n), "name": (None, "", "a", "B", "é")[n % 5], "status": ("active", "queued")[n % 2],
            "disk_format": (None, "raw")[n % 2], "container_format": (None, "bare", "ovf")[n % 3],
            "size": (None, 0, 2**40)[n % 3], "visibility": "shared", "owner": "p1", "min_disk": 0, "min_ram": 0,
            "protected": False, "os_hidden": False, "deleted": False,
            "created_at": NOW + timedelta(seconds=n % 4),
            "updated_at": (None, NOW, NOW + timedelta(days=1))[n % 3],
        }
        for n in range(31)
    ]  # fmt: skip
    with database.engine.begin() as connection:
        connection.execute(insert(table), rows)
    direction = "desc" if descending else "asc"
    whole = numbers(page(database, f"limit=100&sort={key}:{direction}"))
    assert sorted(whole) == list(range(31))
    walked: list[int] = []
    query = f"limit=4&sort={key}:{direction}"
    found = page(database, query)
    while found:
        walked += numbers(found)
        found = page(database, f"{query}&marker={found[-1].id}")
    assert walked == whole


def test_directions_may_differ(database: Database) -> None:
    for number in range(6):
        put(database, number, name="ab"[number % 2], size=number // 2)
    query = "sort=name:desc,size:asc&limit=2"
    whole = numbers(page(database, "sort=name:desc,size:asc"))
    assert whole == [1, 3, 5, 0, 2, 4]
    assert numbers(page(database, f"{query}&marker={uuid(3)}")) == [5, 0]


def test_markers(database: Database) -> None:
    put(database, 1)
    put(database, 2, owner="p2", visibility="private")
    put(database, 3, owner="p2")
    for query in ("marker=unknown", "marker='", "marker=" + "x" * 1000):
        with pytest.raises(Invalid):
            page(database, query)
    for hidden in (2, 3):
        with pytest.raises(Forbidden):
            page(database, f"marker={uuid(hidden)}")
    database.write_now(members.add, uuid(3), "p1", -1, NOW)
    assert numbers(page(database, f"marker={uuid(3)}")) == [1]
    database.write_now(image_deletion.delete, uuid(1), NOW)
    with pytest.raises(Invalid):
        page(database, f"marker={uuid(1)}")
    assert page(database, f"marker={uuid(1)}", ADMIN) == []


def test_texts_are_only_texts(database: Database) -> None:
    put(database, 1, name="100%", properties={"a_b": "x"})
    nasty = "' OR 1=1 --"
    for query in (f"name=eq:{nasty}", f"x={nasty}", f"{nasty}=x", f"tag={nasty}", f"owner={nasty}", "name=%", "aXb=x"):
        assert page(database, query) == [], query
    assert numbers(page(database, "name=100%")) == [1]
    assert numbers(page(database, "a_b=x")) == [1]


def test_impossible_comparisons_need_no_database(database: Database) -> None:
    query = ImageQuery(limit=5, comparisons=(Comparison("size", "eq", ()),), matches_nothing=True)
    seen: list[str] = []
    event.listen(database.engines.reading, "before_cursor_execute", lambda *call: seen.append(call[2]))
    assert database.read_now(image_pages.page, query, P1) == []
    assert [statement for statement in seen if statement.startswith("SELECT")] == []


def test_queries_default_order(database: Database) -> None:
    assert ImageQuery(limit=1).sort == (SortKey("created_at", True), SortKey("id", True))
    put(database, 1)
    put(database, 2)
    put(database, 3, created_at=NOW - timedelta(days=1))
    assert numbers(database.read_now(image_pages.page, ImageQuery(limit=5), P1)) == [2, 1, 3]


def test_transaction_is_read_only(database: Database) -> None:
    """A list never waits for a writer."""
    put(database, 1)
    with database.engine.connect().execution_options(blick_writes=True) as writer:
        writer.execute(text("UPDATE images SET name = 'x'"))
        assert numbers(page(database)) == [1]
        writer.rollback()
