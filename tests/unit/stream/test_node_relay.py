"""Passing requests on to other nodes, on real sockets: bodies of any length, early answers, and ends of all kinds."""

import asyncio
import ssl
from collections.abc import AsyncIterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest

from blick.model.errors import BodyIncomplete, NodeBroken, NodeUnreachable
from blick.stream.body import AsgiBody
from blick.stream.node_relay import NodeRelay
from blick.stream.nodes import NodeAnswer, NodeRequest
from tests.support.certificates import make_certificate
from tests.support.scripted_server import http_answer, scripted_server
from tests.support.server import free_port
from tests.unit.stream.test_pump import Endless, Pieces

ASKED = NodeRequest("PATCH", "/v2/images/x/upload/y", {"x-auth-token": "secret", "x": "\xe4"})
DATA = bytes(range(256)) * 20_000


@pytest.fixture
async def relay() -> AsyncIterator[NodeRelay]:
    made = NodeRelay()
    yield made
    made.close()


async def pass_on(relay: NodeRelay, url: str, body: AsgiBody | None, size_bytes: int | None, **how: Any) -> NodeAnswer:
    usual: dict[str, Any] = {"ca_file": None, "verify": True, "patience_s": 60.0}
    return await relay.pass_on(url, ASKED, body, size_bytes, **{**usual, **how})


async def test_a_body_of_known_length(relay: NodeRelay) -> None:
    says = http_answer("204 No Content", upload_offset="5120000")
    with scripted_server(says) as server:
        body = AsgiBody(Pieces(DATA[:100], DATA[100:]).receive)
        answer = await pass_on(relay, f"{server.url}/image/", body, len(DATA))
        [request] = server.requests
    assert (answer.status, answer.headers["upload-offset"], answer.body) == (204, "5120000", b"")
    head, _, sent = request.partition(b"\r\n\r\n")
    lines = [line.lower() for line in head.split(b"\r\n")]
    assert lines[0] == b"patch /image/v2/images/x/upload/y http/1.1"
    assert {b"x-auth-token: secret", b"x: \xe4", b"content-length: 5120000"} <= set(lines)
    assert sent == DATA


async def test_a_body_that_goes_on_as_long_as_it_goes_on(relay: NodeRelay) -> None:
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        while size := int(await reader.readline(), 16):
            received.append(await reader.readexactly(size))
            await reader.readline()
        writer.write(http_answer("204 No Content"))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        body = AsgiBody(Pieces(DATA[:100], DATA[100:]).receive)
        assert (await pass_on(relay, f"http://127.0.0.1:{port}", body, None)).status == 204
    assert b"".join(received) == DATA


@pytest.mark.parametrize("size_bytes", [None, 1 << 40])
async def test_an_early_answer_ends_the_body(relay: NodeRelay, size_bytes: int | None) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http_answer("409 Conflict", b"no"))
        await writer.drain()
        while await reader.read(1 << 20):  # as a server does whose answer must not get lost
            continue
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        answer = await pass_on(relay, f"http://127.0.0.1:{port}", AsgiBody(Endless().receive), size_bytes)
    assert (answer.status, answer.body) == (409, b"no")


@pytest.mark.parametrize("method", ["HEAD", "DELETE", "POST"])
async def test_no_body(relay: NodeRelay, method: str) -> None:
    said = b"" if method == "HEAD" else b"1234567"
    says = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\nupload-offset: 3\r\n\r\n" + said
    with scripted_server(says) as server:
        asked = NodeRequest(method, "/v2/images/x/upload/y")
        answer = await relay.pass_on(server.url, asked, None, None, ca_file=None, verify=True, patience_s=60)
        assert b"content-length: 0" in server.requests[0].lower()
    assert (answer.headers["upload-offset"], answer.body) == ("3", said)


@pytest.mark.parametrize(
    "says",
    [
        b"",
        b"\x00\x01garbage\r\n\r\n",
        b"HTTP/1.1 202",
        b"HTTP/1.1 202 Accepted\r\ncontent-le",
        b"HTTP/1.1 202 Accepted\r\n\r\n",
        b"HTTP/1.1 202 Accepted\r\ncontent-length: 10\r\n\r\nshort",
        b"HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        http_answer("200 OK", b"x" * (1 << 21)),
    ],
)
async def test_what_is_no_whole_answer(relay: NodeRelay, says: bytes) -> None:
    with scripted_server(says) as server:
        with pytest.raises(NodeBroken) as refused:
            await pass_on(relay, server.url, AsgiBody(Pieces(b"x").receive), 1)
        assert "secret" not in str(refused.value)


async def test_nobody_is_there(relay: NodeRelay) -> None:
    with pytest.raises(NodeUnreachable):
        await pass_on(relay, f"http://127.0.0.1:{free_port()}", AsgiBody(Pieces(b"x").receive), 1)


async def test_one_that_does_not_answer(relay: NodeRelay) -> None:
    with scripted_server(holds=True) as server:
        with pytest.raises(NodeUnreachable, match="in time"):
            await pass_on(relay, server.url, AsgiBody(Pieces(b"x").receive), 1, patience_s=0.2)
        assert await asyncio.to_thread(server.client_left.wait, 60)


async def test_a_body_that_breaks_off(relay: NodeRelay) -> None:
    """The node sees the end of its request at once, and what came before it."""
    seen: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        seen.set_result(await reader.read(-1))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        body = AsgiBody(Pieces(b"some", BodyIncomplete("cut")).receive)
        with pytest.raises(BodyIncomplete):
            await pass_on(relay, f"http://127.0.0.1:{port}", body, 100)
        assert await asyncio.wait_for(seen, 60) == b"some"


async def test_cancelling_ends_it(relay: NodeRelay) -> None:
    never = asyncio.Event()
    pieces = iter([b"some"])

    async def receive() -> MutableMapping[str, Any]:
        for piece in pieces:
            return {"type": "http.request", "body": piece, "more_body": True}
        await never.wait()
        raise AssertionError

    with scripted_server(holds=True) as server:
        task = asyncio.create_task(pass_on(relay, server.url, AsgiBody(receive), 4))
        while not server.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.client_left.wait, 60)


async def test_tls(relay: NodeRelay, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, ["localhost"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    with scripted_server(http_answer("204 No Content"), tls=context) as server:
        url, body = f"https://localhost:{server.port}", AsgiBody(Pieces(DATA).receive)
        answer = await pass_on(relay, url, body, len(DATA), ca_file=str(certificate))
        assert answer.status == 204
        assert server.requests[0].endswith(DATA)
        with pytest.raises(NodeBroken, match="certificate"):
            await pass_on(relay, server.url, AsgiBody(Pieces(b"x").receive), 1)
        assert (await pass_on(relay, server.url, AsgiBody(Pieces(b"x").receive), 1, verify=False)).status == 204
