"""Which jobs a worker may take, and in which order: what is urgent, then each project in its turn, then what is old.

A job that is held by somebody dead counts as one that waits: the caller knows who is dead.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, case, func, or_, select, true

from blick.db.jobs import FREE, UNFINISHED, Job, from_row
from blick.db.tables import jobs

# For so long what is to be cancelled is left to the node that has its data; then anybody may do it.
CANCEL_ANYWHERE_AFTER_MS = 60_000


@dataclass(frozen=True, slots=True)
class Held:
    """What there is to know of a job that somebody works on, if he lives."""

    token: str
    holder: str
    available_at_ms: int
    kind: str


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for: jobs of `kinds` for `node`, due at `now_ms`; those too whose holder has deserted them.

    A project's jobs are within its share while less than `per_project` of them, the running ones counted, come before.
    `by_kind` of a kind may run at all, as far as it is named.
    """

    kinds: Collection[str]
    node: str
    now_ms: int
    most: int
    is_deserted: Callable[[Held], bool]
    per_project: int
    by_kind: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A job that may be taken. What is not `within_share` waits while others' jobs do that are."""

    job: Job
    within_share: bool


@dataclass(frozen=True, slots=True)
class Found:
    """`candidates`, the first first; and how many more may be taken of each kind that has a limit."""

    candidates: list[Candidate]
    room: dict[str, int]


def find(connection: Connection, search: Search) -> Found:
    """Jobs that may be taken, at most `most`. Two statements, however many jobs there are."""
    deserted: list[str] = []
    running: Counter[str] = Counter()
    for one in _held(connection):
        if search.is_deserted(one):
            deserted.append(one.token)
        else:
            running[one.kind] += 1
    room = {kind: limit - running[kind] for kind, limit in search.by_kind.items()}
    full = [kind for kind, left in room.items() if left <= 0]
    return Found(_candidates(connection, search, deserted, full), room)


def _held(connection: Connection) -> list[Held]:
    """Every job that somebody has: as many as all workers do at once."""
    columns = (jobs.c.token, jobs.c.holder, jobs.c.available_at_ms, jobs.c.kind)
    taken = select(*columns).where(jobs.c.outcome == UNFINISHED, jobs.c.token != FREE)
    return [Held(*row) for row in connection.execute(taken)]


def _candidates(
    connection: Connection, search: Search, deserted: Collection[str], full: Collection[str]
) -> list[Candidate]:
    running = (
        select(jobs.c.project_id, func.count().label("jobs"))
        .where(jobs.c.outcome == UNFINISHED, jobs.c.token != FREE, jobs.c.token.not_in(deserted))
        .group_by(jobs.c.project_id)
        .subquery("running")
    )
    urgency = (jobs.c.cancel_requested.desc(), jobs.c.priority, jobs.c.created_at_ms, jobs.c.id)
    place = func.row_number().over(partition_by=jobs.c.project_id, order_by=urgency)
    turn = (place + func.coalesce(running.c.jobs, 0)).label("turn")
    waiting = (
        select(jobs.c.id, turn)
        .outerjoin(running, running.c.project_id == jobs.c.project_id)
        .where(_may_be_taken(search, deserted, full))
        .subquery("waiting")
    )
    within_share = case((or_(jobs.c.cancel_requested == true(), waiting.c.turn <= search.per_project), 1), else_=0)
    found = (
        select(jobs, within_share.label("within_share"))
        .join(waiting, waiting.c.id == jobs.c.id)
        .order_by(
            jobs.c.cancel_requested.desc(),
            within_share.desc(),
            jobs.c.priority,
            waiting.c.turn,
            jobs.c.created_at_ms,
            jobs.c.id,
        )
        .limit(search.most)
    )
    return [Candidate(from_row(row), bool(row.within_share)) for row in connection.execute(found)]


def _may_be_taken(search: Search, deserted: Collection[str], full: Collection[str]) -> ColumnElement[bool]:
    unwanted = jobs.c.cancel_requested == true()
    is_due = and_(jobs.c.token == FREE, jobs.c.available_at_ms <= search.now_ms)
    waits_long = jobs.c.available_at_ms <= search.now_ms - CANCEL_ANYWHERE_AFTER_MS
    return and_(
        jobs.c.outcome == UNFINISHED,
        or_(is_due, jobs.c.token.in_(deserted)),
        jobs.c.kind.in_(search.kinds),
        or_(jobs.c.kind.not_in(full), unwanted),  # ending one makes room
        or_(jobs.c.node.in_(("", search.node)), and_(unwanted, waits_long)),
    )
