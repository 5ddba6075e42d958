"""POST /v2/images/{image_id}/import and what comes of it (spec: images-api §11, import-and-tasks)."""

import asyncio
import hashlib
import html
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from blick.conf.settings import QuotaSettings, Settings, StoreSettings, StoresSettings
from blick.db import jobs as db_jobs
from blick.db.tables import jobs
from blick.model.uri_filter import UriFilter
from blick.worker import job_worker
from tests.support.service import OCTETS, Service, running_service
from tests.support.web_server import WebServer

DATA = b"0123456789abcdef" * 300_000  # more than one buffer
SHA512 = hashlib.sha512(DATA).hexdigest()
LOCK = "os_glance_import_task"
WAITING, FAILED = "os_glance_importing_to_stores", "os_glance_failed_import"
DIRECT = {"name": "glance-direct"}


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Three file stores, and this machine's own servers may be fetched from."""
    stores = tuple(
        StoreSettings(name, "file", {"filesystem_store_datadir": str(tmp_path / name)})
        for name in ("one", "two", "three")
    )
    return replace(
        settings,
        stores=StoresSettings("one", (*stores, StoreSettings("web", "http")), multi_store=True),
        imports=replace(settings.imports, uri_filter=UriFilter(allowed_hosts=("127.0.0.1",), allowed_ports=())),
    )


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


async def staged(service: Service, data: bytes = DATA, **body: Any) -> dict[str, Any]:
    image = await service.create(**body)
    response = await service.call("owner", "PUT", f"/v2/images/{image['id']}/stage", content=data, headers=OCTETS)
    assert response.status_code == 204, response.text
    return image


async def post(
    service: Service, image: dict[str, Any], method: Any, who: str = "owner", headers: Any = None, **more: Any
) -> httpx.Response:
    body = {"method": method, **more}
    return await service.call(who, "POST", f"/v2/images/{image['id']}/import", json=body, headers=headers or {})


async def work(service: Service) -> int:
    return await job_worker(service.services).work_off()


async def imported(service: Service, image: dict[str, Any], method: Any, **more: Any) -> dict[str, Any]:
    """The image after the import was asked for and the work is done."""
    response = await post(service, image, method, **more)
    assert response.status_code == 202, response.text
    assert response.content == b""
    assert await work(service) == 1
    return await service.show(image["id"])


async def the_task(service: Service, image: dict[str, Any], who: str = "owner") -> dict[str, Any]:
    response = await service.call(who, "GET", f"/v2/images/{image['id']}/tasks")
    assert response.status_code == 200
    task: dict[str, Any] = response.json()["tasks"][-1]
    return task


async def download(service: Service, image: dict[str, Any], store: str) -> bytes:
    response = await service.call("owner", "GET", f"/v2/images/{image['id']}/file?prefer={store}")
    assert response.status_code == 200
    return response.content


def files(tmp_path: Path, *folders: str) -> list[str]:
    """Everything that lies in these folders, hidden files too."""
    found = [path.name for folder in folders for path in (tmp_path / folder).glob("*")]
    return sorted(found)


EVERYWHERE = ("one", "two", "three", "staging")


