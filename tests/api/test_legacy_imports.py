"""POST /v2/tasks, and what its tasks do: the old type `import`, and what other calls do by themselves
(spec: images-api §18, import-and-tasks §11.3)."""

import asyncio
import hashlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from blick.conf.settings import QuotaSettings, Settings
from blick.db import jobs
from blick.db.jobs import Job
from blick.jobs.kinds import cancelled
from blick.ops.imports import legacy, run
from blick.ops.imports.current import CurrentImport
from blick.worker import job_worker
from tests.support.databases import on_every_engine
from tests.support.service import OCTETS, Service, running_service
from tests.support.web_server import WebServer
from tests.support.web_stores import with_web_store

DATA = b"0123456789abcdef" * 300_000  # more than one buffer
RAW = {"disk_format": "raw", "container_format": "bare"}
PLAIN = {"accept": "text/plain"}
UNKNOWN = "00000000-0000-4000-8000-000000000000"
EVERYBODY = 'tasks_api_access: "role:member"\n'


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """This machine's own servers may be fetched from."""
    usual = with_web_store(settings)
    return replace(usual, imports=replace(settings.imports, uri_filter=usual.imports.uri_filter))


async def post(service: Service, type_: str, asked: Any, who: str = "admin") -> httpx.Response:
    return await service.call(who, "POST", "/v2/tasks", json={"type": type_, "input": asked}, headers=PLAIN)


def asked_for(url: str, source_format: Any = "raw", **properties: Any) -> dict[str, Any]:
    return {"import_from": url, "import_from_format": source_format, "image_properties": properties}


async def work(service: Service) -> int:
    return await job_worker(service.services).work_off()


async def show(service: Service, task_id: str, who: str = "admin") -> dict[str, Any]:
    answer = await service.call(who, "GET", f"/v2/tasks/{task_id}")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def ended(service: Service, asked: Any, who: str = "admin", type_: str = "import") -> dict[str, Any]:
    """The task after it was asked for and its work is done."""
    answer = await post(service, type_, asked, who)
    assert answer.status_code == 201, answer.text
    assert await work(service) == 1
    return await show(service, answer.json()["id"], who)


async def images(service: Service) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await service.call("admin", "GET", "/v2/images?visibility=all")).json()["images"]
    return found


def staged_files(service: Service) -> list[str]:
    folder: Path = service.services.settings.imports.staging_dir
    return sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []


async def require_nothing_left(service: Service) -> None:
    assert await images(service) == []
    assert service.stored_files == []
    assert staged_files(service) == []


