"""/v2/jobs: what goes on in the background, as its project sees it; ending it, and doing it once more (docs: jobs)."""

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from blick.conf.settings import Settings
from blick.db import jobs, tables
from blick.db.jobs import CANCELLED, FAILURE, SUCCESS, NewJob
from blick.model.context import RequestContext
from blick.model.import_job import IMAGE_IMPORT, IMAGE_UPLOAD, ImportWork
from blick.model.job_caller import as_payload
from blick.model.task import LOCATION_IMPORT
from blick.ops import cleanup
from blick.worker import job_worker
from tests.support.jobs import fail
from tests.support.service import Service, working
from tests.support.web_server import WebServer
from tests.support.web_stores import with_web_store

DATA = b"0123456789" * 300_000
LOCK = "os_glance_import_task"
UNKNOWN = "00000000-0000-4000-8000-000000000000"
NEVER_MS = 1 << 60
SOURCE = "http://127.0.0.1/image"
"""An address that may be fetched from; nothing is."""


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return with_web_store(settings)


async def location_job(service: Service, url: str, who: str = "owner", **validation: str) -> tuple[str, str]:
    """The ids of an image and of the job that is to give it the data at the URL."""
    image = await service.create(who)
    body = {"url": url} | ({"validation_data": validation} if validation else {})
    response = await service.call(who, "POST", f"/v2/images/{image['id']}/locations", json=body)
    assert response.status_code == 202, response.text
    [found] = (await service.call(who, "GET", f"/v2/jobs?image_id={image['id']}")).json()["jobs"]
    return image["id"], found["id"]


async def add(service: Service, number: int, project: str = "p1", **more: Any) -> str:
    """A job that nobody here ever does."""
    job_id = f"{number:08}-0000-4000-8000-000000000000"
    new = NewJob(**({"id": job_id, "kind": "unknown", "payload": {}, "project_id": project} | more))
    await service.services.database.write(jobs.add, new, 1_700_000_000_000 + number)
    return job_id


async def end(service: Service, job_id: str, outcome: str, message: str | None = None) -> None:
    database = service.services.database
    job = await database.read(jobs.get, job_id)
    assert job is not None
    claimed = await database.write(jobs.claim, job, f"token {job_id[:8]}", "holder", NEVER_MS)
    assert claimed is not None
    await database.write(jobs.finish, claimed, service.services.now_ms(), outcome, message)


async def show(service: Service, job_id: str, who: str = "owner") -> dict[str, Any]:
    response = await service.call(who, "GET", f"/v2/jobs/{job_id}")
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


async def act(service: Service, job_id: str, action: str, who: str = "owner") -> httpx.Response:
    return await service.call(who, "POST", f"/v2/jobs/{job_id}/actions/{action}")


async def listed(service: Service, query: str = "", who: str = "owner") -> list[str]:
    response = await service.call(who, "GET", f"/v2/jobs{query}")
    assert response.status_code == 200, response.text
    return [job["id"] for job in response.json()["jobs"]]


async def work(service: Service) -> int:
    return await job_worker(service.services).work_off()


async def ended(service: Service, job_id: str) -> dict[str, Any]:
    for _ in range(6000):
        job = await show(service, job_id)
        if job["ended_at"] is not None:
            return job
        await asyncio.sleep(0.02)
    raise AssertionError(job)


