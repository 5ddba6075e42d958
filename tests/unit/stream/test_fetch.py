"""Fetching over HTTP, from a real server on the loopback interface."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blick.model.blob import ByteRange
from blick.model.errors import (
    BlickError,
    Invalid,
    RangeNotSatisfiable,
    SourceBroken,
    SourceDenied,
    SourceError,
    SourceMissing,
    SourceUnavailable,
)
from blick.model.uri_filter import UriFilter
from blick.stream.fetch import Answer, Fetcher, FetchOptions, require_part
from tests.support.certificates import make_certificate
from tests.support.server import free_port
from tests.support.tunnel_proxy import TunnelProxy
from tests.support.web_server import WebServer

DATA = bytes(range(256)) * 1000
OPEN = UriFilter(allowed_hosts=("127.0.0.1", "localhost"), allowed_ports=())


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


@pytest.fixture
async def fetcher() -> AsyncIterator[Fetcher]:
    made = Fetcher(OPEN)
    yield made
    await made.aclose()


async def body_of(answer: Answer, buffer_bytes: int = 100_000) -> bytes:
    buffer, data = memoryview(bytearray(buffer_bytes)), b""
    while count := await answer.readinto(buffer):
        data += buffer[:count]
    return data


async def fetch(fetcher: Fetcher, uri: str, wanted: ByteRange | None = None) -> bytes:
    async with fetcher.open(uri, wanted=wanted) as answer:
        return await body_of(answer)


@pytest.mark.parametrize("manner", ["plain", "whole", "no-head", "unsized", "chunked"])
async def test_gets(fetcher: Fetcher, web: WebServer, manner: str) -> None:
    assert await fetch(fetcher, web.put(DATA, manner)) == DATA
    if manner == "unsized":  # nobody knows whether it was cut in the middle of its head
        with pytest.raises(SourceBroken):
            await fetch(fetcher, web.put(b"", manner))
    else:
        assert await fetch(fetcher, web.put(b"", manner)) == b""


async def test_says_what_it_wants(fetcher: Fetcher, web: WebServer) -> None:
    async with fetcher.open(web.put(DATA), method="HEAD") as answer:
        assert (answer.status, answer.length_bytes) == (200, len(DATA))
        assert await body_of(answer) == b""
    assert web.requests == [("HEAD", "/plain/object-0")]
    assert web.heads[0]["host"] == f"127.0.0.1:{web.port}"
    assert web.heads[0]["accept-encoding"] == "identity"
    assert "authorization" not in web.heads[0]


async def test_gets_a_part(fetcher: Fetcher, web: WebServer) -> None:
    uri, wanted = web.put(DATA), ByteRange(300, 5)
    async with fetcher.open(uri, wanted=wanted) as answer:
        assert require_part(answer, wanted)
        assert await body_of(answer) == DATA[300:305]
        with pytest.raises(SourceBroken):
            require_part(answer, ByteRange(301, 4))
    async with fetcher.open(web.put(DATA, "whole"), wanted=wanted) as answer:
        assert not require_part(answer, wanted)
    with pytest.raises(RangeNotSatisfiable):
        await fetch(fetcher, uri, ByteRange(len(DATA), 1))


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/status/404", SourceMissing),
        ("/status/410", SourceMissing),
        ("/status/401", SourceDenied),
        ("/status/403", SourceDenied),
        ("/status/500", SourceUnavailable),
        ("/status/503", SourceUnavailable),
        ("/status/429", SourceUnavailable),
        ("/status/400", SourceError),
        ("/status/204", SourceError),
        ("/status/304", SourceError),
        ("/garbage/x", SourceError),
    ],
)
async def test_bad_answers(fetcher: Fetcher, web: WebServer, path: str, error: type[BlickError]) -> None:
    with pytest.raises(error):
        await fetch(fetcher, web.url(path))


@pytest.mark.parametrize("manner", ["short", "chunked-unfinished"])
async def test_an_early_end_is_no_end(fetcher: Fetcher, web: WebServer, manner: str) -> None:
    with pytest.raises(SourceBroken):
        await fetch(fetcher, web.put(DATA, manner))


async def test_a_length_that_is_no_number_of_bytes_is_none(fetcher: Fetcher, web: WebServer) -> None:
    uri = web.put(DATA, "boasting")
    async with fetcher.open(uri, method="HEAD") as answer:
        assert answer.length_bytes is None
    with pytest.raises(SourceBroken):
        await fetch(fetcher, uri)


async def test_nobody_there(fetcher: Fetcher) -> None:
    with pytest.raises(SourceUnavailable):
        await fetch(fetcher, f"http://127.0.0.1:{free_port()}/x")
    lenient = Fetcher(UriFilter())
    with pytest.raises(SourceUnavailable):
        await fetch(lenient, "http://nothing.invalid/x")
    await lenient.aclose()


async def test_silence_ends(web: WebServer) -> None:
    impatient = Fetcher(OPEN, FetchOptions(read_timeout_s=0.2))
    with pytest.raises(SourceUnavailable):
        await fetch(impatient, web.put(DATA, "waiting"))
    await impatient.aclose()


async def test_follows_redirects(fetcher: Fetcher, web: WebServer) -> None:
    web.put(DATA, name="x")
    assert await fetch(fetcher, web.url("/redirect/5/plain/x")) == DATA
    assert await fetch(fetcher, web.url("/redirect/2/plain/x"), ByteRange(1, 2)) == DATA[1:3]
    with pytest.raises(SourceError, match="redirects"):
        await fetch(fetcher, web.url("/redirect/6/plain/x"))


async def test_redirects_pass_the_filter_too(web: WebServer) -> None:
    web.put(DATA, name="x")
    by_name = Fetcher(UriFilter(allowed_hosts=("localhost",), allowed_ports=(web.port,)))
    for target in (web.url("/plain/x"), "file:///etc/passwd", "http://169.254.169.254/", "http://localhost:1/"):
        with pytest.raises(Invalid):
            await fetch(by_name, web.url(f"/redirect-to/{target}", "localhost"))
    assert await fetch(by_name, web.url(f"/redirect-to/{web.url('/plain/x', 'localhost')}", "localhost")) == DATA
    await by_name.aclose()
    assert [path for _, path in web.requests].count("/plain/x") == 1


async def test_this_machine_is_out_of_reach(web: WebServer) -> None:
    strict = Fetcher(UriFilter(allowed_ports=()))
    for host in ("127.0.0.1", "localhost"):
        for recorded in (False, True):
            with pytest.raises(Invalid):
                async with strict.open(web.url("/plain/x", host), recorded=recorded):
                    pass
    await strict.aclose()
    assert web.requests == []


async def test_what_is_recorded_need_not_pass_today(web: WebServer) -> None:
    """An operator who narrows the lists does not lose the images that he has."""
    narrow = Fetcher(replace(OPEN, allowed_ports=(80,)))
    uri = web.put(DATA)
    with pytest.raises(Invalid):
        await fetch(narrow, uri)
    async with narrow.open(uri, recorded=True) as answer:
        assert await body_of(answer) == DATA
    await narrow.aclose()


async def test_credentials_go_to_their_server_only(fetcher: Fetcher, web: WebServer) -> None:
    web.put(DATA, name="x")
    with pytest.raises(SourceDenied):
        await fetch(fetcher, web.url("/guarded/x"))
    guarded = web.url("/guarded/x", "user:secret@127.0.0.1")
    assert await fetch(fetcher, guarded) == DATA
    with WebServer() as elsewhere:
        elsewhere.put(DATA, name="x")
        away = elsewhere.url("/plain/x")
        assert await fetch(fetcher, web.url(f"/redirect-to/{away}", "user:secret@127.0.0.1")) == DATA
        assert "authorization" not in elsewhere.heads[0]
    assert await fetch(fetcher, web.url("/redirect/1/guarded/x", "user:secret@127.0.0.1")) == DATA


async def test_through_a_proxy(web: WebServer) -> None:
    """The proxy resolves names that are not known here."""
    web.put(DATA, name="x")
    fetcher = Fetcher(UriFilter(), FetchOptions(proxies={"http": f"127.0.0.1:{web.port}"}))
    assert await fetch(fetcher, "http://images.invalid/plain/x") == DATA
    assert web.requests == [("GET", "http://images.invalid/plain/x")]
    assert web.heads[0]["host"] == "images.invalid"
    with pytest.raises(Invalid):
        await fetch(fetcher, "http://images.invalid:81/plain/x")
    await fetcher.aclose()


async def test_secrets_go_to_the_first_server_only(fetcher: Fetcher, web: WebServer) -> None:
    web.put(DATA, name="x")
    told: dict[str, Any] = {"headers": {"X-Plain": "p"}, "secrets": {"X-Auth-Token": "s3cr3t"}}
    with WebServer() as elsewhere:
        elsewhere.put(DATA, name="x")
        away = elsewhere.url(f"/redirect-to/{web.url('/plain/x')}")
        async with fetcher.open(web.url(f"/redirect/1/redirect-to/{away}"), **told) as answer:
            assert await body_of(answer) == DATA
        assert [head.get("x-auth-token") for head in web.heads] == ["s3cr3t", "s3cr3t", None], "nor back again"
        assert "x-auth-token" not in elsewhere.heads[0]
        assert {head["x-plain"] for head in (*web.heads, *elsewhere.heads)} == {"p"}
    assert "s3cr3t" not in repr(fetcher)


@pytest.mark.parametrize("name", ["X-Auth-Token", "X\r\nY"])
async def test_headers_cannot_be_smuggled(fetcher: Fetcher, web: WebServer, name: str) -> None:
    with pytest.raises(SourceError):
        async with fetcher.open(web.put(DATA), secrets={name: "a\r\nX-Evil: b"}):
            pass
    assert web.requests == []


async def test_a_part_that_nobody_asked_for(fetcher: Fetcher) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-0/2\r\nContent-Length: 1\r\n\r\nx")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    with pytest.raises(SourceBroken):
        await fetch(fetcher, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x")
    server.close()


class TestTunnel:
    """HTTPS through a proxy."""

    @pytest.fixture
    def certificate(self, tmp_path: Path) -> tuple[Path, Path]:
        return make_certificate(tmp_path, ("images.invalid",))

    @pytest.fixture
    def secure(self, certificate: tuple[Path, Path]) -> Iterator[WebServer]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        with WebServer(context) as server:
            yield server

    async def test_the_name_is_the_proxys_to_resolve(self, secure: WebServer, certificate: tuple[Path, Path]) -> None:
        secure.put(DATA, name="x")
        with TunnelProxy(secure.port) as proxy:
            options = FetchOptions(proxies={"https": f"http://user:s3cr3t@{proxy.address}"})
            assert "s3cr3t" not in repr(options)
            trusting = Fetcher(UriFilter(), replace(options, ca_file=str(certificate[0])))
            wary, lenient = Fetcher(UriFilter(), options), Fetcher(UriFilter(), replace(options, verify=False))
            assert await fetch(trusting, "https://images.invalid/plain/x") == DATA
            assert await fetch(lenient, "https://other.invalid/plain/x") == DATA
            with pytest.raises(SourceUnavailable, match="certificate"):
                await fetch(trusting, "https://other.invalid/plain/x")
            with pytest.raises(SourceUnavailable, match="certificate"):
                await fetch(wary, "https://images.invalid/plain/x")
            for fetcher in (trusting, wary, lenient):
                await fetcher.aclose()
        assert proxy.asked[0][0] == "images.invalid:443"
        assert proxy.asked[0][1]["proxy-authorization"] == "Basic dXNlcjpzM2NyM3Q="
        assert "proxy-authorization" not in secure.heads[0]

    async def test_a_proxy_that_refuses(self) -> None:
        with TunnelProxy(None) as proxy:
            refused = Fetcher(UriFilter(), FetchOptions(proxies={"https": proxy.address}))
            with pytest.raises(SourceUnavailable, match="proxy"):
                await fetch(refused, "https://images.invalid/plain/x")
            await refused.aclose()

    async def test_what_the_text_tells_is_judged(self) -> None:
        with TunnelProxy(None) as proxy:
            options = FetchOptions(proxies={"http": proxy.address, "https": proxy.address})
            closed = Fetcher(UriFilter(allowed_ports=()), options)
            for host in ("localhost", "x.localhost", "127.0.0.1", "169.254.169.254", "10.0.0.1", "[::1]"):
                for uri in (f"http://{host}/x", f"https://{host}/x"):
                    with pytest.raises(Invalid):
                        await fetch(closed, uri)
                    with pytest.raises(Invalid):
                        await closed.require_allowed(uri)
            await closed.require_allowed("https://images.invalid/x")
            await closed.aclose()
        assert proxy.asked == []


async def test_a_cancelled_read_ends_though_the_connection_was_to_end(fetcher: Fetcher) -> None:
    """The HTTP library has let go of such connections by then."""
    silent = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\n12345")
        silent.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    task = asyncio.create_task(fetch(fetcher, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"))
    await silent.wait()
    await asyncio.sleep(0.2)  # it is cancelled right here or while the head is read: both have to end at once
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 20)
    server.close()


async def test_a_cancelled_read_ends_at_once_and_lets_go(fetcher: Fetcher, web: WebServer) -> None:
    buffer = bytearray(len(DATA))
    view = memoryview(buffer)

    async def read() -> None:
        async with fetcher.open(web.put(DATA, "waiting")) as answer:
            await answer.readinto(view)

    task = asyncio.create_task(read())
    await asyncio.to_thread(web.waiting.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 20)  # the read's own time-out is three times that
    view.release()
    buffer.clear()  # nobody holds it any more


async def test_a_cancelled_request_ends_at_once(fetcher: Fetcher) -> None:
    """The server takes the connection and says nothing."""
    taken = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    task = asyncio.create_task(fetch(fetcher, f"http://127.0.0.1:{port}/x"))
    await taken.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 20)
    server.close()
