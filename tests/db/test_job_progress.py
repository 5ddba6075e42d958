"""How far a job is: noted often, written now and then, and never once the job is somebody else's."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime

import pytest
from sqlalchemy import Connection

from blick.db import jobs
from blick.db.engine import Database
from blick.db.jobs import Job, NewJob
from blick.jobs.progress import SIGN_EVERY_MS, WRITE_EVERY_MS, Progress
from blick.model.errors import Gone, ServiceUnavailable

START_MS = 1_700_000_000_000


@dataclass
class Clock:
    """Says the time that the test has set, and what was signed at which time."""

    ms: int = START_MS
    signs: list[datetime] = field(default_factory=list)

    def __call__(self) -> int:
        return self.ms

    def sign(self, _connection: Connection, now: datetime) -> None:
        self.signs.append(now)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def job(database: Database) -> Job:
    database.write_now(jobs.add, NewJob("1", "a", {}), START_MS)
    added = database.read_now(jobs.get, "1")
    assert added is not None
    claimed = database.write_now(jobs.claim, added, "t1", "holder", START_MS + 60_000)
    assert claimed is not None
    return claimed


def told(database: Database) -> tuple[str, int, int | None]:
    job = database.read_now(jobs.get, "1")
    assert job is not None
    return job.phase, job.bytes_done, job.bytes_total


async def test_written_now_and_then(database: Database, job: Job, clock: Clock) -> None:
    progress = Progress(database, job, clock)
    await progress.note("fetching", 0, 100)
    assert told(database) == ("fetching", 0, 100)
    await progress.note("fetching", 10, 100)
    clock.ms += WRITE_EVERY_MS - 1
    await progress.note("fetching", 20, 100)
    assert told(database) == ("fetching", 0, 100), "too early"
    clock.ms += 1
    await progress.note("fetching", 30, 100)
    assert told(database) == ("fetching", 30, 100)
    await progress.note("storing", 0)
    assert told(database) == ("storing", 0, None), "what it does now is told at once"
    await progress.note("storing", 7)
    await progress.write()
    assert told(database) == ("storing", 7, None)


async def test_many_at_once(database: Database, job: Job, clock: Clock) -> None:
    """Stores that are written at the same time tell of one job; what was noted last is what shows in the end."""
    progress = Progress(database, job, clock)
    await asyncio.gather(*(progress.note(f"storing in {number}", number) for number in range(20)))
    assert told(database) == ("storing in 19", 19, None)


async def test_signs_of_life(database: Database, job: Job, clock: Clock) -> None:
    progress = Progress(database, job, clock, clock.sign)
    await progress.note("fetching", 0)
    assert [sign.isoformat() for sign in clock.signs] == ["2023-11-14T22:13:20"]
    for _ in range(SIGN_EVERY_MS // WRITE_EVERY_MS - 1):
        clock.ms += WRITE_EVERY_MS
        await progress.note("fetching", 1)
    assert len(clock.signs) == 1
    clock.ms += WRITE_EVERY_MS
    await progress.note("fetching", 2)
    assert [sign.isoformat() for sign in clock.signs[1:]] == ["2023-11-14T22:13:50"]


async def test_a_sign_that_fails_undoes_what_was_told(database: Database, job: Job, clock: Clock) -> None:
    def lost(_connection: Connection, _now: datetime) -> None:
        raise Gone("the lock is somebody else's")

    progress = Progress(database, job, clock, lost)
    with pytest.raises(Gone):
        await progress.note("fetching", 5)
    assert told(database) == ("", 0, None)


async def test_whoever_lost_the_job_is_told(database: Database, job: Job, clock: Clock) -> None:
    assert database.write_now(jobs.claim, job, "t2", "thief", START_MS + 60_000) is not None
    with pytest.raises(Gone):
        await Progress(database, job, clock).note("fetching", 1)
    assert told(database) == ("", 0, None)


async def test_a_database_that_does_not_answer_ends_nothing(database: Database, job: Job, clock: Clock) -> None:
    def trouble(_connection: Connection, now: datetime) -> None:
        if len(clock.signs) == 0:
            clock.signs.append(now)
            raise ServiceUnavailable("no answer")

    progress = Progress(database, job, clock, trouble)
    await progress.note("fetching", 1)
    assert told(database) == ("", 0, None)
    await progress.note("fetching", 2)
    assert told(database) == ("", 0, None), "it is not asked again at once"
    clock.ms += WRITE_EVERY_MS
    await progress.note("fetching", 3)
    assert told(database) == ("fetching", 3, None)


async def test_who_succeeded_did_all_of_it(database: Database, job: Job, clock: Clock) -> None:
    progress = Progress(database, job, clock)
    await progress.note("fetching", 0, 100)
    await progress.note("fetching", 100, 100)
    assert told(database) == ("fetching", 0, 100)
    database.write_now(jobs.finish, job, START_MS)
    assert told(database) == ("", 100, 100)


async def test_of_how_much_nobody_knew(database: Database, job: Job, clock: Clock) -> None:
    await Progress(database, job, clock).note("storing", 7)
    database.write_now(jobs.finish, job, START_MS)
    assert told(database) == ("", 7, None)


@pytest.mark.parametrize("outcome", [jobs.FAILURE, jobs.CANCELLED])
async def test_where_it_stopped(database: Database, job: Job, clock: Clock, outcome: str) -> None:
    await Progress(database, job, clock).note("fetching", 7, 100)
    database.write_now(jobs.finish, job, START_MS, outcome, "no more")
    assert told(database) == ("fetching", 7, 100)