class TestDocument:
    async def test_of_a_job_that_nobody_has_begun(self, service: Service, web: WebServer) -> None:
        image_id, job_id = await location_job(service, web.put(DATA))
        job = await show(service, job_id)
        created = datetime.fromisoformat(job.pop("created_at"))
        assert abs(datetime.now(UTC) - created) < timedelta(minutes=5)
        assert datetime.fromisoformat(job.pop("not_before")) == created
        assert job == {
            "id": job_id,
            "kind": LOCATION_IMPORT,
            "status": "waiting",
            "image_id": image_id,
            "project_id": "p1",
            "method": None,
            "source": web.url("/plain/object-0"),
            "stores": None,
            "step": "",
            "phase": "",
            "bytes_done": 0,
            "bytes_total": None,
            "attempts": 0,
            "cancel_requested": False,
            "message": None,
            "last_error": None,
            "node": "",
            "priority": 0,
            "ended_at": None,
            "self": f"/v2/jobs/{job_id}",
        }

    async def test_while_it_is_done(self, service: Service, web: WebServer) -> None:
        image_id, job_id = await location_job(service, web.put(DATA, "waiting"))
        async with working(service):
            await asyncio.to_thread(web.waiting.wait)
            for _ in range(6000):
                job = await show(service, job_id)
                if job["phase"]:
                    break
                await asyncio.sleep(0.01)
            assert (job["status"], job["step"], job["phase"]) == ("running", "hashing", "hashing")
            assert (job["bytes_total"], job["attempts"], job["not_before"]) == (len(DATA), 1, None)
            assert 0 <= job["bytes_done"] < len(DATA)
            assert await listed(service, f"?status=running&image_id={image_id}") == [job_id]
            web.go.set()
            job = await ended(service, job_id)
        assert (job["status"], job["message"], job["not_before"]) == ("success", None, None)

    async def test_of_one_that_failed(self, service: Service, web: WebServer) -> None:
        _, job_id = await location_job(service, web.put(DATA), os_hash_algo="sha512", os_hash_value="0" * 128)
        await work(service)
        job = await show(service, job_id)
        assert job["status"] == "failure"
        assert "sha512 of the data is not the one" in job["message"]

    async def test_nothing_secret_is_shown(self, service: Service) -> None:
        """Neither what a URI gives away, nor who called with which token."""
        work = ImportWork(
            id="",
            image_id=UNKNOWN,
            method="web-download",
            stores=("file",),
            arguments={"uri": "https://user:passw0rd@images.example/a?signature=s3cret"},
            caller=as_payload(RequestContext("req-1", user_id="u-secret")),
        )
        job_id = await add(service, 1, kind=IMAGE_IMPORT, payload=work.payload(), secret="sealed-t0ken", node="n")
        for path in (f"/v2/jobs/{job_id}", "/v2/jobs"):
            text = (await service.call("owner", "GET", path)).text
            assert "images.example" in text
            assert not any(secret in text for secret in ("passw0rd", "s3cret", "t0ken", "u-secret", "user:"))
        job = await show(service, job_id)
        assert (job["source"], job["method"]) == ("https://***@images.example/a?***", "web-download")
        assert (job["stores"], job["node"]) == (["file"], "n")


