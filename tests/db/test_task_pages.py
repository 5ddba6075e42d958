"""Pages of the list of tasks: who sees which, filters, order and the place to go on from, on every engine."""

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest
from sqlalchemy import event, update

from blick.db import task_pages, tasks
from blick.db.engine import Database
from blick.db.tables import tasks as table
from blick.model.errors import Invalid
from blick.model.page import PageLimits
from blick.model.task import Task
from blick.model.task_query import TEXTS, TIMES, parse
from tests.support.records import NOW

A_SECOND = timedelta(seconds=1)
LATER = NOW + timedelta(days=1)


def uuid(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def put(database: Database, number: int, **values: Any) -> None:
    given: dict[str, Any] = {
        "type": "import",
        "status": "pending",
        "owner": "p1",
        "image_id": None,
        "request_id": None,
        "user_id": None,
        "created_at": NOW + number * A_SECOND,
        "updated_at": NOW + number * A_SECOND,
        "input": {"n": number},
        **values,
    }
    database.write_now(tasks.add, Task(id=uuid(number), **given))


def page(database: Database, query: str = "", owner: str | None = "p1", now: datetime = NOW) -> list[Task]:
    parameters = parse_qsl(query, keep_blank_values=True)
    return database.read_now(task_pages.page, parse(parameters, PageLimits()), owner, now)


def numbers(found: list[Task]) -> list[int]:
    return [int(task.id[:8], 16) for task in found]


def test_newest_first_and_without_what_it_was_given(database: Database) -> None:
    for number in range(3):
        put(database, number, message="told", image_id=uuid(9))
    found = page(database)
    assert numbers(found) == [2, 1, 0]
    assert [(task.input, task.message, task.image_id) for task in found] == [(None, "", uuid(9))] * 3


def test_only_the_project_s_own_unless_everybody_s(database: Database) -> None:
    for number, owner in enumerate(("p1", "p2", "P1", "")):
        put(database, number, owner=owner)
    assert numbers(page(database, owner="p1")) == [0]
    assert numbers(page(database, owner="")) == [3]
    assert numbers(page(database, owner=None)) == [3, 2, 1, 0]
    assert page(database, "owner=p2", owner="p1") == []
    assert numbers(page(database, "owner=p2", owner=None)) == [1]


def test_what_has_expired_is_gone(database: Database) -> None:
    put(database, 0, status="success", expires_at=NOW)
    put(database, 1, status="success", expires_at=NOW + A_SECOND)
    put(database, 2)
    assert numbers(page(database)) == [2, 1]
    assert numbers(page(database, now=NOW + A_SECOND)) == [2]
    assert database.write_now(tasks.expire, NOW + A_SECOND) == 2
    assert numbers(page(database)) == [2]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("status=success", [1]),
        ("status=", []),
        ("type=import", [2, 0]),
        ("type=", []),
        ("image_id=" + uuid(7), [1]),
        ("id=" + uuid(2), [2]),
        ("request_id=req-1&user_id=u", [1]),
        ("request_id=REQ-1", []),
        ("created_at=" + (NOW + A_SECOND).isoformat(), [1]),
        ("created_at=2020", []),
        ("expires_at=x", []),
        ("user_id=%F0%9F%98%80", []),
        ("wumm=1&deleted=true&message=x", [2, 1, 0]),
        ("status=success&type=import", []),
    ],
)
def test_filters(database: Database, query: str, wanted: list[int]) -> None:
    put(database, 0)
    put(
        database,
        1,
        type="api_image_import",
        status="success",
        image_id=uuid(7),
        request_id="req-1",
        user_id="u",
        expires_at=LATER,
    )
    put(database, 2)
    assert numbers(page(database, query)) == wanted


def fill(database: Database) -> None:
    """Ties and nulls in every column that has any."""
    for number in range(12):
        put(
            database,
            number,
            status=("pending", "success", "failure")[number % 3],
            type=("import", "api_image_import")[number % 2],
            image_id=None if number % 4 == 0 else uuid(100 + number % 2),
            request_id=None if number % 3 == 0 else "req-x",
            user_id=None if number == 5 else "u",
            created_at=NOW + number // 3 * A_SECOND,
            updated_at=NOW + number // 2 * A_SECOND,
            expires_at=None if number % 2 else LATER + number // 4 * A_SECOND,
        )
    with database.engine.begin() as connection:
        connection.execute(update(table).where(table.c.id == uuid(3)).values(updated_at=None))


@pytest.mark.parametrize("direction", ["asc", "desc"])
@pytest.mark.parametrize("key", [*TEXTS, *TIMES])
def test_pages_are_the_list_in_parts(database: Database, key: str, direction: str) -> None:
    fill(database)
    order = f"sort_key={key}&sort_dir={direction}"
    whole = page(database, order)
    assert len(whole) == 12
    values = [getattr(task, key) for task in whole if getattr(task, key) is not None]
    assert values == sorted(values, reverse=direction == "desc")
    seen: list[Task] = []
    while part := page(database, f"{order}&limit=5" + (f"&marker={seen[-1].id}" if seen else "")):
        seen += part
    assert seen == whole


def test_an_unknown_marker(database: Database) -> None:
    put(database, 0, owner="p2")
    for marker in (uuid(0), uuid(1)):
        with pytest.raises(Invalid, match="was not found"):
            page(database, f"marker={marker}")
    assert page(database, f"marker={uuid(0)}", owner=None) == []
    with pytest.raises(Invalid, match="was not found"):
        page(database, f"limit=0&marker={uuid(1)}")


def test_a_marker_may_expire_while_somebody_pages(database: Database) -> None:
    for number in range(3):
        put(database, number, expires_at=NOW + A_SECOND if number == 1 else None)
    database.write_now(tasks.expire, LATER)
    assert numbers(page(database, f"marker={uuid(1)}", now=LATER)) == [0]


def test_one_statement_a_page_and_one_for_the_marker(database: Database) -> None:
    fill(database)
    for query, statements in (("", 1), ("limit=3", 1), (f"marker={uuid(3)}", 2), ("status=success&sort_key=type", 1)):
        seen: list[str] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any, seen: list[str] = seen) -> None:
            seen.append(statement)

        page(database)  # a new connection of the pool looks once at what the table has
        event.listen(database.engines.reading, "before_cursor_execute", note)
        page(database, query)
        event.remove(database.engines.reading, "before_cursor_execute", note)
        assert len([each for each in seen if each.startswith("SELECT")]) == statements