class TestGlanceDirect:
    async def test_into_the_default_store(self, service: Service, tmp_path: Path) -> None:
        image = await staged(service)
        shown = await imported(service, image, DIRECT)
        assert (shown["status"], shown["size"], shown["stores"]) == ("active", len(DATA), "one")
        assert (shown["os_hash_algo"], shown["os_hash_value"]) == ("sha512", SHA512)
        assert shown["checksum"] == hashlib.md5(DATA).hexdigest()
        assert shown["virtual_size"] == len(DATA)
        assert (shown[WAITING], shown[FAILED]) == ("", "")
        assert LOCK not in shown
        assert await download(service, image, "one") == DATA
        assert files(tmp_path, *EVERYWHERE) == [image["id"]]

    async def test_the_task_tells_of_it(self, service: Service) -> None:
        image = await staged(service)
        assert (await post(service, image, DIRECT, stores=["two"])).status_code == 202
        shown = await service.show(image["id"])
        task = await the_task(service, image)
        assert shown[LOCK] == task["id"]
        assert (task["type"], task["status"], task["message"]) == ("api_image_import", "pending", "")
        assert task["input"] == {
            "image_id": image["id"],
            "import_req": {"method": DIRECT, "stores": ["two"]},
            "backend": ["two"],
        }
        await work(service)
        task = await the_task(service, image)
        assert (task["status"], task["result"]) == ("success", {"image_id": image["id"]})
        assert task["message"] == f"Copied {len(DATA) >> 20} MiB"
        assert task["expires_at"] is not None

    @pytest.mark.parametrize("parallel", [1, 3])
    async def test_into_all_stores(self, settings: Settings, tmp_path: Path, parallel: int) -> None:
        settings = replace(settings, imports=replace(settings.imports, max_parallel_stores=parallel))
        async with running_service(settings) as service:
            image = await staged(service)
            shown = await imported(service, image, DIRECT, all_stores=True)
            assert (shown["status"], shown["stores"]) == (
                "active",
                "one,two,three" if parallel == 1 else shown["stores"],
            )
            assert sorted(shown["stores"].split(",")) == ["one", "three", "two"]
            for store in ("one", "two", "three"):
                assert await download(service, image, store) == DATA
            assert files(tmp_path, *EVERYWHERE) == [image["id"]] * 3

    async def test_the_staged_file_is_not_copied(self, service: Service, tmp_path: Path) -> None:
        image = await staged(service)
        before = (tmp_path / "staging" / image["id"]).stat().st_ino
        await imported(service, image, DIRECT)
        assert (tmp_path / "one" / image["id"]).stat().st_ino == before

    async def test_stores_are_written_apart(self, service: Service, tmp_path: Path) -> None:
        image = await staged(service)
        await imported(service, image, DIRECT, stores=["one", "two", "one"])
        assert len({(tmp_path / store / image["id"]).stat().st_ino for store in ("one", "two")}) == 2

    async def test_by_header(self, service: Service) -> None:
        image = await staged(service)
        shown = await imported(service, image, DIRECT, headers={"x-image-meta-store": "three"})
        assert shown["stores"] == "three"

    async def test_empty_data(self, service: Service) -> None:
        image = await staged(service, b"")
        shown = await imported(service, image, DIRECT)
        assert (shown["status"], shown["size"]) == ("active", 0)


class TestRefusedContent:
    @pytest.mark.parametrize("parallel", [1, 3])
    async def test_other_content_than_declared(self, settings: Settings, tmp_path: Path, parallel: int) -> None:
        settings = replace(settings, imports=replace(settings.imports, max_parallel_stores=parallel))
        async with running_service(settings) as service:
            image = await staged(service, disk_format="qcow2")
            shown = await imported(service, image, DIRECT, all_stores=True)
            assert (shown["status"], shown["size"], shown["checksum"]) == ("queued", None, None)
            assert (shown[WAITING], shown[FAILED]) == ("", "one,three,two")
            assert LOCK not in shown
            task = await the_task(service, image)
            assert task["status"] == "failure"
            assert "does not match disk_format" in task["message"]
            assert files(tmp_path, *EVERYWHERE) == []


