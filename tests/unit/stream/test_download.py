"""Downloads that outlive their connections, from a real server that breaks them and lies."""

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blick.model.errors import (
    BlickError,
    Invalid,
    SourceBroken,
    SourceDenied,
    SourceError,
    SourceMissing,
    SourceUnavailable,
)
from blick.model.uri_filter import UriFilter
from blick.stream.download import Patience, Wanted, download
from blick.stream.fetch import Fetcher, FetchOptions
from tests.support.certificates import make_certificate
from tests.support.lying_server import LyingServer, Manners
from tests.support.server import free_port

DATA = b"".join(hashlib.sha512(number.to_bytes(4)).digest() for number in range(8_000))  # 512,000 bytes
OTHER = bytes(reversed(DATA))
OPEN = UriFilter(allowed_hosts=("127.0.0.1", "localhost"), allowed_ports=())
AT_ONCE = Patience(retries=2, first_pause_s=0)


@pytest.fixture
def web() -> Iterator[LyingServer]:
    with LyingServer(DATA) as server:
        yield server


@pytest.fixture
async def fetcher() -> AsyncIterator[Fetcher]:
    made = Fetcher(OPEN, FetchOptions(read_timeout_s=60))
    yield made
    await made.aclose()


async def body_of(
    fetcher: Fetcher, wanted: Wanted | str, patience: Patience = AT_ONCE, at_once: int = 100_000
) -> bytes:
    """The whole, read in portions of `at_once`; also sees to it that the size is what was announced."""
    wanted = wanted if isinstance(wanted, Wanted) else Wanted(wanted)
    buffer, data = memoryview(bytearray(at_once)), b""
    async with download(fetcher, wanted, patience) as body:
        announced = body.size_bytes
        while count := await body.readinto(buffer):
            data += buffer[:count]
            if count < at_once:
                break
        assert await body.readinto(buffer) == 0
        assert announced in (None, len(data))
        assert body.size_bytes == len(data)
    return data


FRAMINGS = ["length", "chunked", "close"]


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("size", [0, 1, 100_000, 100_001, len(DATA)])
async def test_gets_it_whole(fetcher: Fetcher, web: LyingServer, framing: str, size: int) -> None:
    web.behave(DATA[:size], Manners(framing=framing))
    if framing == "close" and size == 0:  # nobody knows whether it was cut in the middle of its head
        with pytest.raises(SourceBroken):
            await body_of(fetcher, web.url())
        return
    assert await body_of(fetcher, web.url()) == DATA[:size]
    assert web.requests == [("GET", ""), ("HEAD", "")]


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("by_reset", [False, True])
async def test_goes_on_where_it_broke_off(fetcher: Fetcher, web: LyingServer, framing: str, by_reset: bool) -> None:
    breaks = [0, 1, 50_000, 100_000, 200_000]
    web.behave(DATA, Manners(framing=framing, breaks=list(breaks), by_reset=by_reset))
    assert await body_of(fetcher, web.url(), at_once=64_000) == DATA
    gets = [wanted for method, wanted in web.requests if method == "GET"]
    assert len(gets) == len(breaks) + 1
    assert gets[0] == ""
    offsets = [int(text[len("bytes=") : -1]) if text else 0 for text in gets]
    assert offsets == sorted(offsets)
    if not by_reset:  # a reset takes away what has arrived and was not read yet
        assert offsets == [0, 0, 1, 50_001, 150_001, 350_001]
        assert [head.get("if-range") for head in web.heads if "range" in head] == ['"one"'] * 4


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_a_break_at_the_very_end(fetcher: Fetcher, web: LyingServer, framing: str) -> None:
    """Everything came but for the mark of its end."""
    web.behave(DATA, Manners(framing=framing, breaks=[len(DATA)]))
    assert await body_of(fetcher, web.url()) == DATA


