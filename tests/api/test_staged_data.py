"""Where staged data lies, and how imports find it (spec: import-and-tasks §7)."""

import asyncio
from contextlib import suppress

import pytest

from blick.conf.settings import Settings
from blick.db import tables
from blick.model.errors import Gone
from blick.ops import staging
from tests.support.databases import on_every_engine
from tests.support.service import Service
from tests.support.staged import require_untouched, staged_bytes, staged_files, staging_at, staging_folder

pytestmark = on_every_engine


@pytest.fixture
def settings(settings: Settings, staging_place: str) -> Settings:
    return staging_at(settings, staging_place)


async def test_what_another_service_staged_is_found(service: Service, in_folder: None) -> None:
    image = await service.create()
    (staging_folder(service) / image["id"]).write_bytes(b"of Glance's")
    assert await staged_bytes(service, image["id"]) == b"of Glance's"


async def fill(service: Service, image_id: str, *pieces: bytes) -> None:
    async with staging.filling(service.services, image_id, None) as writer:
        for piece in pieces:
            await writer.write(memoryview(piece))
        await writer.commit()


async def test_data_is_found_once_it_is_whole(service: Service) -> None:
    image_id = str((await service.create())["id"])
    async with staging.filling(service.services, image_id, 5) as writer:
        await writer.write(memoryview(b"12"))
        assert await staging.find(service.services, image_id) is None
        await writer.write(memoryview(b"345"))
        location = await writer.commit()
        found = await staging.find(service.services, image_id)
    assert found == staging.StagedData(location, 5)
    assert await staged_bytes(service, image_id) == b"12345"


async def test_new_data_takes_the_place_of_old(service: Service) -> None:
    image_id = str((await service.create())["id"])
    await fill(service, image_id, b"first")
    await fill(service, image_id, b"second")
    assert await staged_bytes(service, image_id) == b"second"
    assert len(staged_files(service)) == 1


async def test_what_is_not_committed_leaves_nothing(service: Service) -> None:
    image_id = str((await service.create())["id"])
    await fill(service, image_id, b"first")
    with suppress(ZeroDivisionError):
        async with staging.filling(service.services, image_id, None) as writer:
            await writer.write(memoryview(b"second"))
            raise ZeroDivisionError
    await require_untouched(service, image_id)


async def test_a_filling_that_is_cancelled_at_any_point_leaves_all_or_nothing(service: Service) -> None:
    image_id = str((await service.create())["id"])
    outcomes = set()
    for rounds in range(0, 60, 3):
        task = asyncio.create_task(fill(service, image_id, b"data"))
        for _ in range(rounds):
            await asyncio.sleep(0.0005)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        found = await staged_bytes(service, image_id)
        assert (found, len(staged_files(service))) in ((None, 0), (b"data", 1))
        outcomes.add(found)
        await staging.discard(service.services, image_id)
    assert None in outcomes


async def test_discarding(service: Service) -> None:
    image_id = str((await service.create())["id"])
    await staging.discard(service.services, image_id)
    await fill(service, image_id, b"data")
    await staging.discard(service.services, image_id)
    await require_untouched(service, image_id)


async def test_what_was_swept_away_is_not_committed(service: Service, in_store: None) -> None:
    image_id = str((await service.create())["id"])
    async with staging.filling(service.services, image_id, None) as writer:
        await writer.write(memoryview(b"data"))
        await service.execute(tables.staged_data.delete())
        with pytest.raises(Gone):
            await writer.commit()
    await require_untouched(service, image_id)


async def test_scratch_files(service: Service) -> None:
    one, two = [str((await service.create())["id"]) for _ in range(2)]
    mine = [staging.scratch_file(service.services, one, suffix) for suffix in ("converted", "source.raw")]
    other = staging.scratch_file(service.services, two, "converted")
    for path in (*mine, other):
        path.write_bytes(b"x")
    assert mine[0].name == f"{one}.converted"
    await staging.remove_scratch(service.services, one)
    assert [path.exists() for path in (*mine, other)] == [False, False, True]