class TestAStoreFails:
    """A folder that has become a file takes nothing."""

    @staticmethod
    def break_store(tmp_path: Path, store: str) -> None:
        (tmp_path / store).rename(tmp_path / f"{store}.away")
        (tmp_path / store).write_text("no folder")

    @staticmethod
    def mend_store(tmp_path: Path, store: str) -> None:
        (tmp_path / store).unlink()
        (tmp_path / f"{store}.away").rename(tmp_path / store)

    @pytest.mark.parametrize("parallel", [1, 3])
    async def test_all_have_to_succeed(self, settings: Settings, tmp_path: Path, parallel: int) -> None:
        settings = replace(settings, imports=replace(settings.imports, max_parallel_stores=parallel))
        async with running_service(settings) as service:
            image = await staged(service)
            self.break_store(tmp_path, "two")
            shown = await imported(service, image, DIRECT, all_stores=True)
            assert (shown["status"], shown["size"]) == ("uploading", len(DATA))
            assert (shown[WAITING], shown[FAILED]) == ("", "two")
            assert "stores" not in shown
            assert LOCK not in shown
            assert (await the_task(service, image))["status"] == "failure"
            assert files(tmp_path, "one", "three", "staging") == [image["id"]], "what is staged waits for another try"
            self.mend_store(tmp_path, "two")
            shown = await imported(service, image, DIRECT, all_stores=True)
            assert (shown["status"], sorted(shown["stores"].split(","))) == ("active", ["one", "three", "two"])
            assert shown[FAILED] == ""
            assert files(tmp_path, *EVERYWHERE) == [image["id"]] * 3

    @pytest.mark.parametrize("parallel", [1, 3])
    async def test_some_may_fail(self, settings: Settings, tmp_path: Path, parallel: int) -> None:
        settings = replace(settings, imports=replace(settings.imports, max_parallel_stores=parallel))
        async with running_service(settings) as service:
            image = await staged(service)
            self.break_store(tmp_path, "two")
            shown = await imported(service, image, DIRECT, all_stores=True, all_stores_must_succeed=False)
            assert (shown["status"], sorted(shown["stores"].split(","))) == ("active", ["one", "three"])
            assert (shown[WAITING], shown[FAILED]) == ("", "two")
            assert (await the_task(service, image))["status"] == "success"
            assert files(tmp_path, "one", "three", "staging") == [image["id"]] * 2

    async def test_all_fail(self, service: Service, tmp_path: Path) -> None:
        image = await staged(service)
        self.break_store(tmp_path, "two")
        self.break_store(tmp_path, "three")
        more = {"stores": ["two", "three"], "all_stores_must_succeed": False}
        shown = await imported(service, image, DIRECT, **more)
        assert (shown["status"], shown["size"]) == ("queued", None)
        assert (shown[WAITING], shown[FAILED]) == ("", "three,two")
        assert (await the_task(service, image))["status"] == "failure"
        assert files(tmp_path, "staging") == []


class TestWebDownload:
    async def test_data_comes_in(self, service: Service, web: WebServer, tmp_path: Path) -> None:
        image = await service.create()
        shown = await imported(service, image, {"name": "web-download", "uri": web.put(DATA)}, stores=["one", "two"])
        assert (shown["status"], shown["size"], shown["os_hash_value"]) == ("active", len(DATA), SHA512)
        assert await download(service, image, "two") == DATA
        assert files(tmp_path, *EVERYWHERE) == [image["id"]] * 2

    async def test_nothing_there(self, service: Service, web: WebServer, tmp_path: Path) -> None:
        image = await service.create()
        shown = await imported(service, image, {"name": "web-download", "uri": web.put(DATA) + "/nothing"})
        assert (shown["status"], shown[WAITING], shown[FAILED]) == ("queued", "", "one")
        assert LOCK not in shown
        assert (await the_task(service, image))["status"] == "failure"
        assert files(tmp_path, *EVERYWHERE) == []

    @pytest.mark.parametrize(
        "wrong", [{"size": 5}, {"checksum": "0" * 32}, {"os_hash_algo": "sha256", "os_hash_value": "0" * 64}]
    )
    async def test_not_what_was_expected(self, service: Service, web: WebServer, wrong: dict[str, Any]) -> None:
        image = await service.create()
        shown = await imported(service, image, {"name": "web-download", "uri": web.put(DATA), **wrong})
        assert shown["status"] == "queued"

    async def test_what_was_expected(self, service: Service, web: WebServer) -> None:
        image = await service.create()
        expected = {"size": len(DATA), "os_hash_algo": "sha256", "os_hash_value": hashlib.sha256(DATA).hexdigest()}
        shown = await imported(service, image, {"name": "web-download", "uri": web.put(DATA), **expected})
        assert (shown["status"], shown["os_hash_value"]) == ("active", SHA512)


