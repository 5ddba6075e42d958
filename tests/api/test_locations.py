"""POST and GET of /v2/images/{image_id}/locations, the job behind it, and the tasks that tell of it
(spec: images-api §15.2, §15.3, §11.2; import-and-tasks §2, §4, §11.2)."""

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, func, select, update

from blick.conf.settings import ImportSettings, QuotaSettings, Settings
from blick.db import tasks as db_tasks
from blick.db.tables import image_locations, jobs, location_deletes, tasks
from blick.ops import cleanup
from blick.worker import job_worker
from tests.support.server import free_port
from tests.support.service import OCTETS, Service
from tests.support.web_server import WebServer
from tests.support.web_stores import LOCAL, with_web_store

DATA = b"0123456789" * 300_000  # more than one buffer
SHA512 = hashlib.sha512(DATA).hexdigest()
MD5 = hashlib.md5(DATA).hexdigest()
RIGHT = {"os_hash_algo": "sha512", "os_hash_value": SHA512}
WRONG = {"os_hash_algo": "sha512", "os_hash_value": "0" * 128}
LOCK = "os_glance_import_task"


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return with_web_store(settings)


async def post(
    service: Service, image: dict[str, Any], url: str, validation: Any = None, who: str = "owner", **headers: str
) -> httpx.Response:
    body = {"url": url} | ({} if validation is None else {"validation_data": validation})
    return await service.call(who, "POST", f"/v2/images/{image['id']}/locations", json=body, headers=headers)


async def work(service: Service) -> int:
    """Do all jobs that are due."""
    return await job_worker(service.services).work_off()


async def the_task(service: Service, image: dict[str, Any], who: str = "owner") -> dict[str, Any]:
    response = await service.call(who, "GET", f"/v2/images/{image['id']}/tasks")
    assert response.status_code == 200
    task: dict[str, Any] = response.json()["tasks"][-1]
    return task


async def taken(service: Service, image: dict[str, Any], url: str, validation: Any = None) -> dict[str, Any]:
    """The image after the location was added and the work is done."""
    response = await post(service, image, url, validation)
    assert response.status_code == 202, response.text
    assert await work(service) == 1
    return await service.show(image["id"])


def open_jobs(service: Service) -> int:
    """How many jobs are not over."""
    with service.services.database.engine.connect() as connection:
        return connection.execute(select(func.count()).where(jobs.c.outcome == "")).scalar_one()


@contextmanager
def working(service: Service) -> Iterator[None]:
    """The worker as a server has it."""
    task = asyncio.create_task(job_worker(service.services).run())
    try:
        yield
    finally:
        task.cancel()


async def until(service: Service, image: dict[str, Any], status: str) -> dict[str, Any]:
    """The image when it has this status and nobody works on it."""
    for _ in range(3000):
        shown = await service.show(image["id"])
        if shown["status"] == status and LOCK not in shown:
            return shown
        await asyncio.sleep(0.02)
    raise AssertionError(shown)


def hashes_of(image: dict[str, Any]) -> tuple[Any, Any, Any]:
    return image["checksum"], image["os_hash_algo"], image["os_hash_value"]


