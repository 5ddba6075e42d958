"""The store of type http, against a real web server: the reading suite, and what servers of others may do."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from blick.model.blob import ByteRange, Location
from blick.model.errors import (
    DataNotFound,
    RangeInvalid,
    RangeUnsupported,
    StoreDenied,
    StoreError,
    StoreReadOnly,
    StoreUnavailable,
)
from blick.model.uri_filter import UriFilter
from blick.stores.base import Store
from blick.stores.conformance import ReadConformance, Shelf, get
from blick.stores.http import HttpStore
from tests.support.certificates import make_certificate
from tests.support.server import free_port
from tests.support.web_server import WebServer

DATA = bytes(range(256)) * 10_000  # more than one buffer
LOCAL = UriFilter(allowed_hosts=("127.0.0.1", "localhost"), allowed_ports=())


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


class WebShelf:
    """Objects on the web server."""

    def __init__(self, web: WebServer, manner: str) -> None:
        self._web = web
        self._manner = manner

    async def put(self, *pieces: bytes) -> Location:
        return Location("web", self._web.put(b"".join(pieces), self._manner))

    async def missing(self) -> Location:
        return Location("web", self._web.url(f"/{self._manner}/nothing"))


class TestReading(ReadConformance):
    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        store = HttpStore("web", {"uri_filter": LOCAL})
        yield store
        await store.aclose()

    @pytest.fixture(params=["plain", "no-head"])
    def shelf(self, request: pytest.FixtureRequest, web: WebServer) -> Shelf:
        return WebShelf(web, request.param)


@pytest.fixture
async def store() -> AsyncIterator[HttpStore]:
    made = HttpStore("web", {"uri_filter": LOCAL})
    yield made
    await made.aclose()


def at(uri: str) -> Location:
    return Location("web", uri)


async def test_takes_nothing(store: HttpStore, web: WebServer) -> None:
    with pytest.raises(StoreReadOnly):
        async with store.writer("key", None):
            pass
    with pytest.raises(StoreReadOnly):
        await store.delete(at(web.put(DATA)))
    await store.discard("key")
    assert [uri for uri in ("https://x", "HTTP://x", "file:///x", "httpx://x") if store.owns(uri)] == [
        "https://x",
        "HTTP://x",
    ]
    assert store.name == "web"
    assert web.requests == []


@pytest.mark.parametrize("manner", ["whole", "chunked"])
async def test_a_server_without_parts(store: HttpStore, web: WebServer, manner: str) -> None:
    place = at(web.put(DATA, manner))
    assert await store.size_bytes(place) == len(DATA)
    assert await get(store, place) == DATA
    assert await get(store, place, ByteRange(0, len(DATA))) == DATA
    assert await get(store, place, ByteRange(0, 7)) == DATA[:7]
    with pytest.raises(RangeUnsupported):
        await get(store, place, ByteRange(1, 7))
    with pytest.raises(RangeInvalid):
        await get(store, place, ByteRange(0, len(DATA) + 1))


async def test_a_server_that_tells_no_size(store: HttpStore, web: WebServer) -> None:
    place = at(web.put(DATA, "unsized"))
    with pytest.raises(StoreError, match="how long"):
        await store.size_bytes(place)
    assert await get(store, place, ByteRange(0, len(DATA))) == DATA


@pytest.mark.parametrize("manner", ["short", "chunked-unfinished", "head-lies"])
async def test_less_than_announced_is_an_error(store: HttpStore, web: WebServer, manner: str) -> None:
    place = at(web.put(DATA, manner))
    announced = await store.size_bytes(place)
    with pytest.raises(RangeInvalid):
        await get(store, place, ByteRange(0, announced))
    if manner != "head-lies":
        with pytest.raises(RangeInvalid):
            await get(store, place)


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, DataNotFound), (410, DataNotFound), (401, StoreDenied), (403, StoreDenied), (500, StoreUnavailable)],
)
async def test_refusals(store: HttpStore, web: WebServer, status: int, error: type[StoreError]) -> None:
    place = at(web.url(f"/status/{status}"))
    with pytest.raises(error):
        await store.size_bytes(place)
    with pytest.raises(error):
        await get(store, place)


async def test_nobody_there(store: HttpStore) -> None:
    place = at(f"http://user:secret@127.0.0.1:{free_port()}/x")
    for call in (store.size_bytes(place), get(store, place)):
        with pytest.raises(StoreUnavailable) as refused:
            await call
        assert "secret" not in str(refused.value)


async def test_fragments_and_credentials(store: HttpStore, web: WebServer) -> None:
    web.put(DATA, name="x")
    assert await get(store, at(web.url("/plain/x#other"))) == DATA
    assert await get(store, at(web.url("/guarded/x", "user:secret@127.0.0.1"))) == DATA


async def test_redirects(store: HttpStore, web: WebServer) -> None:
    web.put(DATA, name="x")
    assert await store.size_bytes(at(web.url("/redirect/5/plain/x"))) == len(DATA)
    assert await get(store, at(web.url("/redirect/1/plain/x")), ByteRange(5, 5)) == DATA[5:10]
    with pytest.raises(StoreError):
        await store.size_bytes(at(web.url("/redirect/6/plain/x")))
    with pytest.raises(StoreDenied):
        await store.size_bytes(at(web.url("/redirect-to/http://169.254.169.254/")))


async def test_this_machine_is_out_of_reach(web: WebServer) -> None:
    strict = HttpStore("web", {})
    for host in ("127.0.0.1", "localhost"):
        with pytest.raises(StoreDenied):
            await strict.size_bytes(at(web.url("/plain/x", host)))
    await strict.aclose()
    assert web.requests == []


async def test_a_reader_may_be_cancelled_while_the_server_is_silent(store: HttpStore, web: WebServer) -> None:
    task = asyncio.create_task(get(store, at(web.put(DATA, "waiting"))))
    await asyncio.to_thread(web.waiting.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 20)


async def test_a_reader_may_stop(store: HttpStore, web: WebServer) -> None:
    async with aclosing(store.read(at(web.put(DATA)))) as pieces:
        assert len(await anext(pieces)) > 0


class TestTls:
    @pytest.fixture
    def certificate(self, tmp_path: Path) -> tuple[Path, Path]:
        return make_certificate(tmp_path, ("localhost",))

    @pytest.fixture
    def secure(self, certificate: tuple[Path, Path]) -> Iterator[WebServer]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        with WebServer(context) as server:
            yield server

    async def _read(self, options: dict[str, Any], url: str) -> bytes:
        store = HttpStore("web", {"uri_filter": LOCAL, **options})
        try:
            assert await store.size_bytes(at(url)) == len(DATA)
            return await get(store, at(url))
        finally:
            await store.aclose()

    async def test_verifies(self, secure: WebServer, certificate: tuple[Path, Path]) -> None:
        secure.put(DATA, name="x")
        by_name, by_address = secure.url("/plain/x", "localhost"), secure.url("/plain/x")
        trusting = {"https_ca_certificates_file": str(certificate[0])}
        assert await self._read(trusting, by_name) == DATA
        with pytest.raises(StoreUnavailable):
            await self._read(trusting, by_address)  # the certificate names another host
        with pytest.raises(StoreUnavailable):
            await self._read({"https_insecure": False}, by_name)
        with pytest.raises(StoreUnavailable):
            await self._read({"https_ca_certificates_file": "/nowhere"}, by_name)

    async def test_does_not_verify_by_default(self, secure: WebServer, caplog: pytest.LogCaptureFixture) -> None:
        """As operators' configurations expect; it is said once."""
        url = secure.put(DATA)
        assert await self._read({}, url) == DATA
        assert [record for record in caplog.messages if "without verifying" in record]
