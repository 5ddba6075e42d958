"""Jobs: rows that say what is to be done, by whom at present, how far it has come, and how it ended.

Two plain statements make a claim: pick a candidate, then compare and set. Every write of a holder names its token, so a
worker that lost its job (it stalled, somebody took over) changes nothing any more: its transaction raises Gone.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, Update, case, false, func, insert, select, true, update

from blick.db.tables import jobs
from blick.model.errors import Gone

FREE: Final = ""
"""The token of a job that nobody has."""
_NOTHING: Mapping[str, Any] = MappingProxyType({})

# What became of a job; empty while it is not over.
UNFINISHED: Final = ""
SUCCESS: Final = "success"
FAILURE: Final = "failure"
CANCELLED: Final = "cancelled"


SignOfLife = Callable[[Connection, datetime], None]
"""What a job writes now and then beside its progress, in the same transaction; given the time as tasks have it (naive,
UTC). It may run several times, and what it raises undoes that transaction."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """Work to be done. `node` is the one whose disk has what it needs, empty for any; less `priority` comes first.

    `project_id` is whom it is done for. `secret` is JSON text that goes when the job ends; only for databases that
    encrypt it (location_cipher).
    """

    id: str
    kind: str
    payload: Mapping[str, Any]
    project_id: str = ""
    image_id: str | None = None
    node: str = ""
    priority: int = 0
    secret: str | None = None
    state: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, slots=True)
class Job:
    """One job as it was read. `token` and `holder` are empty while nobody has it; `attempts` counts its claims,
    but for those that were given back without an error.

    `state` is what its steps have found out, as the last `advance` left it. `phase` and the bytes tell people how far
    it is. `outcome` is empty until it is over; then `message` says why it ended so; before, why it is to be cancelled.
    """

    id: str
    kind: str
    payload: Mapping[str, Any]
    step: str
    token: str
    holder: str
    attempts: int
    available_at_ms: int
    created_at_ms: int = 0
    last_error: str | None = None
    state: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    project_id: str = ""
    image_id: str | None = None
    node: str = ""
    priority: int = 0
    phase: str = ""
    bytes_done: int = 0
    bytes_total: int | None = None
    cancel_requested: bool = False
    outcome: str = UNFINISHED
    message: str | None = None
    ended_at_ms: int | None = None

    @property
    def is_free(self) -> bool:
        """Does nobody have it?"""
        return self.token == FREE


def add(connection: Connection, job: NewJob, now_ms: int) -> None:
    """Note work to be done, in the transaction that promises it."""
    values = {
        "id": job.id,
        "kind": job.kind,
        "payload": _text(job.payload),
        "step": "",
        "token": FREE,
        "holder": "",
        "attempts": 0,
        "available_at_ms": now_ms,
        "created_at_ms": now_ms,
        "state": _text(job.state),
        "project_id": job.project_id,
        "image_id": job.image_id,
        "node": job.node,
        "priority": job.priority,
        "secret": job.secret,
    }
    connection.execute(insert(jobs), values)


def get(connection: Connection, job_id: str) -> Job | None:
    """The job, over or not; None if there is none."""
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none()
    return None if row is None else from_row(row)


def of_image(connection: Connection, image_id: str) -> list[Job]:
    """The jobs of one image that are not over, oldest first."""
    wanted = select(jobs).where(jobs.c.image_id == image_id, jobs.c.outcome == UNFINISHED)
    return [from_row(row) for row in connection.execute(wanted.order_by(jobs.c.created_at_ms, jobs.c.id))]


def secret_of(connection: Connection, job: Job) -> str | None:
    """The secret that came with the job; None if there was none, or it is over."""
    secret: str | None = connection.execute(select(jobs.c.secret).where(jobs.c.id == job.id)).scalar()
    return secret


def claim(connection: Connection, job: Job, token: str, holder: str, until_ms: int) -> Job | None:
    """Take the job as it was read, until `until_ms`; gives it as it is now. None: somebody else was faster."""
    values = {"token": token, "holder": holder, "attempts": job.attempts + 1, "available_at_ms": until_ms}
    taken = update(jobs).where(
        jobs.c.id == job.id, jobs.c.token == job.token, jobs.c.attempts == job.attempts, jobs.c.outcome == UNFINISHED
    )
    if connection.execute(taken.values(values)).rowcount != 1:
        return None
    # Read anew: whoever had it may have come further since the candidates were read.
    return get(connection, job.id)


def renew(connection: Connection, tokens: Collection[str], until_ms: int) -> None:
    """Keep the jobs with these tokens until `until_ms`. One statement, however many there are."""
    if tokens:
        connection.execute(update(jobs).where(jobs.c.token.in_(tokens)).values(available_at_ms=until_ms))


def to_be_cancelled(connection: Connection, tokens: Collection[str]) -> list[str]:
    """Those of the jobs with these tokens, by id, that are not wanted any more."""
    if not tokens:
        return []
    wanted = select(jobs.c.id).where(jobs.c.token.in_(tokens), jobs.c.cancel_requested == true())
    return list(connection.execute(wanted).scalars())


def advance(connection: Connection, job: Job, step: str, state: Mapping[str, Any] | None = None) -> None:
    """Note, in the transaction of a step's effect, that the job has come to `step`. Raises Gone if it is not ours.

    `state` None leaves what the steps before found out as it is.
    """
    values = {"step": step} if state is None else {"step": step, "state": _text(state)}
    _require_ours(connection.execute(_own(job).values(values)).rowcount, job)


def tell(
    connection: Connection,
    job: Job,
    phase: str,
    bytes_done: int,
    bytes_total: int | None,
    sign: SignOfLife | None = None,
    now_ms: int = 0,
) -> None:
    """Let people see how far it is, and give the `sign` too. Raises Gone if it is not ours, and what `sign` raises."""
    values = {"phase": phase, "bytes_done": bytes_done, "bytes_total": bytes_total}
    _require_ours(connection.execute(_own(job).values(values)).rowcount, job)
    if sign is not None:
        sign(connection, datetime.fromtimestamp(now_ms / 1000, UTC).replace(tzinfo=None))


def release(connection: Connection, job: Job, available_at_ms: int, error: str | None = None) -> None:
    """Give the job back, to be taken by anybody from `available_at_ms` on. Without effect if it is not ours.

    Without an `error` the attempt does not count: it was cut short, and not by anything that the job did.
    """
    values = {"token": FREE, "holder": "", "available_at_ms": available_at_ms}
    counts = {"attempts": jobs.c.attempts - 1} if error is None else {"last_error": error}
    connection.execute(_own(job).values(values | counts))


def finish(connection: Connection, job: Job, now_ms: int, outcome: str = SUCCESS, message: str | None = None) -> None:
    """The job is over, in the transaction of its last effect. Raises Gone if it is not ours."""
    _require_ours(connection.execute(_own(job).values(_ended(now_ms, outcome, message))).rowcount, job)


def request_cancel(connection: Connection, job_id: str, now_ms: int = 0, message: str | None = None) -> bool:
    """Ask whoever has, or will have, the job to end it. False: it is over, or there is none.

    `message` is the reason, for its user. A job that waits is due now, whatever it waits for.
    """
    asked = update(jobs).where(jobs.c.id == job_id, jobs.c.outcome == UNFINISHED)
    return connection.execute(asked.values(_unwanted(now_ms, message))).rowcount == 1


def forget(connection: Connection, ended_before_ms: int) -> int:
    """Remove what was over before then; gives how many there were."""
    over = jobs.delete().where(jobs.c.outcome != UNFINISHED, jobs.c.ended_at_ms < ended_before_ms)
    return connection.execute(over).rowcount


def cancel_stranded(connection: Connection, due_before_ms: int, now_ms: int, message: str) -> int:
    """Ask for the end of jobs that only one node can do, and that it has not taken since then; gives how many."""
    stranded = update(jobs).where(
        jobs.c.outcome == UNFINISHED,
        jobs.c.cancel_requested == false(),
        jobs.c.node != "",
        jobs.c.available_at_ms < due_before_ms,
    )
    return connection.execute(stranded.values(_unwanted(now_ms, message))).rowcount


def _unwanted(now_ms: int, message: str | None) -> dict[str, Any]:
    return {
        "cancel_requested": True,
        "message": message,
        "available_at_ms": case((jobs.c.token == FREE, now_ms), else_=jobs.c.available_at_ms),
    }


def _ended(now_ms: int, outcome: str, message: str | None) -> dict[str, Any]:
    """What was told last is up to two seconds old: who succeeded did all of it. Where others stopped stays."""
    all_of_it = {"phase": "", "bytes_done": func.coalesce(jobs.c.bytes_total, jobs.c.bytes_done)}
    return {
        **(all_of_it if outcome == SUCCESS else {}),
        "outcome": outcome,
        "message": message,
        "ended_at_ms": now_ms,
        "token": FREE,
        "holder": "",
        "secret": None,
    }


def _own(job: Job) -> Update:
    return update(jobs).where(jobs.c.id == job.id, jobs.c.token == job.token, jobs.c.outcome == UNFINISHED)


def _require_ours(count: int, job: Job) -> None:
    if count != 1:
        raise Gone(f"The job {job.id} was taken over or called off.")


def _text(values: Mapping[str, Any]) -> str:
    return msgspec.json.encode(dict(values)).decode()


_COLUMNS = (
    "id", "kind", "step", "token", "holder", "attempts", "available_at_ms", "created_at_ms", "last_error", "project_id",
    "image_id", "node", "priority", "phase", "bytes_done", "bytes_total", "cancel_requested", "outcome", "message",
    "ended_at_ms",
)  # fmt: skip


def from_row(row: Row[Any]) -> Job:
    """What a row of all columns says."""
    values = {name: getattr(row, name) for name in _COLUMNS}
    state = msgspec.json.decode(row.state) if row.state else _NOTHING
    return Job(**values, payload=msgspec.json.decode(row.payload), state=state)