class TestList:
    async def test_pages(self, service: Service) -> None:
        ids = [await add(service, number) for number in range(7)]
        assert await listed(service) == ids[::-1]
        seen, path = [], "/v2/jobs?limit=3&kind=unknown"
        while path:
            document = (await service.call("owner", "GET", path)).json()
            assert document["first"] == "/v2/jobs?limit=3&kind=unknown"
            seen += [job["id"] for job in document["jobs"]]
            path = document.get("next")
        assert seen == ids[::-1]
        assert (await service.call("owner", "GET", "/v2/jobs?limit=0")).json() == {
            "jobs": [],
            "first": "/v2/jobs?limit=0",
        }

    async def test_jobs_of_one_moment(self, service: Service) -> None:
        ids = [await add(service, number) for number in range(4)]
        with service.services.database.engine.begin() as connection:
            connection.execute(update(tables.jobs).values(created_at_ms=5))
        seen: list[str] = []
        for _ in range(4):
            marker = f"&marker={seen[-1]}" if seen else ""
            seen += await listed(service, f"?limit=1{marker}")
        assert seen == ids[::-1]

    async def test_filters(self, service: Service) -> None:
        outcomes = (SUCCESS, FAILURE, CANCELLED)
        ids = {outcome: await add(service, number, image_id=UNKNOWN) for number, outcome in enumerate(outcomes)}
        for outcome, job_id in ids.items():
            await end(service, job_id, outcome)
        waiting = await add(service, 8)
        running = await add(service, 9, kind="else")
        with service.services.database.engine.begin() as connection:
            one = tables.jobs.c.id == running
            connection.execute(update(tables.jobs).where(one).values(token="t", available_at_ms=NEVER_MS))
        for status, job_id in {**ids, "waiting": waiting, "running": running}.items():
            assert await listed(service, f"?status={status}") == [job_id]
            assert (await show(service, job_id))["status"] == status
        assert await listed(service, f"?image_id={UNKNOWN}") == list(ids.values())[::-1]
        assert await listed(service, "?kind=else") == [running]
        assert await listed(service, "?kind=nothing") == []
        assert await listed(service, "?kind=%F0%9F%98%80") == []
        assert await listed(service, "?kind=ELSE") == []

    @pytest.mark.parametrize(
        "query",
        [
            "status=broken", "status=", "status=success%00", "limit=x", "limit=-1", f"marker={UNKNOWN}", "marker=",
            "marker=%F0%9F%98%80", "kind=%ff", "image_id=%00",
        ],
    )  # fmt: skip
    async def test_bad_queries(self, service: Service, query: str) -> None:
        await add(service, 1)
        response = await service.call("owner", "GET", f"/v2/jobs?{query}")
        assert response.status_code == 400, response.text

    async def test_no_marker_of_another_project(self, service: Service) -> None:
        other = await add(service, 1, "p2")
        assert (await service.call("owner", "GET", f"/v2/jobs?marker={other}")).status_code == 400
        assert await listed(service, f"?marker={other}", "admin") == []


class TestWhoMayDoWhat:
    async def test_the_list(self, service: Service) -> None:
        own = await add(service, 1, "p1")
        other = await add(service, 2, "p2")
        for who in ("owner", "reader"):
            assert await listed(service, "", who) == [own]
        assert await listed(service, "", "other") == [other]
        assert await listed(service, "", "admin") == [other, own]
        assert await listed(service, "", "service") == []
        for who, status in (("roleless", 403), ("anonymous", 401)):
            assert (await service.call(who, "GET", "/v2/jobs")).status_code == status

    @pytest.mark.parametrize(
        ("who", "seeing", "acting"),
        [
            ("admin", 200, 202), ("owner", 200, 202), ("reader", 200, 403), ("other", 404, 404), ("stranger", 404, 404),
            ("roleless", 404, 404), ("service", 404, 404), ("anonymous", 401, 401),
        ],
    )  # fmt: skip
    async def test_one(self, service: Service, who: str, seeing: int, acting: int) -> None:
        job_id = await add(service, 1)
        _, failed = await failed_import(service)
        assert (await service.call(who, "GET", f"/v2/jobs/{job_id}")).status_code == seeing
        assert (await act(service, job_id, "cancel", who)).status_code == acting
        assert (await show(service, job_id, "admin"))["cancel_requested"] == (acting == 202)
        assert (await act(service, failed, "retry", who)).status_code == acting
        assert len(await listed(service, f"?kind={IMAGE_IMPORT}", "admin")) == (2 if acting == 202 else 1)

    async def test_trying_again_needs_the_right_to_import(self, service: Service, settings: Settings) -> None:
        """What an administrator had copied is not copied again because somebody of his project says so."""
        _, job_id = await failed_import(service)
        settings.policy.policy_file.write_text('modify_image: "role:admin"\n')
        assert (await act(service, job_id, "retry", "owner")).status_code == 403
        assert (await act(service, job_id, "retry", "admin")).status_code == 202
        image = await service.create_active(DATA)
        work = replace(import_of(image["id"]), method="copy-image")
        copied = await add(service, 1, kind=IMAGE_IMPORT, payload=work.payload(), image_id=image["id"])
        await end(service, copied, FAILURE)
        assert (await act(service, copied, "retry", "owner")).status_code == 403

    async def test_a_policy_for_auditors(self, service: Service, settings: Settings) -> None:
        """Whatever rules say, other projects' jobs are for administrators."""
        settings.policy.policy_file.write_text('jobs_get: "@"\njobs_modify: "@"\n')
        job_id = await add(service, 1)
        assert (await service.call("roleless", "GET", f"/v2/jobs/{job_id}")).status_code == 200
        assert (await service.call("other", "GET", f"/v2/jobs/{job_id}")).status_code == 404
        assert (await act(service, job_id, "cancel", "other")).status_code == 404
        assert await listed(service, "", "other") == []

    @pytest.mark.parametrize("job_id", [UNKNOWN, "x", "%F0%9F%98%80", "a" * 400])
    async def test_what_is_not_there(self, service: Service, job_id: str) -> None:
        assert (await service.call("admin", "GET", f"/v2/jobs/{job_id}")).status_code == 404
        for action in ("cancel", "retry"):
            assert (await act(service, job_id, action, "admin")).status_code == 404