class TestHashing:
    async def test_with_the_right_hash(self, service: Service, web: WebServer) -> None:
        image = await service.create()
        url = web.put(DATA)
        response = await post(service, image, url, {**RIGHT, "os_hash_value": SHA512.upper()})
        assert (response.status_code, response.content) == (202, b"")
        assert response.headers["content-type"] == "text/html; charset=UTF-8"
        waiting = await service.show(image["id"])
        task = await the_task(service, image)
        assert (waiting["status"], waiting[LOCK]) == ("queued", task["id"])
        assert (task["status"], task["type"], task["message"], task["expires_at"]) == (
            "pending",
            "location_import",
            "",
            None,
        )
        assert await work(service) == 1
        shown = await service.show(image["id"])
        assert (shown["status"], shown["size"], shown["virtual_size"]) == ("active", len(DATA), None)
        assert hashes_of(shown) == (MD5, "sha512", SHA512)
        assert shown["locations"] == [{"url": url, "metadata": {}}]
        assert LOCK not in shown
        task = await the_task(service, image)
        assert (task["status"], task["message"], task["result"]) == ("success", "", {"image_id": image["id"]})
        data = await service.call("owner", "GET", f"/v2/images/{image['id']}/file")
        assert (data.content, data.headers["content-md5"]) == (DATA, MD5)
        assert open_jobs(service) == 0
        assert await work(service) == 0

    async def test_without_a_hash(self, service: Service, web: WebServer) -> None:
        for nothing in (None, {}):
            shown = await taken(service, await service.create(), web.put(DATA), nothing)
            assert (shown["status"], hashes_of(shown)) == ("active", (MD5, "sha512", SHA512))

    @pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256"])
    async def test_other_algorithms(self, service: Service, web: WebServer, algorithm: str) -> None:
        value = hashlib.new(algorithm, DATA).hexdigest()
        claimed = {"os_hash_algo": algorithm, "os_hash_value": value}
        shown = await taken(service, await service.create(), web.put(DATA), claimed)
        assert (shown["status"], hashes_of(shown)) == ("active", (MD5, algorithm, value))

    async def test_while_it_is_verified_nobody_reads_it(self, service: Service, web: WebServer) -> None:
        image = await service.create()
        await post(service, image, web.put(DATA, "waiting"), RIGHT)
        with working(service):
            await asyncio.to_thread(web.waiting.wait)
            shown = await service.show(image["id"])
            assert (shown["status"], shown["size"], shown["checksum"]) == ("importing", len(DATA), None)
            assert LOCK in shown
            assert (await service.call("owner", "GET", f"/v2/images/{image['id']}/file")).status_code == 204
            assert (await the_task(service, image))["status"] == "processing"
            assert (await post(service, image, web.put(DATA))).status_code == 409
            web.go.set()
            assert hashes_of(await until(service, image, "active")) == (MD5, "sha512", SHA512)

    async def test_without_a_hash_it_is_active_at_once(self, service: Service, web: WebServer) -> None:
        image = await service.create()
        await post(service, image, web.put(DATA, "waiting"))
        with working(service):
            await asyncio.to_thread(web.waiting.wait)
            shown = await service.show(image["id"])
            assert (shown["status"], hashes_of(shown)) == ("active", (None, "sha512", None))
            assert LOCK in shown
            path = f"/v2/images/{image['id']}"
            assert (await service.call("owner", "POST", f"{path}/actions/deactivate")).status_code == 204
            web.go.set()
            assert hashes_of(await until(service, image, "deactivated")) == (MD5, "sha512", SHA512)

    async def test_with_a_wrong_hash(self, service: Service, web: WebServer) -> None:
        image = await service.create()
        url = web.put(DATA)
        shown = await taken(service, image, url, WRONG)
        assert (shown["status"], shown["size"], hashes_of(shown)) == ("queued", None, (None, None, None))
        assert LOCK not in shown
        assert shown["locations"] == [{"url": url, "metadata": {}}], "it stays visible, as clients expect"
        assert (await service.call("owner", "GET", f"/v2/images/{image['id']}/file")).status_code == 204
        task = await the_task(service, image)
        assert (task["status"], task["result"]) == ("failure", None)
        assert "sha512" in task["message"]
        again = await taken(service, image, url, RIGHT)
        assert (again["status"], again["locations"]) == ("active", [{"url": url, "metadata": {}}])
        assert [task["status"] for task in await self._tasks(service, image)] == ["failure", "success"]

    async def _tasks(self, service: Service, image: dict[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await service.call("owner", "GET", f"/v2/images/{image['id']}/tasks")).json()[
            "tasks"
        ]
        return found

    async def test_other_data_takes_the_place_of_what_was_refused(self, service: Service, web: WebServer) -> None:
        """Whatever way the data comes in the end: nobody ever reads what was refused."""
        refused = web.put(b"x" * len(DATA))
        image = await service.create()
        await taken(service, image, refused, RIGHT)
        good = await taken(service, image, web.put(DATA), RIGHT)
        assert refused not in str(good["locations"])
        image = await service.create()
        await taken(service, image, refused, RIGHT)
        path = f"/v2/images/{image['id']}/file"
        assert (await service.call("owner", "PUT", path, content=DATA, headers=OCTETS)).status_code == 204
        shown = await service.show(image["id"])
        assert [location["url"][:7] for location in shown["locations"]] == ["file://"]
        assert (await service.call("owner", "GET", path)).content == DATA

    async def test_a_refused_image_can_be_deleted(self, service: Service, web: WebServer) -> None:
        image = await service.create()
        await taken(service, image, web.put(DATA), WRONG)
        assert (await service.call("owner", "DELETE", f"/v2/images/{image['id']}")).status_code == 204
        assert service.count(location_deletes) == 0


class TestBadSources:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, imports=ImportSettings(uri_filter=LOCAL, http_retries=2))

    async def test_it_is_read_again(self, service: Service, web: WebServer) -> None:
        web.failures_left = 1
        shown = await taken(service, await service.create(), web.put(DATA, "flaky"), RIGHT)
        assert shown["status"] == "active"
        assert web.failures_left == 0

    @pytest.mark.parametrize("manner", ["short", "chunked-unfinished", "head-lies"])
    async def test_what_ends_early_is_never_verified(self, service: Service, web: WebServer, manner: str) -> None:
        image = await service.create()
        shown = await taken(service, image, web.put(DATA, manner), RIGHT)
        assert (shown["status"], hashes_of(shown)) == ("queued", (None, None, None))
        assert [method for method, _ in web.requests].count("GET") == 2
        task = await the_task(service, image)
        assert task["status"] == "failure"
        assert task["message"] != ""

    async def test_without_a_hash_to_compare_it_stays_active(self, service: Service, web: WebServer) -> None:
        image = await service.create()
        shown = await taken(service, image, web.put(DATA, "short"))
        assert (shown["status"], hashes_of(shown)) == ("active", (None, None, None))
        assert LOCK not in shown
        assert (await the_task(service, image))["status"] == "failure"

    async def test_nothing_there(self, service: Service, web: WebServer) -> None:
        for url in (
            web.url("/status/404"),
            web.url("/status/500"),
            web.put(b""),
            web.put(DATA, "unsized"),
            web.url("/redirect-to/http://169.254.169.254/"),
            f"http://127.0.0.1:{free_port()}/x",
        ):
            image = await service.create()
            shown = await taken(service, image, url, RIGHT)
            assert (shown["status"], shown["locations"], shown["size"]) == ("queued", [], None)
            assert (await the_task(service, image))["status"] == "failure"

    async def test_formats_have_to_be_set(self, service: Service, web: WebServer) -> None:
        image = await service.create(disk_format=None)
        shown = await taken(service, image, web.put(DATA))
        assert shown["status"] == "queued"
        assert "disk_format" in (await the_task(service, image))["message"]


