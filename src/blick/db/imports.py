"""The transactions of an import: image, lists of stores, lock, task and job move together (spec: import-and-tasks).

    begin → admit → advance … → store_done | store_failed … → succeed
                                                            → fail

Each names the job's token, and checks that the image is there and still the import's to change: it takes effect once,
whoever is killed when. One that finds it lost raises Gone and changes nothing; `give_up` ends the job then.

An import that a user asked for has a task and holds the image's lock. The data of a finished resumable upload goes the
same way without: its image is `saving`, which nobody else may change.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from blick.db import image_deletion, images, import_lock, jobs, locations, outbox, rows, tasks, uploads, usage
from blick.db.import_lock import FAILED, IMPORTING_TO
from blick.db.jobs import Job, NewJob
from blick.db.moment import Moment
from blick.db.outbox import LocationDelete
from blick.model.blob import Digests, Location
from blick.model.errors import Conflict, Gone, NotFound
from blick.model.image import (
    ACTIVE,
    DEACTIVATED,
    IMPORTING,
    QUEUED,
    SAVING,
    STAGE_HOST,
    UPLOADING,
    Image,
    ImageLocation,
)
from blick.model.import_job import COPY_IMAGE, RESUMABLE_UPLOAD, ImportWork
from blick.model.quota import Measure, Quota, Usage
from blick.model.task import FAILURE, PENDING, PROCESSING, SUCCESS, UNFINISHED, Task

ABORTED: Final = "Task was aborted externally"
_DATA = ("size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value")

# The status from which each kind of import starts; it is the same until its data is there, but for the third.
STARTS_FROM: Final[Mapping[str, str]] = {
    "glance-direct": UPLOADING,
    "web-download": QUEUED,
    "glance-download": QUEUED,
    COPY_IMAGE: ACTIVE,
    RESUMABLE_UPLOAD: SAVING,
}


def begin(connection: Connection, work: ImportWork, task: Task, job: NewJob, moment: Moment) -> None:
    """Promise it: lock, task and job. Raises NotFound, Conflict (status; somebody else has the lock)."""
    if not rows.hold(connection, work.image_id):
        raise NotFound(f"No image found with ID {work.image_id}")
    image = images.get(connection, work.image_id, None)
    if image is None or image.status != STARTS_FROM[work.method]:
        raise Conflict(f"The image is not {STARTS_FROM[work.method]} any more.")
    if image.status == UPLOADING and uploads.is_held(connection, work.image_id):
        raise Conflict("Data of the image is still being staged.")
    import_lock.take(connection, work.image_id, work.id, moment.now)
    tasks.add(connection, task)
    jobs.add(connection, job, moment.ms)


def admit(
    connection: Connection,
    job: Job,
    work: ImportWork,
    step: str,
    quota: Quota | None,
    added: Usage,
    moment: Moment,
    state: Mapping[str, Any] | None = None,
) -> None:
    """The work begins: status importing, the lists name its stores, what a refused location left is dropped.

    `state` is what is known by then, None for nothing new. `added` has to fit into `quota` beside what the image counts
    as by then. Raises LimitExceeded, Gone.
    """
    if quota is not None:
        usage.hold(connection, quota.project_id)
    image = _ours(connection, work, moment)
    jobs.advance(connection, job, step, state)
    if work.method not in (COPY_IMAGE, RESUMABLE_UPLOAD):
        if not images.set_status(connection, work.image_id, (STARTS_FROM[work.method],), IMPORTING, moment.now):
            raise Gone(f"Image {work.image_id} is {image.status} by now.")
        images.drop_locations(connection, work.image_id, moment.now)
    if work.method != RESUMABLE_UPLOAD:
        waiting, failed = _lists(image)
        _set_lists(connection, work, waiting | set(work.stores), failed - set(work.stores), moment.now)
        images.remove_properties(connection, work.image_id, [STAGE_HOST], moment.now)
        tasks.set_status(connection, work.id, (PENDING,), PROCESSING, moment.now)
    if quota is not None:
        quota.require(usage.measured(connection, quota.project_id, quota.measures), added)


def advance(
    connection: Connection,
    job: Job,
    work: ImportWork,
    step: str,
    state: Mapping[str, Any],
    moment: Moment,
    values: Mapping[str, Any] | None = None,
    properties: Mapping[str, str | None] | None = None,
) -> None:
    """A step is done, and gave the image these columns and custom properties. Raises Gone."""
    _ours(connection, work, moment)
    jobs.advance(connection, job, step, state)
    if values:
        rows.set_base(connection, work.image_id, values, moment.now, (IMPORTING, SAVING))
    if properties:
        images.set_properties(connection, work.image_id, properties, moment.now)


@dataclass(frozen=True, slots=True)
class Data:
    """What was found out about the bytes, and the formats under which they were judged."""

    size_bytes: int
    checksum: str | None
    os_hash_algo: str | None
    os_hash_value: str | None
    virtual_size: int | None
    disk_format: str | None
    container_format: str | None

    @property
    def digests(self) -> Digests | None:
        """The hashes, where all are known."""
        if self.checksum is None or self.os_hash_algo is None or self.os_hash_value is None:
            return None
        return Digests(self.size_bytes, self.checksum, self.os_hash_algo, self.os_hash_value)

    @property
    def values(self) -> dict[str, Any]:
        """The columns of an image that has these bytes."""
        return {"size": self.size_bytes, **{name: getattr(self, name) for name in _DATA if name != "size"}}


def store_done(
    connection: Connection,
    job: Job,
    work: ImportWork,
    store_id: str,
    location: Location,
    data: Data,
    step: str,
    state: Mapping[str, Any],
    moment: Moment,
    storage: Quota | None,
    *,
    activates: bool,
) -> None:
    """One store has the bytes; if that `activates` the image, it is active now.

    Raises LimitExceeded where they do not fit into `storage`, Conflict if the image's formats are not those any more
    that were judged, Gone.
    """
    if storage is not None:
        usage.take(connection, storage, {Measure.STORED: data.size_bytes})
    image = _ours(connection, work, moment)
    jobs.advance(connection, job, step, state)
    if work.method != COPY_IMAGE:
        if (image.disk_format, image.container_format) != (data.disk_format, data.container_format):
            raise Conflict("The formats of the image were changed while it was imported.")
        _set_data(connection, work, data, moment, activates=activates)
    images.add_location(connection, work.image_id, location.uri, location.metadata, moment.now)
    if work.method != RESUMABLE_UPLOAD:
        waiting, failed = _lists(image)
        _set_lists(connection, work, waiting - {store_id}, failed, moment.now)


def _set_data(connection: Connection, work: ImportWork, data: Data, moment: Moment, *, activates: bool) -> None:
    if activates and images.set_status(connection, work.image_id, (IMPORTING, SAVING), ACTIVE, moment.now, data.values):
        return
    # Active since an earlier store; or not yet, because all of them must have the data.
    rows.set_base(connection, work.image_id, data.values, moment.now, (IMPORTING, SAVING))


def store_failed(
    connection: Connection,
    job: Job,
    work: ImportWork,
    store_id: str,
    step: str,
    state: Mapping[str, Any],
    leftovers: Iterable[ImageLocation],
    moment: Moment,
) -> None:
    """One store did not take the bytes, and the others go on. `leftovers` as in Undoing. Raises Gone."""
    image = _ours(connection, work, moment)
    jobs.advance(connection, job, step, state)
    outbox.add(connection, work.image_id, leftovers, moment.ms, is_claimed=False)
    waiting, failed = _lists(image)
    _set_lists(connection, work, waiting - {store_id}, failed | {store_id}, moment.now)


def succeed(connection: Connection, job: Job, work: ImportWork, copied_bytes: int, moment: Moment) -> None:
    """Everything is there: so many bytes, over all stores. Raises Gone."""
    _ours(connection, work, moment)
    jobs.finish(connection, job, moment.ms)
    _end_task(connection, work, SUCCESS, moment, message=_copied(copied_bytes), result={"image_id": work.image_id})


@dataclass(frozen=True, slots=True)
class Undoing:
    """What is to be made of an image whose import failed.

    `failed` are the stores that the list of failures gets. `places` are the locations that this import has recorded and
    that go again; `leftovers` those that no record names: bytes that may lie somewhere (see blick.db.outbox).
    The image waits for data again; if it `keeps_staged`, for another import of what is staged, which `stage_host` has.
    """

    message: str
    outcome: str = jobs.FAILURE
    failed: tuple[str, ...] = ()
    places: tuple[ImageLocation, ...] = ()
    leftovers: tuple[ImageLocation, ...] = field(default=())
    keeps_staged: bool = False
    stage_host: str = ""
    state: Mapping[str, Any] = field(default_factory=dict)


def fail(
    connection: Connection, job: Job, work: ImportWork, undoing: Undoing, not_before_ms: int, moment: Moment
) -> list[LocationDelete]:
    """It did not work: the image is as before, its lists tell which stores failed, the lock is free. An image that the
    import made itself is gone.

    Gives the bytes that are to be removed now, which are the caller's until `not_before_ms`. Raises Gone if the job is
    not ours; an image that is not ours any more is left alone.
    """
    jobs.advance(connection, job, job.step, undoing.state)
    jobs.finish(connection, job, moment.ms, undoing.outcome, undoing.message)
    unwanted = list(undoing.leftovers)
    try:
        image = _ours(connection, work, moment)
    except Gone:
        pass
    else:
        # An image that has become active by this import stays so: somebody may be reading it.
        is_settled = work.method != COPY_IMAGE and image.status in (ACTIVE, DEACTIVATED)
        unwanted += _drop_places(connection, work, () if is_settled else undoing.places, moment)
        if work.new_image is not None:
            unwanted += _remove(connection, work, moment)
        else:
            _undo_status(connection, work, undoing, moment)
        if work.method != RESUMABLE_UPLOAD and work.new_image is None:
            waiting, failed = _lists(image)
            _set_lists(connection, work, waiting - set(work.stores), failed | set(undoing.failed), moment.now)
    _end_task(connection, work, FAILURE, moment, message=undoing.message)
    outbox.add(connection, work.image_id, unwanted, not_before_ms)
    return [entry for entry in outbox.of_image(connection, work.image_id) if entry.not_before_ms == not_before_ms]


def _drop_places(
    connection: Connection, work: ImportWork, places: Iterable[ImageLocation], moment: Moment
) -> list[ImageLocation]:
    uris = {place.uri for place in places}
    live = images.live_locations(connection, work.image_id)
    found = [place for place in live if place.uri in uris]
    if work.method == COPY_IMAGE and len(found) == len(live):
        return []  # what it was copied from was removed meanwhile: these are all that the image has
    for place in found:
        locations.drop(connection, place, moment.now)
    return found


def _remove(connection: Connection, work: ImportWork, moment: Moment) -> list[ImageLocation]:
    """The image was there for the sake of this import only, however it is protected; gives where bytes of it lie."""
    rows.set_base(connection, work.image_id, {"protected": False}, moment.now, (QUEUED, IMPORTING, ACTIVE))
    return image_deletion.delete(connection, work.image_id, moment.now) or []


def _undo_status(connection: Connection, work: ImportWork, undoing: Undoing, moment: Moment) -> None:
    if work.method == COPY_IMAGE:
        return
    if undoing.keeps_staged:
        kept = dict.fromkeys(name for name in _DATA if name != "size")
        images.set_status(connection, work.image_id, (IMPORTING,), UPLOADING, moment.now, kept)
        if undoing.stage_host:
            images.set_properties(connection, work.image_id, {STAGE_HOST: undoing.stage_host}, moment.now)
        return
    cleared: dict[str, Any] = dict.fromkeys(_DATA)
    # One that was not admitted yet has the status that it came with.
    images.set_status(connection, work.image_id, (IMPORTING, SAVING, UPLOADING), QUEUED, moment.now, cleared)
    images.remove_properties(connection, work.image_id, [STAGE_HOST], moment.now)


def sign_of_life(connection: Connection, work: ImportWork, now: datetime, copied_bytes: int) -> None:
    """Let people see in the task that the work goes on. Without effect where there is none."""
    if work.method != RESUMABLE_UPLOAD:
        tasks.touch(connection, work.id, now, _copied(copied_bytes) if copied_bytes else None)


def _copied(copied_bytes: int) -> str:
    return f"Copied {copied_bytes >> 20} MiB"


def _ours(connection: Connection, work: ImportWork, moment: Moment) -> Image:
    """The image, if it is there and ours to change until the transaction ends. Raises Gone."""
    if not rows.hold(connection, work.image_id):
        raise Gone(ABORTED)
    image = images.get(connection, work.image_id, None)
    if image is None:
        raise Gone(ABORTED)
    if work.method == RESUMABLE_UPLOAD:
        if image.status != SAVING and not image.locations:
            raise Gone(ABORTED)
        return image
    if image.properties.get(import_lock.PROPERTY) != work.id:
        raise Gone(ABORTED)
    tasks.touch(connection, work.id, moment.now)
    return image


def _lists(image: Image) -> tuple[set[str], set[str]]:
    """The stores that are waited for, and those that failed."""
    return _stores_of(image.properties.get(IMPORTING_TO)), _stores_of(image.properties.get(FAILED))


def _stores_of(text: str | None) -> set[str]:
    return {store for store in (text or "").split(",") if store}


def _set_lists(
    connection: Connection, work: ImportWork, waiting: Iterable[str], failed: Iterable[str], now: datetime
) -> None:
    """Both lists are there once there was an import, empty where there is one store without a name."""
    lists: Mapping[str, str | None] = {
        IMPORTING_TO: ",".join(sorted(waiting)) if work.are_named else "",
        FAILED: ",".join(sorted(failed)) if work.are_named else "",
    }
    images.set_properties(connection, work.image_id, lists, now)


def _end_task(
    connection: Connection,
    work: ImportWork,
    status: str,
    moment: Moment,
    *,
    message: str = "",
    result: Mapping[str, Any] | None = None,
) -> None:
    if work.method == RESUMABLE_UPLOAD:
        return
    import_lock.release(connection, work.image_id, work.id, moment.now)
    tasks.set_status(
        connection,
        work.id,
        UNFINISHED,
        status,
        moment.now,
        expires_at=moment.expires_at,
        message=message,
        result=result,
    )