class TestCancel:
    async def test_before_it_begins(self, service: Service, web: WebServer) -> None:
        image_id, job_id = await location_job(service, web.put(DATA))
        response = await act(service, job_id, "cancel")
        assert response.status_code == 202
        assert (response.json()["status"], response.json()["cancel_requested"]) == ("waiting", True)
        assert (await act(service, job_id, "cancel")).status_code == 202, "again does no harm"
        assert await work(service) == 1
        job = await show(service, job_id)
        assert (job["status"], job["message"]) == ("cancelled", "Cancelled")
        image = await service.show(image_id)
        assert (image["status"], LOCK in image, image["locations"]) == ("queued", False, [])
        assert web.requests == []
        [task] = (await service.call("owner", "GET", f"/v2/images/{image_id}/tasks")).json()["tasks"]
        assert (task["status"], task["message"]) == ("failure", "Cancelled")
        assert (await act(service, job_id, "cancel")).status_code == 409

    async def test_while_it_is_done(self, service: Service, web: WebServer) -> None:
        """The source hangs: the worker finds out without it."""
        image_id, job_id = await location_job(
            service, web.put(DATA, "waiting"), os_hash_algo="sha512", os_hash_value="0" * 128
        )
        async with working(service):
            await asyncio.to_thread(web.waiting.wait)
            assert (await service.show(image_id))["status"] == "importing"
            assert (await act(service, job_id, "cancel")).status_code == 202
            job = await ended(service, job_id)
        assert (job["status"], job["message"], job["attempts"]) == ("cancelled", "Cancelled", 1)
        image = await service.show(image_id)
        assert (image["status"], image["size"], LOCK in image) == ("queued", None, False)

    async def test_what_is_over(self, service: Service) -> None:
        for number, outcome in enumerate((SUCCESS, FAILURE, CANCELLED)):
            job_id = await add(service, number)
            await end(service, job_id, outcome)
            assert (await act(service, job_id, "cancel")).status_code == 409


def import_of(image_id: str) -> ImportWork:
    return ImportWork(
        id="",
        image_id=image_id,
        method="web-download",
        stores=("file",),
        arguments={"uri": SOURCE},
        caller=as_payload(RequestContext("req-1", project_id="p1", user_id="u")),
    )


async def failed_import(service: Service) -> tuple[str, str]:
    """A queued image, and the job that should have given it data from the web."""
    image = await service.create()
    job_id = service.services.new_id()
    work = replace(import_of(image["id"]), id=job_id)
    new = NewJob(job_id, IMAGE_IMPORT, work.payload(), "p1", image["id"])
    await service.services.database.write(jobs.add, new, 5)
    await service.services.database.write(fail, job_id, 6, "no")
    return image["id"], job_id


