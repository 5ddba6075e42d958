"""Who comes first: what is urgent, then each project in its turn, then what is old. On every engine alike."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pytest
from sqlalchemy import event, insert

from blick.db import job_claims, jobs, tables
from blick.db.engine import Database
from blick.db.job_claims import CANCEL_ANYWHERE_AFTER_MS, Found, Held, Search
from blick.db.jobs import NewJob

NOW_MS = 1_000_000


def add(database: Database, job_id: str, project: str = "p", age_ms: int = 0, **more: Any) -> None:
    new = NewJob(**({"id": job_id, "kind": "a", "payload": {}, "project_id": project} | more))
    database.write_now(jobs.add, new, NOW_MS - age_ms)


def run(database: Database, *job_ids: str, holder: str = "alive") -> None:
    """Somebody has these."""
    for job_id in job_ids:
        job = database.read_now(jobs.get, job_id)
        assert job is not None
        assert database.write_now(jobs.claim, job, f"token of {job_id}", holder, NOW_MS + 30_000) is not None


def find(
    database: Database,
    kinds: Collection[str] = ("a", "b"),
    node: str = "",
    most: int = 100,
    per_project: int = 4,
    by_kind: Mapping[str, int] | None = None,
    now_ms: int = NOW_MS,
) -> Found:
    def is_deserted(held: Held) -> bool:
        return held.holder == "dead"

    search = Search(kinds, node, now_ms, most, is_deserted, per_project, by_kind or {})
    return database.read_now(job_claims.find, search)


def ids(found: Found) -> list[str]:
    return [candidate.job.id for candidate in found.candidates]


def names(prefix: str, count: int) -> Iterable[str]:
    return [f"{prefix}{number}" for number in range(count)]


def test_what_may_be_taken(database: Database) -> None:
    add(database, "due")
    add(database, "later", age_ms=-1)
    add(database, "other kind", kind="c")
    add(database, "held")
    add(database, "deserted")
    add(database, "over")
    run(database, "held")
    run(database, "deserted", "over", holder="dead")
    over = database.read_now(jobs.get, "over")
    assert over is not None
    database.write_now(jobs.finish, over, NOW_MS)
    assert sorted(ids(find(database))) == ["deserted", "due"]
    assert sorted(ids(find(database, now_ms=NOW_MS + 1))) == ["deserted", "due", "later"]
    assert ids(find(database, kinds=("c",))) == ["other kind"]
    assert ids(find(database, kinds=())) == []
    assert len(ids(find(database, most=1))) == 1


def test_what_is_urgent_comes_first_then_what_is_old(database: Database) -> None:
    for name, age_ms, priority in (("new", 0, 10), ("old", 9, 10), ("older, less urgent", 99, 20), ("urgent", 0, 0)):
        add(database, name, age_ms=age_ms, priority=priority)
    assert ids(find(database)) == ["urgent", "old", "new", "older, less urgent"]


def test_projects_take_turns(database: Database) -> None:
    for name in names("a", 5):
        add(database, name, "A", age_ms=100)
    for name in names("b", 2):
        add(database, name, "B", age_ms=50)
    add(database, "c0", "C", age_ms=10)
    assert ids(find(database)) == ["a0", "b0", "c0", "a1", "b1", "a2", "a3", "a4"]


def test_what_runs_counts(database: Database) -> None:
    for name in names("a", 4):
        add(database, name, "A", age_ms=100)
    for name in names("b", 3):
        add(database, name, "B")
    run(database, "a0", "a1")
    assert ids(find(database)) == ["b0", "b1", "a2", "b2", "a3"]
    run(database, "b0", holder="dead")
    assert ids(find(database)) == ["b0", "b1", "a2", "b2", "a3"], "who is dead runs nothing"


def test_a_thousand_jobs_starve_nobody(database: Database) -> None:
    """Whatever is claimed next, the project with one job has it at once, however urgent the thousand are."""
    rows = [
        {
            "id": f"a{number:04}", "kind": "a", "payload": "{}", "step": "", "token": "", "holder": "", "attempts": 0,
            "available_at_ms": 0, "created_at_ms": 0, "project_id": "A", "priority": 0,
        }
        for number in range(1000)
    ]  # fmt: skip
    with database.engine.begin() as connection:
        connection.execute(insert(tables.jobs), rows)
    run(database, *(f"a{number:04}" for number in range(4)))
    add(database, "b", "B", priority=20)
    found = find(database, most=10)
    assert ids(found)[0] == "b"
    assert [candidate.within_share for candidate in found.candidates] == [True] + [False] * 9


def test_a_share_is_for_when_others_wait(database: Database) -> None:
    for name in names("a", 6):
        add(database, name, "A")
    for name in names("b", 3):
        add(database, name, "B", priority=20)
    found = find(database, per_project=2)
    assert ids(found) == ["a0", "a1", "b0", "b1", "a2", "a3", "a4", "a5", "b2"]
    assert [candidate.within_share for candidate in found.candidates] == [True] * 4 + [False] * 5


def test_limits_by_kind(database: Database) -> None:
    for name in names("a", 3):
        add(database, name)
    add(database, "b0", kind="b")
    assert find(database, by_kind={"a": 2, "c": 1}).room == {"a": 2, "c": 1}
    run(database, "a0")
    found = find(database, by_kind={"a": 2})
    assert found.room == {"a": 1}
    assert ids(found) == ["a1", "a2", "b0"]
    run(database, "a1")
    found = find(database, by_kind={"a": 2})
    assert (found.room, ids(found)) == ({"a": 0}, ["b0"])
    assert ids(find(database, by_kind={"a": 0, "b": 0})) == []
    database.write_now(jobs.request_cancel, "a2", NOW_MS)
    assert ids(find(database, by_kind={"a": 1})) == ["a2", "b0"], "what is to be cancelled takes nobody's place"


def test_nodes(database: Database) -> None:
    add(database, "anywhere")
    add(database, "here", node="http://here")
    add(database, "there", node="http://there")
    assert sorted(ids(find(database))) == ["anywhere"]
    assert sorted(ids(find(database, node="http://here"))) == ["anywhere", "here"]


def test_cancelling_waits_for_its_node_only_for_a_while(database: Database) -> None:
    add(database, "there", node="http://there")
    assert database.write_now(jobs.request_cancel, "there", NOW_MS)
    assert ids(find(database, node="http://there")) == ["there"]
    assert ids(find(database, now_ms=NOW_MS + CANCEL_ANYWHERE_AFTER_MS - 1)) == []
    assert ids(find(database, now_ms=NOW_MS + CANCEL_ANYWHERE_AFTER_MS)) == ["there"]


def test_what_is_to_be_cancelled_comes_first(database: Database) -> None:
    add(database, "urgent", age_ms=100)
    for name in names("a", 3):
        add(database, name, "A", priority=20)
    database.write_now(jobs.request_cancel, "a2", NOW_MS)
    found = find(database, per_project=1)
    assert ids(found) == ["a2", "urgent", "a0", "a1"]
    assert found.candidates[0].within_share


def test_turns_while_everything_is_claimed(database: Database) -> None:
    """Three projects, ten places: whoever came first has no more than the others in the end."""
    for project, count in (("A", 30), ("B", 8), ("C", 3)):
        for number in range(count):
            add(database, f"{project}{number:02}", project, age_ms=-number)
    taken: list[str] = []
    for _ in range(10):
        found = find(database, now_ms=NOW_MS + 1000, per_project=100)
        taken.append(found.candidates[0].job.id)
        run(database, taken[-1])
    assert Counter(name[0] for name in taken) == {"A": 4, "B": 3, "C": 3}


@pytest.mark.parametrize("waiting", [0, 50])
def test_it_takes_two_statements(database: Database, waiting: int) -> None:
    for number in range(waiting):
        add(database, f"{number}", f"p{number % 7}")
    run(database, *(str(number) for number in range(waiting // 2)))
    seen: list[str] = []
    event.listen(database.engines.reading, "before_cursor_execute", lambda *call: seen.append(call[2]))
    find(database, by_kind={"a": 40})
    assert len([text for text in seen if not text.startswith("BEGIN")]) == 2
