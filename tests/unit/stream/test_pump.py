"""The pump: bytes, hashes, limits, and that nothing of it goes on once it has ended."""

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Iterator, MutableMapping
from typing import Any

import pytest

from blick.model.errors import BodyIncomplete, Invalid, LimitExceeded, StoreFull
from blick.stream.body import AsgiBody, request_body
from blick.stream.hashing import Hashing
from blick.stream.pump import BUFFER_BYTES, BUFFERS, Inspection, pump
from blick.stream.threads import Strand, TransferThreads

HUGE = 1 << 40


class Pieces:
    """A body of given pieces; a piece that is an exception is raised."""

    def __init__(self, *pieces: bytes | BaseException) -> None:
        self._pieces = list(pieces)
        self._messages = self._make()

    async def receive(self) -> MutableMapping[str, Any]:
        return await anext(self._messages)

    async def _make(self) -> AsyncIterator[MutableMapping[str, Any]]:
        for piece in self._pieces:
            await asyncio.sleep(0)
            if isinstance(piece, BodyIncomplete):
                yield {"type": "http.disconnect"}
            elif isinstance(piece, BaseException):
                raise piece
            else:
                yield {"type": "http.request", "body": piece, "more_body": True}
        yield {"type": "http.request", "body": b"", "more_body": False}


class Sink:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.calls = 0

    async def write(self, buffer: memoryview) -> None:
        self.calls += 1
        await asyncio.sleep(0)
        self.data += buffer


@pytest.fixture
def threads() -> Iterator[TransferThreads]:
    made = TransferThreads(3)
    yield made
    made.close()


async def run(
    threads: TransferThreads,
    body: AsgiBody,
    sink: Sink,
    inspection: Inspection | None = None,
    cap_bytes: int = HUGE,
    expected_bytes: int | None = None,
    algorithm: str = "sha512",
) -> Any:
    return await pump(
        body,
        sink.write,
        hashing=Hashing(algorithm),
        inspection=inspection,
        cap_bytes=cap_bytes,
        expected_bytes=expected_bytes,
        threads=threads,
    )