async def test_bytes_in_between_renew_patience(fetcher: Fetcher, web: LyingServer) -> None:
    web.behave(DATA[:30], Manners(breaks=[1] * 29))
    assert await body_of(fetcher, web.url()) == DATA[:30]
    web.behave(DATA, Manners(breaks=[10, 0]))
    assert await body_of(fetcher, web.url()) == DATA
    web.behave(DATA, Manners(breaks=[10, 0, 0]))
    with pytest.raises(SourceBroken):
        await body_of(fetcher, web.url())
    assert len(web.requests) == 3


async def test_trouble_of_the_server_is_waited_out(fetcher: Fetcher, web: LyingServer) -> None:
    web.behave(DATA, Manners(failures=[503, 429]))
    assert await body_of(fetcher, web.url()) == DATA
    web.behave(DATA, Manners(failures=[500, 500, 500]))
    with pytest.raises(SourceUnavailable):
        await body_of(fetcher, web.url())


def test_pauses_grow_to_a_bound() -> None:
    patience = Patience()
    pauses = [patience.pause_s(failures) for failures in range(1, 1000)]
    assert pauses[:3] == pytest.approx([0.2, 0.8, 3.2])
    assert pauses == sorted(pauses)
    assert pauses[-1] == 30


@pytest.mark.parametrize(("status", "error"), [(404, SourceMissing), (403, SourceDenied), (400, SourceError)])
async def test_refusals_are_final(fetcher: Fetcher, web: LyingServer, status: int, error: type[BlickError]) -> None:
    web.behave(DATA, Manners(failures=[status]))
    with pytest.raises(error):
        await body_of(fetcher, web.url())
    assert len(web.requests) == 1


async def test_a_refusal_of_the_rest_is_final(fetcher: Fetcher, web: LyingServer) -> None:
    """As when the signature of a URL has expired."""

    class Expiring(list[int]):
        def __bool__(self) -> bool:
            return len(web.requests) == 2

    web.behave(DATA, Manners(breaks=[10], failures=Expiring([403])))
    with pytest.raises(SourceDenied):
        await body_of(fetcher, web.url())
    assert len(web.requests) == 2


async def test_silence_is_a_break(web: LyingServer) -> None:
    web.behave(DATA, Manners(breaks=[100_000], keeps_silent=True))
    impatient = Fetcher(OPEN, FetchOptions(read_timeout_s=0.3))
    assert await body_of(impatient, web.url()) == DATA
    await impatient.aclose()
    assert web.requests == [("GET", ""), ("GET", "bytes=100000-"), ("HEAD", "")]


async def test_nobody_there(fetcher: Fetcher) -> None:
    with pytest.raises(SourceUnavailable):
        await body_of(fetcher, f"http://127.0.0.1:{free_port()}/x")


async def test_may_be_cancelled_while_it_waits(fetcher: Fetcher, web: LyingServer) -> None:
    web.behave(DATA, Manners(breaks=[100_000], keeps_silent=True))
    task = asyncio.create_task(body_of(fetcher, web.url(), at_once=len(DATA)))
    await asyncio.to_thread(web.gone_silent.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 20)


async def test_may_be_cancelled_between_attempts(fetcher: Fetcher, web: LyingServer) -> None:
    web.behave(DATA, Manners(breaks=[0]))
    task = asyncio.create_task(body_of(fetcher, web.url(), Patience(first_pause_s=10_000, longest_pause_s=10_000)))
    while not web.requests:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 20)


