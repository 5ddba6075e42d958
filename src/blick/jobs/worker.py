"""Does jobs: so many at once, each kind by its handler, until told to stop."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from blick.db.jobs import Job
from blick.jobs.queue import RENEWAL_S, JobQueue
from blick.model.errors import BlickError, Gone
from blick.stream.hop import to_the_end

_log = logging.getLogger(__name__)

Handler = Callable[[Job], Awaitable[None]]
"""Does a job, from the step at which it is, and finishes it in the database. May run again after it was cut off
anywhere. What it raises puts the job off; Gone means that the job is somebody else's by now."""

# How long a job of another process, or one that was put off, may lie before somebody looks.
POLL_S = 5.0


class Worker:
    """Takes jobs of the kinds in `handlers`, `most` at once. `wanted` is set by whoever has just added one."""

    def __init__(self, queue: JobQueue, handlers: Mapping[str, Handler], most: int, wanted: asyncio.Event) -> None:
        self._queue = queue
        self._handlers = handlers
        self._most = most
        self._wanted = wanted
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Work until cancelled; then everything under way is cut off and given back before this ends."""
        renewing = asyncio.create_task(self._renew_forever(), name="renewal of jobs")
        try:
            while True:
                await self._guarded(self._start_due)
                await self._pause()
        finally:
            tasks = {renewing, *self._running}
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def work_off(self) -> int:
        """Do what is due now, one after the other, until nothing is; gives how many there were."""
        count = 0
        while claimed := await self._queue.claim(self._handlers.keys(), 1):
            await self._do(claimed[0])
            count += 1
        return count

    async def _start_due(self) -> None:
        self._wanted.clear()
        room = self._most - len(self._running)
        for job in await self._queue.claim(self._handlers.keys(), room) if room > 0 else ():
            task = asyncio.create_task(self._do(job), name=f"job {job.id}")
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _pause(self) -> None:
        """Until there may be something to start: a new job, a free place, or a while has passed."""
        news = asyncio.create_task(self._wanted.wait())
        try:
            await asyncio.wait({news, *self._running}, timeout=POLL_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()

    async def _do(self, job: Job) -> None:
        try:
            await self._handlers[job.kind](job)
        except asyncio.CancelledError:
            await to_the_end(self._give_back(job, None))
            raise
        except Gone as error:
            _log.info("%s", error)
        except BlickError as error:
            _log.warning("job %s (%s) will be tried again: %s", job.id, job.kind, error)
            await self._give_back(job, str(error))
        except Exception as error:
            _log.exception("job %s (%s) failed and will be tried again", job.id, job.kind)
            await self._give_back(job, type(error).__name__)
        finally:
            self._queue.held.discard(job.token)

    async def _give_back(self, job: Job, error: str | None) -> None:
        """What cannot be given back now lapses by itself."""

        async def give_back() -> None:
            await self._queue.give_back(job, error)

        await self._guarded(give_back)

    async def _renew_forever(self) -> None:
        while True:
            await asyncio.sleep(RENEWAL_S)
            await self._guarded(self._queue.renew)

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Whatever goes wrong is logged: nothing may end the worker."""
        try:
            await work()
        except BlickError as error:
            _log.warning("jobs will be looked at again: %s", error)
        except Exception:
            _log.exception("looking after jobs failed and will be tried again")