class TestImport:
    @on_every_engine
    async def test_an_image_is_made_and_filled(self, service: Service, web: WebServer) -> None:
        properties = {"name": "made", "visibility": "public", "tags": ["a"], "min_disk": 3, "os_distro": "x", **RAW}
        asked = asked_for(web.put(DATA), **properties)
        answer = await post(service, "import", asked)
        assert answer.status_code == 201
        task = answer.json()
        assert answer.headers["location"] == f"http://images.test/v2/tasks/{task['id']}"
        assert (task["type"], task["status"], task["input"]) == ("import", "pending", asked)
        assert (task["owner"], task["user_id"], task["message"], task["result"]) == ("admin", "u-admin", "", None)
        assert not {"image_id", "expires_at"} & task.keys()
        assert await images(service) == [], "it is made when the work begins"
        assert await work(service) == 1
        task = await show(service, task["id"])
        assert (task["status"], task["message"]) == ("success", "Copied 4 MiB")
        assert "expires_at" in task
        image = await service.show(task["result"]["image_id"], "admin")
        assert {name: image[name] for name in properties} == properties
        assert (image["status"], image["owner"], image["size"]) == ("active", "admin", len(DATA))
        assert image["os_hash_value"] == hashlib.sha512(DATA).hexdigest()
        assert "os_glance_import_task" not in image
        data = await service.call("admin", "GET", f"/v2/images/{image['id']}/file")
        assert data.content == DATA
        assert staged_files(service) == []

    async def test_the_format_of_the_source_is_the_image_s_unless_it_says_so(
        self, service: Service, web: WebServer
    ) -> None:
        for given, formats in (({}, ("raw", "bare")), ({"container_format": "ovf"}, ("raw", "ovf"))):
            task = await ended(service, asked_for(web.put(DATA), "raw", **given))
            image = await service.show(task["result"]["image_id"], "admin")
            assert (image["disk_format"], image["container_format"]) == formats

    @pytest.mark.parametrize("key", ["import_from_format", "image_properties"])
    async def test_a_missing_key_is_named_by_the_task(self, service: Service, web: WebServer, key: str) -> None:
        asked = asked_for(web.put(DATA), **RAW)
        del asked[key]
        task = await ended(service, asked)
        assert (task["status"], task["message"]) == ("failure", f"Input does not contain '{key}' field")
        assert task["result"] is None
        await require_nothing_left(service)

    @pytest.mark.parametrize(
        ("properties", "text"),
        [
            ("x", "must be a JSON object"),
            ([], "must be a JSON object"),
            (None, "must be a JSON object"),
            ({"id": UNKNOWN}, "cannot be chosen"),
            ({"status": "active"}, "read-only"),
            ({"size": 5}, "read-only"),
            ({"locations": []}, "reserved"),
            ({"os_glance_x": "y"}, "reserved"),
            ({"disk_format": "floppy"}, "disk_format"),
            ({"visibility": "nobody"}, "visibility"),
            ({"min_disk": -1}, "min_disk"),
            ({"disk_format": None}, "must be set"),
            ({"container_format": None}, "must be set"),
            ({"foo": 7}, "'foo'"),
            ({"name": "x" * 256}, "'name'"),
        ],
    )
    async def test_what_no_image_can_be(self, service: Service, web: WebServer, properties: Any, text: str) -> None:
        task = await ended(service, {**asked_for(web.put(DATA)), "image_properties": properties})
        assert (task["status"], text in task["message"]) == ("failure", True), task["message"]
        assert web.requests == [], "it fails before anything is fetched"
        await require_nothing_left(service)

    @pytest.mark.parametrize("source_format", [7, "floppy", None, {"a": 1}])
    async def test_formats_that_are_none(self, service: Service, web: WebServer, source_format: Any) -> None:
        task = await ended(service, asked_for(web.put(DATA), source_format))
        assert task["status"] == "failure"
        await require_nothing_left(service)
        task = await ended(service, asked_for(web.put(DATA), source_format, **RAW))
        assert task["status"] == "success", "what the image says counts"

    @pytest.mark.parametrize("manner", ["status/404", "status/500", "short", "chunked-unfinished", "garbage"])
    async def test_a_source_that_fails(self, service: Service, web: WebServer, manner: str) -> None:
        web.put(DATA, name="x")
        url = web.url(f"/{manner}/x")
        task = await ended(service, asked_for(url, protected=True, **RAW))
        assert (task["status"], task["result"]) == ("failure", None)
        assert task["message"]
        await require_nothing_left(service)

    @on_every_engine
    async def test_content_that_is_not_what_it_claims_to_be(self, service: Service, web: WebServer) -> None:
        task = await ended(service, asked_for(web.put(DATA), "qcow2"))
        assert (task["status"], "does not match disk_format" in task["message"]) == ("failure", True)
        await require_nothing_left(service)

    @pytest.mark.needs("qemu")
    async def test_disks_that_lean_on_other_files_are_refused(
        self, service: Service, web: WebServer, tmp_path: Path
    ) -> None:
        base, disk = tmp_path / "base.raw", tmp_path / "disk.qcow2"
        base.write_bytes(DATA)
        qemu_img("create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", disk)
        task = await ended(service, asked_for(web.put(disk.read_bytes()), "qcow2"))
        assert (task["status"], "safety checks" in task["message"]) == ("failure", True), task["message"]
        await require_nothing_left(service)

    @pytest.mark.needs("qemu")
    async def test_conversion(self, settings: Settings, web: WebServer, tmp_path: Path) -> None:
        raw, disk = tmp_path / "disk.raw", tmp_path / "disk.qcow2"
        raw.write_bytes(DATA + bytes(-len(DATA) % 512))
        qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, disk)
        converting = replace(settings, imports=replace(settings.imports, legacy_convert_to="raw", convert_to="vmdk"))
        async with running_service(converting) as service:
            task = await ended(service, asked_for(web.put(disk.read_bytes()), "qcow2"))
            assert task["status"] == "success", task["message"]
            image = await service.show(task["result"]["image_id"], "admin")
            assert (image["disk_format"], image["virtual_size"]) == ("raw", raw.stat().st_size)
            data = await service.call("admin", "GET", f"/v2/images/{image['id']}/file")
            assert data.content == raw.read_bytes()
            assert staged_files(service) == []

    async def test_plugins_are_for_the_newer_imports(self, settings: Settings, web: WebServer) -> None:
        chosen = replace(
            settings, imports=replace(settings.imports, plugins=("inject_image_metadata",), inject={"injected": "yes"})
        )
        async with running_service(chosen) as service:
            task = await ended(service, asked_for(web.put(DATA), **RAW))
            assert "injected" not in await service.show(task["result"]["image_id"], "admin")

    @pytest.mark.parametrize(
        ("quotas", "properties"),
        [
            (QuotaSettings(image_property_quota=1), {"a": "1", "b": "2"}),
            (QuotaSettings(image_tag_quota=0), {"tags": ["a"]}),
            (QuotaSettings(image_size_cap_bytes=len(DATA) - 1), {}),
            (QuotaSettings(user_storage_quota_bytes=len(DATA) - 1), {}),
        ],
    )
    async def test_quotas(
        self, settings: Settings, web: WebServer, quotas: QuotaSettings, properties: dict[str, Any]
    ) -> None:
        async with running_service(replace(settings, quotas=quotas)) as service:
            task = await ended(service, asked_for(web.put(DATA), **RAW, **properties))
            assert (task["status"], task["result"]) == ("failure", None)
            await require_nothing_left(service)

    async def test_the_caller_s_rights_count(self, service: Service, web: WebServer, settings: Settings) -> None:
        settings.policy.policy_file.write_text(EVERYBODY)
        task = await ended(service, asked_for(web.put(DATA), visibility="public", **RAW), "owner")
        assert (task["status"], "publicize_image" in task["message"]) == ("failure", True)
        await require_nothing_left(service)
        task = await ended(service, asked_for(web.put(DATA), owner="p9", **RAW), "owner")
        assert (task["status"], "owned by 'p9'" in task["message"]) == ("failure", True)
        await require_nothing_left(service)
        task = await ended(service, asked_for(web.put(DATA), **RAW), "owner")
        assert task["status"] == "success"
        assert (await service.show(task["result"]["image_id"]))["owner"] == "p1"


