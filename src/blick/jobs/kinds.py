"""What there is to know of one kind of job: how it is done, and how it is undone."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from blick.db.jobs import CANCELLED, FAILURE, Job


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ends that is not done to its end: `outcome` as blick.db.jobs has it, and the reason, for its user."""

    outcome: str
    message: str


Handler = Callable[[Job], Awaitable[None]]
"""Does a job, from the step at which it is, and finishes it in the database. May run again after it was cut off
anywhere. What it raises puts the job off, so often and no oftener; Gone means that the job is somebody else's by now.

It is cancelled where the process stops, and where the job is to be cancelled: it lets go of what this process holds for
it (files, connections), and of nothing that the next attempt, or the one that undoes it, finds by itself."""

Undo = Callable[[Job, Ending], Awaitable[None]]
"""Ends a job as the ending says: what was done of it is undone, or left where somebody cleans it up, and whatever waits
for it waits no more. Its handler does not run any more. May run again after it was cut off anywhere; what it raises
puts it off, without limit. Gone means that the job is somebody else's by now."""


@dataclass(frozen=True, slots=True)
class JobKind:
    """How one kind of job is done, and undone: when it is cancelled, or was given up."""

    run: Handler
    cancel: Undo


def cancelled(job: Job) -> Ending:
    """The end of a job that somebody does not want any more; who asked for it may have left the reason with it."""
    return Ending(CANCELLED, job.message or "Cancelled")


def given_up(job: Job, attempts: int) -> Ending:
    """The end of a job that failed so often."""
    trouble = job.last_error or "its process ended"
    return Ending(FAILURE, f"It was given up after {attempts} attempts; the last trouble: {trouble}")
