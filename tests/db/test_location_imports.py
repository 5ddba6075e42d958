"""The transactions of a location that is registered in the background: each takes effect once, or not at all."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, update

from blick.db import image_deletion, images, import_lock, jobs, location_imports, tables, tasks
from blick.db.engine import Database
from blick.db.jobs import Job
from blick.db.location_imports import HASHING, Addition
from blick.db.moment import Moment
from blick.model.errors import Conflict, Gone, LimitExceeded, NotFound
from blick.model.image import Image
from blick.model.location import LocationImport
from blick.model.quota import USER_STORAGE_QUOTA, Limit, Quota
from blick.model.task import Task
from tests.support.records import NOW
from tests.support.records import image as new_image

MOMENT = Moment(NOW, NOW + timedelta(hours=48))
HASHES = {"checksum": "c" * 32, "os_hash_algo": "sha512", "os_hash_value": "d" * 128}
URL = "http://images.example/x"


def begun(database: Database, task_id: str = "t1", image_id: str | None = None) -> tuple[LocationImport, Job]:
    """An image whose import was promised, and the claimed job."""
    if image_id is None:
        image = new_image()
        database.write_now(images.insert_image, image)
        image_id = image.id
    wanted = LocationImport(task_id, image_id, URL, "sha512", "d" * 128)
    task = Task(task_id, "location_import", "pending", "p1", image_id, "req", "u", NOW, NOW, {"a": "b"})
    database.write_now(location_imports.begin, wanted, task, "location_import", 1000)
    job = database.read_now(jobs.get, task_id)
    assert job is not None
    assert (job.project_id, job.image_id, job.outcome) == ("p1", image_id, "")
    assert LocationImport(**job.payload) == wanted
    claimed = database.write_now(jobs.claim, job, "token", "holder", 2000)
    assert claimed is not None
    return wanted, claimed


def addition(status: str = "importing", values: Mapping[str, Any] | None = None, **more: Any) -> Addition:
    usual: dict[str, Any] = {"needs_hashing": True, "storage": None}
    return Addition({"k": "v"}, status, values or {"size": 7}, 7, **(usual | more))


def added(database: Database, status: str = "importing") -> tuple[LocationImport, Job]:
    wanted, job = begun(database)
    assert database.write_now(location_imports.add, job, wanted, addition(status), MOMENT)
    return wanted, job


def image_of(database: Database, wanted: LocationImport) -> Image:
    image = database.read_now(images.get, wanted.image_id, None)
    assert image is not None
    return image


def task_of(database: Database, wanted: LocationImport) -> tuple[str, str]:
    task = database.read_now(tasks.get, wanted.task_id)
    assert task is not None
    return task.status, task.message


def is_over(database: Database, wanted: LocationImport) -> bool:
    job = database.read_now(jobs.get, wanted.task_id)
    assert job is not None
    assert (job.outcome, job.message or "") in (task_of(database, wanted), ("", "")), "task and job end alike"
    return job.outcome != "" and database.read_now(import_lock.owner, wanted.image_id) is None


def test_the_good_way(database: Database) -> None:
    wanted, job = begun(database)
    assert image_of(database, wanted).properties == {import_lock.PROPERTY: "t1"}
    assert database.write_now(location_imports.add, job, wanted, addition(), MOMENT)
    image = image_of(database, wanted)
    assert (image.status, image.size, image.checksum) == ("importing", 7, None)
    assert [(place.uri, place.metadata) for place in image.locations] == [(URL, {"k": "v"})]
    assert task_of(database, wanted) == ("processing", "")
    assert [job.step for job in database.read_now(jobs.of_image, wanted.image_id)] == [HASHING]
    database.write_now(location_imports.succeed, job, wanted, HASHES, MOMENT)
    image = image_of(database, wanted)
    assert (image.status, image.os_hash_value, dict(image.properties)) == ("active", "d" * 128, {})
    assert task_of(database, wanted) == ("success", "")
    task = database.read_now(tasks.get, wanted.task_id)
    assert task is not None
    assert (task.result, task.expires_at, task.input) == ({"image_id": wanted.image_id}, MOMENT.expires_at, {"a": "b"})
    assert is_over(database, wanted)


def test_all_at_once(database: Database) -> None:
    wanted, job = begun(database)
    done = addition("active", {"size": 7, "os_hash_value": "d" * 128}, needs_hashing=False)
    assert not database.write_now(location_imports.add, job, wanted, done, MOMENT)
    assert image_of(database, wanted).status == "active"
    assert task_of(database, wanted) == ("success", "")
    assert is_over(database, wanted)


@pytest.mark.parametrize("keeps_location", [True, False])
def test_failure_while_verifying(database: Database, keeps_location: bool) -> None:
    wanted, job = added(database)
    database.write_now(location_imports.fail, job, wanted, "no", MOMENT, keeps_location=keeps_location)
    image = image_of(database, wanted)
    assert (image.status, image.size, len(image.locations)) == ("queued", None, int(keeps_location))
    assert task_of(database, wanted) == ("failure", "no")
    assert is_over(database, wanted)
    again, job = begun(database, "t2", wanted.image_id)
    assert database.write_now(location_imports.add, job, again, addition(), MOMENT)
    assert len(image_of(database, wanted).locations) == 1


def test_failure_of_an_active_image(database: Database) -> None:
    wanted, job = added(database, "active")
    database.write_now(location_imports.fail, job, wanted, "no", MOMENT, keeps_location=False)
    image = image_of(database, wanted)
    assert (image.status, image.size, len(image.locations)) == ("active", 7, 1)
    assert is_over(database, wanted)


@pytest.mark.parametrize("step", ["add", "succeed", "fail"])
def test_a_deleted_image_ends_it(database: Database, step: str) -> None:
    wanted, job = begun(database) if step == "add" else added(database)
    assert database.write_now(image_deletion.delete, wanted.image_id, NOW) is not None
    if step == "add":
        assert not database.write_now(location_imports.add, job, wanted, addition(), MOMENT)
    elif step == "succeed":
        database.write_now(location_imports.succeed, job, wanted, HASHES, MOMENT)
    else:
        database.write_now(location_imports.fail, job, wanted, "no", MOMENT, keeps_location=True)
    assert task_of(database, wanted)[0] == "failure"
    assert is_over(database, wanted)
    assert database.read_now(images.get, wanted.image_id, None) is None


def test_whoever_lost_the_job_changes_nothing(database: Database) -> None:
    wanted, job = added(database)
    assert database.write_now(jobs.claim, job, "thief", "holder", 3000)
    for transaction in (
        lambda c: location_imports.succeed(c, job, wanted, HASHES, MOMENT),
        lambda c: location_imports.fail(c, job, wanted, "no", MOMENT, keeps_location=False),
        lambda c: location_imports.give_up(c, job, wanted, MOMENT),
    ):
        with pytest.raises(Gone):
            database.write_now(transaction)
    image = image_of(database, wanted)
    assert (image.status, image.checksum, image.properties) == ("importing", None, {import_lock.PROPERTY: "t1"})
    assert task_of(database, wanted) == ("processing", "")


def test_whoever_lost_the_lock_leaves_the_image_alone(database: Database) -> None:
    wanted, job = added(database)
    database.write_now(images.set_properties, wanted.image_id, {import_lock.PROPERTY: "other"}, NOW)
    database.write_now(location_imports.succeed, job, wanted, HASHES, MOMENT)
    image = image_of(database, wanted)
    assert (image.status, image.checksum, image.properties) == ("importing", None, {import_lock.PROPERTY: "other"})
    assert task_of(database, wanted)[0] == "failure"


def test_only_queued_images(database: Database) -> None:
    wanted, job = begun(database)
    assert database.write_now(images.set_status, wanted.image_id, ("queued",), "saving", NOW)
    with pytest.raises(Conflict):
        database.write_now(location_imports.add, job, wanted, addition(), MOMENT)
    with pytest.raises(Conflict):
        begun(database, "t2", wanted.image_id)
    with pytest.raises(NotFound):
        begun(database, "t3", "00000000-0000-4000-8000-000000000000")


def test_storage_quota(database: Database) -> None:
    wanted, job = begun(database)
    quota = Quota("p1", (Limit(USER_STORAGE_QUOTA, 6),))
    with pytest.raises(LimitExceeded):
        database.write_now(location_imports.add, job, wanted, addition(storage=quota), MOMENT)
    assert image_of(database, wanted).status == "queued"


def test_the_lock(database: Database) -> None:
    wanted, _ = begun(database)
    with pytest.raises(Conflict):
        begun(database, "t2", wanted.image_id)
    database.write_now(import_lock.release, wanted.image_id, "t2", NOW)
    assert database.read_now(import_lock.owner, wanted.image_id) == "t1"

    def age(connection: Any) -> None:
        connection.execute(update(tables.tasks).values(updated_at=NOW - timedelta(hours=3)))

    database.write_now(age)
    with pytest.raises(Conflict):
        begun(database, "t2", wanted.image_id)  # its job will be done
    database.write_now(lambda connection: connection.execute(delete(tables.jobs)))
    again, _ = begun(database, "t2", wanted.image_id)
    assert database.read_now(import_lock.owner, wanted.image_id) == "t2"
    assert task_of(database, wanted) == ("failure", "Expired lock preempted")
    database.write_now(import_lock.release, again.image_id, "t2", NOW)
    assert database.read_now(import_lock.owner, wanted.image_id) is None


def test_tasks_of_an_image(database: Database) -> None:
    wanted, job = begun(database)
    image_id = wanted.image_id
    assert [task.id for task in database.read_now(tasks.of_image, image_id, None, NOW)] == ["t1"]
    assert [task.id for task in database.read_now(tasks.of_image, image_id, "p1", NOW)] == ["t1"]
    assert database.read_now(tasks.of_image, image_id, "p2", NOW) == []
    database.write_now(location_imports.give_up, job, wanted, MOMENT)
    assert database.write_now(tasks.expire, NOW) == 0
    assert database.read_now(tasks.of_image, image_id, None, MOMENT.expires_at) == []
    assert database.write_now(tasks.expire, MOMENT.expires_at) == 1
    assert database.read_now(tasks.get, "t1") is None
