"""The transactions of an import: each takes effect once, or not at all."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, delete

from blick.db import image_deletion, images, import_lock, imports, jobs, locations, outbox, rows, tables, tasks
from blick.db.engine import Database
from blick.db.import_lock import FAILED, IMPORTING_TO
from blick.db.imports import Data, Undoing
from blick.db.jobs import Job, NewJob
from blick.db.moment import Moment
from blick.model.blob import Location
from blick.model.errors import Conflict, Gone, LimitExceeded, NotFound
from blick.model.image import STAGE_HOST, Image, ImageLocation
from blick.model.import_job import IMAGE_IMPORT, IMAGE_UPLOAD, ImportWork
from blick.model.quota import IMAGE_STAGE_TOTAL, USER_STORAGE_QUOTA, Limit, Measure, Quota
from blick.model.task import Task
from tests.support.records import ID, NOW, race
from tests.support.records import image as new_image

MOMENT = Moment(NOW, NOW + timedelta(hours=48))
DATA = Data(7, "c" * 32, "sha512", "d" * 128, 9, "raw", "bare")
STATUS = {"glance-direct": "uploading", "web-download": "queued", "copy-image": "active", "resumable-upload": "saving"}


def work_of(method: str = "glance-direct", task_id: str = "t1", **more: Any) -> ImportWork:
    return ImportWork(task_id, ID, method, ("a", "b"), **more)


def promise(database: Database, work: ImportWork, now: Moment = MOMENT) -> None:
    task = Task(
        work.id, IMAGE_IMPORT, "pending", "p1", ID, "req", "u", now.now, now.now, {"backend": list(work.stores)}
    )
    job = NewJob(work.id, IMAGE_IMPORT, work.payload(), "p1", ID)
    database.write_now(imports.begin, work, task, job, now)


def claimed(database: Database, work: ImportWork) -> Job:
    job = database.read_now(jobs.get, work.id)
    assert job is not None
    assert ImportWork.from_payload(job.payload) == work
    ours = database.write_now(jobs.claim, job, "token", "holder", 2000)
    assert ours is not None
    return ours


def begun(database: Database, method: str = "glance-direct", **more: Any) -> tuple[ImportWork, Job]:
    """An image whose import was promised, and the claimed job."""
    work = work_of(method, **more)
    database.write_now(images.insert_image, new_image(status=STATUS[method], size=7))
    if method == "resumable-upload":
        database.write_now(jobs.add, NewJob(work.id, IMAGE_UPLOAD, work.payload(), "p1", ID), MOMENT.ms)
    else:
        promise(database, work)
    return work, claimed(database, work)


def admitted(database: Database, method: str = "glance-direct", **more: Any) -> tuple[ImportWork, Job]:
    work, job = begun(database, method, **more)
    database.write_now(imports.admit, job, work, "fetch", None, {}, MOMENT)
    return work, job


def done(store: str, work: ImportWork, job: Job, *, activates: bool, **more: Any) -> Callable[[Connection], None]:
    """The transaction in which a store has the data."""
    values: dict[str, Any] = {"data": DATA, "storage": None} | more
    location = Location(store, f"file:///{store}", {"store": store})

    def transaction(connection: Connection) -> None:
        imports.store_done(
            connection, job, work, store, location, values["data"], "stores", {"done": {store: location.uri}}, MOMENT,
            values["storage"], activates=activates,
        )  # fmt: skip

    return transaction


def the_image(database: Database) -> Image:
    image = database.read_now(images.get, ID, None)
    assert image is not None
    return image


def lists(database: Database) -> tuple[str | None, str | None]:
    properties = the_image(database).properties
    return properties.get(IMPORTING_TO), properties.get(FAILED)


def the_task(database: Database) -> Task:
    task = database.read_now(tasks.get, "t1")
    assert task is not None
    return task


def the_job(database: Database) -> Job:
    job = database.read_now(jobs.get, "t1")
    assert job is not None
    return job


def undo(database: Database, work: ImportWork, job: Job, **more: Any) -> list[ImageLocation]:
    """Fail the import; gives what is to be removed."""
    undoing = Undoing(**{"message": "it broke", "failed": ("a", "b"), "state": {"error": "Invalid"}, **more})
    entries = database.write_now(imports.fail, job, work, undoing, 5000, MOMENT)
    return [entry.location for entry in entries]


@pytest.mark.parametrize("method", ["glance-direct", "web-download"])
def test_the_good_way(database: Database, method: str) -> None:
    work, job = admitted(database, method)
    assert the_image(database).status == "importing"
    assert lists(database) == ("a,b", "")
    assert database.read_now(import_lock.owner, ID) == "t1"
    assert the_task(database).status == "processing"
    database.write_now(imports.advance, job, work, "stores", {"x": 1}, MOMENT)
    assert (the_job(database).step, the_job(database).state) == ("stores", {"x": 1})
    database.write_now(done("a", work, job, activates=False))
    assert (the_image(database).status, lists(database)) == ("importing", ("b", ""))
    database.write_now(done("b", work, job, activates=True))
    image = the_image(database)
    assert (image.status, image.size, image.virtual_size, image.os_hash_value) == ("active", 7, 9, "d" * 128)
    assert [place.uri for place in image.locations] == ["file:///a", "file:///b"]
    database.write_now(imports.succeed, job, work, 3 << 20, MOMENT)
    assert lists(database) == ("", "")
    assert database.read_now(import_lock.owner, ID) is None
    task = the_task(database)
    assert (task.status, task.message, task.result) == ("success", "Copied 3 MiB", {"image_id": ID})
    assert (the_job(database).outcome, the_job(database).token) == ("success", "")


def test_a_copy_leaves_the_image_as_it_is(database: Database) -> None:
    work, job = admitted(database, "copy-image")
    database.write_now(done("a", work, job, activates=False))
    database.write_now(imports.store_failed, job, work, "b", "stores", {}, [outbox.leftovers(ID, "b")], MOMENT)
    image = the_image(database)
    assert (image.status, image.size, image.checksum) == ("active", 7, None)
    assert lists(database) == ("", "b")
    [entry] = database.read_now(outbox.of_image, ID)
    assert entry.location == ImageLocation(f"blick-leftovers:{ID}", {"store": "b"})
    database.write_now(imports.succeed, job, work, 0, MOMENT)
    assert the_task(database).status == "success"


def test_the_only_copies_that_are_left_stay(database: Database) -> None:
    """What was copied from was removed meanwhile, and then the copying failed."""
    work, job = begun(database, "copy-image")
    database.write_now(images.add_location, ID, "file:///original", {}, NOW)
    database.write_now(imports.admit, job, work, "fetch", None, {}, MOMENT)
    database.write_now(done("a", work, job, activates=False))
    [original, _] = the_image(database).locations
    database.write_now(locations.drop, original, NOW)
    assert undo(database, work, job, failed=("b",), places=(ImageLocation("file:///a", {}),)) == []
    image = the_image(database)
    assert (image.status, [place.uri for place in image.locations]) == ("active", ["file:///a"])
    assert lists(database) == ("", "b")


def test_an_upload_has_no_task_and_no_lock(database: Database) -> None:
    work, job = admitted(database, "resumable-upload")
    assert (the_image(database).status, lists(database)) == ("saving", (None, None))
    database.write_now(done("a", work, job, activates=True))
    database.write_now(imports.succeed, job, work, 7, MOMENT)
    assert (the_image(database).status, lists(database)) == ("active", (None, None))
    assert database.read_now(tasks.get, "t1") is None


def test_an_upload_that_fails(database: Database) -> None:
    work, job = admitted(database, "resumable-upload")
    assert undo(database, work, job) == []
    image = the_image(database)
    assert (image.status, image.size, lists(database)) == ("queued", None, (None, None))
    assert (the_job(database).outcome, the_job(database).message) == ("failure", "it broke")
    assert the_job(database).state == {"error": "Invalid"}


def test_one_import_at_a_time(database: Database) -> None:
    begun(database)
    with pytest.raises(Conflict):
        promise(database, work_of(task_id="t2"))
    assert database.read_now(jobs.get, "t2") is None
    assert database.read_now(tasks.get, "t2") is None


def test_racing_promises(database: Database) -> None:
    database.write_now(images.insert_image, new_image(status="uploading"))
    outcomes = race([partial(promise, database, work_of(task_id=f"t{number}")) for number in range(6)])
    assert [outcome for outcome in outcomes if not isinstance(outcome, Conflict)] == [None]


def test_only_images_in_the_right_status(database: Database) -> None:
    with pytest.raises(NotFound):
        promise(database, work_of())
    database.write_now(images.insert_image, new_image(status="queued"))
    for method in ("glance-direct", "copy-image"):
        with pytest.raises(Conflict):
            promise(database, work_of(method))


def test_a_dead_import_is_preempted(database: Database) -> None:
    """One of another service, of which there is no job; its stores leave the lists."""
    work, job = admitted(database, "copy-image")
    database.write_now(imports.store_failed, job, work, "a", "stores", {}, [], MOMENT)
    later = NOW + timedelta(minutes=61)
    again = partial(promise, database, work_of("copy-image", "t2"), Moment(later, later))
    with pytest.raises(Conflict):
        again()  # its job will be done
    database.write_now(lambda connection: connection.execute(delete(tables.jobs)))
    again()
    assert (the_task(database).status, the_task(database).message) == ("failure", "Expired lock preempted")
    assert lists(database) == ("", "")
    assert database.read_now(import_lock.owner, ID) == "t2"


@pytest.mark.parametrize("step", ["admit", "advance", "done", "failed", "succeed"])
@pytest.mark.parametrize("loss", ["image", "lock", "job"])
def test_whoever_lost_it_changes_nothing(database: Database, step: str, loss: str) -> None:
    work, job = begun(database) if step == "admit" else admitted(database)
    if loss == "image":
        database.write_now(image_deletion.delete, ID, NOW)
    elif loss == "lock":
        database.write_now(images.set_properties, ID, {import_lock.PROPERTY: "t9"}, NOW)
    else:
        assert database.write_now(jobs.claim, job, "thief", "holder", 3000)
    before = database.read_now(images.get, ID, None), the_job(database).step, the_task(database).status
    transactions: dict[str, Callable[[Connection], None]] = {
        "admit": lambda c: imports.admit(c, job, work, "fetch", None, {}, MOMENT),
        "advance": lambda c: imports.advance(c, job, work, "late", {}, MOMENT, {"disk_format": "qcow2"}, {"p": "x"}),
        "done": done("a", work, job, activates=True),
        "failed": lambda c: imports.store_failed(c, job, work, "a", "late", {}, [], MOMENT),
        "succeed": lambda c: imports.succeed(c, job, work, 5, MOMENT),
    }
    with pytest.raises(Gone):
        database.write_now(transactions[step])
    assert (database.read_now(images.get, ID, None), the_job(database).step, the_task(database).status) == before


def test_limits_are_kept_when_it_begins(database: Database) -> None:
    work, job = begun(database)
    quota = Quota("p1", (Limit(IMAGE_STAGE_TOTAL, 0),))
    with pytest.raises(LimitExceeded, match="image_stage_total"):
        database.write_now(imports.admit, job, work, "fetch", quota, {Measure.STAGED: 1 << 20}, MOMENT)
    assert (the_image(database).status, lists(database)) == ("uploading", (None, None))


def test_storage_quota(database: Database) -> None:
    work, job = admitted(database)
    storage = Quota("p1", (Limit(USER_STORAGE_QUOTA, 10),))
    database.write_now(done("a", work, job, activates=False, storage=storage))
    with pytest.raises(LimitExceeded):
        database.write_now(done("b", work, job, activates=True, storage=storage))
    assert (the_image(database).status, lists(database)) == ("importing", ("b", ""))


def test_formats_changed_after_the_judgement(database: Database) -> None:
    work, job = admitted(database)
    database.write_now(rows.set_base, ID, {"disk_format": "qcow2"}, NOW)
    with pytest.raises(Conflict, match="formats"):
        database.write_now(done("a", work, job, activates=True))


def test_a_failure_gives_everything_back(database: Database) -> None:
    work, job = admitted(database, "web-download")
    database.write_now(done("a", work, job, activates=False))
    database.write_now(images.add_location, ID, "http://elsewhere/x", {}, NOW)
    unwanted = undo(
        database, work, job, places=(ImageLocation("file:///a", {}),), leftovers=(outbox.leftovers(ID, "b"),)
    )
    assert {place.uri for place in unwanted} == {"file:///a", f"blick-leftovers:{ID}"}
    image = the_image(database)
    assert (image.status, image.size, image.checksum, image.os_hash_value) == ("queued", None, None, None)
    assert [place.uri for place in image.locations] == ["http://elsewhere/x"], "what is not this import's stays"
    assert lists(database) == ("", "a,b")
    assert database.read_now(import_lock.owner, ID) is None
    assert (the_task(database).status, the_task(database).message) == ("failure", "it broke")
    assert the_task(database).expires_at == MOMENT.expires_at
    assert the_job(database).outcome == "failure"


def test_staged_data_waits_for_another_try(database: Database) -> None:
    work, job = admitted(database)
    database.write_now(done("a", work, job, activates=False))
    undo(
        database,
        work,
        job,
        failed=("b",),
        keeps_staged=True,
        stage_host="http://node",
        places=(ImageLocation("file:///a", {}),),
    )
    image = the_image(database)
    assert (image.status, image.size, image.os_hash_value) == ("uploading", 7, None)
    assert image.properties[STAGE_HOST] == "http://node"
    assert lists(database) == ("", "b")
    promise(database, work_of(task_id="t2"))


def test_a_failure_before_the_beginning(database: Database) -> None:
    """It waits no more, whether it was cancelled or has come to nothing."""
    work, job = begun(database)
    undo(database, work, job, outcome="cancelled")
    assert (the_image(database).status, the_job(database).outcome) == ("queued", "cancelled")
    assert database.read_now(import_lock.owner, ID) is None


def test_a_failure_of_an_image_that_is_gone(database: Database) -> None:
    work, job = admitted(database)
    database.write_now(image_deletion.delete, ID, NOW)
    unwanted = undo(database, work, job, leftovers=(outbox.leftovers(ID, "a"),))
    assert [place.uri for place in unwanted] == [f"blick-leftovers:{ID}"]
    assert (the_task(database).status, the_job(database).outcome) == ("failure", "failure")


def test_a_failure_whose_lock_is_lost(database: Database) -> None:
    work, job = admitted(database)
    database.write_now(images.set_properties, ID, {import_lock.PROPERTY: "t9"}, NOW)
    undo(database, work, job)
    assert the_image(database).status == "importing", "it is somebody else's to change"
    assert database.read_now(import_lock.owner, ID) == "t9"
    assert the_job(database).outcome == "failure"


def test_stores_without_names_are_not_told(database: Database) -> None:
    work, job = admitted(database, are_named=False)
    assert lists(database) == ("", "")
    undo(database, work, job)
    assert lists(database) == ("", "")
