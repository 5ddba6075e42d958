"""Pages of the list of jobs: one statement each, and one more to look up where a page begins."""

from sqlalchemy import ColumnElement, Connection, and_, or_, select

from blick.db.exact import exactly
from blick.db.jobs import FREE, UNFINISHED, Job, from_row
from blick.db.tables import jobs
from blick.model.errors import Invalid
from blick.model.job_query import RUNNING, WAITING, JobQuery


def page(connection: Connection, query: JobQuery, project_id: str | None) -> list[Job]:
    """Up to `query.limit` jobs, the newest first. `project_id` None: everybody's. Raises Invalid (unknown marker)."""
    wanted: list[ColumnElement[bool]] = [] if project_id is None else [exactly(jobs.c.project_id, project_id)]
    if query.marker is not None:
        marker = select(jobs.c.created_at_ms, jobs.c.id).where(exactly(jobs.c.id, query.marker), *wanted)
        place = connection.execute(marker).one_or_none()
        if place is None:
            raise Invalid(f"There is no job {query.marker:.80} to go on after.")
        wanted.append(_after(*place))
    if query.matches_nothing or query.limit == 0:
        return []
    if query.status is not None:
        wanted.append(_is(query.status))
    if query.image_id is not None:
        wanted.append(exactly(jobs.c.image_id, query.image_id))
    if query.kind is not None:
        wanted.append(exactly(jobs.c.kind, query.kind))
    listed = select(jobs).where(*wanted).order_by(jobs.c.created_at_ms.desc(), jobs.c.id.desc())
    return [from_row(row) for row in connection.execute(listed.limit(query.limit))]


def _after(created_at_ms: int, job_id: str) -> ColumnElement[bool]:
    return or_(jobs.c.created_at_ms < created_at_ms, and_(jobs.c.created_at_ms == created_at_ms, jobs.c.id < job_id))


def _is(status: str) -> ColumnElement[bool]:
    if status == WAITING:
        return and_(jobs.c.outcome == UNFINISHED, jobs.c.token == FREE)
    if status == RUNNING:
        return and_(jobs.c.outcome == UNFINISHED, jobs.c.token != FREE)
    return jobs.c.outcome == status
