"""Servers that never fall silent, and never come to an end: neither at the head of their answers nor in the body."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from blick.model.errors import SourceBroken, SourceError, SourceUnavailable
from blick.model.uri_filter import UriFilter
from blick.stream.download import Patience, Wanted, download, read_small
from blick.stream.fetch import Answer, Fetcher, FetchOptions
from tests.support.scripted_server import ScriptedServer, http_answer, scripted_server

OPEN = UriFilter(allowed_hosts=("127.0.0.1",), allowed_ports=())
USUAL = FetchOptions(read_timeout_s=0.5)
BODY = http_answer("200 OK", b"x" * 100_000, etag='"1"')
LONG_S = 20


@pytest.fixture
async def fetchers() -> AsyncIterator[list[Fetcher]]:
    made: list[Fetcher] = []
    yield made
    for fetcher in made:
        await fetcher.aclose()


def fetcher_with(fetchers: list[Fetcher], **options: Any) -> Fetcher:
    fetchers.append(Fetcher(OPEN, replace(USUAL, **options)))
    return fetchers[-1]


class Dripping(ScriptedServer):
    """Sends its head at once, if `head_first`, and then a byte now and then."""

    head_first = True

    def _answer(self, connection: Any) -> None:
        if self.head_first:
            head, _, rest = self.says.partition(b"\r\n\r\n")
            connection.sendall(head + b"\r\n\r\n")
            self.says = rest
        super()._answer(connection)


@contextmanager
def dripping(says: bytes, *, head_first: bool) -> Iterator[Dripping]:
    server = Dripping(says, drips=True)
    server.head_first = head_first
    server.start()
    try:
        yield server
    finally:
        server.stop()


def require_too_slow(error: SourceError) -> None:
    """Final: not what is tried again."""
    assert not isinstance(error, SourceBroken | SourceUnavailable)
    assert "too slowly" in str(error)


async def test_a_body_that_drips(fetchers: list[Fetcher]) -> None:
    fetcher = fetcher_with(fetchers, least_bytes_s=1_000_000)
    with dripping(BODY, head_first=True) as server:
        async with asyncio.timeout(LONG_S):
            with pytest.raises(SourceError) as raised:
                async with download(fetcher, Wanted(server.url), Patience()) as body:
                    await body.readinto(memoryview(bytearray(100_000)))
        require_too_slow(raised.value)
        assert server.client_left.wait(LONG_S), "nobody is kept"
    with scripted_server(BODY) as server:
        async with download(fetcher, Wanted(server.url), Patience()) as body:
            assert await body.readinto(memoryview(bytearray(200_000))) == 100_000, "others are read as ever"


@pytest.mark.parametrize("says", [BODY, b"HTTP/1.1 100 Continue\r\n\r\n" * 1000], ids=["head", "continue"])
async def test_an_answer_that_does_not_begin(fetchers: list[Fetcher], says: bytes) -> None:
    fetcher = fetcher_with(fetchers, answer_within_s=0.7)
    with dripping(says, head_first=False) as server:
        async with asyncio.timeout(LONG_S):
            with pytest.raises(SourceError) as raised:
                async with download(fetcher, Wanted(server.url), Patience()):
                    pass
        require_too_slow(raised.value)
        assert server.client_left.wait(LONG_S)
        assert len(server.requests) == 1


async def test_a_document_that_drips(fetchers: list[Fetcher]) -> None:
    fetcher = fetcher_with(fetchers, least_bytes_s=10_000_000)
    with dripping(BODY, head_first=True) as server:
        async with asyncio.timeout(LONG_S):
            with pytest.raises(SourceError) as raised:
                await read_small(fetcher, Wanted(server.url), Patience(), 1 << 20)
        require_too_slow(raised.value)


async def test_who_waits_for_others_has_all_of_his_time(fetchers: list[Fetcher]) -> None:
    fetcher = Fetcher(OPEN, replace(USUAL, read_timeout_s=1.5, answer_within_s=0.7), threads=1)
    fetchers.append(fetcher)
    head = http_answer("200 OK", content_length="5")
    with scripted_server(head, holds=True) as silent, scripted_server(BODY) as server:
        async with fetcher.open(silent.url) as answer, asyncio.TaskGroup() as group:
            reading = group.create_task(attempt(answer))
            await asyncio.sleep(0.1)
            async with fetcher.open(server.url) as other:
                assert await other.readinto(memoryview(bytearray(200_000))) == 100_000
            assert isinstance(await reading, SourceUnavailable)


async def attempt(answer: Answer) -> BaseException | None:
    try:
        await answer.readinto(memoryview(bytearray(5)))
    except SourceError as error:
        return error
    return None
