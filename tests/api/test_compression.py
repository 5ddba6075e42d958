"""Compressed answers (option gzip), and image data, which never is."""

from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest

from blick import boot
from blick.conf.settings import Settings
from tests.support.callers import HEADERS, HeaderIdentity
from tests.support.service import Service


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, api=replace(settings.api, gzip=True))


@pytest.fixture
async def client(service: Service, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """What the server runs, with everything that the options put around the application."""
    running = boot.start(settings)
    running.app.identity = HeaderIdentity()
    headers = HEADERS["owner"] | {"accept-encoding": "gzip"}
    transport = httpx.ASGITransport(running.asgi)
    async with httpx.AsyncClient(transport=transport, base_url="http://images.test", headers=headers) as client:
        yield client
    await running.aclose()


async def test_long_answers_are_compressed_for_those_who_ask(service: Service, client: httpx.AsyncClient) -> None:
    long = await client.get("/v2/schemas/images")
    assert long.headers["content-encoding"] == "gzip"
    assert long.headers["vary"] == "Accept-Encoding"
    assert int(long.headers["content-length"]) < len(long.content)
    assert long.json()["name"] == "images"
    as_it_is = await client.get("/v2/schemas/images", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in as_it_is.headers
    assert as_it_is.content == long.content


async def test_image_data_is_not(service: Service, client: httpx.AsyncClient) -> None:
    data = b"0" * 10_000
    image = await service.create_active(data)
    answer = await client.get(f"/v2/images/{image['id']}/file")
    assert "content-encoding" not in answer.headers
    assert answer.headers["content-length"] == str(len(data))
    assert answer.content == data
    part = await client.get(f"/v2.7//images/{image['id']}/file", headers={"range": "bytes=0-4999"})
    assert (part.status_code, part.content) == (206, data[:5000])
