"""Uploads that come in pieces: who may add to one, and how it ends."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, select, update

from blick.db import image_deletion, images, import_lock, jobs, resumable_uploads, tasks
from blick.db.engine import Database
from blick.db.jobs import NewJob
from blick.db.tables import upload_parts
from blick.model.blob import Location
from blick.model.errors import Conflict, Gone, LimitExceeded, NotFound
from blick.model.resumable_upload import FINAL, FINISHED, FINISHING, MOST_OPEN, OPEN, PARTIAL, Part, ResumableUpload
from blick.model.task import Task
from tests.support.jobs import fail
from tests.support.records import ID, NOW, image, race

OTHER = "0b8f5e5c-2f1e-4a45-8a52-0d8b1c1f0a11"
JOB = NewJob("job", "image_upload", {})


def upload(upload_id: str = "u1", **attributes: Any) -> ResumableUpload:
    usual: dict[str, Any] = {
        "image_id": ID, "owner": "p1", "node": "", "kind": "", "state": OPEN, "store": "file", "length_bytes": 10,
        "offset_bytes": 0, "unverified_from_bytes": None, "client_metadata": "", "concatenation": "", "token": "",
        "holder": "", "lease_until_ms": 0, "created_at_ms": 1, "expires_at_ms": 1000, "job_id": None,
    }  # fmt: skip
    return ResumableUpload(upload_id, **{**usual, **attributes})


@pytest.fixture(autouse=True)
def an_image(database: Database) -> None:
    database.write_now(images.insert_image, image())


@pytest.fixture
def ours(database: Database) -> ResumableUpload:
    """One that we add to."""
    create(database)
    return take(database, upload())


def create(database: Database, wanted: ResumableUpload | None = None) -> None:
    assert database.write_now(resumable_uploads.create, wanted or upload()) is None


def take(database: Database, seen: ResumableUpload, token: str = "t1", until_ms: int = 500) -> ResumableUpload:
    assert database.write_now(resumable_uploads.take, seen, token, "holder", until_ms)
    return replace(seen, token=token)


def now(database: Database, upload_id: str = "u1") -> ResumableUpload:
    found = database.read_now(resumable_uploads.get, ID, upload_id)
    assert found is not None
    return found


def overdue(database: Database, now_ms: int) -> list[str]:
    return [found.id for found in database.read_now(resumable_uploads.overdue, now_ms, 100)]


def count(database: Database, table: Any) -> int:
    with database.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_a_new_one(database: Database) -> None:
    wanted = upload(client_metadata="name bmFtZQ==", owner=None)
    create(database, wanted)
    assert now(database) == wanted
    for image_id, upload_id in ((ID, "u2"), (OTHER, "u1"), (ID, "u" * 300), (ID, "ü\0")):
        assert database.read_now(resumable_uploads.get, image_id, upload_id) is None


def test_only_for_queued_images(database: Database) -> None:
    with pytest.raises(NotFound):
        create(database, upload(image_id=OTHER))
    database.write_now(images.set_status, ID, ("queued",), "saving", NOW)
    with pytest.raises(Conflict):
        create(database)
    database.write_now(image_deletion.delete, ID, NOW)
    with pytest.raises(NotFound):
        create(database)


def test_not_too_many(database: Database) -> None:
    for number in range(MOST_OPEN):
        create(database, upload(str(number)))
    with pytest.raises(LimitExceeded):
        create(database)
    assert database.write_now(resumable_uploads.remove, upload("3"))
    create(database)


def test_all_of_an_image_are_on_one_node(database: Database) -> None:
    create(database, upload(node="http://one"))
    assert database.write_now(resumable_uploads.create, upload("u2", node="http://two")) == "http://one"
    assert database.read_now(resumable_uploads.node_of, ID, None) == "http://one"
    assert database.read_now(resumable_uploads.node_of, ID, "u1") == "http://one"
    assert database.read_now(resumable_uploads.node_of, ID, "u2") is None
    assert database.read_now(resumable_uploads.node_of, OTHER, None) is None
    create(database, upload("u2", node="http://one"))


def test_what_waits_counts(database: Database) -> None:
    create(database, upload(offset_bytes=2**40))
    create(database, upload("u2", offset_bytes=5))
    create(database, upload("u3", offset_bytes=7, owner=None))
    assert database.read_now(resumable_uploads.waiting_bytes, "p1") == 2**40 + 5
    assert database.read_now(resumable_uploads.waiting_bytes, "p1", "u2") == 2**40
    assert database.read_now(resumable_uploads.waiting_bytes, None) == 7
    assert database.read_now(resumable_uploads.waiting_bytes, "p2") == 0


def test_one_has_it(database: Database) -> None:
    create(database)
    tries = [
        partial(database.write_now, resumable_uploads.take, upload(), f"t{number}", "holder", 500)
        for number in range(6)
    ]
    assert sorted(race(tries), key=bool) == [False] * 5 + [True]
    held = now(database)
    assert (held.holder, held.lease_until_ms) == ("holder", 500)
    assert not database.read_now(resumable_uploads.is_asked_for, held)
    database.write_now(resumable_uploads.ask_for, held)
    assert database.read_now(resumable_uploads.is_asked_for, held)
    taken = take(database, held, "next")
    assert not database.read_now(resumable_uploads.is_asked_for, taken)
    part = Part(0, "k", Location("s", "s:1"), 3)
    for write in (
        partial(resumable_uploads.is_asked_for, upload=held),
        partial(resumable_uploads.renew, upload=held, until_ms=900),
        partial(resumable_uploads.settle, upload=held, values={}),
        partial(resumable_uploads.set_length, upload=held, length_bytes=3),
        partial(resumable_uploads.begin_unverified, upload=held, offset_bytes=3),
        partial(resumable_uploads.begin_part, upload=held, number=0, store="s", key="k"),
        partial(resumable_uploads.finish_part, upload=held, part=part, offset_bytes=3, replaced=None),
        partial(resumable_uploads.finish, upload=held, job=JOB, now=NOW, now_ms=1),
    ):
        with pytest.raises(Gone):
            database.write_now(write)
    assert now(database) == replace(taken, holder="holder", lease_until_ms=500)


def test_settled(database: Database, ours: ResumableUpload) -> None:
    database.write_now(resumable_uploads.begin_unverified, ours, 3)
    assert (now(database).unverified_from_bytes, now(database).offset_bytes) == (3, 3)
    database.write_now(resumable_uploads.set_length, ours, 2**40)
    database.write_now(resumable_uploads.renew, ours, 800)
    assert now(database).lease_until_ms == 800
    values = {"offset_bytes": 7, "unverified_from_bytes": None, "expires_at_ms": 2000}
    database.write_now(resumable_uploads.settle, ours, values)
    expected = upload(length_bytes=2**40, offset_bytes=7, expires_at_ms=2000, lease_until_ms=800)
    assert now(database) == expected


def test_parts(database: Database, ours: ResumableUpload) -> None:
    first = Part(0, "k0", Location("s", "s:1", {"x": "ü"}), 3)
    database.write_now(resumable_uploads.begin_part, ours, 0, "s", "k0")
    assert database.read_now(resumable_uploads.broken_parts_of, "u1") == [(0, "s", "k0")]
    assert database.read_now(resumable_uploads.parts_of, "u1") == []
    database.write_now(resumable_uploads.finish_part, ours, first, 3, None)
    assert database.read_now(resumable_uploads.broken_parts_of, "u1") == []
    assert database.read_now(resumable_uploads.parts_of, "u1") == [first]
    longer = Part(1, "k1", Location("s", "s:2"), 8)
    database.write_now(resumable_uploads.begin_part, ours, 1, "s", "k1")
    database.write_now(resumable_uploads.finish_part, ours, longer, 8, first)
    assert database.read_now(resumable_uploads.parts_of, "u1") == [longer]
    assert now(database).offset_bytes == 8
    assert database.read_now(resumable_uploads.broken_parts_of, "u1") == [(0, "s", "k0")], "it is to be removed"
    for number in (0, 1):
        database.write_now(resumable_uploads.drop_part, "u1", number)
    assert count(database, upload_parts) == 0


def test_finish(database: Database, ours: ResumableUpload) -> None:
    database.write_now(resumable_uploads.finish, ours, JOB, NOW, 1)
    found = database.read_now(images.get, ID, None)
    assert found is not None
    assert found.status == "saving"
    assert database.read_now(jobs.get, "job") is not None
    done = now(database)
    assert (done.state, done.offset_bytes, done.token, done.job_id) == (FINISHING, 10, "", "job")
    assert not database.write_now(resumable_uploads.remove, done), "a job works with it"
    assert overdue(database, 5000) == [], "as long as it does"
    database.write_now(fail, "job", 10, "no more")
    assert overdue(database, 10) == ["u1"]
    database.write_now(resumable_uploads.end, "u1")
    assert now(database).state == FINISHED
    assert overdue(database, 999) == []
    assert overdue(database, 1000) == ["u1"]


def test_finish_an_image_that_takes_no_data(database: Database, ours: ResumableUpload) -> None:
    database.write_now(images.set_status, ID, ("queued",), "saving", NOW)
    with pytest.raises(Conflict):
        database.write_now(resumable_uploads.finish, ours, JOB, NOW, 1)
    assert now(database).token == "t1"
    assert database.read_now(jobs.get, "job") is None


def test_finish_an_image_that_is_being_imported(database: Database, ours: ResumableUpload) -> None:
    database.write_now(tasks.add, Task("task", "api_image_import", "pending", "p1", ID, None, None, NOW, NOW, {}))
    database.write_now(import_lock.take, ID, "task", NOW)
    with pytest.raises(Conflict):
        database.write_now(resumable_uploads.finish, ours, JOB, NOW, 1)
    found = database.read_now(images.get, ID, None)
    assert found is not None
    assert (found.status, now(database).state) == ("queued", OPEN)


def test_concatenate(database: Database) -> None:
    for name in ("u1", "u2", "u3"):
        create(database, upload(name, kind=PARTIAL))
    partials = [take(database, now(database, name), f"t-{name}") for name in ("u1", "u2")]
    database.write_now(resumable_uploads.begin_part, partials[0], 0, "s", "k0")
    final = upload("f", kind=FINAL, concatenation="final;/u1 /u2", length_bytes=20, offset_bytes=20)
    parts = [Part(0, "k0", Location("s", "s:1"), 10), Part(1, "k1", Location("s", "s:2"), 10)]
    lost = [replace(partials[0], token="other"), partials[1]]
    with pytest.raises(Gone):
        database.write_now(resumable_uploads.concatenate, final, lost, parts, JOB, NOW, 1)
    assert [found.id for found in database.read_now(resumable_uploads.finals_of, ID)] == []
    database.write_now(resumable_uploads.concatenate, final, partials, parts, JOB, NOW, 1)
    assert now(database, "f") == replace(final, state=FINISHING, job_id="job")
    assert [found.id for found in database.read_now(resumable_uploads.finals_of, ID)] == ["f"]
    assert database.read_now(resumable_uploads.parts_of, "f") == parts
    for name in ("u1", "u2"):
        assert database.read_now(resumable_uploads.get, ID, name) is None
    assert now(database, "u3").state == OPEN


def test_given_up(database: Database, ours: ResumableUpload) -> None:
    database.write_now(resumable_uploads.begin_part, ours, 0, "s", "k0")
    assert database.write_now(resumable_uploads.remove, ours)
    assert not database.write_now(resumable_uploads.remove, ours)
    assert database.read_now(resumable_uploads.get, ID, "u1") is None
    with pytest.raises(Gone):
        database.write_now(resumable_uploads.renew, ours, 900)
    assert overdue(database, 1) == ["u1"]
    database.write_now(resumable_uploads.drop, ours)
    assert overdue(database, 5000) == []
    assert count(database, upload_parts) == 0


def test_overdue(database: Database) -> None:
    create(database)
    create(database, upload("u2"))
    take(database, upload("u2"), until_ms=2000)
    assert overdue(database, 999) == []
    assert overdue(database, 1000) == ["u1"], "somebody adds to the other"
    assert overdue(database, 2000) == ["u1", "u2"]
    assert [found.id for found in database.read_now(resumable_uploads.overdue, 2000, 1)] == ["u1"]
    assert [found.id for found in database.read_now(resumable_uploads.overdue, 2000, 9, "u1")] == ["u2"]


@pytest.mark.parametrize("status", ["active", "deleted", None])
def test_overdue_without_an_image_that_waits(database: Database, status: str | None) -> None:
    create(database)
    with database.engine.begin() as connection:
        if status is None:
            connection.execute(update(resumable_uploads.resumable_uploads).values(image_id=OTHER))
        elif status == "deleted":
            image_deletion.delete(connection, ID, NOW)
        else:
            images.set_status(connection, ID, ("queued",), status, NOW)
    assert overdue(database, 1) == ["u1"]


def test_a_busy_image_may_wait_again(database: Database) -> None:
    """While another upload is being saved nothing is given up: it may fail."""
    create(database)
    database.write_now(images.set_status, ID, ("queued",), "saving", NOW)
    assert overdue(database, 1) == []
