"""A worker: does what is due, ends what is not wanted, gives back what it cannot finish. On every engine."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import event

from blick.db import jobs
from blick.db.engine import Database
from blick.db.jobs import CANCELLED, FAILURE, SUCCESS, Job, NewJob
from blick.jobs.kinds import Ending, JobKind
from blick.jobs.queue import JobQueue, Shares
from blick.jobs.worker import MOST_ATTEMPTS, Worker
from blick.model.errors import Conflict, Gone
from tests.support.jobs import at_work

START_MS = 1_700_000_000_000


@dataclass
class Site:
    """A database, a clock, and a kind of job whose handlers note what they are called for."""

    database: Database
    ms: int = START_MS
    tokens: int = 0
    ran: list[str] = field(default_factory=list)
    undone: list[tuple[Job, Ending]] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)  # what the next handlers raise, the last one first
    troubles: list[Exception] = field(default_factory=list)  # the same for undoing
    running: int = 0
    most_running: int = 0
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    def now_ms(self) -> int:
        return self.ms

    def token(self) -> str:
        self.tokens += 1
        return f"token {self.tokens}"

    def add(self, job_id: str = "1", kind: str = "quick", **more: Any) -> None:
        self.database.write_now(jobs.add, NewJob(job_id, kind, {}, **more), self.ms)

    def get(self, job_id: str = "1") -> Job:
        job = self.database.read_now(jobs.get, job_id)
        assert job is not None
        return job

    def queue(self, holder: str = "w1", dead: Collection[str] = (), shares: Shares | None = None) -> JobQueue:
        return JobQueue(
            self.database, holder, dead.__contains__, self.now_ms, self.token, set(), shares=shares or Shares()
        )

    def worker(self, queue: JobQueue | None = None, most: int = 3) -> Worker:
        return Worker(queue or self.queue(), self.kinds(), most, asyncio.Event())

    def kinds(self) -> Mapping[str, JobKind]:
        return {"quick": JobKind(self.quick, self.undo), "waiting": JobKind(self.waiting, self.undo)}

    async def quick(self, job: Job) -> None:
        self.ran.append(job.id)
        if self.errors:
            raise self.errors.pop()
        await self.database.write(jobs.finish, job, self.ms)

    async def waiting(self, job: Job) -> None:
        """Comes to a step, then does not go on before the test says so."""
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.database.write(jobs.advance, job, "half", {"bytes": 7})
            self.begun.set()
            await self.go.wait()
            await self.quick(job)
        finally:
            self.running -= 1

    async def undo(self, job: Job, ending: Ending) -> None:
        self.undone.append((job, ending))
        if self.troubles:
            raise self.troubles.pop()
        await self.database.write(jobs.finish, job, self.ms, ending.outcome, ending.message)

    async def cancel(self, job_id: str = "1", message: str | None = None) -> None:
        assert await self.database.write(jobs.request_cancel, job_id, self.ms, message)

    async def until(self, is_so: Callable[[], bool]) -> None:
        for _ in range(6000):
            if is_so():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("it never came")


@pytest.fixture
def site(database: Database) -> Site:
    return Site(database)


def told(job: Job) -> tuple[str, str | None]:
    return job.outcome, job.message


class TestClaims:
    async def test_what_it_costs(self, site: Site) -> None:
        queue = site.queue(shares=Shares(by_kind={"quick": 5}))
        seen: list[str] = []
        for engine in {site.database.engines.reading, site.database.engines.writing}:
            event.listen(engine, "before_cursor_execute", lambda *call: seen.append(call[2]))

        def verbs() -> list[str]:
            found = [text.split()[0] for text in seen if not text.startswith("BEGIN")]
            seen.clear()
            return found

        assert await queue.claim(["quick"], 10) == []
        assert verbs() == ["SELECT", "SELECT"]
        await queue.renew()
        assert await queue.unwanted() == []
        assert verbs() == [], "who has nothing asks nothing"
        site.add("1")
        site.add("2")
        verbs()
        assert len(await queue.claim(["quick"], 10)) == 2
        assert verbs() == ["SELECT", "SELECT", "UPDATE", "SELECT", "UPDATE", "SELECT"]
        await queue.renew()
        assert verbs() == ["UPDATE"]
        await queue.unwanted()
        assert verbs() == ["SELECT"]

    async def test_a_project_that_uses_everything_leaves_a_place(self, site: Site) -> None:
        queue = site.queue(shares=Shares(per_project=2, kept=1))
        for number in range(9):
            site.add(f"A{number}", project_id="A")
        assert [job.id for job in await queue.claim(["quick"], 6)] == ["A0", "A1", "A2", "A3", "A4"]
        assert await queue.claim(["quick"], 1) == []
        site.add("B", project_id="B")
        assert [job.id for job in await queue.claim(["quick"], 1)] == ["B"]

    async def test_limits_by_kind_hold_within_one_claim(self, site: Site) -> None:
        queue = site.queue(shares=Shares(by_kind={"quick": 2}))
        for number in range(4):
            site.add(f"{number}")
        site.add("w", kind="waiting")
        assert [job.id for job in await queue.claim(["quick", "waiting"], 10)] == ["0", "1", "w"]

    async def test_dead_and_stalled_holders(self, site: Site) -> None:
        site.add()
        first = site.queue("w1")
        [job] = await first.claim(["quick"], 1)
        assert await site.queue("w2").claim(["quick"], 1) == []
        assert await first.claim(["quick"], 1) == []
        [taken_over] = await site.queue("w3", dead=["w1"]).claim(["quick"], 1)
        assert (taken_over.attempts, taken_over.holder) == (2, "w3")
        with pytest.raises(Gone):
            await first.read_anew(job)
        site.ms = taken_over.available_at_ms
        [lapsed] = await site.queue("w4").claim(["quick"], 1)
        assert (lapsed.attempts, lapsed.holder) == (3, "w4")
        [forgotten] = await site.queue("w4").claim(["quick"], 1)
        assert forgotten.attempts == 4, "its own, but of a life before"

    async def test_what_was_claimed_by_one_that_is_cut_off_is_free(self, site: Site) -> None:
        """In the same process, too, which goes on with another worker after a reload."""
        for number in range(20):
            site.add(f"{number}")
        queue = site.queue()
        claiming = asyncio.create_task(queue.claim(["quick"], 20))
        await site.until(lambda: len(queue.held) > 2)
        claiming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await claiming
        assert queue.held == set()
        assert await site.worker(queue).work_off() == 20

    async def test_renewed_claims_are_kept(self, site: Site) -> None:
        site.add()
        queue = site.queue()
        [job] = await queue.claim(["quick"], 1)
        site.ms = job.available_at_ms - 1
        await queue.renew()
        site.ms += 2
        assert await site.queue("w2").claim(["quick"], 1) == []


class TestDoing:
    async def test_everything_is_done_and_not_too_much_at_once(self, site: Site) -> None:
        for number in range(10):
            site.add(f"{number}", kind="waiting")
        async with at_work(site.worker(most=3)):
            await site.until(lambda: site.running == 3)
            site.go.set()
            await site.until(lambda: len(site.ran) == 10)
            await site.until(lambda: site.running == 0)
        assert site.most_running == 3
        assert {told(site.get(f"{number}")) for number in range(10)} == {(SUCCESS, None)}

    async def test_two_workers_do_each_job_once(self, site: Site) -> None:
        for number in range(30):
            site.add(f"{number}")
        async with at_work(site.worker(site.queue("w1"))), at_work(site.worker(site.queue("w2"))):
            await site.until(lambda: len(site.ran) >= 30)
        assert sorted(site.ran) == sorted(f"{number}" for number in range(30))

    async def test_stopping_gives_back(self, site: Site) -> None:
        site.add(kind="waiting")
        queue = site.queue()
        async with at_work(site.worker(queue)):
            await asyncio.wait_for(site.begun.wait(), 60)
        job = site.get()
        assert (job.is_free, job.attempts, job.step, job.state) == (True, 0, "half", {"bytes": 7})
        assert job.available_at_ms == START_MS
        assert queue.held == set()
        site.go.set()
        assert await site.worker(site.queue("w2")).work_off() == 1
        assert told(site.get()) == (SUCCESS, None)

    @pytest.mark.parametrize(
        ("error", "says"),
        [(Conflict("something is in the way"), "something is in the way"), (KeyError("x"), "KeyError")],
    )
    async def test_trouble_puts_it_off(self, site: Site, error: Exception, says: str) -> None:
        site.add()
        site.errors = [error]
        worker = site.worker()
        assert await worker.work_off() == 1
        job = site.get()
        assert (job.is_free, job.attempts, job.last_error, job.available_at_ms) == (True, 1, says, START_MS + 2000)
        assert await worker.work_off() == 0
        site.ms += 2000
        assert await worker.work_off() == 1
        assert told(site.get()) == (SUCCESS, None)

    async def test_what_never_works_is_undone(self, site: Site) -> None:
        site.add()
        worker = site.worker()
        for number in range(1, MOST_ATTEMPTS + 1):
            site.errors = [Conflict(f"trouble {number}")]
            assert await worker.work_off() == 1
            site.ms = site.get().available_at_ms
        assert site.undone == []
        assert await worker.work_off() == 1
        assert len(site.ran) == MOST_ATTEMPTS
        assert told(site.get()) == (FAILURE, "It was given up after 10 attempts; the last trouble: trouble 10")

    async def test_what_kills_its_process_is_undone(self, site: Site) -> None:
        site.add()
        for number in range(MOST_ATTEMPTS):
            assert len(await site.queue("w1", dead=["w1"] if number else []).claim(["quick"], 1)) == 1
        assert await site.worker(site.queue("w2", dead=["w1"])).work_off() == 1
        assert site.ran == []
        assert told(site.get())[0] == FAILURE
        assert "its process ended" in (site.get().message or "")

    async def test_a_lost_job_is_left_alone(self, site: Site) -> None:
        site.add(kind="waiting")
        async with at_work(site.worker()):
            await asyncio.wait_for(site.begun.wait(), 60)
            [thief] = await site.queue("w2", dead=["w1"]).claim(["waiting"], 1)
            site.go.set()
            await site.until(lambda: site.running == 0)
        assert site.get() == thief

    async def test_gone_without_being_lost(self, site: Site) -> None:
        """A handler that says so by mistake does not come back at once, and not for ever."""
        site.add()
        site.errors = [Gone("the image is deleted")]
        worker = site.worker()
        assert await worker.work_off() == 1
        job = site.get()
        assert (job.is_free, job.last_error, job.available_at_ms) == (True, "the image is deleted", START_MS + 2000)


class TestCancelling:
    async def test_while_it_runs(self, site: Site) -> None:
        site.add(kind="waiting")
        worker = site.worker()
        async with at_work(worker):
            await asyncio.wait_for(site.begun.wait(), 60)
            await site.cancel()
            await worker.stop_unwanted()
            await site.until(lambda: site.get().outcome != "")
        [(job, ending)] = site.undone
        assert (job.step, job.state, job.token) == ("half", {"bytes": 7}, "token 1")
        assert ending == Ending(CANCELLED, "Cancelled")
        assert told(site.get()) == (CANCELLED, "Cancelled")
        assert site.running == 0
        assert site.ran == []

    async def test_a_worker_looks_by_itself(self, site: Site) -> None:
        site.add(kind="waiting")
        async with at_work(site.worker()):
            await asyncio.wait_for(site.begun.wait(), 60)
            await site.cancel(message="Not now")
            await site.until(lambda: site.get().outcome != "")
        assert told(site.get()) == (CANCELLED, "Not now")

    async def test_before_anybody_had_it(self, site: Site) -> None:
        site.add()
        await site.cancel()
        assert await site.worker().work_off() == 1
        assert site.ran == []
        assert told(site.get()) == (CANCELLED, "Cancelled")

    async def test_while_it_waits_for_another_attempt(self, site: Site) -> None:
        site.add()
        site.errors = [Conflict("trouble")]
        await site.worker().work_off()
        await site.cancel()
        assert await site.worker().work_off() == 1
        assert told(site.get()) == (CANCELLED, "Cancelled")

    async def test_only_that_one(self, site: Site) -> None:
        for number in range(3):
            site.add(f"{number}", kind="waiting")
        worker = site.worker()
        async with at_work(worker):
            await site.until(lambda: site.running == 3)
            await site.cancel("1")
            await worker.stop_unwanted()
            await site.until(lambda: site.running == 2)
            site.go.set()
            await site.until(lambda: site.running == 0)
            await site.until(lambda: all(site.get(f"{number}").outcome for number in range(3)))
        assert [site.get(f"{number}").outcome for number in range(3)] == [SUCCESS, CANCELLED, SUCCESS]

    async def test_undoing_is_tried_again(self, site: Site) -> None:
        site.add()
        await site.cancel()
        site.troubles = [KeyError("bug"), Conflict("a store is away")]
        worker = site.worker()
        for says in ("a store is away", "KeyError"):
            assert await worker.work_off() == 1
            job = site.get()
            assert (job.outcome, job.last_error) == ("", says)
            site.ms = job.available_at_ms
        assert await worker.work_off() == 1
        assert told(site.get()) == (CANCELLED, "Cancelled")
        assert len(site.undone) == 3

    async def test_undoing_is_given_back_and_gone_on_with(self, site: Site) -> None:
        """The worker is stopped between the end of the handler and that of the job."""
        site.add(kind="waiting")
        begun = asyncio.Event()

        async def hang(_job: Job, _ending: Ending) -> None:
            begun.set()
            await asyncio.Event().wait()

        queue = site.queue()
        worker = Worker(queue, {"waiting": JobKind(site.waiting, hang)}, 1, asyncio.Event())
        async with at_work(worker):
            await asyncio.wait_for(site.begun.wait(), 60)
            await site.cancel()
            await worker.stop_unwanted()
            await asyncio.wait_for(begun.wait(), 60)
            await worker.stop_unwanted()
        assert site.get().is_free
        assert queue.held == set()
        assert await site.worker(site.queue("w2")).work_off() == 1
        assert told(site.get()) == (CANCELLED, "Cancelled")

    async def test_too_late(self, site: Site) -> None:
        """It is done, and only its handler has not ended: that is left alone, and so is what became of the job."""
        site.add(kind="tidying")
        done, go, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def finish_and_tidy(job: Job) -> None:
            await site.database.write(jobs.finish, job, site.ms)
            done.set()
            await go.wait()
            ended.set()

        worker = Worker(site.queue(), {"tidying": JobKind(finish_and_tidy, site.undo)}, 1, asyncio.Event())
        async with at_work(worker):
            await asyncio.wait_for(done.wait(), 60)
            assert not await site.database.write(jobs.request_cancel, "1", site.ms)
            await worker.stop_unwanted()
            go.set()
            await asyncio.wait_for(ended.wait(), 60)
        assert told(site.get()) == (SUCCESS, None)
        assert site.undone == []


class TestLog:
    """Who reads it at night learns of which job and image it is, what happened, and what comes next."""

    @pytest.fixture(autouse=True)
    def everything(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "blick")

    async def test_taking_over(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        site.add(image_id="disk")
        await site.queue("w1").claim(["quick"], 1)
        assert await site.worker(site.queue("w2", dead=["w1"])).work_off() == 1
        assert lines(caplog) == [
            "WARNING job 1 (quick, image disk) is taken over from w1, which is gone or gave no sign of life",
            "INFO job 1 (quick, image disk) begins: attempt 2, at step one",
        ]

    async def test_what_is_free_is_nobodys(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        site.add(image_id="disk")
        assert await site.worker().work_off() == 1
        assert lines(caplog) == ["INFO job 1 (quick, image disk) begins: attempt 1, at step one"]

    async def test_trouble(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        site.add(image_id="disk")
        worker = site.worker()
        for seconds in (2, 4):
            site.errors = [Conflict("the database is away")]
            assert await worker.work_off() == 1
            assert lines(caplog)[-1] == (
                f"WARNING job 1 (quick, image disk) will be tried again in {seconds} s: the database is away"
            )
            site.ms = site.get().available_at_ms
        assert "Traceback" not in caplog.text

    async def test_giving_up(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        site.add(image_id="disk")
        for number in range(MOST_ATTEMPTS):
            assert len(await site.queue("w1", dead=["w1"] if number else []).claim(["quick"], 1)) == 1
        assert await site.worker(site.queue("w2", dead=["w1"])).work_off() == 1
        assert lines(caplog)[-1] == (
            "WARNING job 1 (quick, image disk) is being undone: It was given up after 10 attempts; "
            "the last trouble: its process ended"
        )

    async def test_cancelling(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        site.add(image_id="disk")
        await site.cancel()
        assert await site.worker().work_off() == 1
        assert lines(caplog) == ["INFO job 1 (quick, image disk) is being undone: Cancelled"]

    async def test_stopping(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        site.add(kind="waiting", image_id="disk")
        async with at_work(site.worker()):
            await asyncio.wait_for(site.begun.wait(), 60)
        assert lines(caplog)[-1] == "INFO job 1 (waiting, image disk) is given back: this process stops"


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [f"{record.levelname} {record.getMessage()}" for record in caplog.records if record.name.startswith("blick")]
