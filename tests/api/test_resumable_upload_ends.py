"""How uploads that can be taken up again change hands, and end (docs/resumable-upload.md)."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import httpx
import pytest
from sqlalchemy import delete, update

from blick.conf.settings import Settings
from blick.db.tables import jobs, resumable_uploads
from blick.http.app import App
from blick.ops.resumable_uploads import housekeeping
from blick.ops.services import Services, epoch_ms
from blick.worker import job_worker
from tests.support.callers import HEADERS, HeaderIdentity
from tests.support.databases import on_every_engine
from tests.support.service import OCTETS, PATCH_2_1, Service, running_service
from tests.support.staged import staged_files, staging_at
from tests.support.tus import DATA, PIECE, TUS, Slow, add, begun, head, offset, recorded, require_image, restarted
from tests.support.waiting import eventually_here

pytestmark = pytest.mark.usefixtures("worker")


@pytest.fixture
def settings(settings: Settings, staging_place: str) -> Settings:
    return staging_at(settings, staging_place)


def later(service: Service, hours: float) -> Services:
    """The services as they are so much later."""
    return replace(service.services, now_ms=lambda: epoch_ms() + int(hours * 3_600_000))


# Who has it


@on_every_engine
async def test_a_silent_client_gives_way(service: Service) -> None:
    """One that lost its connection, and comes back before the server knows, goes on with what had come."""
    image = await service.create()
    path = await begun(service, image)
    for again in (head, add):
        there = await offset(service, path)
        slow = Slow(service, path, there)
        slow.send(DATA[there : there + 1000])
        await eventually_here(lambda: bool(service.services.uploads_here.transfers))
        if again is head:
            assert await offset(service, path) == there + 1000
        else:
            assert (await add(service, path, there + 1000, DATA[there + 1000 :])).status_code == 204
        assert await slow.status() == 423
    await require_image(service, image, DATA)


@on_every_engine
async def test_given_up_in_the_middle(service: Service) -> None:
    image = await service.create()
    path = await begun(service, image)
    slow = Slow(service, path, 0)
    slow.send(DATA[:3_000_000])
    await eventually_here(lambda: bool(service.services.uploads_here.transfers))
    assert (await service.call("owner", "DELETE", path, headers=TUS)).status_code == 204
    assert await slow.status() in (404, 410, 423)
    for answer in (await head(service, path), await add(service, path, 0, b"x")):
        assert answer.status_code == 404
    assert (await service.call("owner", "DELETE", path, headers=TUS)).status_code == 404
    assert (recorded(service), staged_files(service)) == ((0, 0), [])
    assert (await service.show(image["id"]))["status"] == "queued"


@on_every_engine
async def test_a_dead_one_has_it_no_more(service: Service) -> None:
    image = await service.create()
    path = await begun(service, image)
    with service.services.database.engine.begin() as connection:
        lease = {"token": "t", "holder": service.dead_holder, "lease_until_ms": epoch_ms() + 3_600_000}
        connection.execute(update(resumable_uploads).values(lease))
    assert (await add(service, path, 0, DATA)).status_code == 204
    await require_image(service, image, DATA)


async def test_the_machine_went_down(service: Service, settings: Settings) -> None:
    """Of what was written after the last answer nobody knows whether it is what was sent."""
    if service.services.staging.is_shared:
        pytest.skip("parts are whole or not there")
    image = await service.create()
    path = await begun(service, image)
    assert (await add(service, path, 0, DATA[:1000])).status_code == 204
    (file,) = settings.imports.staging_dir.iterdir()
    file.write_bytes(DATA[:1000] + bytes(5000))
    with service.services.database.engine.begin() as connection:
        lease = {"token": "t", "holder": "another boot/x/1/1", "lease_until_ms": 1}
        connection.execute(update(resumable_uploads).values(lease))
    assert await offset(service, path) == 1000
    assert (await add(service, path, 1000, DATA[1000:])).status_code == 204
    await require_image(service, image, DATA)


async def test_the_process_went_down(service: Service, settings: Settings) -> None:
    """What it had written counts, to the byte, although nobody was told."""
    if service.services.staging.is_shared:
        pytest.skip("parts that are not whole are lost")
    image = await service.create()
    path = await begun(service, image)
    assert (await add(service, path, 0, DATA[:1000])).status_code == 204
    (file,) = settings.imports.staging_dir.iterdir()
    file.write_bytes(DATA[:3_333_333])
    assert await offset(service, path) == 3_333_333
    assert (await add(service, path, 3_333_333, DATA[3_333_333:])).status_code == 204
    await require_image(service, image, DATA)


async def test_the_process_went_down_before_the_end(service: Service, settings: Settings) -> None:
    """Everything had come: who asks finds the image active."""
    if service.services.staging.is_shared:
        pytest.skip("the last part is recorded with its upload")
    image = await service.create()
    path = await begun(service, image)
    assert (await add(service, path, 0, DATA[:1000])).status_code == 204
    (file,) = settings.imports.staging_dir.iterdir()
    file.write_bytes(DATA)
    assert await offset(service, path) == len(DATA)
    await require_image(service, image, DATA)


async def test_lost_bytes(service: Service, settings: Settings) -> None:
    """Somebody has removed the file: the upload begins anew, and nothing wrong gets into the image."""
    if service.services.staging.is_shared:
        pytest.skip("only a folder")
    image = await service.create()
    path = await begun(service, image)
    assert (await add(service, path, 0, DATA[:1000])).status_code == 204
    (file,) = settings.imports.staging_dir.iterdir()
    file.unlink()
    settings.imports.staging_dir.rmdir()
    assert await offset(service, path) == 0
    assert (await add(service, path, 1000, DATA[1000:])).status_code == 409
    assert (await add(service, path, 0, DATA)).status_code == 204
    await require_image(service, image, DATA)


# The end


@on_every_engine
async def test_two_uploads_and_one_image(service: Service) -> None:
    """The first that is complete wins; the other hears of it, and goes."""
    image = await service.create()
    first, second = await begun(service, image), await begun(service, image)
    assert (await add(service, first, 0, DATA[:100])).status_code == 204
    assert (await add(service, second, 0, DATA)).status_code == 204
    await require_image(service, image, DATA)
    assert (await add(service, first, 100, DATA[100:])).status_code == 409
    assert await housekeeping.expire(service.services) == 1
    assert (await head(service, first)).status_code == 404
    assert [name for name in staged_files(service) if name != image["id"]] == []


async def test_the_data_came_otherwise(service: Service) -> None:
    image = await service.create()
    path = await begun(service, image)
    assert (await add(service, path, 0, DATA[:100])).status_code == 204
    put = await service.call("owner", "PUT", f"/v2/images/{image['id']}/file", content=b"other", headers=OCTETS)
    assert put.status_code == 204
    assert (await add(service, path, 100, b"x")).status_code == 409
    await housekeeping.expire(service.services)
    assert recorded(service) == (0, 0)
    assert [name for name in staged_files(service) if name != image["id"]] == []


@on_every_engine
async def test_the_image_is_deleted(service: Service) -> None:
    image = await service.create()
    path = await begun(service, image)
    assert (await add(service, path, 0, DATA[:100])).status_code == 204
    assert (await service.call("owner", "DELETE", f"/v2/images/{image['id']}")).status_code == 204
    assert (await head(service, path)).status_code == 404
    assert await housekeeping.expire(service.services) == 1
    assert (recorded(service), staged_files(service)) == ((0, 0), [])


@on_every_engine
async def test_an_upload_that_rests_too_long(service: Service, settings: Settings) -> None:
    image = await service.create()
    path, finished = await begun(service, image), await begun(service, image, 4)
    assert (await add(service, path, 0, DATA[:100])).status_code == 204
    ttl_h = settings.imports.upload_ttl_h
    assert await housekeeping.expire(later(service, ttl_h - 0.1)) == 0
    late = replace(restarted(service), app=App(later(service, ttl_h + 0.1), HeaderIdentity(), {}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(late.app), base_url="http://images.test") as client:
        answer = await client.patch(path, content=b"x", headers={**HEADERS["owner"], **PIECE, "upload-offset": "100"})
        assert answer.status_code == 410
    assert await housekeeping.expire(later(service, ttl_h + 0.1)) == 2
    for gone in (path, finished):
        assert (await head(service, gone)).status_code == 404
    assert (recorded(service), staged_files(service)) == ((0, 0), [])


async def test_a_finished_one_is_forgotten_in_time(service: Service, settings: Settings) -> None:
    image = await service.create()
    path = await begun(service, image)
    assert (await add(service, path, 0, DATA)).status_code == 204
    assert (await add(service, path, len(DATA), b"")).status_code == 204, "said twice"
    assert (await add(service, path, 0, b"x")).status_code == 409
    assert await housekeeping.expire(service.services) == 0
    assert await housekeeping.expire(later(service, settings.imports.upload_ttl_h + 0.1)) == 1
    assert recorded(service) == (0, 0)
    await require_image(service, image, DATA)


async def test_a_finished_one_may_be_terminated(service: Service) -> None:
    image = await service.create()
    path = await begun(service, image)
    assert (await add(service, path, 0, DATA)).status_code == 204
    assert (await service.call("owner", "DELETE", path, headers=TUS)).status_code == 204
    assert (await head(service, path)).status_code == 404
    await require_image(service, image, DATA)


@on_every_engine
async def test_who_finishes_dies(service: Service, settings: Settings) -> None:
    """From its last piece on the upload is a job's, and needs no client."""
    async with running_service(settings) as idle:  # nobody does jobs here
        image = await idle.create()
        path = await begun(idle, image)
        last = asyncio.ensure_future(add(idle, path, 0, DATA))
        while (await idle.show(image["id"]))["status"] != "saving":
            await asyncio.sleep(0.01)
        answer = await idle.call("owner", "DELETE", path, headers=TUS)
        assert answer.status_code == 409
        last.cancel()
        with suppress(asyncio.CancelledError):
            await last
        assert await job_worker(idle.services).work_off() == 1
        await require_image(idle, image, DATA)
        assert await housekeeping.expire(idle.services) == 1
        assert await offset(idle, path) == len(DATA)
        assert [name for name in staged_files(service) if name != image["id"]] == []


