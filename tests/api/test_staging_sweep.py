"""What becomes of staged data that nobody imports or needs any more (spec: import-and-tasks §7)."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Update, update

from blick.conf.settings import Settings
from blick.db import jobs, tables, uploads
from blick.db.jobs import NewJob
from blick.db.store_ledger import ORPHANED
from blick.db.uploads import Lease
from blick.ops import staging, staging_sweep
from blick.stores.file.partial import key_of_partial
from tests.support.databases import on_every_engine
from tests.support.import_lock import lock
from tests.support.service import Service
from tests.support.staged import broken_off, stage, staged, staged_bytes, staged_files, staging_at, staging_folder
from tests.support.store_checks import checked

pytestmark = on_every_engine

UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def settings(settings: Settings, staging_place: str) -> Settings:
    return staging_at(settings, staging_place)


def of(image_id: str) -> Update:
    """A change of the image's own row."""
    return update(tables.images).where(tables.images.c.id == image_id)


# Sweeping


def put_file(service: Service, name: str) -> None:
    (staging_folder(service) / name).write_bytes(b"x")


async def in_status(service: Service, status: str) -> str:
    image_id = str((await service.create())["id"])
    await service.execute(of(image_id).values(status=status, deleted=status == "deleted"))
    return image_id


async def with_job(service: Service) -> str:
    image_id = str((await service.create())["id"])
    job = NewJob(service.services.new_id(), "api_image_import", {}, "p1", image_id)
    await service.services.database.write(jobs.add, job, service.services.now_ms())
    return image_id


NAMES: tuple[Callable[[str], str], ...] = (
    lambda image_id: image_id,
    lambda image_id: f"{image_id}.qcow2",
    lambda image_id: f"{image_id}.uc",
    lambda image_id: f"{image_id}.some.thing",
    lambda image_id: f".blick-{image_id}.part",
    lambda image_id: f".blick-{image_id}.uc.part",
)


@pytest.mark.parametrize("status", ["queued", "active", "deactivated", "deleted", "killed", "pending_delete"])
async def test_files_that_their_images_need_no_longer_go(service: Service, in_folder: None, status: str) -> None:
    image_id = await in_status(service, status)
    for name in NAMES:
        put_file(service, name(image_id))
    assert await staging_sweep.sweep(service.services) == len(NAMES)
    assert staged_files(service) == []


@pytest.mark.parametrize("status", ["uploading", "importing", "saving"])
async def test_files_of_images_whose_data_is_under_way_stay(service: Service, in_folder: None, status: str) -> None:
    image_id = await in_status(service, status)
    for name in NAMES:
        put_file(service, name(image_id))
    assert await staging_sweep.sweep(service.services, at_start=True) == 0
    assert staged_files(service) == sorted(name(image_id) for name in NAMES)


async def test_files_that_somebody_works_on_stay(service: Service, in_folder: None) -> None:
    """Whatever the image's status: a copy is made of an active one."""
    worked_on, image_id = await with_job(service), str((await service.create())["id"])
    put_file(service, worked_on)
    put_file(service, image_id)
    lease = Lease(image_id, "token", "holder", staging.LEASED, 2**52)
    await service.services.database.write(uploads.take, lease)
    assert await staging_sweep.sweep(service.services, at_start=True) == 0
    await service.services.database.write(uploads.drop, lease)
    assert await staging_sweep.sweep(service.services) == 1
    assert staged_files(service) == [worked_on]


async def test_files_of_others_stay(service: Service, in_folder: None) -> None:
    image_id = await in_status(service, "deleted")
    foreign = [
        "lost+found", "notes.txt", ".hidden", f"{image_id}x", f"x{image_id}", f"{image_id[:-1]}", f"{image_id}~",
        f".{image_id}", f".blick-{image_id}", f"{image_id}-1", image_id.replace("-", ""),
    ]  # fmt: skip
    for name in foreign:
        put_file(service, name)
    (staging_folder(service) / image_id).mkdir()
    (staging_folder(service) / f"{image_id}.link").symlink_to(staging_folder(service) / "notes.txt")
    assert await staging_sweep.sweep(service.services, at_start=True) == 0
    assert staged_files(service) == sorted([*foreign, image_id, f"{image_id}.link"])


async def test_files_of_unknown_images_go_at_the_start_only(service: Service, in_folder: None) -> None:
    """Two services that were given one folder by mistake do not harm each other's work all the time."""
    put_file(service, UNKNOWN)
    assert await staging_sweep.sweep(service.services) == 0
    assert await staging_sweep.sweep(service.services, at_start=True) == 1
    assert staged_files(service) == []


