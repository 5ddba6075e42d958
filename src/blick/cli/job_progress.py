"""How far a job is, for who sits before it: a bar on stderr if that is a terminal, else a line now and then."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from blick.db import jobs
from blick.db.jobs import Job
from blick.model.errors import NotFound
from blick.ops.jobs import status_of
from blick.ops.services import Services

if TYPE_CHECKING:
    from rich.progress import Progress

_LOOK_EVERY_S = 0.5


class Lines:
    """Says what a job does when that changes."""

    def __init__(self) -> None:
        self._said = ""

    def show(self, job: Job) -> None:
        """The job is so now."""
        now = _doing(job)
        if now != self._said:
            click.echo(now, err=True)
            self._said = now


class Bar(Lines):
    """Keeps a bar up to date."""

    def __init__(self, progress: "Progress") -> None:
        super().__init__()
        self._progress = progress
        self._total: int | None = None
        self._task = progress.add_task("", total=None)

    def show(self, job: Job) -> None:
        """See Lines. Speed and time left are those of what it does now."""
        now = _doing(job)
        if now != self._said or job.bytes_total != self._total:
            # A new line: a total that was known once cannot be taken back from one.
            self._progress.remove_task(self._task)
            self._task = self._progress.add_task(now, total=job.bytes_total)
            self._said, self._total = now, job.bytes_total
        self._progress.update(self._task, completed=job.bytes_done)


async def until_over(services: Services, job: Job) -> Job:
    """The job as it is in the end; shows how far it is until then. Raises NotFound, ServiceUnavailable."""
    with _watching() as watcher:
        while not job.outcome:
            watcher.show(job)
            await asyncio.sleep(_LOOK_EVERY_S)
            found = await services.database.read(jobs.get, job.id)
            if found is None:
                raise NotFound(f"There is no job {job.id} any more.")
            job = found
    return job


def _doing(job: Job) -> str:
    status = status_of(job)
    doing = f"{status}: {job.phase}" if job.phase else status
    return f"{doing}, to be cancelled" if job.cancel_requested else doing


@contextmanager
def _watching() -> Iterator[Lines]:
    """A watcher of the kind that fits where stderr goes."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield Bar(progress)