class TestVersions:
    async def test_a_last_change_tells_too(self, fetcher: Fetcher, web: LyingServer) -> None:
        web.behave(DATA, Manners(etag='W/"weak"', last_modified="Thu, 01 Jan 2026 00:00:00 GMT", breaks=[1000]))
        assert await body_of(fetcher, web.url()) == DATA
        assert web.heads[1]["if-range"] == "Thu, 01 Jan 2026 00:00:00 GMT"

    @pytest.mark.parametrize("etag", [None, 'W/"weak"', "unquoted"])
    async def test_untold_versions_are_not_put_together(
        self, fetcher: Fetcher, web: LyingServer, etag: str | None
    ) -> None:
        web.behave(DATA, Manners(etag=etag, breaks=[1000]))
        with pytest.raises(SourceBroken, match="after 1000 bytes"):
            await body_of(fetcher, web.url())
        assert len(web.requests) == 1

    async def test_but_if_a_hash_of_the_whole_is_compared(self, fetcher: Fetcher, web: LyingServer) -> None:
        web.behave(DATA, Manners(etag=None, breaks=[1000]))
        assert await body_of(fetcher, Wanted(web.url(), is_verified=True)) == DATA
        assert "if-range" not in web.heads[1]
        web.behave(DATA, Manners(etag=None, breaks=[1000], versions=[(DATA, None), (DATA + b"more", None)]))
        with pytest.raises(SourceBroken, match="changed"):
            await body_of(fetcher, Wanted(web.url(), is_verified=True))

    @pytest.mark.parametrize("framing", FRAMINGS)
    @pytest.mark.parametrize("minds_if_range", [False, True])
    @pytest.mark.parametrize("other", [OTHER, DATA + b"more", DATA[:-1], b""])
    async def test_changed_meanwhile(
        self, fetcher: Fetcher, web: LyingServer, framing: str, minds_if_range: bool, other: bytes
    ) -> None:
        manners = Manners(framing=framing, minds_if_range=minds_if_range, breaks=[1000])
        manners.versions = [(DATA, '"one"'), (other, '"two"')]
        web.behave(DATA, manners)
        with pytest.raises(SourceBroken, match=r"changed|ended early"):
            await body_of(fetcher, web.url())

    async def test_a_change_before_the_first_byte(self, fetcher: Fetcher, web: LyingServer) -> None:
        """Nothing is mixed; but the size that was announced has to stay."""
        web.behave(DATA, Manners(breaks=[0], versions=[(DATA, '"one"'), (OTHER, '"two"')]))
        assert await body_of(fetcher, web.url()) == OTHER
        web.behave(DATA, Manners(breaks=[0], versions=[(DATA, '"one"'), (OTHER[1:], '"two"')]))
        with pytest.raises(SourceBroken, match="changed"):
            await body_of(fetcher, web.url())


class TestLies:
    async def test_a_server_without_parts(self, fetcher: Fetcher, web: LyingServer) -> None:
        web.behave(DATA, Manners(knows_parts=False, breaks=[0]))
        assert await body_of(fetcher, web.url()) == DATA
        web.behave(DATA, Manners(knows_parts=False, breaks=[1000]))
        with pytest.raises(SourceBroken, match="gives no parts"):
            await body_of(fetcher, web.url())

    @pytest.mark.parametrize(
        "content_range",
        ["bytes 0-511999/512000", "bytes 1001-511999/512000", "bytes 1000-511998/512000", "bytes 1000-511999/*", "x"],
    )
    async def test_another_part(self, fetcher: Fetcher, web: LyingServer, content_range: str) -> None:
        web.behave(DATA, Manners(breaks=[1000], content_range=content_range))
        with pytest.raises(SourceBroken, match="part of the data"):
            await body_of(fetcher, web.url())

    @pytest.mark.parametrize("framing", FRAMINGS)
    async def test_head_promises_more(self, fetcher: Fetcher, web: LyingServer, framing: str) -> None:
        web.behave(DATA, Manners(framing=framing, head_length=len(DATA) + 1))
        with pytest.raises(SourceBroken):
            await body_of(fetcher, web.url())
        assert web.requests[:2] == [("GET", ""), ("HEAD", "")]

    @pytest.mark.parametrize("framing", FRAMINGS)
    async def test_head_promises_less(self, fetcher: Fetcher, web: LyingServer, framing: str) -> None:
        web.behave(DATA, Manners(framing=framing, head_length=0))
        assert await body_of(fetcher, web.url()) == DATA

    async def test_no_head(self, fetcher: Fetcher, web: LyingServer) -> None:
        web.behave(DATA, Manners(framing="chunked", knows_head=False))
        assert await body_of(fetcher, web.url()) == DATA

    @pytest.mark.parametrize("framing", ["chunked", "close"])
    async def test_a_part_tells_of_more(self, fetcher: Fetcher, web: LyingServer, framing: str) -> None:
        """What a Range answer announced has to come, too."""
        told = f"bytes 1000-{len(DATA)}/{len(DATA) + 1}"
        web.behave(DATA, Manners(framing=framing, breaks=[1000], content_range=told))
        with pytest.raises(SourceBroken):
            await body_of(fetcher, web.url())

    async def test_a_part_is_longer_than_it_says(self, fetcher: Fetcher, web: LyingServer) -> None:
        web.behave(DATA, Manners(framing="chunked", breaks=[1000], content_range="bytes 1000-1999/2000"))
        with pytest.raises(SourceBroken, match="more than"):
            await body_of(fetcher, web.url())

    async def test_an_encoding_that_nobody_asked_for(self, fetcher: Fetcher, web: LyingServer) -> None:
        web.behave(DATA, Manners(headers={"Content-Encoding": "gzip"}))
        with pytest.raises(SourceError, match="gzip"):
            await body_of(fetcher, web.url())
        assert web.heads[0]["accept-encoding"] == "identity"
        web.behave(DATA, Manners(headers={"Content-Encoding": "identity"}))
        assert await body_of(fetcher, web.url()) == DATA


