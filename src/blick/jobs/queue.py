"""Jobs as a worker process has them: claimed with a token, kept while it lives, given back."""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass

from blick.db import jobs
from blick.db.engine import Database
from blick.db.jobs import Job

_log = logging.getLogger(__name__)

# A claim is renewed every third of its time; a process that cannot reach the database for all of it loses its jobs.
CLAIM_TTL_MS = 30_000
RENEWAL_S = 10.0
_LOOK_AT = 100
_LONGEST_WAIT_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class JobQueue:
    """This process's access to the table of jobs. `holder` is its name, `is_dead` knows which others are gone."""

    database: Database
    holder: str
    is_dead: Callable[[str], bool]
    now_ms: Callable[[], int]
    new_token: Callable[[], str]
    held: set[str]  # tokens of the jobs that this process works on
    node: str = ""  # jobs whose data is on this node's disk are ours to do

    async def claim(self, kinds: Collection[str], most: int) -> list[Job]:
        """Take up to `most` jobs whose time has come, or whose holder is dead. Raises ServiceUnavailable."""
        claimed: list[Job] = []
        for job in await self.database.read(jobs.candidates, kinds, self.node, self.now_ms(), _LOOK_AT):
            if len(claimed) == most:
                break
            if not self._is_deserted(job):
                continue
            token = self.new_token()
            self.held.add(token)  # before it is written: else the job would look deserted
            ours = None
            try:
                until_ms = self.now_ms() + CLAIM_TTL_MS
                ours = await self.database.write(jobs.claim, job, token, self.holder, until_ms)
            finally:
                if ours is None:
                    self.held.discard(token)
            if ours is not None:
                claimed.append(ours)
        return claimed

    async def renew(self) -> None:
        """Keep what this process works on for another while. Raises ServiceUnavailable."""
        await self.database.write(jobs.renew, tuple(self.held), self.now_ms() + CLAIM_TTL_MS)

    async def give_back(self, job: Job, error: str | None = None) -> None:
        """Let others have the job: at once, or after a failure when some time has passed. Raises ServiceUnavailable."""
        wait_ms = 0 if error is None else min(1000 * 2 ** min(job.attempts, 20), _LONGEST_WAIT_MS)
        await self.database.write(jobs.release, job, self.now_ms() + wait_ms, error)

    def _is_deserted(self, job: Job) -> bool:
        if job.token in self.held:
            return False
        if job.is_free or job.available_at_ms <= self.now_ms():
            return True
        return job.holder == self.holder or self.is_dead(job.holder)