class TestUrls:
    @pytest.mark.parametrize(
        ("url", "text"),
        [
            (None, "Invalid location"),
            (7, "Invalid location"),
            (["http://127.0.0.1/x"], "Invalid location"),
            ("", "not valid"),
            ("swift://a/b", "not valid"),
            ("ftp://127.0.0.1/x", "not valid"),
            ("file:///etc/passwd", "File based imports are not allowed"),
            ("FILE:///etc/passwd", "File based imports are not allowed"),
            ("http://169.254.169.254/x", "does not pass filtering"),
            ("http://2130706433/x", "does not pass filtering"),
            ("http://[::1]/x", "does not pass filtering"),
            ("http://no-such-host.invalid/x", "does not pass filtering"),
            ("http://127.0.0.1:x/", "does not pass filtering"),
        ],
    )
    async def test_refused_at_once(self, service: Service, url: Any, text: str) -> None:
        answer = await post(service, "import", asked_for(url, **RAW))
        assert (answer.status_code, text in answer.text) == (400, True), answer.text
        assert (await service.call("admin", "GET", "/v2/tasks")).json()["tasks"] == []
        assert await work(service) == 0

    @pytest.mark.parametrize("asked", [None, {}, {"import_from_format": "raw", "image_properties": {}}])
    async def test_without_one(self, service: Service, asked: Any) -> None:
        answer = await post(service, "import", asked)
        assert (answer.status_code, "Invalid location: None" in answer.text) == (400, True)

    async def test_a_redirect_to_where_nobody_may_go(self, service: Service, web: WebServer) -> None:
        task = await ended(service, asked_for(web.url("/redirect-to/http://169.254.169.254/x"), **RAW))
        assert task["status"] == "failure"
        await require_nothing_left(service)

    async def test_passwords_are_used_and_not_shown(self, service: Service, web: WebServer) -> None:
        url = web.put(DATA, "guarded").replace("//", "//user:secret@")
        task = await ended(service, asked_for(url, **RAW))
        assert task["status"] == "success", task["message"]
        assert task["input"]["import_from"] == url.replace("user:secret@", "")

    async def test_nobody_asks_dns_for_who_may_not_start_tasks(self, service: Service) -> None:
        answer = await post(service, "import", asked_for("file:///etc/passwd", **RAW), "owner")
        assert answer.status_code == 403


@contextmanager
def working(service: Service) -> Iterator[None]:
    """The worker as a server has it."""
    task = asyncio.create_task(job_worker(service.services).run())
    try:
        yield
    finally:
        task.cancel()


async def until_over(service: Service, task_id: str) -> dict[str, Any]:
    for _ in range(3000):
        task = await show(service, task_id)
        if task["status"] in ("success", "failure"):
            return task
        await asyncio.sleep(0.02)
    raise AssertionError(task)


