"""Does jobs: so many at once, each as its kind says, until told to stop; ends those that nobody wants any more."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from blick.db.jobs import CANCELLED, Job
from blick.jobs.kinds import Ending, JobKind, cancelled, given_up
from blick.jobs.queue import RENEWAL_S, JobQueue
from blick.model.errors import BlickError, Gone
from blick.stream.hop import to_the_end

_log = logging.getLogger(__name__)

# How long a job of another process, or one that was put off, may lie before somebody looks.
POLL_S = 2.0
# How long a job may go on that nobody wants any more.
CANCEL_POLL_S = 2.0
# A job that has failed this often, or has taken its process with it, is undone. The last wait is a quarter of an hour.
MOST_ATTEMPTS = 10


class Worker:
    """Takes jobs of these kinds, `most` at once. `wanted` is set by whoever has just added one."""

    def __init__(self, queue: JobQueue, kinds: Mapping[str, JobKind], most: int, wanted: asyncio.Event) -> None:
        self._queue = queue
        self._kinds = kinds
        self._most = most
        self._wanted = wanted
        self._running: set[asyncio.Task[None]] = set()
        self._stoppable: dict[str, asyncio.Task[None]] = {}  # by job: those whose handler may be cancelled

    async def run(self) -> None:
        """Work until cancelled; then everything under way is cut off and given back before this ends."""
        helpers = (
            asyncio.create_task(self._forever(RENEWAL_S, self._queue.renew), name="renewal of jobs"),
            asyncio.create_task(self._forever(CANCEL_POLL_S, self.stop_unwanted), name="cancelling of jobs"),
        )
        try:
            while True:
                await self._guarded(self._start_due)
                await self._pause()
        finally:
            tasks = {*helpers, *self._running}
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def work_off(self) -> int:
        """Do what is due now, one after the other, until nothing is; gives how many there were."""
        count = 0
        while claimed := await self._queue.claim(self._kinds.keys(), 1):
            await self._do(claimed[0])
            count += 1
        return count

    async def stop_unwanted(self) -> None:
        """Cut off the handlers of jobs that are to be cancelled; undoing follows. Raises ServiceUnavailable."""
        for job_id in await self._queue.unwanted():
            task = self._stoppable.pop(job_id, None)
            if task is not None:
                task.cancel()

    async def _start_due(self) -> None:
        self._wanted.clear()
        room = self._most - len(self._running)
        for job in await self._queue.claim(self._kinds.keys(), room) if room > 0 else ():
            task = asyncio.create_task(self._do(job), name=f"job {job.id}")
            self._running.add(task)
            task.add_done_callback(partial(self._ended, job))

    def _ended(self, job: Job, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._queue.held.discard(job.token)  # for one that was cancelled before it began

    async def _pause(self) -> None:
        """Until there may be something to start: a new job, a free place, or a while has passed."""
        news = asyncio.create_task(self._wanted.wait())
        try:
            await asyncio.wait({news, *self._running}, timeout=POLL_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()

    async def _do(self, job: Job) -> None:
        name = _name(job)
        try:
            ending = await self._run(job)
            if ending is not None:
                await self._undo(job, ending)
        except asyncio.CancelledError:
            _log.info("%s is given back: this process stops", name)
            await to_the_end(self._give_back(job, None))
            raise
        except Gone as error:
            _log.info("%s: %s", name, error)
            # Without effect if it is another's or over. If it is ours nevertheless it must not come back at once.
            await self._give_back(job, str(error))
        except BlickError as error:
            _log.warning("%s will be tried again in %d s: %s", name, self._queue.pause_ms(job) // 1000, error)
            await self._give_back(job, str(error))
        except Exception as error:
            _log.exception("%s failed and will be tried again in %d s", name, self._queue.pause_ms(job) // 1000)
            await self._give_back(job, type(error).__name__)
        finally:
            self._queue.held.discard(job.token)

    async def _run(self, job: Job) -> Ending | None:
        """Do it, if it is to be done; else, or if it is cancelled meanwhile, how it is to end."""
        if job.cancel_requested:
            return cancelled(job)
        if job.attempts > MOST_ATTEMPTS:
            return given_up(job, MOST_ATTEMPTS)
        task = asyncio.current_task()
        assert task is not None
        self._stoppable[job.id] = task
        _log.info("%s begins: attempt %d, at step %s", _name(job), job.attempts, job.step or "one")
        try:
            await self._kinds[job.kind].run(job)
        except asyncio.CancelledError:
            is_unwanted = job.id not in self._stoppable
            if not is_unwanted or task.uncancel() > 0:  # the process stops
                raise
            return cancelled(await self._queue.read_anew(job))
        finally:
            self._stoppable.pop(job.id, None)
        return None

    async def _undo(self, job: Job, ending: Ending) -> None:
        """Its handler has ended by now, and nobody else has the job."""
        level = logging.INFO if ending.outcome == CANCELLED else logging.WARNING
        _log.log(level, "%s is being undone: %s", _name(job), ending.message)
        current = await self._queue.read_anew(job)
        await self._kinds[job.kind].cancel(current, ending)

    async def _give_back(self, job: Job, error: str | None) -> None:
        """What cannot be given back now lapses by itself."""

        async def give_back() -> None:
            await self._queue.give_back(job, error)

        await self._guarded(give_back)

    async def _forever(self, every_s: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(every_s)
            await self._guarded(work)

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Whatever goes wrong is logged: nothing may end the worker."""
        try:
            await work()
        except BlickError as error:
            _log.warning("jobs will be looked at again: %s", error)
        except Exception:
            _log.exception("looking after jobs failed and will be tried again")


def _name(job: Job) -> str:
    return f"job {job.id} ({job.kind}, image {job.image_id})"
