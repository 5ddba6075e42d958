"""Asking other nodes, on real sockets: what they say, and what is made of those that say nothing, or nonsense."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from blick.model.errors import NodeBroken, NodeUnreachable
from blick.stream.nodes import NodeRequest, Nodes
from tests.support.certificates import make_certificate
from tests.support.scripted_server import http_answer, scripted_server
from tests.support.server import free_port

ASKED = NodeRequest("POST", "/v2/images/x/import", {"x-auth-token": "secret", "x": "\xe4"}, b'{"a": 1}')


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    made = Nodes()
    yield made
    made.close()


async def test_the_request_arrives_and_the_answer_comes_back(nodes: Nodes) -> None:
    says = http_answer("409 Conflict", b"no", x_openstack_request_id="req-7", content_type="text/plain")
    with scripted_server(says) as server:
        answer = await nodes.ask(f"{server.url}/image/", ASKED)
        [request] = server.requests
    assert (answer.status, answer.body, answer.headers["x-openstack-request-id"]) == (409, b"no", "req-7")
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /image/v2/images/x/import HTTP/1.1"
    assert {b"x-auth-token: secret", b"x: \xe4", b"content-length: 8"} <= {
        name.lower() + b":" + value for name, _, value in (line.partition(b":") for line in lines[1:])
    }
    assert body == b'{"a": 1}'


@pytest.mark.parametrize(
    "says",
    [
        b"HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        http_answer("202 Accepted"),
        b"HTTP/1.0 202 Accepted\r\ncontent-length: 0\r\n\r\n",
    ],
)
async def test_an_empty_answer(nodes: Nodes, says: bytes) -> None:
    with scripted_server(says) as server:
        answer = await nodes.ask(server.url, NodeRequest("DELETE", "/v2/images/x"))
    assert (answer.status, answer.body) == (202, b"")


@pytest.mark.parametrize("status", ["204 No Content", "302 Found", "500 Internal Server Error", "599 Whatever"])
async def test_any_status_is_an_answer(nodes: Nodes, status: str) -> None:
    with scripted_server(http_answer(status, location="http://elsewhere")) as server:
        assert (await nodes.ask(server.url, ASKED)).status == int(status[:3])
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "says",
    [
        b"",
        b"\x00\x01garbage\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 202",
        b"HTTP/1.1 202 Accepted\r\ncontent-le",
        b"HTTP/1.1 202 Accepted\r\n\r\n",
        b"HTTP/1.1 202 Accepted\r\ncontent-length: 10\r\n\r\nshort",
        b"HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        http_answer("200 OK", b"x" * (1 << 21)),
        b"HTTP/1.1 200 OK\r\n" + b"h: x\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 " + b"x" * 100_000,
    ],
)
async def test_what_is_no_whole_answer(nodes: Nodes, says: bytes) -> None:
    with scripted_server(says) as server:
        with pytest.raises(NodeBroken) as refused:
            await nodes.ask(server.url, ASKED)
        assert "secret" not in str(refused.value)


async def test_nobody_is_there(nodes: Nodes) -> None:
    for url in (f"http://127.0.0.1:{free_port()}", "http://no-such-host.invalid:9292"):
        with pytest.raises(NodeUnreachable) as refused:
            await nodes.ask(url, ASKED)
        assert type(refused.value) is NodeUnreachable


@pytest.mark.parametrize(
    "url", ["", "x", "ftp://127.0.0.1", "file:///etc/passwd", "http://", "http://u:p@127.0.0.1", "http://127.0.0.1:x"]
)
async def test_what_is_no_url_of_a_node(nodes: Nodes, url: str) -> None:
    with pytest.raises(NodeUnreachable):
        await nodes.ask(url, ASKED)


@pytest.mark.parametrize("drips", [False, True])
async def test_one_that_takes_too_long(nodes: Nodes, drips: bool) -> None:
    """Also one that says a little now and then. It is not kept waiting for us either."""
    says = http_answer("200 OK", b"x" * 10_000) if drips else b""
    with scripted_server(says, holds=True, drips=drips) as server:
        with pytest.raises(NodeUnreachable, match="did not answer within"):
            await nodes.ask(server.url, ASKED, within_s=0.3)
        assert await asyncio.to_thread(server.client_left.wait, 60)


async def test_cancelling_ends_it_at_once(nodes: Nodes) -> None:
    with scripted_server(holds=True) as server:
        task = asyncio.create_task(nodes.ask(server.url, ASKED))
        while not server.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.client_left.wait, 60)


async def test_many_that_wait_for_one_node_do_not_keep_the_others_waiting_for_ever(nodes: Nodes) -> None:
    with scripted_server(holds=True) as silent, scripted_server(http_answer("204 No Content")) as other:
        waiting = [asyncio.create_task(nodes.ask(silent.url, ASKED, within_s=1)) for _ in range(20)]
        answers = await asyncio.gather(*(nodes.ask(other.url, ASKED) for _ in range(20)))
        assert {answer.status for answer in answers} == {204}
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {NodeUnreachable}


async def test_with_tls(nodes: Nodes, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, ["localhost"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    with scripted_server(http_answer("204 No Content"), tls=context) as server:
        url = f"https://localhost:{server.port}"
        assert (await nodes.ask(url, ASKED, ca_file=str(certificate))).status == 204
        assert (await nodes.ask(server.url, ASKED, verify=False)).status == 204
        for asked, ca_file in ((url, None), (server.url, str(certificate)), (url, str(tmp_path / "missing"))):
            with pytest.raises(NodeBroken):
                await nodes.ask(asked, ASKED, ca_file=ca_file)
