"""Uploads that can be taken up again: /v2/images/{image_id}/upload, tus 1.0 (docs/resumable-upload.md)."""

import asyncio
import hashlib
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from blick.conf.settings import Settings, StoreSettings
from blick.db.tables import resumable_uploads, upload_parts
from blick.ops.resumable_uploads import housekeeping
from blick.worker import job_worker
from tests.support.databases import on_every_engine
from tests.support.service import Service, running_service

pytestmark = on_every_engine

SPOKEN = {"tus-resumable": "1.0.0"}
PIECE = {**SPOKEN, "content-type": "application/offset+octet-stream"}
DATA = bytes(range(256)) * 20_000
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(params=["folder", "store"])
def settings(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> Settings:
    """What comes lies in a folder of the node's, or in the store that has the images too; there is a second store."""
    other = StoreSettings("other", "file", {"filesystem_store_datadir": str(tmp_path / "other")})
    stores = replace(settings.stores, stores=(*settings.stores.stores, other), multi_store=True)
    shared = "file" if request.param == "store" else None
    imports = replace(settings.imports, staging_dir=tmp_path / "staging", staging_store=shared)
    return replace(settings, stores=stores, imports=imports)


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


async def begin(
    service: Service, image: dict[str, Any], length: int | None = len(DATA), who: str = "owner", **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    size = {} if length is None else {"upload-length": str(length)}
    return await service.call(who, "POST", f"/v2/images/{image['id']}/upload", headers={**SPOKEN, **size, **named})


async def begun(service: Service, image: dict[str, Any], length: int | None = len(DATA), **headers: str) -> str:
    """The path of a new upload."""
    answer = await begin(service, image, length, **headers)
    assert answer.status_code == 201, answer.text
    return answer.headers["location"].removeprefix("http://images.test")


async def add(
    service: Service, path: str, offset: int, data: Any, who: str = "owner", **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await service.call(
        who, "PATCH", path, content=data, headers={**PIECE, "upload-offset": str(offset), **named}
    )


async def head(service: Service, path: str, who: str = "owner") -> httpx.Response:
    return await service.call(who, "HEAD", path, headers=SPOKEN)


async def offset(service: Service, path: str) -> int:
    answer = await head(service, path)
    assert answer.status_code == 200
    return int(answer.headers["upload-offset"])


def staged(settings: Settings) -> list[str]:
    """Everything that lies where uploads lie, but for images."""
    folder = settings.imports.staging_dir
    found = [path.name for path in folder.iterdir()] if folder.exists() else []
    if settings.imports.staging_store is not None:
        images = Path(settings.stores.stores[0].options["filesystem_store_datadir"])
        found += [path.name for path in images.iterdir()]
    return sorted(found)


def rows(service: Service) -> tuple[int, int]:
    with service.services.database.engine.connect() as connection:
        uploads = connection.execute(select(func.count()).select_from(resumable_uploads)).scalar_one()
        return uploads, connection.execute(select(func.count()).select_from(upload_parts)).scalar_one()


async def require_image(service: Service, image: dict[str, Any], data: bytes) -> dict[str, Any]:
    """The image is active with exactly this data."""
    shown = await service.show(image["id"])
    assert (shown["status"], shown["size"]) == ("active", len(data))
    assert shown["checksum"] == hashlib.md5(data).hexdigest()
    assert (shown["os_hash_algo"], shown["os_hash_value"]) == ("sha512", hashlib.sha512(data).hexdigest())
    answer = await service.call("owner", "GET", f"/v2/images/{image['id']}/file")
    assert answer.content == data
    return shown


async def test_in_two_pieces(service: Service, settings: Settings) -> None:
    image = await service.create()
    answer = await begin(service, image)
    assert answer.status_code == 201
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert parsedate_to_datetime(answer.headers["upload-expires"]).timestamp() * 1000 > service.services.now_ms()
    path = answer.headers["location"].removeprefix("http://images.test")
    assert await offset(service, path) == 0
    answer = await add(service, path, 0, DATA[:1_000_000])
    assert (answer.status_code, answer.headers["upload-offset"]) == (204, "1000000"), answer.text
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert "upload-expires" in answer.headers
    assert (await service.show(image["id"]))["status"] == "queued"
    told = await head(service, path)
    assert told.headers["upload-offset"] == "1000000"
    assert told.headers["upload-length"] == str(len(DATA))
    assert told.headers["cache-control"] == "no-store"
    assert told.headers["tus-resumable"] == "1.0.0"
    answer = await add(service, path, 1_000_000, DATA[1_000_000:])
    assert (answer.status_code, answer.headers["upload-offset"]) == (204, str(len(DATA))), answer.text
    shown = await require_image(service, image, DATA)
    assert shown["stores"] == "file"
    assert await offset(service, path) == len(DATA), "for clients that did not hear the last answer"
    assert [name for name in staged(settings) if name != image["id"]] == []


async def test_one_request_of_any_framing(service: Service) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(DATA), 300_000):
            yield DATA[start : start + 300_000]

    for body in (DATA, pieces()):
        image = await service.create()
        path = await begun(service, image)
        answer = await add(service, path, 0, body)
        assert answer.status_code == 204, answer.text
        await require_image(service, image, DATA)


async def test_many_small_pieces(service: Service) -> None:
    image = await service.create()
    path = await begun(service, image)
    step = len(DATA) // 37
    for start in range(0, len(DATA), step):
        answer = await add(service, path, start, DATA[start : start + step])
        assert answer.status_code == 204, answer.text
    await require_image(service, image, DATA)