class TestCopyImage:
    async def active(self, service: Service) -> dict[str, Any]:
        return await service.create_active(DATA, who="admin")

    async def copied(self, service: Service, image: dict[str, Any], **more: Any) -> dict[str, Any]:
        response = await post(service, image, {"name": "copy-image"}, "admin", **more)
        assert response.status_code == 202, response.text
        await work(service)
        return await service.show(image["id"], "admin")

    async def test_into_others(self, service: Service, tmp_path: Path) -> None:
        image = await self.active(service)
        shown = await self.copied(service, image, stores=["two", "three"])
        assert (shown["status"], shown["stores"]) == ("active", "one,two,three")
        assert (shown[WAITING], shown[FAILED]) == ("", "")
        assert files(tmp_path, *EVERYWHERE) == [image["id"]] * 3
        shown = await self.copied(service, image, all_stores=True)
        assert shown["stores"] == "one,two,three", "there was nothing left to do"

    async def test_where_it_is_already(self, service: Service) -> None:
        image = await self.active(service)
        assert (await post(service, image, {"name": "copy-image"}, "admin", stores=["one"])).status_code == 400
        assert (await post(service, image, {"name": "copy-image"}, "admin")).status_code == 400

    @pytest.mark.parametrize("must", [True, False])
    async def test_a_store_fails(self, service: Service, tmp_path: Path, must: bool) -> None:
        image = await self.active(service)
        TestAStoreFails.break_store(tmp_path, "three")
        shown = await self.copied(service, image, stores=["two", "three"], all_stores_must_succeed=must)
        assert (shown["status"], shown["stores"]) == ("active", "one" if must else "one,two")
        assert (shown[WAITING], shown[FAILED]) == ("", "three")
        assert (await the_task(service, image, "admin"))["status"] == ("failure" if must else "success")
        assert files(tmp_path, "one", "two") == [image["id"]] * (1 if must else 2)

    async def test_damaged_data_is_not_copied_on(self, service: Service, tmp_path: Path) -> None:
        image = await self.active(service)
        (tmp_path / "one" / image["id"]).write_bytes(b"x" * len(DATA))
        shown = await self.copied(service, image, stores=["two"])
        assert (shown["status"], shown["stores"], shown[FAILED]) == ("active", "one", "two")
        assert files(tmp_path, "two") == []

    async def test_owners_may_not(self, service: Service) -> None:
        image = await service.create_active(DATA)
        assert (await post(service, image, {"name": "copy-image"}, stores=["two"])).status_code == 403


class TestDeleting:
    async def test_before_the_work_begins(self, service: Service, tmp_path: Path) -> None:
        image = await staged(service)
        assert (await post(service, image, DIRECT)).status_code == 202
        assert (await service.call("owner", "DELETE", f"/v2/images/{image['id']}")).status_code == 204
        await work(service)
        assert files(tmp_path, *EVERYWHERE) == []

    async def test_during_a_download(self, service: Service, web: WebServer, tmp_path: Path) -> None:
        image = await service.create()
        response = await post(service, image, {"name": "web-download", "uri": web.put(DATA, "waiting")})
        assert response.status_code == 202
        working = asyncio.create_task(work(service))
        assert await asyncio.to_thread(web.waiting.wait, 60)
        assert (await service.call("owner", "DELETE", f"/v2/images/{image['id']}")).status_code == 204
        web.go.set()
        assert await working == 1
        assert files(tmp_path, *EVERYWHERE) == []


BAD_BODIES: list[tuple[dict[str, Any], str]] = [
    ({}, "'method' field"),
    ({"method": {}}, "'name' field"),
    ({"method": []}, "'name' field"),
    ({"method": {"name": "party-time"}}, "Unknown import method name 'party-time'"),
    ({"method": {"name": "glance-download"}}, "Unknown import method name"),
    ({"method": {"name": 5}}, "'name' field"),
    ({"method": DIRECT, "all_stores": "yes"}, "boolean"),
    ({"method": DIRECT, "all_stores_must_succeed": 1}, "boolean"),
    ({"method": DIRECT, "all_stores": True, "stores": ["one"]}, "All_stores"),
    ({"method": DIRECT, "stores": []}, "at least one"),
    ({"method": DIRECT, "stores": "one"}, "list"),
    ({"method": DIRECT, "stores": [1]}, "list"),
    ({"method": DIRECT, "stores": ["os_glance_staging_store"]}, "not for images"),
    ({"method": {"name": "web-download"}}, "uri"),
    ({"method": {"name": "web-download", "uri": 5}}, "uri"),
    ({"method": {"name": "web-download", "uri": "ftp://host/x"}}, "does not pass filtering"),
    ({"method": {"name": "web-download", "uri": "file:///etc/passwd"}}, "does not pass filtering"),
    ({"method": {"name": "web-download", "uri": "http://127.1/"}}, "does not pass filtering"),
    ({"method": {"name": "web-download", "uri": "http://2130706433/"}}, "does not pass filtering"),
    ({"method": {"name": "web-download", "uri": "http://0177.0.0.1/"}}, "does not pass filtering"),
    ({"method": {"name": "web-download", "uri": "http://[::ffff:10.0.0.1]/"}}, "does not pass filtering"),
    ({"method": {"name": "web-download", "uri": "http://127.0.0.1/", "size": -1}}, "size"),
    ({"method": {"name": "web-download", "uri": "http://127.0.0.1/", "os_hash_algo": "sha512"}}, "together"),
]


