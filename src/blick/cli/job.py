"""`blick job`: what goes on in the background, how far it is, and how it ended; end it, or do it once more."""

import asyncio
import sys
import uuid
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from blick.boot import services_of
from blick.cli.database import configured, database_options
from blick.cli.job_progress import until_over
from blick.cli.output import format_option, print_record, print_records
from blick.conf.settings import Settings
from blick.db import jobs as db_jobs
from blick.db.jobs import SUCCESS, Job
from blick.http.render import job_document
from blick.model.context import RequestContext
from blick.model.errors import NotFound
from blick.model.job_query import STATUSES, JobQuery
from blick.ops import jobs as ops
from blick.ops.services import Services

T = TypeVar("T")

_ENDED_OTHERWISE = 1
_INTERRUPTED = 130
_COLUMNS = ("id", "kind", "status", "project", "image", "phase", "progress", "attempts", "created", "message")

_job_id = click.argument("job_id", metavar="ID")
_watch = click.option("--watch", "-w", is_flag=True, help="Show how far it is until it is over; exit 1 if it failed.")


@click.group()
def job() -> None:
    """See and steer what goes on in the background: imports, finished uploads.

    Works on the database of the service, which may run or not; the work itself is done by the service, or by
    `blick worker`.
    """


@job.command("list")
@click.option("--status", type=click.Choice(STATUSES), help="Only jobs that are so.")
@click.option("--project", "project_id", metavar="ID", help="Only jobs that are done for this project.")
@click.option("--image", "image_id", metavar="ID", help="Only jobs that work on this image.")
@click.option("--kind", help="Only jobs of this kind.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Show so many, newest first.")
@database_options
@format_option
def list_(
    status: str | None,
    project_id: str | None,
    image_id: str | None,
    kind: str | None,
    limit: int,
    data: Path,
    config_files: tuple[Path, ...],
    format_name: str,
) -> None:
    """List jobs, the newest first; those that are over for as long as tasks are kept."""
    query = JobQuery(limit + 1, status=status, image_id=image_id, kind=kind)

    async def ask(services: Services) -> None:
        found = (await ops.page(services, query, project_id)).jobs
        _print(found[:limit], format_name)
        if len(found) > limit:
            click.echo(f"There are more than these {limit}: see --limit.", err=True)

    _run(configured(data, config_files), ask)


@job.command()
@_job_id
@_watch
@database_options
@format_option
def show(job_id: str, watch: bool, data: Path, config_files: tuple[Path, ...], format_name: str) -> None:
    """Show one job."""

    async def ask(services: Services) -> bool:
        found = await _get(services, job_id)
        if watch:
            found = await until_over(services, found)
        print_record({**job_document(found), "holder": found.holder}, format_name)
        return not watch or found.outcome == SUCCESS

    _exit(_run(configured(data, config_files), ask))


@job.command()
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
@_watch
@database_options
def cancel(job_ids: tuple[str, ...], watch: bool, data: Path, config_files: tuple[Path, ...]) -> None:
    """End jobs that are not over: what they did is undone, and their images wait for data again.

    That is done by whoever does the work, within seconds if somebody does.
    """

    async def ask(services: Services) -> None:
        found = [await _get(services, job_id) for job_id in job_ids]
        asked = []
        for one in found:
            asked.append(await ops.request_cancel(services, one))
            click.echo(f"Job {one.id} is to be cancelled.")
        if watch:
            for one in asked:
                ended = await until_over(services, one)
                click.echo(f"Job {one.id}: {_ending(ended)}")

    _run(configured(data, config_files), ask)


@job.command()
@_job_id
@_watch
@database_options
def retry(job_id: str, watch: bool, data: Path, config_files: tuple[Path, ...]) -> None:
    """Do once more what failed or was cancelled, as a new job, if its image still allows that."""

    async def ask(services: Services) -> bool:
        old = await _get(services, job_id)
        new = await ops.again(services, _operator(old), old)
        click.echo(f"Job {new.id} does it once more.")
        if not watch:
            return True
        ended = await until_over(services, new)
        click.echo(f"Job {new.id}: {_ending(ended)}")
        return ended.outcome == SUCCESS

    _exit(_run(configured(data, config_files), ask))


def _print(found: Sequence[Job], format_name: str) -> None:
    documents = [job_document(one) for one in found]
    if format_name != "table":
        print_records(documents, tuple(documents[0]) if documents else (), format_name)
        return
    print_records([_line(document) for document in documents], _COLUMNS, format_name)


def _line(document: dict[str, Any]) -> dict[str, Any]:
    done, total = document["bytes_done"], document["bytes_total"]
    progress = f"{100 * done // total} %" if total else f"{done >> 20} MiB" if done else None
    return {
        **document,
        "project": document["project_id"],
        "image": document["image_id"],
        "progress": progress if document["ended_at"] is None else None,
        "created": document["created_at"],
        "message": document["message"] or document["last_error"],
    }


def _ending(ended: Job) -> str:
    says_more = ended.message and ended.message.lower() != ended.outcome
    return f"{ended.outcome}, {ended.message}" if says_more else ended.outcome


async def _get(services: Services, job_id: str) -> Job:
    found = await services.database.read(db_jobs.get, job_id)
    if found is None:
        raise NotFound(f"There is no job {job_id}.")
    return found


def _operator(job: Job) -> RequestContext:
    """Who may do everything, for the project that the job was done for."""
    return RequestContext(
        request_id=f"req-{uuid.uuid4()}",
        project_id=job.project_id or None,
        roles=frozenset({"admin", "service"}),
        is_admin=True,
    )


def _run(settings: Settings, work: Callable[[Services], Awaitable[T]]) -> T:
    """Do the work with the services of these settings. Raises what it raises."""

    async def run() -> T:
        async with services_of(settings) as services:
            return await work(services)

    try:
        return asyncio.run(run())
    except KeyboardInterrupt:
        click.echo("Interrupted. Jobs go on without being watched.", err=True)
        sys.exit(_INTERRUPTED)


def _exit(went_well: bool) -> None:
    if not went_well:
        sys.exit(_ENDED_OTHERWISE)
