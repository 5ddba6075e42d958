"""Imports that a stopping process gave back half way: the next one goes on, whatever lies in the stores by then."""

from dataclasses import replace
from pathlib import Path

import pytest

from blick.conf.settings import Settings, StoreSettings, StoresSettings
from blick.db import imports, jobs, tasks
from blick.db.jobs import Job
from blick.model.import_job import IMAGE_IMPORT
from blick.ops import cleanup
from blick.ops.imports import fetch
from blick.ops.imports import run as imports_run
from blick.ops.imports.current import CurrentImport
from blick.ops.imports.placing import Placing
from blick.ops.imports.run import FETCH, STORES
from blick.ops.imports.start import moment
from blick.worker import job_worker
from tests.support.service import OCTETS, Service
from tests.support.store_checks import put_copy

DATA = bytes(4096) + b"given back" * 100_000
LOCK = "os_glance_import_task"


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    stores = tuple(
        StoreSettings(name, "file", {"filesystem_store_datadir": str(tmp_path / name)}) for name in ("one", "two")
    )
    return replace(settings, stores=StoresSettings("one", stores, multi_store=True))


async def asked_for(service: Service, method: str) -> str:
    """The id of an image whose import into the store `two` is a job that nobody has begun."""
    image_id: str = (await service.create(who="admin"))["id"]
    way = "file" if method == "copy-image" else "stage"
    put = await service.call("admin", "PUT", f"/v2/images/{image_id}/{way}", content=DATA, headers=OCTETS)
    assert put.status_code == 204, put.text
    body = {"method": {"name": method}, "stores": ["two"]}
    asked = await service.call("admin", "POST", f"/v2/images/{image_id}/import", json=body)
    assert asked.status_code == 202, asked.text
    return image_id


async def come_to_stores(service: Service, image_id: str) -> Job:
    """Do the job up to where it writes to stores; it is ours."""
    services = service.services
    (job,) = await services.database.read(jobs.of_image, image_id)
    ours = await services.database.write(jobs.claim, job, "token", "somebody", services.now_ms() + 60_000)
    assert ours is not None
    assert ours.kind == IMAGE_IMPORT
    current = await CurrentImport.of(services, ours)
    await services.database.write(imports.admit, ours, current.work, FETCH, None, {}, moment(services))
    current.step = FETCH
    await fetch.fetch(current, STORES)
    return ours


@pytest.mark.parametrize("method", ["glance-direct", "copy-image"])
async def test_behind_a_commit(service: Service, method: str) -> None:
    """The bytes are in the store, and no record says so yet."""
    image_id = await asked_for(service, method)
    job = await come_to_stores(service, image_id)
    await put_copy(service.services, "two", image_id, DATA[:1000])
    await service.services.database.write(jobs.release, job, service.services.now_ms())
    assert await job_worker(service.services).work_off() == 1
    shown = await service.show(image_id, "admin")
    assert (shown["status"], LOCK in shown) == ("active", False)
    assert "two" in shown["stores"].split(",")
    got = await service.call("admin", "GET", f"/v2/images/{image_id}/file?prefer=two")
    assert got.content == DATA


@pytest.mark.parametrize("method", ["glance-direct", "copy-image"])
@pytest.mark.parametrize("is_given_back", [True, False])
async def test_deleted_when_all_stores_had_it(
    service: Service, tmp_path: Path, method: str, is_given_back: bool
) -> None:
    """Nothing is left to do but to say so, and there is no image to say it of."""
    image_id = await asked_for(service, method)
    services = service.services
    ours = await come_to_stores(service, image_id)
    job = await services.database.read(jobs.get, ours.id)
    assert job is not None
    current = await CurrentImport.of(services, job)
    await Placing(current, STORES).place()
    job = await services.database.read(jobs.get, ours.id)
    assert job is not None
    assert (await service.call("admin", "DELETE", f"/v2/images/{image_id}")).status_code == 204
    if is_given_back:
        await services.database.write(jobs.release, job, services.now_ms())
        assert await job_worker(services).work_off() == 1
    else:
        await imports_run.run(services, job)
    ended = await services.database.read(jobs.get, ours.id)
    assert ended is not None
    assert ended.outcome != ""
    task = await services.database.read(tasks.get, ours.id)
    assert task is not None
    assert task.status == "failure"
    await cleanup.one_round(services)
    assert [path.name for folder in ("one", "two", "staging") for path in (tmp_path / folder).glob("*")] == []