class TestBadInput:
    @pytest.mark.parametrize(("body", "text"), BAD_BODIES)
    async def test_bodies(self, service: Service, body: dict[str, Any], text: str) -> None:
        is_direct = body.get("method") == DIRECT
        image = await staged(service, b"data") if is_direct else await service.create()
        response = await service.call("owner", "POST", f"/v2/images/{image['id']}/import", json=body)
        assert response.status_code == 400, response.text
        assert text in html.unescape(response.text)
        shown = await service.show(image["id"])
        assert shown["status"] == ("uploading" if is_direct else "queued")
        assert LOCK not in shown

    async def test_stores_and_header(self, service: Service) -> None:
        image = await staged(service, b"data")
        header = {"x-image-meta-store": "one"}
        for more in ({"stores": ["one"]}, {"all_stores": True}):
            assert (await post(service, image, DIRECT, headers=header, **more)).status_code == 400

    @pytest.mark.parametrize("store", ["nowhere", "web"])
    async def test_unknown_and_read_only_stores(self, service: Service, store: str) -> None:
        image = await staged(service, b"data")
        assert (await post(service, image, DIRECT, stores=[store])).status_code == 409

    async def test_wrong_status(self, service: Service) -> None:
        queued, active = await service.create(), await service.create_active()
        web = {"name": "web-download", "uri": "http://127.0.0.1/"}
        assert (await post(service, queued, DIRECT)).status_code == 409
        assert (await post(service, active, DIRECT)).status_code == 409
        assert (await post(service, active, web)).status_code == 409
        assert (await post(service, await staged(service), web)).status_code == 409
        assert (await post(service, queued, {"name": "copy-image"}, "admin", stores=["two"])).status_code == 409

    async def test_formats_are_not_set(self, service: Service) -> None:
        image = await staged(service, disk_format=None)
        assert (await post(service, image, DIRECT)).status_code == 409

    async def test_twice(self, service: Service) -> None:
        image = await staged(service)
        assert (await post(service, image, DIRECT)).status_code == 202
        assert (await post(service, image, DIRECT)).status_code == 409
        put = await service.call("owner", "PUT", f"/v2/images/{image['id']}/file", content=b"x", headers=OCTETS)
        assert put.status_code == 409
        assert await work(service) == 1
        assert (await service.show(image["id"]))["status"] == "active"

    async def test_others(self, service: Service) -> None:
        image = await staged(service, b"data")
        assert (await post(service, image, DIRECT, "stranger")).status_code == 404
        assert (await post(service, image, DIRECT, "reader")).status_code == 403
        public = await service.create(who="admin", visibility="public")
        web = {"name": "web-download", "uri": "http://127.0.0.1/"}
        assert (await post(service, public, web)).status_code == 403
        assert (await post(service, {"id": "nothing"}, DIRECT)).status_code == 404


class TestQuota:
    async def test_one_store_too_many(self, settings: Settings, tmp_path: Path) -> None:
        quotas = QuotaSettings(user_storage_quota_bytes=2 * len(DATA))
        async with running_service(replace(settings, quotas=quotas)) as service:
            image = await staged(service)
            shown = await imported(service, image, DIRECT, all_stores=True)
            assert (shown["status"], shown[FAILED]) == ("uploading", "three")
            assert files(tmp_path, "one", "two", "three") == []
            shown = await imported(service, image, DIRECT, all_stores=True, all_stores_must_succeed=False)
            assert (shown["status"], shown["stores"], shown[FAILED]) == ("active", "one,two", "three")

    async def test_size_cap(self, settings: Settings, web: WebServer, tmp_path: Path) -> None:
        quotas = QuotaSettings(image_size_cap_bytes=len(DATA) - 1)
        async with running_service(replace(settings, quotas=quotas)) as service:
            image = await service.create()
            shown = await imported(service, image, {"name": "web-download", "uri": web.put(DATA)})
            assert shown["status"] == "queued"
            assert files(tmp_path, *EVERYWHERE) == []


