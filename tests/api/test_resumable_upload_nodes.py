"""What callers learn of uploads whose bytes another node has (two real nodes: tests/process)."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from blick.conf.settings import Settings
from blick.db.tables import resumable_uploads
from tests.support.scripted_server import http_answer, scripted_server
from tests.support.server import free_port
from tests.support.service import Service
from tests.support.tus import PIECE, TUS, begun

FIRST_PIECE = {**PIECE, "upload-offset": "0", "upload-length": "5"}


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    imports = replace(settings.imports, staging_dir=tmp_path / "staging", node_url="http://node-one:9292")
    return replace(settings, imports=imports)


async def upload_at(service: Service, url: str, visibility: str = "private") -> str:
    """The path of an upload whose bytes are at that node, as its record has it."""
    image = await service.create(visibility=visibility)
    path = await begun(service, image, 5)
    await service.execute(update(resumable_uploads).values(node=url))
    return path


async def statuses(service: Service, path: str, who: str) -> set[int]:
    """Of every call about that upload, and of beginning another one."""
    answers = [await service.call(who, "POST", path.rpartition("/")[0], headers=FIRST_PIECE, content=b"12345")]
    answers.append(await service.call(who, "PATCH", path, headers=FIRST_PIECE, content=b"12345"))
    answers += [await service.call(who, method, path, headers=TUS) for method in ("HEAD", "DELETE")]
    return {answer.status_code for answer in answers}


@pytest.mark.parametrize("visibility", ["private", "shared", "community"])
async def test_a_node_that_is_away_tells_nobody_of_images(service: Service, visibility: str) -> None:
    path = await upload_at(service, f"http://127.0.0.1:{free_port()}", visibility)
    hidden = 403 if visibility == "community" else 404
    for who, expected in (("other", hidden), ("reader", 403), ("anonymous", 401), ("owner", 504), ("admin", 504)):
        assert await statuses(service, path, who) == {expected}, who


async def test_nothing_of_strangers_is_passed_on(service: Service) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"12345"

    with scripted_server(http_answer("204 No Content", b"", tus_resumable="1.0.0")) as server:
        path = await upload_at(service, server.url)
        assert await statuses(service, path, "other") == {404}
        assert (await service.call("other", "PATCH", path, headers=FIRST_PIECE, content=body())).status_code == 404
        assert server.requests == []


async def test_names_that_no_upload_can_have(service: Service) -> None:
    path = await upload_at(service, "http://127.0.0.1:1")
    image = path.rpartition("/upload/")[0]
    for odd in (f"{image}/upload/%F0%9F%98%80", f"{image}/upload/{'x' * 2000}", "/v2/images/%F0%9F%98%80/upload/x"):
        assert (await service.call("owner", "HEAD", odd, headers=TUS)).status_code == 404, odd