async def test_many_files(service: Service, in_folder: None) -> None:
    live = await in_status(service, "uploading")
    put_file(service, live)
    for number in range(1000):
        put_file(service, f"{number:08x}-0000-4000-8000-000000000000")
    assert await staging_sweep.sweep(service.services, at_start=True) == 1000
    assert staged_files(service) == [live]


async def test_nothing_is_asked_where_nothing_lies(service: Service, in_folder: None) -> None:
    with service.statements() as seen:
        await staging_sweep.sweep(service.services)
    assert len([statement for statement in seen if not statement.startswith("BEGIN")]) == 1


async def test_objects_that_their_images_need_no_longer_go(service: Service, in_store: None) -> None:
    live, dead_image = await staged(service, b"live"), await staged(service, b"dead")
    half = await broken_off(service, whole=False)
    for image_id in (dead_image, half):
        await service.execute(of(image_id).values(status="active"))
    await service.execute(tables.leases.delete())
    assert len(staged_files(service)) == 3
    assert await staging_sweep.sweep(service.services) == 2
    assert await staged_bytes(service, live) == b"live"
    assert len(staged_files(service)) == 1
    assert service.count(tables.staged_data) == 1


async def test_staged_data_is_no_orphan_of_its_store(service: Service, in_store: None) -> None:
    """Neither whole nor on its way; without its row it is."""
    await staged(service)
    await broken_off(service, whole=False)
    await service.execute(update(tables.leases).values(holder="another-machine/space/1/1"))
    result = await checked(service.services, repair=True)
    assert (result.status, result.seen) == (0, [])
    assert result.tallies["file"].busy == 2
    assert len(staged_files(service)) == 2
    await service.execute(tables.staged_data.delete())
    result = await checked(service.services)
    assert sorted(key for _, kind, key in result.seen if kind == ORPHANED) == sorted(
        key_of_partial(name) or name for name in staged_files(service)
    )


# Expiry


async def age(service: Service, image_id: str, hours: float) -> None:
    then = service.services.now() - timedelta(hours=hours)
    await service.execute(of(image_id).values(updated_at=then))


async def test_what_is_never_imported_expires(service: Service) -> None:
    image_id, young = await staged(service, b"old"), await staged(service, b"young")
    await age(service, image_id, 48.1)
    await age(service, young, 47.9)
    assert await staging_sweep.expire(service.services) == 1
    shown = await service.show(image_id)
    assert (shown["status"], shown["size"]) == ("queued", None)
    assert await staged_bytes(service, image_id) is None
    assert (await service.show(young))["status"] == "uploading"
    assert await staged_bytes(service, young) == b"young"
    assert (await stage(service, image_id, b"new")).status_code == 204


async def test_what_somebody_works_on_does_not_expire(service: Service) -> None:
    locked, leased, worked_on = [await staged(service) for _ in range(3)]
    await lock(service, locked)
    await service.services.database.write(uploads.take, Lease(leased, "token", "holder", staging.LEASED, 2**52))
    job = NewJob(service.services.new_id(), "api_image_import", {}, "p1", worked_on)
    await service.services.database.write(jobs.add, job, service.services.now_ms())
    for image_id in (locked, leased, worked_on):
        await age(service, image_id, 1000)
    assert await staging_sweep.expire(service.services) == 0
    assert {(await service.show(image_id))["status"] for image_id in (locked, leased, worked_on)} == {"uploading"}
    assert len(staged_files(service)) == 3


class TestExpiryElsewhere:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, imports=replace(settings.imports, node_url="http://node-one:9292"))

    async def test_other_nodes_see_to_their_own(self, service: Service, in_folder: None) -> None:
        """Unless they do not come back."""
        own, gone, away = [await staged(service) for _ in range(3)]
        table = tables.image_properties
        others = update(table).where(table.c.image_id.in_((gone, away)))
        await service.execute(others.values(value="http://node-two:9292"))
        await age(service, own, 49)
        await age(service, away, 49)
        await age(service, gone, 97)
        assert await staging_sweep.expire(service.services) == 2
        shown = {image_id: (await service.show(image_id))["status"] for image_id in (own, gone, away)}
        assert shown == {own: "queued", gone: "queued", away: "uploading"}


async def test_the_housekeeping_does_it(service: Service) -> None:
    image_id = await staged(service)
    await age(service, image_id, 100)
    if not service.services.staging.is_shared:
        put_file(service, UNKNOWN)
    task = asyncio.create_task(staging_sweep.run_forever(service.services))
    try:
        while (await service.show(image_id))["status"] != "queued" or staged_files(service):
            await asyncio.sleep(0.01)
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_old_files_are_no_left_overs_because_they_are_old(service: Service, in_folder: None) -> None:
    image_id = await staged(service)
    os.utime(staging_folder(service) / image_id, (0, 0))
    assert await staging_sweep.sweep(service.services, at_start=True) == 0
    assert staged_files(service) == [image_id]
