"""Jobs: claimed by one, done once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from blick.db import jobs
from blick.db.engine import Database
from blick.db.jobs import Job, NewJob
from blick.model.errors import Gone

KINDS = ("a", "b")


def add(database: Database, job_id: str = "1", kind: str = "a", now_ms: int = 1000) -> Job:
    database.write_now(jobs.add, NewJob(job_id, kind, {"x": [1, "ü"]}), now_ms)
    return next(job for job in found(database) if job.id == job_id)


def found(database: Database, now_ms: int = 1000) -> list[Job]:
    return database.read_now(jobs.candidates, KINDS, "", now_ms, 100)


def claim(database: Database, job: Job, token: str = "t1", until_ms: int = 2000) -> Job | None:
    return database.write_now(jobs.claim, job, token, "holder", until_ms)


def test_a_new_job(database: Database) -> None:
    job = add(database)
    assert job == Job("1", "a", {"x": [1, "ü"]}, "", "", "", 0, 1000, created_at_ms=1000)
    assert job.is_free
    assert found(database, 999) == []
    assert database.read_now(jobs.candidates, ("b",), "", 1000, 100) == []
    add(database, "0", "b", 900)
    assert [job.id for job in found(database)] == ["0", "1"]
    assert [job.id for job in database.read_now(jobs.candidates, KINDS, "", 1000, 1)] == ["0"]


def test_a_claim_is_for_one(database: Database) -> None:
    job = add(database)
    ours = claim(database, job)
    assert ours is not None
    assert (ours.token, ours.holder, ours.attempts, ours.available_at_ms) == ("t1", "holder", 1, 2000)
    assert claim(database, job, "t2") is None
    assert found(database) == [ours], "held ones are shown: their holder may be dead"
    taken_over = claim(database, ours, "t2", 3000)
    assert taken_over is not None
    assert taken_over.attempts == 2


def test_racing_claims(database: Database) -> None:
    """However many try, each job is one's."""
    wanted = [add(database, str(number)) for number in range(5)]
    with ThreadPoolExecutor(8) as threads:
        claims = [threads.submit(claim, database, job, f"t{worker}") for worker in range(8) for job in wanted]
        won = [job.id for job in (claimed.result() for claimed in claims) if job is not None]
    assert sorted(won) == ["0", "1", "2", "3", "4"]


def test_every_write_names_the_token(database: Database) -> None:
    ours = claim(database, add(database))
    assert ours is not None
    database.write_now(jobs.advance, ours, "half")
    assert found(database)[0].step == "half"
    thief = claim(database, ours, "t2", 3000)
    assert thief is not None
    for transaction in (lambda c: jobs.advance(c, ours, "late"), lambda c: jobs.finish(c, ours, 5)):
        with pytest.raises(Gone):
            database.write_now(transaction)
    database.write_now(jobs.release, ours, 0, "late")
    database.write_now(jobs.renew, ("t1",), 9000)
    [job] = found(database)
    assert (job.step, job.token, job.available_at_ms) == ("half", "t2", 3000)
    database.write_now(jobs.finish, thief, 4000)
    assert found(database) == []


def test_giving_back_and_renewing(database: Database) -> None:
    ours = claim(database, add(database))
    assert ours is not None
    database.write_now(jobs.renew, ("t1", "other"), 5000)
    assert found(database)[0].available_at_ms == 5000
    database.write_now(jobs.renew, (), 9000)
    database.write_now(jobs.release, ours, 6000, "some error")
    assert found(database, 5999) == []
    [job] = found(database, 6000)
    assert (job.is_free, job.attempts) == (True, 1)


def test_calling_off(database: Database) -> None:
    ours = claim(database, add(database))
    assert ours is not None
    database.write_now(jobs.call_off, "1", 7, "not wanted")
    database.write_now(jobs.call_off, "1", 7, "not wanted")
    with pytest.raises(Gone):
        database.write_now(jobs.finish, ours, 8)