async def test_formats_changed_meanwhile(service: Service) -> None:
    """The data is judged by what the image is when it is complete."""
    image = await service.create(disk_format="raw")
    path = await begun(service, image)
    assert (await add(service, path, 0, DATA[:100])).status_code == 204
    change = [{"op": "replace", "path": "/disk_format", "value": "qcow2"}]
    changed = await service.call("owner", "PATCH", f"/v2/images/{image['id']}", json=change, headers=PATCH_2_1)
    assert changed.status_code == 200
    assert (await add(service, path, 100, DATA[100:])).status_code == 415
    assert (await service.show(image["id"]))["status"] == "queued"


async def test_formats_put_right_meanwhile(service: Service) -> None:
    """What is judged early is judged by what the image is at that time."""
    image = await service.create(disk_format="qcow2")
    path = await begun(service, image)
    assert (await add(service, path, 0, DATA[:100])).status_code == 204
    change = [{"op": "replace", "path": "/disk_format", "value": "raw"}]
    changed = await service.call("owner", "PATCH", f"/v2/images/{image['id']}", json=change, headers=PATCH_2_1)
    assert changed.status_code == 200
    assert (await add(service, path, 100, DATA[100:])).status_code == 204
    await require_image(service, image, DATA)


@pytest.mark.parametrize("is_active", [True, False])
async def test_a_job_that_is_forgotten(service: Service, is_active: bool) -> None:
    data = bytes(5000)
    image = await service.create(disk_format="raw" if is_active else "qcow2")
    path = await begun(service, image, len(data))
    assert (await add(service, path, 0, data[:10])).status_code == 204
    last = await add(service, path, 10, data[10:])
    with service.services.database.engine.begin() as connection:
        connection.execute(delete(jobs))
    told = await head(service, path)
    assert (last.status_code, told.status_code) == ((204, 200) if is_active else (415, 410))