@pytest.mark.parametrize("size_bytes", [0, 1, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, 9 * BUFFER_BYTES + 7])
async def test_the_bytes_arrive_whole_and_the_hashes_are_theirs(threads: TransferThreads, size_bytes: int) -> None:
    data = (bytes(range(256)) * (size_bytes // 256 + 1))[:size_bytes]
    pieces = [data[start : start + 300_000] for start in range(0, size_bytes, 300_000)]
    sink = Sink()
    digests = await run(threads, AsgiBody(Pieces(*pieces).receive), sink, expected_bytes=size_bytes)
    assert sink.data == data
    assert sink.calls == -(-size_bytes // BUFFER_BYTES)
    assert digests.size_bytes == size_bytes
    assert digests.checksum == hashlib.md5(data).hexdigest()
    assert (digests.os_hash_algo, digests.os_hash_value) == ("sha512", hashlib.sha512(data).hexdigest())


async def test_another_algorithm(threads: TransferThreads) -> None:
    digests = await run(threads, AsgiBody(Pieces(b"abc").receive), Sink(), algorithm="sha256")
    assert (digests.os_hash_algo, digests.os_hash_value) == ("sha256", hashlib.sha256(b"abc").hexdigest())


@pytest.mark.parametrize("name", ["nonsense", "", "shake_128"])
def test_an_algorithm_that_cannot_be_computed_is_refused_at_once(name: str) -> None:
    with pytest.raises(Invalid):
        Hashing(name)


async def test_exactly_the_cap_is_allowed(threads: TransferThreads) -> None:
    sink = Sink()
    assert (await run(threads, AsgiBody(Pieces(b"x" * 10).receive), sink, cap_bytes=10)).size_bytes == 10


class Endless:
    """A body that never ends, counting what was taken."""

    def __init__(self) -> None:
        self.taken = 0

    async def receive(self) -> MutableMapping[str, Any]:
        self.taken += 1
        return {"type": "http.request", "body": b"y" * 1000, "more_body": True}


async def test_one_byte_over_the_cap_ends_it_without_reading_on(threads: TransferThreads) -> None:
    body, sink = Endless(), Sink()
    with pytest.raises(LimitExceeded):
        await run(threads, AsgiBody(body.receive), sink, cap_bytes=5000)
    assert body.taken == 6
    assert len(sink.data) <= 5000


async def test_longer_than_announced(threads: TransferThreads) -> None:
    body = Endless()
    with pytest.raises(Invalid, match="longer"):
        await run(threads, AsgiBody(body.receive), Sink(), expected_bytes=999)
    assert body.taken == 1


async def test_shorter_than_announced(threads: TransferThreads) -> None:
    with pytest.raises(Invalid, match="shorter"):
        await run(threads, AsgiBody(Pieces(b"abc").receive), Sink(), expected_bytes=4)


async def test_a_cut_body(threads: TransferThreads) -> None:
    body = AsgiBody(Pieces(b"x" * (2 * BUFFER_BYTES), BodyIncomplete("cut")).receive)
    with pytest.raises(BodyIncomplete):
        await run(threads, body, Sink(), expected_bytes=None)


class Nosy:
    """An inspection that can be held up, and can refuse."""

    def __init__(self, refuse_at: int | None = None) -> None:
        self.calls = 0
        self.inside = threading.Event()
        self.go = threading.Event()
        self.go.set()
        self._refuse_at = refuse_at

    def feed(self, data: memoryview) -> None:
        self.inside.set()
        self.go.wait(10)
        self.calls += 1
        if self.calls == self._refuse_at:
            raise Invalid("Not an image.")


async def test_a_refusing_inspection_ends_an_endless_body(threads: TransferThreads) -> None:
    nosy = Nosy(refuse_at=2)
    with pytest.raises(Invalid, match="Not an image"):
        await run(threads, AsgiBody(Endless().receive), Sink(), nosy)
    assert nosy.calls == 2  # nothing is shown to it after it refused


async def test_a_refusing_inspection_wakes_a_reader_that_waits_for_its_client(
    threads: TransferThreads,
) -> None:
    never = asyncio.Event()
    pieces = iter([b"z" * BUFFER_BYTES])

    async def receive() -> MutableMapping[str, Any]:
        for piece in pieces:
            return {"type": "http.request", "body": piece, "more_body": True}
        await never.wait()
        raise AssertionError

    with pytest.raises(Invalid, match="Not an image"):
        await asyncio.wait_for(run(threads, AsgiBody(receive), Sink(), Nosy(refuse_at=1)), 10)


async def test_what_the_writer_raises_comes_out(threads: TransferThreads) -> None:
    class Full(Sink):
        async def write(self, buffer: memoryview) -> None:
            await super().write(buffer)
            if self.calls == 3:
                raise StoreFull("disk")

    with pytest.raises(StoreFull):
        await run(threads, AsgiBody(Endless().receive), Full())


async def test_a_slow_reader_of_buffers_holds_back_the_body(threads: TransferThreads) -> None:
    nosy, body = Nosy(), Endless()
    nosy.go.clear()
    task = asyncio.create_task(run(threads, AsgiBody(body.receive), Sink(), nosy))
    await asyncio.to_thread(nosy.inside.wait, 10)
    for _ in range(50):
        await asyncio.sleep(0.001)
    assert body.taken <= BUFFERS * BUFFER_BYTES // 1000 + 1
    nosy.go.set()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelling_joins_the_threads_first(threads: TransferThreads) -> None:
    nosy = Nosy()
    nosy.go.clear()
    task = asyncio.create_task(run(threads, AsgiBody(Endless().receive), Sink(), nosy))
    await asyncio.to_thread(nosy.inside.wait, 10)
    for _ in range(3):  # impatient callers cancel more than once
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
    nosy.go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert nosy.calls == 1


async def test_a_cancelled_write_is_waited_for(threads: TransferThreads) -> None:
    left, writing = asyncio.Event(), asyncio.Event()

    class Slow(Sink):
        async def write(self, buffer: memoryview) -> None:
            writing.set()
            try:
                await asyncio.sleep(3600)
            finally:
                assert buffer[0] == ord("y")  # still ours
                left.set()

    task = asyncio.create_task(run(threads, AsgiBody(Endless().receive), Slow()))
    await writing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left.is_set()


async def test_many_transfers_share_few_threads(threads: TransferThreads) -> None:
    async def one(number: int) -> None:
        data = bytes([number]) * (2 * BUFFER_BYTES + number)
        digests = await run(threads, AsgiBody(Pieces(data).receive), Sink(), Nosy())
        assert digests.checksum == hashlib.md5(data).hexdigest()

    await asyncio.gather(*(one(number) for number in range(20)))


def test_a_strand_keeps_its_order_while_others_want_its_threads(threads: TransferThreads) -> None:
    seen: dict[int, list[int]] = {number: [] for number in range(12)}
    strands: list[tuple[int, Strand]] = [(number, threads.strand()) for number in seen]
    for turn in range(50):
        for number, strand in strands:
            strand.submit(lambda number=number, turn=turn: seen[number].append(turn))
    ends = [threading.Event() for _ in strands]
    for (_, strand), end in zip(strands, ends, strict=True):
        strand.submit(end.set)
    assert all(end.wait(10) for end in ends)
    assert all(turns == list(range(50)) for turns in seen.values())


async def test_the_servers_own_source_is_preferred() -> None:
    own = object()
    assert request_body({"extensions": {"blick.request_body": own}}, Pieces().receive) is own
    assert isinstance(request_body({"type": "http"}, Pieces().receive), AsgiBody)
