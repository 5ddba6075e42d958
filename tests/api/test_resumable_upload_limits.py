"""What resumable uploads may take of a quota before they are complete."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from blick.conf.settings import QuotaSettings, Settings
from blick.worker import job_worker
from tests.support.service import Service, running_service

SPOKEN = {"tus-resumable": "1.0.0"}
PIECE = {**SPOKEN, "content-type": "application/offset+octet-stream"}
QUOTA_BYTES = 1000


@pytest.fixture(params=["folder", "store"])
def settings(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> Settings:
    """What comes lies in a folder of the node's, or in the store that has the images too; owners have a quota."""
    shared = "file" if request.param == "store" else None
    imports = replace(settings.imports, staging_dir=tmp_path / "staging", staging_store=shared)
    return replace(settings, imports=imports, quotas=QuotaSettings(user_storage_quota_bytes=QUOTA_BYTES))


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Service]:
    """With somebody who does the jobs."""
    async with running_service(settings) as running:
        worker = asyncio.create_task(job_worker(running.services).run())
        try:
            yield running
        finally:
            worker.cancel()
            with suppress(asyncio.CancelledError):
                await worker


async def begun(service: Service, **headers: str) -> str:
    """The path of a new upload to a new image."""
    image = await service.create()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await service.call("owner", "POST", f"/v2/images/{image['id']}/upload", headers={**SPOKEN, **named})
    assert answer.status_code == 201, answer.text
    return answer.headers["location"].removeprefix("http://images.test")


async def add(service: Service, path: str, offset: int, data: bytes | AsyncIterator[bytes], refused: str = "") -> int:
    """Sends a piece; gives how much is there afterwards."""
    headers = {**PIECE, "upload-offset": str(offset)}
    answer = await service.call("owner", "PATCH", path, content=data, headers=headers)
    assert answer.status_code == (413 if refused else 204), answer.text
    assert refused in answer.text
    told = await service.call("owner", "HEAD", path, headers=SPOKEN)
    return int(told.headers["upload-offset"])


async def bit_by_bit(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * 100


async def test_a_piece_of_unknown_length_ends_where_the_quota_does(service: Service) -> None:
    path = await begun(service, upload_defer_length="1")
    assert await add(service, path, 0, bit_by_bit(3)) == 300
    other = await begun(service, upload_defer_length="1")
    assert await add(service, other, 0, bit_by_bit(50), "user_storage_quota") <= QUOTA_BYTES - 300


async def test_many_uploads_that_would_each_fit_in(service: Service) -> None:
    paths = [await begun(service, upload_length="900") for _ in range(3)]
    assert await add(service, paths[0], 0, b"x" * 600) == 600
    assert await add(service, paths[1], 0, b"x" * 400) == 400
    assert await add(service, paths[1], 400, b"x", "user_storage_quota") == 400
    assert await add(service, paths[2], 0, bit_by_bit(3), "user_storage_quota") == 0
    assert await add(service, paths[0], 600, b"", "") == 600, "nothing more is nothing too many"
    assert (await service.call("owner", "DELETE", paths[1], headers=SPOKEN)).status_code == 204
    await add_last(service, paths[0])


async def add_last(service: Service, path: str) -> None:
    headers = {**PIECE, "upload-offset": "600"}
    answer = await service.call("owner", "PATCH", path, content=b"x" * 300, headers=headers)
    assert answer.status_code == 204, answer.text
    image_id = path.split("/")[3]
    assert (await service.show(image_id))["status"] == "active"