class TestRetry:
    async def test_a_location(self, service: Service, web: WebServer) -> None:
        """The server did not have it at first, and has it now."""
        url = web.put(DATA)
        del web.objects["object-0"]
        validation = {"os_hash_algo": "sha256", "os_hash_value": hashlib.sha256(DATA).hexdigest()}
        image_id, job_id = await location_job(service, url, **validation)
        await work(service)
        assert (await show(service, job_id))["status"] == "failure"
        assert (await service.show(image_id))["status"] == "queued"
        web.objects["object-0"] = DATA
        response = await act(service, job_id, "retry")
        new = response.json()
        assert response.headers["location"] == f"http://images.test/v2/jobs/{new['id']}"
        assert (new["status"], new["image_id"], new["project_id"]) == ("waiting", image_id, "p1")
        assert (await act(service, job_id, "retry")).status_code == 409, "it is being done already"
        await work(service)
        assert (await show(service, new["id"]))["status"] == "success"
        image = await service.show(image_id)
        assert (image["status"], image["os_hash_algo"]) == ("active", "sha256")
        assert image["os_hash_value"] == validation["os_hash_value"]
        assert (await act(service, job_id, "retry")).status_code == 409, "the image has its data"

    async def test_an_import(self, service: Service) -> None:
        image_id, job_id = await failed_import(service)
        response = await act(service, job_id, "retry")
        assert response.status_code == 202
        new = response.json()
        assert new["id"] != job_id
        assert (new["kind"], new["image_id"], new["source"], new["status"]) == (
            IMAGE_IMPORT,
            image_id,
            SOURCE,
            "waiting",
        )
        assert (await service.show(image_id))[LOCK] == new["id"]
        assert (await act(service, job_id, "retry")).status_code == 409, "it is being done already"

    async def test_of_an_image_that_is_gone(self, service: Service) -> None:
        image_id, job_id = await failed_import(service)
        assert (await service.call("owner", "DELETE", f"/v2/images/{image_id}")).status_code == 204
        assert (await act(service, job_id, "retry")).status_code == 404

    @pytest.mark.parametrize(("kind", "outcome"), [("unknown", ""), ("unknown", SUCCESS), (IMAGE_UPLOAD, FAILURE)])
    async def test_what_cannot_be_tried_again(self, service: Service, kind: str, outcome: str) -> None:
        job_id = await add(service, 1, kind=kind)
        if outcome:
            await end(service, job_id, outcome)
        assert (await act(service, job_id, "retry")).status_code == 409


class TestKeeping:
    async def test_they_are_forgotten_with_the_tasks(self, service: Service, settings: Settings) -> None:
        kept_ms = settings.imports.task_time_to_live_h * 3_600_000
        ids = [await add(service, number) for number in range(3)]
        for job_id in ids[:2]:
            await end(service, job_id, SUCCESS)
        with service.services.database.engine.begin() as connection:
            old = update(tables.jobs).where(tables.jobs.c.id == ids[0])
            connection.execute(old.values(ended_at_ms=service.services.now_ms() - kept_ms - 1))
        await cleanup.one_round(service.services)
        assert await listed(service) == ids[:0:-1]

    async def test_what_waits_for_a_node_that_does_not_come(self, service: Service, web: WebServer) -> None:
        """A job of a node that is gone for good ends like a cancelled one: nothing is stuck."""
        image_id, job_id = await location_job(service, web.put(DATA))
        waits_ms = service.services.settings.imports.staging_ttl_h * 3_600_000
        for age_ms, is_cancelled in ((waits_ms - 600_000, False), (waits_ms + 1, True)):
            due_ms = service.services.now_ms() - age_ms
            with service.services.database.engine.begin() as connection:
                connection.execute(update(tables.jobs).values(node="http://gone", available_at_ms=due_ms))
            await cleanup.one_round(service.services)
            assert (await show(service, job_id))["cancel_requested"] == is_cancelled
        assert await work(service) == 0, "its node may come yet"
        with service.services.database.engine.begin() as connection:
            connection.execute(update(tables.jobs).values(available_at_ms=service.services.now_ms() - 60_000))
        assert await work(service) == 1
        job = await show(service, job_id)
        assert (job["status"], job["message"]) == (
            "cancelled",
            "The only node that could have done it did not in 48 h.",
        )
        assert LOCK not in await service.show(image_id)
