"""How far a job is, as people see it: noted at every buffer, written now and then."""

import asyncio
import logging
from collections.abc import Callable

from blick.db import jobs
from blick.db.engine import Database
from blick.db.jobs import Job, SignOfLife
from blick.model.errors import ServiceUnavailable

_log = logging.getLogger(__name__)

# Who watches wants to see it move; the database has better things to do.
WRITE_EVERY_MS = 2_000
# Well under the minute within which a task has to give a sign of life (spec: import-and-tasks §2).
SIGN_EVERY_MS = 30_000


class Progress:
    """Tells how far `job` is. Cheap to call as often as bytes move, from several coroutines at once.

    `also` is called with the first thing told and then at most every 30 s. A database that does not answer is no reason
    to end a transfer: what could not be written is written later.
    """

    def __init__(self, database: Database, job: Job, now_ms: Callable[[], int], also: SignOfLife | None = None) -> None:
        self._database = database
        self._job = job
        self._now_ms = now_ms
        self._also = also
        self._phase = job.phase
        self._bytes_done = job.bytes_done
        self._bytes_total = job.bytes_total
        self._next_write_ms = 0
        self._next_sign_ms = 0
        self._writing = asyncio.Lock()

    async def note(self, phase: str, bytes_done: int, bytes_total: int | None = None) -> None:
        """The job is doing `phase`, and that far. A new phase is written at once. Raises Gone if it is not ours."""
        is_new = phase != self._phase
        self._phase, self._bytes_done, self._bytes_total = phase, bytes_done, bytes_total
        if is_new or (self._now_ms() >= self._next_write_ms and not self._writing.locked()):
            await self.write()

    async def write(self) -> None:
        """Write what was noted last, now. Raises Gone if the job is not ours."""
        async with self._writing:
            now_ms = self._now_ms()
            signs = self._also is not None and now_ms >= self._next_sign_ms
            # Set before: a database in trouble is not to be asked at every buffer.
            self._next_write_ms = now_ms + WRITE_EVERY_MS
            try:
                await self._database.write(
                    jobs.tell,
                    self._job,
                    self._phase,
                    self._bytes_done,
                    self._bytes_total,
                    self._also if signs else None,
                    now_ms,
                )
            except ServiceUnavailable as error:
                _log.info("how far the job %s is will be told later: %s", self._job.id, error)
                return
            if signs:
                self._next_sign_ms = now_ms + SIGN_EVERY_MS
