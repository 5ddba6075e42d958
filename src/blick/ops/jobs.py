"""Jobs, as users and operators see them, and what they may do to them (docs: jobs)."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from blick.db import job_pages, jobs
from blick.db.jobs import CANCELLED, FAILURE, UNFINISHED, Job
from blick.model.context import RequestContext
from blick.model.errors import Conflict, NotFound
from blick.model.import_job import COPY_IMAGE, IMAGE_IMPORT, ImportWork
from blick.model.job_query import RUNNING, WAITING, JobQuery
from blick.model.location import LocationImport
from blick.model.task import LOCATION_IMPORT
from blick.model.text import is_storable
from blick.ops import access, locations, tasks
from blick.ops.imports import legacy, start
from blick.ops.services import Services

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JobPage:
    """Part of a list, the newest first. `last_id` is set where more may follow, and names the one to go on after."""

    jobs: Sequence[Job]
    last_id: str | None


def status_of(job: Job) -> str:
    """What becomes of it, or has become (blick.model.job_query.STATUSES)."""
    return job.outcome or (WAITING if job.is_free else RUNNING)


async def list_jobs(services: Services, context: RequestContext, query: JobQuery) -> JobPage:
    """What is done for the caller's project, or for an administrator anybody. Raises Forbidden, Invalid (marker)."""
    await services.policy.require("jobs_get", context, _target(context.project_id))
    return await page(services, query, None if context.is_admin else context.project_id or "")


async def page(services: Services, query: JobQuery, project_id: str | None) -> JobPage:
    """One page of a project's jobs; `project_id` None: everybody's. Raises Invalid (marker)."""
    found = await services.database.read(job_pages.page, query, project_id)
    return JobPage(found, found[-1].id if found and len(found) == query.limit else None)


async def show(services: Services, context: RequestContext, job_id: str) -> Job:
    """One job. Raises NotFound (also where it is done for another project, or the caller may see none)."""
    job = await services.database.read(jobs.get, job_id) if is_storable(job_id) else None
    is_theirs = job is not None and (context.is_admin or job.project_id == (context.project_id or ""))
    if job is None or not is_theirs or not await services.policy.allows("jobs_get", context, _target(job.project_id)):
        raise NotFound(f"There is no job {job_id:.80}.")
    return job


async def cancel(services: Services, context: RequestContext, job_id: str) -> Job:
    """Ask for the job's end, which comes when its worker has undone what it did; asking again does no harm.

    Raises NotFound, Forbidden, Conflict (it is over).
    """
    return await request_cancel(services, await _require_changeable(services, context, job_id))


async def request_cancel(services: Services, job: Job) -> Job:
    """`cancel` for those who need not ask. Raises Conflict."""
    if not await services.database.write(jobs.request_cancel, job.id, services.now_ms()):
        raise Conflict("The job is over.")
    _log.info("job %s (%s, image %s) is to be cancelled", job.id, job.kind, job.image_id)
    services.jobs_wanted.set()
    return await services.database.read(jobs.get, job.id) or job


async def retry(services: Services, context: RequestContext, job_id: str) -> Job:
    """Do once more, as a new job, what failed or was cancelled; gives the new one.

    Raises NotFound, Forbidden, Invalid, and Conflict: it did not end so, or the image does not allow it any more.
    """
    job = await _require_changeable(services, context, job_id)
    if job.kind == IMAGE_IMPORT and job.image_id is not None:
        work = ImportWork.from_payload(job.payload)
        if work.new_image is not None:
            await tasks.require_access(services, context)
        else:
            rule = "copy_image" if work.method == COPY_IMAGE else "modify_image"
            image = await access.load_for(services, context, job.image_id, rule)
            if work.method != COPY_IMAGE:  # as for who asks for the first time
                access.require_owner_in_database(context, image)
    return await again(services, context, job)


async def again(services: Services, context: RequestContext, job: Job) -> Job:
    """`retry` for those who need not ask whether they may retry jobs; the image has to be the caller's to import."""
    if job.outcome == UNFINISHED:
        raise Conflict("The job is not over.")
    if job.outcome not in (FAILURE, CANCELLED):
        raise Conflict("The job has done what was wanted.")
    if job.kind == IMAGE_IMPORT:
        import_work = ImportWork.from_payload(job.payload)
        if import_work.new_image is not None:
            new_id = await legacy.again(services, import_work)
        else:
            new_id = await start.again(services, context, job)
    elif job.kind == LOCATION_IMPORT:
        work = LocationImport(**job.payload)
        new_id = await locations.register(services, context, work.image_id, work.asked)
    else:
        raise Conflict(f"A job of the kind {job.kind} cannot be tried again.")
    found = await services.database.read(jobs.get, new_id)
    if found is None:
        raise NotFound(f"There is no job {new_id}.")
    _log.info("job %s (%s, image %s) is done once more, as job %s", job.id, job.kind, job.image_id, new_id)
    return found


async def _require_changeable(services: Services, context: RequestContext, job_id: str) -> Job:
    """Raises NotFound, Forbidden."""
    access.require_writer(context)
    job = await show(services, context, job_id)
    await services.policy.require("jobs_modify", context, _target(job.project_id))
    return job


def _target(project_id: str | None) -> dict[str, str | None]:
    return {"project_id": project_id, "owner": project_id}
