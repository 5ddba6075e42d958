"""Jobs: claimed by one, done once; what they come to stays to be looked at."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Connection

from blick.db import jobs
from blick.db.engine import Database
from blick.db.jobs import Job, NewJob
from blick.model.errors import Gone
from tests.support.jobs import fail


def add(database: Database, job_id: str = "1", **more: Any) -> Job:
    database.write_now(jobs.add, NewJob(job_id, "a", {"x": [1, "ü"]}, **more), 1000)
    return get(database, job_id)


def get(database: Database, job_id: str = "1") -> Job:
    job = database.read_now(jobs.get, job_id)
    assert job is not None
    return job


def claim(database: Database, job: Job, token: str = "t1", until_ms: int = 2000) -> Job | None:
    return database.write_now(jobs.claim, job, token, "holder", until_ms)


def claimed(database: Database, job_id: str = "1") -> Job:
    ours = claim(database, add(database, job_id))
    assert ours is not None
    return ours


def test_a_new_job(database: Database) -> None:
    job = add(database)
    assert job == Job("1", "a", {"x": [1, "ü"]}, "", "", "", 0, 1000, created_at_ms=1000)
    assert job.is_free
    full = add(
        database, "2", project_id="p1", image_id="i", node="http://n", priority=7, secret="s", state={"done": ["ä"]}
    )
    assert (full.project_id, full.image_id, full.node, full.priority) == ("p1", "i", "http://n", 7)
    assert full.state == {"done": ["ä"]}
    assert database.read_now(jobs.secret_of, full) == "s"
    assert database.read_now(jobs.get, "3") is None


def test_jobs_of_an_image(database: Database) -> None:
    for job_id in ("2", "1"):
        add(database, job_id, image_id="i")
    add(database, "3", image_id="j")
    assert [job.id for job in database.read_now(jobs.of_image, "i")] == ["1", "2"]
    database.write_now(fail, "1", 7, "not wanted")
    assert [job.id for job in database.read_now(jobs.of_image, "i")] == ["2"]


def test_a_claim_is_for_one(database: Database) -> None:
    job = add(database)
    ours = claim(database, job)
    assert ours is not None
    assert (ours.token, ours.holder, ours.attempts, ours.available_at_ms) == ("t1", "holder", 1, 2000)
    assert get(database) == ours
    assert claim(database, job, "t2") is None
    taken_over = claim(database, ours, "t2", 3000)
    assert taken_over is not None
    assert taken_over.attempts == 2


def test_who_takes_over_sees_how_far_it_was(database: Database) -> None:
    """Also what the one before has written after the job was looked at."""
    seen = claimed(database)
    database.write_now(jobs.advance, seen, "half", {"bytes": 5})
    assert database.write_now(jobs.request_cancel, "1")
    ours = claim(database, seen, "t2", 3000)
    assert ours is not None
    assert (ours.step, ours.state, ours.cancel_requested) == ("half", {"bytes": 5}, True)


def test_racing_claims(database: Database) -> None:
    """However many try, each job is one's."""
    wanted = [add(database, str(number)) for number in range(5)]
    with ThreadPoolExecutor(8) as threads:
        claims = [threads.submit(claim, database, job, f"t{worker}") for worker in range(8) for job in wanted]
        won = [job.id for job in (claimed.result() for claimed in claims) if job is not None]
    assert sorted(won) == ["0", "1", "2", "3", "4"]


LATE: list[Callable[[Connection, Job], None]] = [
    lambda connection, job: jobs.advance(connection, job, "late"),
    lambda connection, job: jobs.advance(connection, job, "late", {"late": True}),
    lambda connection, job: jobs.tell(connection, job, "late", 5, 5),
    lambda connection, job: jobs.finish(connection, job, 5),
    lambda connection, job: jobs.finish(connection, job, 5, jobs.FAILURE, "late"),
]


def test_every_write_names_the_token(database: Database) -> None:
    ours = claimed(database)
    database.write_now(jobs.advance, ours, "half")
    thief = claim(database, ours, "t2", 3000)
    assert thief is not None
    for transaction in LATE:
        with pytest.raises(Gone):
            database.write_now(transaction, ours)
    database.write_now(jobs.release, ours, 0, "late")
    database.write_now(jobs.renew, ("t1",), 9000)
    assert get(database) == thief
    assert thief.step == "half"
    database.write_now(jobs.finish, thief, 4000)
    for transaction in LATE:
        with pytest.raises(Gone):
            database.write_now(transaction, thief)
    assert claim(database, thief, "t3") is None


