"""Jobs as a worker process has them: claimed with a token, kept while it lives, given back."""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from blick.db import job_claims, jobs
from blick.db.engine import Database
from blick.db.job_claims import Found, Held, Search
from blick.db.jobs import Job
from blick.model.errors import Gone

_log = logging.getLogger(__name__)

# A claim is renewed every third of its time; a process that cannot reach the database for all of it loses its jobs.
CLAIM_TTL_MS = 30_000
RENEWAL_S = 10.0
# More than a worker takes at once: others may be faster with some of them.
_SPARE = 20
_LONGEST_WAIT_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Shares:
    """How work is shared out. See docs/jobs.md.

    `per_project` jobs of one project run at once in the whole deployment while others' wait; `by_kind` so many of a
    kind at all. `kept` of this process's places are for projects within their share only, so that one that uses what
    others leave never has everything.
    """

    per_project: int = 1 << 30
    by_kind: Mapping[str, int] = field(default_factory=dict)
    kept: int = 0


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
    shares: Shares = Shares()

    async def claim(self, kinds: Collection[str], most: int) -> list[Job]:
        """Take up to `most` jobs whose time has come, or whose holder is dead. Raises ServiceUnavailable.

        When cancelled, or if it fails, none is ours: who looks next takes what was claimed already.
        """
        found = await self.database.read(job_claims.find, self._search(kinds, most))
        claimed: list[Job] = []
        try:
            await self._take_some(found, most, claimed)
        except BaseException:
            self.held.difference_update(job.token for job in claimed)
            raise
        return claimed

    async def _take_some(self, found: Found, most: int, claimed: list[Job]) -> None:
        room = found.room
        for candidate in found.candidates:
            job, free = candidate.job, most - len(claimed)
            if free == 0 or (free <= self.shares.kept and not candidate.within_share):
                break
            if not job.cancel_requested and room.get(job.kind, 1) <= 0:
                continue
            if (ours := await self._take(job)) is not None:
                claimed.append(ours)
                if job.kind in room:
                    room[job.kind] -= 1

    async def renew(self) -> None:
        """Keep what this process works on for another while. Raises ServiceUnavailable."""
        if self.held:
            await self.database.write(jobs.renew, tuple(self.held), self.now_ms() + CLAIM_TTL_MS)

    async def unwanted(self) -> list[str]:
        """The ids of those jobs of this process that are to be cancelled. Raises ServiceUnavailable."""
        return await self.database.read(jobs.to_be_cancelled, tuple(self.held)) if self.held else []

    async def read_anew(self, job: Job) -> Job:
        """The job as its handler has left it. Raises Gone if it is not ours any more, ServiceUnavailable."""
        current = await self.database.read(jobs.get, job.id)
        if current is None or current.token != job.token:
            raise Gone(f"The job {job.id} was taken over, or is over.")
        return current

    async def give_back(self, job: Job, error: str | None = None) -> None:
        """Let others have the job: at once, or after a failure in `pause_ms`. Raises ServiceUnavailable."""
        wait_ms = 0 if error is None else self.pause_ms(job)
        await self.database.write(jobs.release, job, self.now_ms() + wait_ms, error)

    def pause_ms(self, job: Job) -> int:
        """How long the job waits after this attempt failed."""
        return min(1000 << min(job.attempts, 20), _LONGEST_WAIT_MS)

    def _search(self, kinds: Collection[str], most: int) -> Search:
        return Search(
            kinds=tuple(kinds),
            node=self.node,
            now_ms=self.now_ms(),
            most=most + _SPARE,
            is_deserted=self._is_deserted,
            per_project=self.shares.per_project,
            by_kind=self.shares.by_kind,
        )

    async def _take(self, job: Job) -> Job | None:
        token = self.new_token()
        self.held.add(token)  # before it is written: else the job would look deserted
        ours = None
        try:
            until_ms = self.now_ms() + CLAIM_TTL_MS
            ours = await self.database.write(jobs.claim, job, token, self.holder, until_ms)
        finally:
            if ours is None:
                self.held.discard(token)
        if ours is not None and not job.is_free:
            _log.warning(
                "job %s (%s, image %s) is taken over from %s, which is gone or gave no sign of life",
                job.id,
                job.kind,
                job.image_id,
                job.holder,
            )
        return ours

    def _is_deserted(self, job: Held) -> bool:
        if job.token in self.held:
            return False
        return job.available_at_ms <= self.now_ms() or job.holder == self.holder or self.is_dead(job.holder)