RAW = [
    # Content-Length, with less than that
    (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123456789", None),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n1234567890", b"1234567890"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Length: 10\r\n\r\n1234567890", b"1234567890"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 10, 10\r\n\r\n1234567890", b"1234567890"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Length: 5\r\n\r\n1234567890", None),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5, 10\r\n\r\n1234567890", None),
    (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n1234567890", None),
    (b"HTTP/1.1 200 OK\r\nContent-Length: +10\r\n\r\n1234567890", None),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 1_0\r\n\r\n1234567890", None),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 0x0a\r\n\r\n1234567890", None),
    (b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n1234567890", None),
    # chunks
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n", b"12345"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\n12345\r\n0\r\nX: y\r\n\r\n", b"12345"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n05 ;a=b\n12345\n000\n\n", b"12345"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n5\r\n12345\r\n0\r\n\r\n", b"12345"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n", None),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0", None),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n", None),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345", None),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n1234", None),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n", None),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5", None),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n12345\r\n0\r\n\r\n", None),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n12345\r\n0\r\n\r\n", None),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\n12345\r\n0\r\n\r\n", None),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"5" * 9000 + b"\r\n", None),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 200 + b"\r\n", None),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n", None),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n12345", None),
    # the end of the connection
    (b"HTTP/1.1 200 OK\r\n\r\n12345", b"12345"),
    (b"HTTP/1.0 200 OK\r\n\r\n", None),
    (b"HTTP/1.0 200 OK\r\n", None),
    # no HTTP, or not what was asked for
    (b"", None),
    (b"HTTP/1.1 ", None),
    (b"HTTP/1.1 200 OK\r\nContent-Len", None),
    (b"HTTP/2 200 OK\r\n\r\n12345", None),
    (b"SSH-2.0-OpenSSH_9.2\r\n", None),
    (b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/5\r\nContent-Length: 5\r\n\r\n12345", None),
    (b"HTTP/1.1 204 No Content\r\n\r\n", None),
    (b"HTTP/1.1 304 Not Modified\r\n\r\n", None),
    (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n12345", None),
]


@pytest.mark.parametrize(("answer", "body"), RAW)
async def test_answers_to_the_letter(fetcher: Fetcher, answer: bytes, body: bytes | None) -> None:
    """`body` None: the answer is refused. A HEAD at the end gets the same answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    uri = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    if body is None:
        with pytest.raises(SourceError):
            await body_of(fetcher, uri)
    else:
        assert await body_of(fetcher, uri) == body
    server.close()
    await server.wait_closed()


class TestTls:
    @pytest.fixture
    def secure(self, tmp_path: Path) -> Iterator[tuple[LyingServer, Fetcher]]:
        certificate, key = make_certificate(tmp_path, ("localhost",))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        with LyingServer(DATA, tls=context) as server:
            yield server, Fetcher(OPEN, FetchOptions(ca_file=str(certificate)))

    @pytest.mark.parametrize("framing", ["length", "chunked"])
    async def test_goes_on(self, secure: tuple[LyingServer, Fetcher], framing: str) -> None:
        server, fetcher = secure
        server.behave(DATA, Manners(framing=framing, breaks=[1000, 0, 50_000]))
        assert await body_of(fetcher, server.url(host="localhost")) == DATA
        await fetcher.aclose()

    async def test_a_cut_is_no_end(self, secure: tuple[LyingServer, Fetcher]) -> None:
        """TLS tells the end of the connection that the server wanted from any other."""
        server, fetcher = secure
        server.behave(DATA, Manners(framing="close", knows_head=False, etag=None))
        with pytest.raises(SourceBroken):
            await body_of(fetcher, server.url(host="localhost"))
        await fetcher.aclose()


async def test_the_rest_is_judged_like_the_first_part(web: LyingServer) -> None:
    """A redirect that leads elsewhere the second time is not followed there."""
    targets = [web.url(), "http://169.254.169.254/image"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 302 Found\r\nLocation: {targets.pop(0)}\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    web.behave(DATA, Manners(breaks=[1000]))
    narrow = Fetcher(OPEN)
    with pytest.raises(Invalid):
        await body_of(narrow, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    await narrow.aclose()
    assert targets == []
    server.close()
    await server.wait_closed()


@st.composite
def manners(draw: st.DrawFn) -> Manners:
    return Manners(
        framing=draw(st.sampled_from(FRAMINGS)),
        etag=draw(st.sampled_from(['"one"', 'W/"one"', None])),
        last_modified=draw(st.sampled_from([None, "Thu, 01 Jan 2026 00:00:00 GMT"])),
        knows_parts=draw(st.booleans()),
        minds_if_range=draw(st.booleans()),
        breaks=draw(st.lists(st.integers(0, 40_000), max_size=6)),
        by_reset=draw(st.booleans()),
        knows_head=draw(st.booleans()),
        chunk_bytes=draw(st.sampled_from([1000, 9_000, 100_000])),
        failures=draw(st.lists(st.sampled_from([500, 503]), max_size=3)),
    )


@pytest.fixture(scope="module")
def shared() -> Iterator[LyingServer]:
    with LyingServer(b"") as server:
        yield server


@given(
    behaviour=manners(),
    size=st.integers(0, 60_000),
    at_once=st.sampled_from([100, 8_192, 20_000, 100_000]),
    change_at=st.one_of(st.none(), st.integers(1, 4)),
)
@settings(deadline=None, max_examples=200)
def test_wherever_it_breaks_it_is_whole_or_fails(
    shared: LyingServer, behaviour: Manners, size: int, at_once: int, change_at: int | None
) -> None:
    one, two = DATA[:size], OTHER[:size]
    honest = behaviour.etag == '"one"' and behaviour.knows_parts and change_at is None
    steady = behaviour.breaks.count(0) + len(behaviour.failures) < AT_ONCE.retries
    if change_at is not None:
        behaviour.versions = [(one, behaviour.etag)] * change_at + [(two, '"two"')] * 20
        behaviour.last_modified = None  # whoever changes data within a second of the change before cannot tell
    shared.behave(one, behaviour)
    promised = size > 0 and honest and steady and not behaviour.by_reset and behaviour.framing != "close"

    async def run() -> bytes:
        fetcher = Fetcher(OPEN)
        try:
            return await body_of(fetcher, shared.url(), at_once=at_once)
        finally:
            await fetcher.aclose()

    data: Any = None
    try:
        data = asyncio.run(run())
    except SourceError:
        assert not promised
        return
    if behaviour.framing == "close" and not behaviour.knows_head:
        assert one.startswith(data) or two.startswith(data)  # nobody could know
    else:
        assert data in (one, two)