class TestInBetween:
    async def test_whoever_deletes_the_image_ends_the_task(self, service: Service, web: WebServer) -> None:
        task_id = (await post(service, "import", asked_for(web.put(DATA, "waiting"), **RAW))).json()["id"]
        with working(service):
            await asyncio.to_thread(web.waiting.wait)
            [image] = await images(service)
            assert (image["status"], image["os_glance_import_task"]) == ("importing", task_id)
            deleted = await service.call("admin", "DELETE", f"/v2/images/{image['id']}")
            assert deleted.status_code == 204
            web.go.set()
            task = await until_over(service, task_id)
        assert (task["status"], task["message"]) == ("failure", "Task was aborted externally")
        await require_nothing_left(service)

    async def test_what_was_cut_off_after_the_image_was_made_goes_on(self, service: Service, web: WebServer) -> None:
        task_id = (await post(service, "import", asked_for(web.put(DATA), **RAW))).json()["id"]
        await legacy.create(await CurrentImport.of(service.services, await claimed(service, task_id)), run.ADMIT)
        [image] = await images(service)
        assert image["status"] == "queued"
        await give_up_claim(service, task_id)
        assert await work(service) == 1
        task = await show(service, task_id)
        assert (task["status"], task["result"]) == ("success", {"image_id": image["id"]})
        assert [found["id"] for found in await images(service)] == [image["id"]]

    @pytest.mark.parametrize("is_made", [False, True])
    async def test_cancelled(self, service: Service, web: WebServer, *, is_made: bool) -> None:
        task_id = (await post(service, "import", asked_for(web.put(DATA), **RAW))).json()["id"]
        job = await claimed(service, task_id)
        if is_made:
            await legacy.create(await CurrentImport.of(service.services, job), run.ADMIT)
            job = replace(job, step=run.ADMIT)
        await run.cancel(service.services, job, cancelled(job))
        task = await show(service, task_id)
        assert (task["status"], task["message"]) == ("failure", cancelled(job).message)
        await require_nothing_left(service)


class TestOnceMore:
    async def test_a_failed_import_is_tried_again_as_a_new_task(self, service: Service, web: WebServer) -> None:
        url = web.url("/plain/comes-later")
        failed = await ended(service, asked_for(url, name="made", **RAW))
        assert failed["status"] == "failure"
        web.put(DATA, name="comes-later")
        answer = await service.call("admin", "POST", f"/v2/jobs/{failed['id']}/actions/retry")
        assert answer.status_code == 202, answer.text
        assert await work(service) == 1
        [task, _] = (await service.call("admin", "GET", "/v2/tasks")).json()["tasks"]
        task = await show(service, task["id"])
        assert (task["status"], task["input"], task["user_id"]) == ("success", failed["input"], "u-admin")
        assert (await service.show(task["result"]["image_id"], "admin"))["name"] == "made"

    async def test_by_whoever_may_start_tasks(self, service: Service, web: WebServer, settings: Settings) -> None:
        settings.policy.policy_file.write_text(EVERYBODY)
        failed = await ended(service, asked_for(web.url("/plain/nothing"), **RAW), "owner")
        path = f"/v2/jobs/{failed['id']}/actions/retry"
        settings.policy.policy_file.unlink()
        assert (await service.call("owner", "POST", path)).status_code == 403
        assert (await service.call("other", "POST", path)).status_code == 404
        settings.policy.policy_file.write_text(EVERYBODY)
        assert (await service.call("owner", "POST", path)).status_code == 202


async def claimed(service: Service, task_id: str) -> Job:
    services = service.services
    job = await services.database.read(jobs.get, task_id)
    assert job is not None
    ours = await services.database.write(jobs.claim, job, services.new_token(), "somebody", services.now_ms() + 60_000)
    assert ours is not None
    return ours


async def give_up_claim(service: Service, task_id: str) -> None:
    job = await service.services.database.read(jobs.get, task_id)
    assert job is not None
    await service.services.database.write(jobs.release, job, service.services.now_ms())