def test_steps_and_state(database: Database) -> None:
    ours = claimed(database)
    database.write_now(jobs.advance, ours, "fetched", {"size": 1 << 40})
    database.write_now(jobs.advance, ours, "stored")
    assert (get(database).step, get(database).state) == ("stored", {"size": 1 << 40})
    database.write_now(jobs.tell, ours, "storing", 1 << 40, None)
    job = get(database)
    assert (job.phase, job.bytes_done, job.bytes_total) == ("storing", 1 << 40, None)


@pytest.mark.parametrize(
    ("outcome", "message"), [(jobs.SUCCESS, None), (jobs.FAILURE, "no room ü"), (jobs.CANCELLED, "Cancelled")]
)
def test_how_it_ended_stays(database: Database, outcome: str, message: str | None) -> None:
    ours = claim(database, add(database, secret="s"))
    assert ours is not None
    database.write_now(jobs.finish, ours, 4000, outcome, message)
    job = get(database)
    assert (job.outcome, job.message, job.ended_at_ms, job.token, job.holder) == (outcome, message, 4000, "", "")
    assert database.read_now(jobs.secret_of, job) is None
    assert not database.write_now(jobs.request_cancel, "1")
    assert get(database) == job


def test_giving_back_and_renewing(database: Database) -> None:
    ours = claimed(database)
    database.write_now(jobs.renew, ("t1", "other"), 5000)
    assert get(database).available_at_ms == 5000
    database.write_now(jobs.renew, (), 9000)
    database.write_now(jobs.release, ours, 6000, "some error")
    job = get(database)
    assert (job.is_free, job.holder, job.attempts, job.available_at_ms) == (True, "", 1, 6000)
    assert job.last_error == "some error"


def test_being_cut_short_is_no_attempt(database: Database) -> None:
    """However often its workers are stopped, the job is not to blame."""
    job = add(database)
    for number in range(3):
        ours = claim(database, job, f"t{number}")
        assert ours is not None
        database.write_now(jobs.release, ours, 1500)
        job = get(database)
        assert (job.is_free, job.attempts, job.last_error) == (True, 0, None)


def test_asking_for_an_end(database: Database) -> None:
    assert not database.write_now(jobs.request_cancel, "1")
    ours = claimed(database)
    claimed(database, "2")
    tokens = ("t1", "other")
    assert database.read_now(jobs.to_be_cancelled, ()) == []
    assert database.read_now(jobs.to_be_cancelled, tokens) == []
    assert database.write_now(jobs.request_cancel, "1", 1500, "Changed my mind")
    assert database.read_now(jobs.to_be_cancelled, tokens) == ["1"]
    job = get(database)
    assert (job.available_at_ms, job.message) == (2000, "Changed my mind"), "it is its holder's still"
    database.write_now(jobs.release, ours, 9000, "trouble")
    assert database.write_now(jobs.request_cancel, "1", 1600)
    assert get(database).available_at_ms == 1600, "it is not waited for what it waited for"


def test_what_its_node_never_takes(database: Database) -> None:
    add(database, "elsewhere", node="http://n")
    add(database, "anywhere")
    assert database.write_now(jobs.cancel_stranded, 1000, 5000, "nobody came") == 0
    assert database.write_now(jobs.cancel_stranded, 1001, 5000, "nobody came") == 1
    assert database.write_now(jobs.cancel_stranded, 1001, 5000, "nobody came") == 0
    job = get(database, "elsewhere")
    assert (job.cancel_requested, job.message, job.available_at_ms) == (True, "nobody came", 5000)
    assert not get(database, "anywhere").cancel_requested


def test_forgetting(database: Database) -> None:
    for number, ended_at_ms in enumerate((1999, 2000)):
        ours = claim(database, add(database, str(number)), f"t{number}")
        assert ours is not None
        database.write_now(jobs.finish, ours, ended_at_ms)
    add(database, "open")
    assert database.write_now(jobs.forget, 2000) == 1
    assert database.read_now(jobs.get, "0") is None
    assert get(database, "1").outcome == jobs.SUCCESS
    assert database.write_now(jobs.forget, 1 << 60) == 1
    assert get(database, "open").outcome == ""
