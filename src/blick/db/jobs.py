"""Jobs: rows that say what is to be done, by whom at present, and how far it has come.

Two plain statements make a claim: pick a candidate, then compare and set. Every write of a holder names its token, so a
worker that lost its job (it stalled, somebody took over) changes nothing any more: its transaction raises Gone.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Update, delete, insert, or_, select, update

from blick.db.tables import jobs
from blick.model.errors import Gone

_FREE = ""


@dataclass(frozen=True, slots=True)
class Job:
    """One job as it was read. `token` and `holder` are empty while nobody has it; `attempts` counts its claims."""

    id: str
    kind: str
    payload: Mapping[str, Any]
    step: str
    token: str
    holder: str
    attempts: int
    available_at_ms: int

    @property
    def is_free(self) -> bool:
        """Does nobody have it?"""
        return self.token == _FREE


def add(connection: Connection, job_id: str, kind: str, payload: Mapping[str, Any], now_ms: int) -> None:
    """Note work to be done, in the transaction that promises it."""
    values = {
        "id": job_id,
        "kind": kind,
        "payload": msgspec.json.encode(dict(payload)).decode(),
        "step": "",
        "token": _FREE,
        "holder": "",
        "attempts": 0,
        "available_at_ms": now_ms,
        "created_at_ms": now_ms,
    }
    connection.execute(insert(jobs), values)


def candidates(connection: Connection, kinds: Collection[str], now_ms: int, limit: int) -> list[Job]:
    """Jobs whose time has come, then those that somebody holds: he may be dead. At most `limit`."""
    wanted = (
        select(jobs)
        .where(jobs.c.kind.in_(kinds), or_(jobs.c.available_at_ms <= now_ms, jobs.c.token != _FREE))
        .order_by(jobs.c.available_at_ms, jobs.c.id)
        .limit(limit)
    )
    return [_job(row) for row in connection.execute(wanted)]


def claim(connection: Connection, job: Job, token: str, holder: str, until_ms: int) -> Job | None:
    """Take the job as it was read, until `until_ms`. None: somebody else was faster, or it is done."""
    values = {"token": token, "holder": holder, "attempts": job.attempts + 1, "available_at_ms": until_ms}
    taken = update(jobs).where(jobs.c.id == job.id, jobs.c.token == job.token, jobs.c.attempts == job.attempts)
    if connection.execute(taken.values(values)).rowcount != 1:
        return None
    return replace(job, token=token, holder=holder, attempts=job.attempts + 1, available_at_ms=until_ms)


def renew(connection: Connection, tokens: Collection[str], until_ms: int) -> None:
    """Keep the jobs with these tokens until `until_ms`. One statement, however many there are."""
    if tokens:
        connection.execute(update(jobs).where(jobs.c.token.in_(tokens)).values(available_at_ms=until_ms))


def advance(connection: Connection, job: Job, step: str) -> None:
    """Note, in the transaction of a step's effect, that the job has come to `step`. Raises Gone if it is not ours."""
    _require_ours(connection.execute(_own(job).values(step=step)).rowcount, job)


def release(connection: Connection, job: Job, available_at_ms: int, error: str | None = None) -> None:
    """Give the job back, to be taken by anybody from `available_at_ms` on. Without effect if it is not ours."""
    connection.execute(_own(job).values(token=_FREE, holder="", available_at_ms=available_at_ms, last_error=error))


def finish(connection: Connection, job: Job) -> None:
    """The job is done, in the transaction of its last effect. Raises Gone if it is not ours."""
    done = connection.execute(delete(jobs).where(jobs.c.id == job.id, jobs.c.token == job.token))
    _require_ours(done.rowcount, job)


def call_off(connection: Connection, job_id: str) -> None:
    """The job is not to be done any more; whoever has it finds out with its next write."""
    connection.execute(delete(jobs).where(jobs.c.id == job_id))


def _own(job: Job) -> Update:
    return update(jobs).where(jobs.c.id == job.id, jobs.c.token == job.token)


def _require_ours(count: int, job: Job) -> None:
    if count != 1:
        raise Gone(f"The job {job.id} was taken over or called off.")


def _job(row: Row[Any]) -> Job:
    payload = msgspec.json.decode(row.payload)
    return Job(row.id, row.kind, payload, row.step, row.token, row.holder, row.attempts, row.available_at_ms)