class TestOtherTypes:
    async def test_an_import_into_an_image(self, service: Service, web: WebServer) -> None:
        image = await service.create()
        method = {"name": "web-download", "uri": web.put(DATA)}
        asked = {"image_id": image["id"], "import_req": {"method": method}}
        answer = await post(service, "api_image_import", asked)
        assert (answer.status_code, answer.json()["status"]) == (201, "pending")
        assert answer.json()["image_id"] == image["id"]
        assert await work(service) == 1
        assert (await show(service, answer.json()["id"]))["status"] == "success"
        assert (await service.show(image["id"]))["status"] == "active"

    async def test_staged_data(self, service: Service) -> None:
        image = await service.create()
        await service.call("owner", "PUT", f"/v2/images/{image['id']}/stage", content=DATA, headers=OCTETS)
        asked = {"image_id": image["id"], "import_req": {"method": {"name": "glance-direct"}}, "backend": [None]}
        task = await ended(service, {**asked, "backend": []}, type_="api_image_import")
        assert task["status"] == "success"

    @pytest.mark.parametrize(
        ("asked", "text"),
        [
            ({}, "Input to api_image_import task is empty."),
            ({"image_id": UNKNOWN}, "'import_req'"),
            ({"image_id": 7, "import_req": {"method": {"name": "glance-direct"}}}, "'image_id'"),
            ({"image_id": UNKNOWN, "import_req": {}}, "'method'"),
            ({"image_id": UNKNOWN, "import_req": {"method": {"name": "pigeon"}}}, "pigeon"),
            ({"image_id": UNKNOWN, "import_req": {"method": {"name": "glance-direct"}}}, "No image found"),
            ({"image_id": UNKNOWN, "import_req": {"method": {"name": "web-download"}}}, "'uri'"),
        ],
    )
    async def test_what_the_call_would_refuse_the_task_tells(self, service: Service, asked: Any, text: str) -> None:
        answer = await post(service, "api_image_import", asked)
        assert answer.status_code == 201
        task = await show(service, answer.json()["id"])
        assert (task["status"], text in task["message"]) == ("failure", True), task
        assert "expires_at" in task
        assert await work(service) == 0

    async def test_an_image_in_another_state_stays_as_it_is(self, service: Service, web: WebServer) -> None:
        image = await service.create_active(b"data")
        method = {"name": "web-download", "uri": web.put(DATA)}
        answer = await post(service, "api_image_import", {"image_id": image["id"], "import_req": {"method": method}})
        assert answer.json()["status"] == "failure"
        assert await service.show(image["id"]) == image

    async def test_it_needs_the_same_rights_as_the_call(
        self, service: Service, web: WebServer, settings: Settings
    ) -> None:
        settings.policy.policy_file.write_text(EVERYBODY)
        image = await service.create(visibility="private")
        method = {"name": "web-download", "uri": web.put(DATA)}
        asked = {"image_id": image["id"], "import_req": {"method": method}}
        answer = await post(service, "api_image_import", asked, "other")
        assert (answer.json()["status"], "No image found" in answer.json()["message"]) == ("failure", True)
        assert await service.show(image["id"]) == image

    async def test_a_location(self, service: Service, web: WebServer) -> None:
        image = await service.create()
        url = web.put(DATA)
        asked = {"image_id": image["id"], "loc_url": url, "validation_data": {}}
        task = await ended(service, asked, type_="location_import")
        assert (task["status"], task["result"]) == ("success", {"image_id": image["id"]})
        assert [place["url"] for place in (await service.show(image["id"]))["locations"]] == [url]

    @pytest.mark.parametrize(
        ("asked", "text"),
        [
            ({}, "Input to location_import task is empty."),
            ({"image_id": UNKNOWN}, "needs a url"),
            ({"image_id": UNKNOWN, "loc_url": "http://127.0.0.1/x"}, "No image found"),
            ({"loc_url": "http://127.0.0.1/x"}, "'image_id'"),
            ({"image_id": UNKNOWN, "loc_url": "http://127.0.0.1/x", "validation_data": 7}, "validation_data"),
        ],
    )
    async def test_a_location_that_is_refused(self, service: Service, asked: Any, text: str) -> None:
        task = (await post(service, "location_import", asked)).json()
        assert (task["status"], text in task["message"]) == ("failure", True), task


@pytest.mark.parametrize("body", [b"", b"{", b'"x"', b"[]", b"null", b'{"type": "import", "input": [], "x": 1}'])
async def test_bodies_that_make_no_sense(service: Service, body: bytes) -> None:
    answer = await service.call("admin", "POST", "/v2/tasks", content=body)
    assert answer.status_code == 400


async def test_input_that_no_database_holds(service: Service, web: WebServer) -> None:
    answer = await post(service, "import", asked_for(web.put(DATA), name="\U0001f600", **RAW))
    assert (answer.status_code, "four bytes" in answer.text) == (400, True)


def qemu_img(*arguments: str | Path) -> None:
    subprocess.run(["qemu-img", *map(str, arguments)], check=True, capture_output=True)