class TestLimits:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, quotas=QuotaSettings(image_size_cap_bytes=100, user_storage_quota_bytes=150))

    async def test_size_and_storage(self, service: Service, web: WebServer) -> None:
        image = await service.create()
        assert (await taken(service, image, web.put(b"x" * 101)))["status"] == "queued"
        assert "100" in (await the_task(service, image))["message"]
        assert (await taken(service, image, web.put(b"x" * 100)))["status"] == "active"
        other = await service.create()
        assert (await taken(service, other, web.put(b"x" * 51)))["status"] == "queued"
        assert "user_storage_quota" in (await the_task(service, other))["message"]
        assert (await taken(service, other, web.put(b"x" * 50)))["status"] == "active"


class TestLocationQuota:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, quotas=QuotaSettings(image_location_quota=0))

    async def test_none_allowed(self, service: Service, web: WebServer) -> None:
        image = await service.create()
        assert (await taken(service, image, web.put(DATA)))["status"] == "queued"
        assert (await the_task(service, image))["status"] == "failure"


class TestWithoutHashing:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, imports=ImportSettings(uri_filter=LOCAL, do_secure_hash=False))

    async def test_what_is_said_is_believed(self, service: Service, web: WebServer) -> None:
        shown = await taken(service, await service.create(), web.put(DATA), WRONG)
        assert (shown["status"], hashes_of(shown)) == ("active", (None, "sha512", "0" * 128))
        shown = await taken(service, await service.create(), web.put(DATA))
        assert (shown["status"], hashes_of(shown)) == ("active", (None, None, None))
        assert LOCK not in shown
        assert {method for method, _ in web.requests} == {"HEAD"}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": 1},
        {"url": "http://images.example/x", "validation_data": {"os_hash_algo": "sha512"}},
        {"url": "http://images.example/x", "validation_data": {"os_hash_algo": "sha512", "os_hash_value": "x" * 128}},
        {"url": "http://images.example/x", "validation_data": {"os_hash_algo": "sha512", "os_hash_value": "00"}},
        ["x"],
    ],
)
async def test_malformed(service: Service, body: Any) -> None:
    image = await service.create()
    path = f"/v2/images/{image['id']}/locations"
    assert (await service.call("owner", "POST", path, json=body)).status_code == 400
    assert (await service.call("owner", "POST", path, content=b"{")).status_code == 400
    assert (await service.call("owner", "POST", path)).status_code == 400
    assert service.count(tasks) == open_jobs(service) == 0


