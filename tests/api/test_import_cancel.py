"""Imports that are cancelled at any moment, and done again: nothing is left, nothing is stuck (docs: jobs)."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blick.conf.settings import Settings, StoreSettings, StoresSettings
from blick.jobs.worker import Worker
from blick.model.uri_filter import UriFilter
from blick.ops import cleanup, staging_sweep
from blick.worker import job_worker
from tests.support.service import OCTETS, Service
from tests.support.web_server import WebServer

DATA = b"0123456789abcdef" * 300_000
SHA512 = hashlib.sha512(DATA).hexdigest()
LOCK = "os_glance_import_task"
PLACES = ("one", "two", "staging")


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Two file stores, and this machine's own servers may be fetched from."""
    stores = tuple(
        StoreSettings(name, "file", {"filesystem_store_datadir": str(tmp_path / name)}) for name in ("one", "two")
    )
    return replace(
        settings,
        stores=StoresSettings("one", stores, multi_store=True),
        imports=replace(settings.imports, uri_filter=UriFilter(allowed_hosts=("127.0.0.1",), allowed_ports=())),
    )


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


@asynccontextmanager
async def working(service: Service) -> AsyncIterator[Worker]:
    worker = job_worker(service.services)
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def begin(service: Service, image_id: str, **method: str) -> str:
    """The id of the job."""
    body = {"method": method, "stores": ["one", "two"]}
    response = await service.call("owner", "POST", f"/v2/images/{image_id}/import", json=body)
    assert response.status_code == 202, response.text
    return str((await service.show(image_id))[LOCK])


async def act(service: Service, job_id: str, action: str) -> dict[str, Any]:
    response = await service.call("owner", "POST", f"/v2/jobs/{job_id}/actions/{action}")
    assert response.status_code == 202, response.text
    document: dict[str, Any] = response.json()
    return document


async def job_when(service: Service, job_id: str, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    for _ in range(6000):
        job: dict[str, Any] = (await service.call("owner", "GET", f"/v2/jobs/{job_id}")).json()
        if is_so(job):
            return job
        await asyncio.sleep(0.01)
    raise AssertionError(job)


async def ended(service: Service, job_id: str) -> str:
    return str((await job_when(service, job_id, lambda job: job["ended_at"] is not None))["status"])


async def assert_files(service: Service, tmp_path: Path, *expected: str) -> None:
    """What lies in stores and staging in the end, hidden files too: data goes after its import has ended, or with the
    next housekeeping where tidying was cut off."""
    for _ in range(3000):
        found = sorted(path.name for place in PLACES for path in (tmp_path / place).glob("*"))
        if found == sorted(expected):
            return
        await asyncio.sleep(0.02)
        await cleanup.one_round(service.services)
        await staging_sweep.sweep(service.services)
    raise AssertionError(found)


async def assert_as_before(service: Service, tmp_path: Path, image_id: str, job_id: str) -> None:
    image = await service.show(image_id)
    assert (image["status"], image["size"], image["checksum"], LOCK in image) == ("queued", None, None, False)
    assert image["os_glance_importing_to_stores"] == ""
    await assert_files(service, tmp_path)
    tasks = (await service.call("owner", "GET", f"/v2/images/{image_id}/tasks")).json()["tasks"]
    assert [(task["status"], task["message"]) for task in tasks if task["id"] == job_id] == [("failure", "Cancelled")]


async def test_staged_data_before_the_work_begins(service: Service, tmp_path: Path) -> None:
    image_id = (await service.create())["id"]
    path = f"/v2/images/{image_id}/stage"
    assert (await service.call("owner", "PUT", path, content=DATA, headers=OCTETS)).status_code == 204
    job_id = await begin(service, image_id, name="glance-direct")
    assert (await act(service, job_id, "cancel"))["cancel_requested"]
    assert await job_worker(service.services).work_off() == 1
    assert await ended(service, job_id) == "cancelled"
    image = await service.show(image_id)
    assert LOCK not in image
    assert image["status"] in ("queued", "uploading")
    await assert_files(service, tmp_path, *([image_id] if image["status"] == "uploading" else []))


async def test_a_download_that_hangs_and_another_try(service: Service, web: WebServer, tmp_path: Path) -> None:
    image_id = (await service.create())["id"]
    job_id = await begin(service, image_id, name="web-download", uri=web.put(DATA, "waiting"))
    async with working(service):
        assert await asyncio.to_thread(web.waiting.wait, 60)
        assert (await service.show(image_id))["status"] == "importing"
        await act(service, job_id, "cancel")
        assert await ended(service, job_id) == "cancelled"
        await assert_as_before(service, tmp_path, image_id, job_id)
        web.go.set()
        again = await act(service, job_id, "retry")
        assert await ended(service, again["id"]) == "success"
    image = await service.show(image_id)
    assert (image["status"], image["os_hash_value"], image["stores"]) == ("active", SHA512, "one,two")
    assert LOCK not in image
    await assert_files(service, tmp_path, image_id, image_id)


@pytest.mark.parametrize("seed", range(3))
async def test_at_any_moment(service: Service, web: WebServer, tmp_path: Path, seed: int) -> None:
    """Whenever it comes, each import is either done as a whole, or undone as a whole."""
    moments = random.Random(seed)
    jobs: dict[str, str] = {}
    for _ in range(12):
        image_id = (await service.create())["id"]
        jobs[image_id] = await begin(service, image_id, name="web-download", uri=web.put(DATA))
    async with working(service) as worker:
        for job_id in jobs.values():
            await asyncio.sleep(moments.uniform(0, 0.1))
            response = await service.call("owner", "POST", f"/v2/jobs/{job_id}/actions/cancel")
            assert response.status_code in (202, 409)
            await worker.stop_unwanted()
        outcomes = {image_id: await ended(service, job_id) for image_id, job_id in jobs.items()}
    done = [image_id for image_id, outcome in outcomes.items() if outcome == "success"]
    for image_id, outcome in outcomes.items():
        image = await service.show(image_id)
        assert LOCK not in image
        expected = ("active", SHA512) if outcome == "success" else ("queued", None)
        assert (image["status"], image["os_hash_value"]) == expected
    await assert_files(service, tmp_path, *done, *done)
    assert set(outcomes.values()) <= {"success", "cancelled"}


async def test_progress_is_told(service: Service, web: WebServer) -> None:
    image_id = (await service.create())["id"]
    job_id = await begin(service, image_id, name="web-download", uri=web.put(DATA, "waiting"))
    async with working(service):
        assert await asyncio.to_thread(web.waiting.wait, 60)
        job = await job_when(service, job_id, lambda job: bool(job["phase"]))
        assert (job["status"], job["bytes_total"], job["method"]) == ("running", len(DATA), "web-download")
        assert job["bytes_done"] < len(DATA)
        web.go.set()
        assert await ended(service, job_id) == "success"