async def test_one_store(settings: Settings, tmp_path: Path) -> None:
    """A site whose only store has no name."""
    one = StoreSettings("file", "file", {"filesystem_store_datadir": str(tmp_path / "one")})
    async with running_service(replace(settings, stores=StoresSettings("file", (one,)))) as service:
        image = await staged(service)
        assert (await post(service, image, DIRECT, all_stores_must_succeed=False)).status_code == 400
        shown = await imported(service, image, DIRECT, stores=["whatever"])
        assert (shown["status"], "stores" in shown) == ("active", False)
        assert (shown[WAITING], shown[FAILED]) == ("", "")
        assert (await the_task(service, image))["input"]["backend"] == [None]
        assert (await post(service, image, {"name": "copy-image"}, "admin")).status_code == 400


async def test_costs(service: Service) -> None:
    image = await staged(service, b"data")
    with service.statements() as seen:
        assert (await post(service, image, DIRECT)).status_code == 202
    assert len(seen) <= 14, "\n".join(seen)
    with service.statements() as seen:
        assert await work(service) == 1
    assert len(seen) <= 50, "\n".join(seen)


class TestAgain:
    """What an earlier attempt has done is known to the next one."""

    async def test_only_one_store_ever_has_the_staged_file_itself(self, service: Service, tmp_path: Path) -> None:
        """Also where another process goes on after the first store."""
        image = await staged(service)
        (tmp_path / "two").rename(tmp_path / "away")
        (tmp_path / "two").write_text("no folder")
        response = await post(service, image, DIRECT, stores=["one", "two"])
        assert response.status_code == 202
        [job] = await service.services.database.read(db_jobs.of_image, image["id"])
        queue = job_worker(service.services)
        working = asyncio.create_task(queue.work_off())
        async with asyncio.timeout(60):
            while not (tmp_path / "one" / image["id"]).exists():
                await asyncio.sleep(0.01)
            while "one" not in (await service.services.database.read(db_jobs.get, job.id)).state.get("done", {}):  # type: ignore[union-attr]  # it is there
                await asyncio.sleep(0.01)
        working.cancel()
        await asyncio.wait({working})
        (tmp_path / "two").unlink()
        (tmp_path / "away").rename(tmp_path / "two")
        await work(service)
        assert (await service.show(image["id"]))["status"] == "active"
        assert len({(tmp_path / store / image["id"]).stat().st_ino for store in ("one", "two")}) == 2

    async def test_a_full_quota_is_told_before_anything_is_written(self, settings: Settings, tmp_path: Path) -> None:
        quotas = QuotaSettings(user_storage_quota_bytes=len(DATA) - 1)
        async with running_service(replace(settings, quotas=quotas)) as service:
            image = await staged(service)
            TestAStoreFails.break_store(tmp_path, "one")  # which would be told, were it written to
            shown = await imported(service, image, DIRECT)
            assert shown[FAILED] == "one"
            assert "user_storage_quota" in (await the_task(service, image))["message"]

    async def test_staged_data_out_of_reach_is_not_lost(self, service: Service, tmp_path: Path) -> None:
        image = await staged(service)
        assert (await post(service, image, DIRECT)).status_code == 202
        TestAStoreFails.break_store(tmp_path, "staging")
        assert await work(service) == 1
        shown = await service.show(image["id"])
        assert (shown["status"], LOCK in shown) == ("uploading", True), "it is tried again"
        TestAStoreFails.mend_store(tmp_path, "staging")
        with service.services.database.engine.begin() as connection:
            connection.execute(update(jobs).values(available_at_ms=0))
        assert await work(service) == 1
        assert (await service.show(image["id"]))["status"] == "active"
