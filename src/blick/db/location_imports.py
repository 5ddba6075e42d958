"""The transactions of a location that is registered in the background: image, task, lock and job move together.

    begin → add → (hash the data) → succeed
                                   → fail

Each of them names the job's token and checks the lock, so each takes effect once, whoever is killed when. One that
finds the lock lost (the image was deleted, or another import took over) ends the job and leaves the image alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from blick.db import images, import_lock, jobs, rows, tasks, usage
from blick.db.jobs import FAILURE as JOB_FAILED
from blick.db.jobs import Job, NewJob
from blick.db.moment import Moment
from blick.model.errors import Conflict, Gone, NotFound
from blick.model.image import ACTIVE, DEACTIVATED, IMPORTING, QUEUED
from blick.model.location import LocationImport
from blick.model.quota import Measure, Quota
from blick.model.task import FAILURE, PENDING, PROCESSING, SUCCESS, UNFINISHED, Task

HASHING: Final = "hashing"
"""The step of a job whose location is added, and whose data is to be hashed yet."""

_ABORTED = "Task was aborted externally"
_HASHES = ("checksum", "os_hash_algo", "os_hash_value")


@dataclass(frozen=True, slots=True)
class Addition:
    """What an image gets with its location: its status, its columns. `needs_hashing`: that is not all yet."""

    metadata: Mapping[str, Any]
    status: str
    values: Mapping[str, Any]
    size_bytes: int
    needs_hashing: bool
    storage: Quota | None


def begin(connection: Connection, wanted: LocationImport, task: Task, kind: str, now_ms: int) -> None:
    """Promise it: lock, task and job. Raises NotFound, and Conflict if the image is not queued or being imported."""
    if not rows.hold(connection, wanted.image_id):
        raise NotFound(f"No image found with ID {wanted.image_id}")
    image = images.get(connection, wanted.image_id, None)
    if image is None or image.status != QUEUED:
        raise Conflict("A location can be added only to a queued image.")
    import_lock.take(connection, wanted.image_id, task.id, task.created_at)
    tasks.add(connection, task)
    payload = {name: getattr(wanted, name) for name in LocationImport.__slots__}
    jobs.add(connection, NewJob(task.id, kind, payload, task.owner, wanted.image_id), now_ms)


def add(connection: Connection, job: Job, wanted: LocationImport, addition: Addition, moment: Moment) -> bool:
    """Record the location; locations that were refused before give way. False: there is nothing more to do.

    Raises Conflict if the image is not queued any more, LimitExceeded, Gone.
    """
    if addition.storage is not None:
        usage.take(connection, addition.storage, {Measure.STORED: addition.size_bytes})
    if not still_ours(connection, wanted, moment.now):
        give_up(connection, job, wanted, moment)
        return False
    if not images.set_status(connection, wanted.image_id, (QUEUED,), addition.status, moment.now, addition.values):
        raise Conflict("The image is not queued any more.")
    images.drop_locations(connection, wanted.image_id, moment.now)
    images.add_location(connection, wanted.image_id, wanted.url, addition.metadata, moment.now)
    tasks.set_status(connection, wanted.task_id, (PENDING,), PROCESSING, moment.now)
    if addition.needs_hashing:
        jobs.advance(connection, job, HASHING)
    else:
        _end_well(connection, job, wanted, moment)
    return addition.needs_hashing


def still_ours(connection: Connection, wanted: LocationImport, now: datetime) -> bool:
    """Is the image there, and the lock ours? A sign of life at the same time."""
    if import_lock.owner(connection, wanted.image_id) != wanted.task_id:
        return False
    tasks.touch(connection, wanted.task_id, now)
    return True


def require_ours(connection: Connection, wanted: LocationImport, now: datetime) -> None:
    """A sign of life. Raises Gone if the image is not ours any more."""
    if not still_ours(connection, wanted, now):
        raise Gone(_ABORTED)


def succeed(
    connection: Connection, job: Job, wanted: LocationImport, values: Mapping[str, Any], moment: Moment
) -> None:
    """The data is what it should be: its hashes are `values`. Raises Gone."""
    ours = still_ours(connection, wanted, moment.now)
    if ours and (
        images.set_status(connection, wanted.image_id, (IMPORTING,), ACTIVE, moment.now, values)
        or rows.set_base(connection, wanted.image_id, values, moment.now, (ACTIVE, DEACTIVATED))
    ):
        _end_well(connection, job, wanted, moment)
    else:
        give_up(connection, job, wanted, moment)


def fail(
    connection: Connection,
    job: Job,
    wanted: LocationImport,
    message: str,
    moment: Moment,
    *,
    keeps_location: bool,
    outcome: str = JOB_FAILED,
) -> None:
    """It did not work, for the reason `message`. An image that waited for it is queued again, without hashes.

    `outcome` is the job's; the task is a failure in any case. `keeps_location`: the refused location stays visible,
    until another takes its place. Raises Gone.
    """
    if still_ours(connection, wanted, moment.now):
        cleared = dict.fromkeys(("size", "virtual_size", *_HASHES))
        queued = images.set_status(connection, wanted.image_id, (IMPORTING,), QUEUED, moment.now, cleared)
        if queued and not keeps_location:
            images.drop_locations(connection, wanted.image_id, moment.now)
        if not queued:
            _forget_algorithm(connection, wanted, moment)
    _end_badly(connection, job, wanted, message, moment, outcome)


def _forget_algorithm(connection: Connection, wanted: LocationImport, moment: Moment) -> None:
    """Of an image that stays active, but whose hash did not come."""
    image = images.get(connection, wanted.image_id, None)
    if image is not None and image.os_hash_value is None:
        rows.set_base(connection, wanted.image_id, {"os_hash_algo": None}, moment.now, (ACTIVE, DEACTIVATED))


def give_up(connection: Connection, job: Job, wanted: LocationImport, moment: Moment) -> None:
    """The image is not ours to change any more. Raises Gone."""
    _end_badly(connection, job, wanted, _ABORTED, moment)


def _end_well(connection: Connection, job: Job, wanted: LocationImport, moment: Moment) -> None:
    import_lock.release(connection, wanted.image_id, wanted.task_id, moment.now)
    result = {"image_id": wanted.image_id}
    tasks.set_status(
        connection, wanted.task_id, UNFINISHED, SUCCESS, moment.now, expires_at=moment.expires_at, result=result
    )
    jobs.finish(connection, job, moment.ms)


def _end_badly(
    connection: Connection,
    job: Job,
    wanted: LocationImport,
    message: str,
    moment: Moment,
    outcome: str = JOB_FAILED,
) -> None:
    import_lock.release(connection, wanted.image_id, wanted.task_id, moment.now)
    tasks.set_status(
        connection, wanted.task_id, UNFINISHED, FAILURE, moment.now, expires_at=moment.expires_at, message=message
    )
    jobs.finish(connection, job, moment.ms, outcome, message)