async def test_refused_urls(service: Service, web: WebServer) -> None:
    image = await service.create()
    for url in ("http://169.254.169.254/x", "http://images.example:81/x", "http://127.1/x", "http://no.invalid/x"):
        response = await post(service, image, url)
        assert response.status_code == 400
        assert "does not pass filtering" in response.text
    for url in ("file:///etc/passwd", "rbd://a/b/c/snap", "memory://m/x", "nobody://x", "x"):
        for who in ("owner", "admin"):
            assert (await post(service, image, url, who=who)).status_code == 403
    assert open_jobs(service) == 0
    assert (await service.show(image["id"]))["locations"] == []


async def test_what_services_may_name(service: Service, web: WebServer, tmp_path: Path) -> None:
    """Services may name other places than the web; whether that makes sense is seen when the job runs."""
    secret = tmp_path / "images" / "secret"
    secret.write_bytes(b"secret")
    for url in (f"file://{secret}", "nobody://x", "swift+config://x/y/z"):
        image = await service.create()
        response = await post(service, image, url, x_service_roles="service")
        assert response.status_code == 403, "service roles come from a service's token, not from anyone's header"
        response = await post(service, image, url, who="admin_service")
        assert response.status_code == 202
        await work(service)
        shown = await service.show(image["id"])
        assert (shown["status"], shown["locations"]) == ("queued", [])
        assert (await the_task(service, image, "admin"))["status"] == "failure"


async def test_status(service: Service, web: WebServer) -> None:
    active = await service.create_active(DATA)
    assert (await post(service, active, web.put(DATA))).status_code == 409
    image = await service.create()
    assert (await post(service, image, web.put(DATA))).status_code == 202
    assert (await post(service, image, web.put(DATA))).status_code == 409, "the lock is held"


async def test_racing_requests(service: Service, web: WebServer) -> None:
    image = await service.create()
    answers = await asyncio.gather(*(post(service, image, web.put(DATA)) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409, 409]
    assert service.count(tasks) == open_jobs(service) == 1


async def test_no_upload_comes_in_between(service: Service, web: WebServer) -> None:
    image = await service.create()
    await post(service, image, web.put(DATA), RIGHT)
    path = f"/v2/images/{image['id']}/file"
    assert (await service.call("owner", "PUT", path, content=b"other", headers=OCTETS)).status_code == 409
    await work(service)
    shown = await service.show(image["id"])
    assert (shown["status"], shown["size"], LOCK in shown) == ("active", len(DATA), False)
    assert (await the_task(service, image))["status"] == "success"


class TestDeleting:
    async def test_before_the_work_begins(self, service: Service, web: WebServer) -> None:
        image = await service.create()
        await post(service, image, web.put(DATA), RIGHT)
        assert (await service.call("owner", "DELETE", f"/v2/images/{image['id']}")).status_code == 204
        assert await work(service) == 1
        assert web.requests == []
        await self._nothing_is_left(service, image)

    @pytest.mark.parametrize("validation", [RIGHT, None])
    async def test_while_it_is_hashed(self, service: Service, web: WebServer, validation: Any) -> None:
        image = await service.create()
        await post(service, image, web.put(DATA, "waiting"), validation)
        with working(service):
            await asyncio.to_thread(web.waiting.wait)
            assert (await service.call("owner", "DELETE", f"/v2/images/{image['id']}")).status_code == 204
            web.go.set()
            for _ in range(3000):
                if not open_jobs(service):
                    break
                await asyncio.sleep(0.02)
        await self._nothing_is_left(service, image)

    async def _nothing_is_left(self, service: Service, image: dict[str, Any]) -> None:
        assert open_jobs(service) == service.count(location_deletes) == 0
        with service.services.database.engine.connect() as connection:
            live = select(func.count()).select_from(image_locations).where(image_locations.c.status == "active")
            assert connection.execute(live).scalar_one() == 0
            assert connection.execute(select(tasks.c.status)).scalars().all() == ["failure"]
        assert (await service.call("owner", "GET", f"/v2/images/{image['id']}")).status_code == 404


class TestLock:
    async def _age(self, service: Service, **silent: int) -> None:
        then = service.services.now() - timedelta(**silent)
        with service.services.database.engine.begin() as connection:
            connection.execute(update(tasks).values(updated_at=then))

    @pytest.mark.parametrize(("status", "minutes"), [("pending", 119), ("processing", 59), ("failure", 59)])
    async def test_a_young_one_is_respected(self, service: Service, web: WebServer, status: str, minutes: int) -> None:
        image = await service.create()
        await post(service, image, web.put(DATA))
        await self._age(service, minutes=minutes)
        with service.services.database.engine.begin() as connection:
            connection.execute(update(tasks).values(status=status))
        assert (await post(service, image, web.put(DATA))).status_code == 409

    @pytest.mark.parametrize(("status", "minutes"), [("pending", 121), ("processing", 61), ("success", 61)])
    async def test_an_old_one_is_preempted(self, service: Service, web: WebServer, status: str, minutes: int) -> None:
        image = await service.create()
        await post(service, image, web.put(b"first"), RIGHT)
        old = await the_task(service, image)
        await self._age(service, minutes=minutes)
        with service.services.database.engine.begin() as connection:
            connection.execute(update(tasks).values(status=status))
        assert (await post(service, image, web.put(DATA), RIGHT)).status_code == 409, "its job will be done"
        with service.services.database.engine.begin() as connection:
            connection.execute(delete(jobs))  # as one of another service
        shown = await taken(service, image, web.put(DATA), RIGHT)
        assert (shown["status"], shown["size"]) == ("active", len(DATA))
        with service.services.database.engine.connect() as connection:
            told = db_tasks.get(connection, old["id"])
        assert told is not None
        expected = ("success", "") if status == "success" else ("failure", "Expired lock preempted")
        assert (told.status, told.message) == expected
        assert open_jobs(service) == 0

    async def test_one_without_a_task_is_stale(self, service: Service, web: WebServer) -> None:
        image = await service.create()
        await post(service, image, web.put(b"first"))
        with service.services.database.engine.begin() as connection:
            connection.execute(update(tasks).values(deleted=True))
        assert (await post(service, image, web.put(DATA))).status_code == 202

    async def test_a_worker_that_lost_it_changes_nothing(self, service: Service, web: WebServer) -> None:
        image = await service.create()
        await post(service, image, web.put(b"first" * 1000, "waiting"), None)
        with working(service):
            await asyncio.to_thread(web.waiting.wait)
            with service.services.database.engine.begin() as connection:
                connection.execute(update(jobs).values(token="somebody", holder="else", available_at_ms=2**60))
            web.go.set()
            for _ in range(3000):
                if not service.services.running_jobs:
                    break
                await asyncio.sleep(0.02)
        shown = await service.show(image["id"])
        assert hashes_of(shown) == (None, "sha512", None)
        assert LOCK in shown
        assert open_jobs(service) == 1


class TestStopping:
    async def test_a_stopped_worker_gives_back_and_the_next_goes_on(self, service: Service, web: WebServer) -> None:
        image = await service.create()
        url = web.put(DATA, "waiting")
        await post(service, image, url, RIGHT)
        worker = asyncio.create_task(job_worker(service.services).run())
        await asyncio.to_thread(web.waiting.wait)
        worker.cancel()
        with pytest.raises(asyncio.CancelledError):
            await worker
        with service.services.database.engine.connect() as connection:
            [job] = connection.execute(select(jobs)).all()
        assert (job.token, job.step, job.attempts) == ("", "hashing", 0)
        assert (await service.show(image["id"]))["status"] == "importing"
        web.go.set()
        assert await work(service) == 1
        assert (await service.show(image["id"]))["status"] == "active"

    async def test_what_never_works_is_given_up(self, service: Service, web: WebServer) -> None:
        image = await service.create()
        await post(service, image, web.put(DATA), RIGHT)
        with service.services.database.engine.begin() as connection:
            connection.execute(update(jobs).values(attempts=1000))
        await work(service)
        assert "given up" in (await the_task(service, image))["message"]
        assert LOCK not in await service.show(image["id"])


class TestTasks:
    async def test_document(self, service: Service, web: WebServer) -> None:
        image = await service.create()
        url = web.put(DATA)
        await post(service, image, url, RIGHT, **{"x-openstack-request-id": "req-1"})
        response = await service.call("owner", "GET", f"/v2/images/{image['id']}/tasks")
        assert response.status_code == 200
        [task] = response.json()["tasks"]
        assert list(task) == [
            "id", "type", "status", "owner", "expires_at", "created_at", "updated_at", "deleted_at", "deleted",
            "image_id", "request_id", "user_id", "input", "result", "message",
        ]  # fmt: skip
        assert task["input"] == {"image_id": image["id"], "loc_url": url, "validation_data": RIGHT}
        assert (task["owner"], task["user_id"], task["request_id"]) == ("p1", "u-owner", "req-1")
        assert datetime.fromisoformat(task["created_at"]).tzinfo is None
        assert "." in task["created_at"]

    async def test_who_sees_them(self, service: Service, web: WebServer) -> None:
        image = await service.create("admin", visibility="public", owner="p1")
        await post(service, image, web.put(DATA), who="owner")
        path = f"/v2/images/{image['id']}/tasks"
        seen = {
            who: (await service.call(who, "GET", path)).json()["tasks"] for who in ("admin", "owner", "reader", "other")
        }
        assert {who: len(found) for who, found in seen.items()} == {"admin": 1, "owner": 1, "reader": 1, "other": 0}
        hidden = await service.create()
        for who in ("other", "roleless"):
            assert (await service.call(who, "GET", f"/v2/images/{hidden['id']}/tasks")).status_code == 404
        assert (await service.call("owner", "GET", f"/v2/images/{hidden['id']}/tasks")).json() == {"tasks": []}
        assert (await service.call("owner", "POST", path, json={})).status_code == 404

    async def test_they_expire(self, service: Service, web: WebServer) -> None:
        image = await service.create()
        await taken(service, image, web.put(DATA))
        task = await the_task(service, image)
        lives = datetime.fromisoformat(task["expires_at"]) - service.services.now()
        assert timedelta(hours=47) < lives < timedelta(hours=48)
        await cleanup.one_round(service.services)
        assert (await the_task(service, image))["id"] == task["id"]
        with service.services.database.engine.begin() as connection:
            connection.execute(update(tasks).values(expires_at=service.services.now() - timedelta(seconds=1)))
        path = f"/v2/images/{image['id']}/tasks"
        assert (await service.call("owner", "GET", path)).json() == {"tasks": []}
        await cleanup.one_round(service.services)
        with service.services.database.engine.connect() as connection:
            assert connection.execute(select(tasks.c.deleted)).scalars().all() == [True]


class TestListing:
    async def test_for_services_only(self, service: Service, web: WebServer) -> None:
        image = await service.create_active(DATA)
        path = f"/v2/images/{image['id']}/locations"
        response = await service.call("admin", "GET", path)
        assert response.json() == [{"url": image["locations"][0]["url"], "metadata": {}}]
        expected = {"owner": 403, "reader": 403, "other": 404, "roleless": 404, "anonymous": 401, "service": 404}
        for who, status in expected.items():
            assert (await service.call(who, "GET", path)).status_code == status, who
        public = await service.create_active(DATA, "admin", visibility="public")
        path = f"/v2/images/{public['id']}/locations"
        assert len((await service.call("service", "GET", path)).json()) == 1
        assert (await service.call("service", "GET", path, content=b"ignored")).status_code == 200
        await service.call("admin", "POST", f"/v2/images/{public['id']}/actions/deactivate")
        assert (await service.call("service", "GET", path)).json() == []
        assert len((await service.call("admin", "GET", path)).json()) == 1

    async def test_of_a_queued_image(self, service: Service) -> None:
        image = await service.create()
        assert (await service.call("admin", "GET", f"/v2/images/{image['id']}/locations")).json() == []


async def test_who_may_add(service: Service, web: WebServer) -> None:
    expected = {"owner": 202, "admin": 202, "reader": 403, "other": 404, "roleless": 404, "anonymous": 401}
    for who, status in expected.items():
        image = await service.create()
        assert (await post(service, image, web.put(DATA), who=who)).status_code == status, who
    public = await service.create("admin", visibility="public", owner="p1")
    assert (await post(service, public, web.put(DATA), who="other")).status_code == 403
    assert (await post(service, public, web.put(DATA), who="service")).status_code == 202
    unknown = {"id": "00000000-0000-4000-8000-000000000000"}
    assert (await post(service, unknown, web.put(DATA))).status_code == 404


class TestWithoutWebStore:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, stores=replace(settings.stores, stores=settings.stores.stores[:1]))

    async def test_nothing_can_be_added(self, service: Service, web: WebServer) -> None:
        image = await service.create()
        for who in ("owner", "admin"):
            assert (await post(service, image, web.put(DATA), who=who)).status_code == 403


class TestSeveralStores:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        only = replace(settings, stores=replace(settings.stores, stores=settings.stores.stores[:1]))
        return with_web_store(only, multi_store=True)

    async def test_the_store_is_told(self, service: Service, web: WebServer) -> None:
        image = await service.create()
        shown = await taken(service, image, web.put(DATA), WRONG)
        assert (shown["status"], shown["stores"]) == ("queued", "web")
        shown = await taken(service, image, web.put(DATA), RIGHT)
        assert (shown["status"], shown["stores"]) == ("active", "web")
        assert shown["locations"][0]["metadata"] == {"store": "web"}
