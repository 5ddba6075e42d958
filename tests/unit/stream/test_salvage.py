"""What came of a body before it broke off is written, and seen by everybody, before anybody hears of the end."""

import asyncio
import hashlib
from collections.abc import Iterator

import pytest

from blick.model.errors import BodyIncomplete, Invalid, LimitExceeded, StoreFull
from blick.stream.body import AsgiBody
from blick.stream.hashing import Hashing
from blick.stream.pump import BUFFER_BYTES, salvage
from blick.stream.threads import TransferThreads
from tests.unit.stream.test_pump import Endless, Nosy, Pieces, Sink

HUGE = 1 << 40


@pytest.fixture
def threads() -> Iterator[TransferThreads]:
    made = TransferThreads(3)
    yield made
    made.close()


@pytest.mark.parametrize("breaks", [False, True])
@pytest.mark.parametrize("size_bytes", [0, 1, 300_000, 9 * BUFFER_BYTES + 7])
async def test_everything_that_came_is_there(threads: TransferThreads, size_bytes: int, breaks: bool) -> None:
    data = (bytes(range(256)) * (size_bytes // 256 + 1))[:size_bytes]
    pieces: list[bytes | BaseException] = [data[start : start + 300_000] for start in range(0, size_bytes, 300_000)]
    if breaks:
        pieces.append(BodyIncomplete("cut"))
    body, sink, hashes = AsgiBody(Pieces(*pieces).receive), Sink(), Hashing().begin()
    feeds = (hashes.md5.update, hashes.second.update)
    moving = salvage(body.read_some, sink.write, feeds, most_bytes=HUGE, over="", threads=threads)
    if breaks:
        with pytest.raises(BodyIncomplete):
            await moving
    else:
        assert await moving == size_bytes
    assert sink.data == data
    assert hashes.digests(size_bytes).os_hash_value == hashlib.sha512(data).hexdigest()
    assert hashes.digests(size_bytes).checksum == hashlib.md5(data).hexdigest()


async def test_what_comes_slowly_is_not_waited_for(threads: TransferThreads) -> None:
    """A byte that is there is written, whether or not another one ever comes."""
    written, never = asyncio.Event(), asyncio.Event()
    pieces = iter([b"a", b"b"])

    async def read(buffer: memoryview) -> int:
        for piece in pieces:
            buffer[:1] = piece
            return 1
        await never.wait()
        raise AssertionError

    class Watched(Sink):
        async def write(self, buffer: memoryview) -> None:
            await super().write(buffer)
            if self.data == b"ab":
                written.set()

    task = asyncio.create_task(salvage(read, Watched().write, (), most_bytes=9, over="", threads=threads))
    await asyncio.wait_for(written.wait(), 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_no_more_than_is_allowed(threads: TransferThreads) -> None:
    sink = Sink()
    body = AsgiBody(Pieces(b"abc", b"def").receive)
    assert await salvage(body.read_some, sink.write, (), most_bytes=6, over="too much", threads=threads) == 6
    endless, sink = Endless(), Sink()
    read = AsgiBody(endless.receive).read_some
    with pytest.raises(LimitExceeded, match="too much"):
        await salvage(read, sink.write, (), most_bytes=4_500, over="too much", threads=threads)
    assert endless.taken == 5
    assert sink.data == b"y" * 4000, "what came before is kept"
    with pytest.raises(LimitExceeded):
        await salvage(AsgiBody(Endless().receive).read_some, sink.write, (), most_bytes=0, over="", threads=threads)
    assert len(sink.data) == 4000


async def test_a_feed_that_refuses_ends_it(threads: TransferThreads) -> None:
    feeds, read = (Nosy(refuse_at=2).feed,), AsgiBody(Endless().receive).read_some
    with pytest.raises(Invalid, match="Not an image"):
        await salvage(read, Sink().write, feeds, most_bytes=HUGE, over="", threads=threads)


async def test_what_the_writer_raises_comes_out(threads: TransferThreads) -> None:
    class Full(Sink):
        async def write(self, buffer: memoryview) -> None:
            await super().write(buffer)
            raise StoreFull("disk")

    body = AsgiBody(Pieces(b"x", BodyIncomplete("cut")).receive)
    with pytest.raises(StoreFull):
        await salvage(body.read_some, Full().write, (), most_bytes=HUGE, over="", threads=threads)


def test_hashes_can_go_two_ways() -> None:
    hashes = Hashing("sha256").begin()
    hashes.md5.update(b"a")
    hashes.second.update(b"a")
    twin = hashes.copy()
    twin.md5.update(b"b")
    twin.second.update(b"b")
    assert hashes.digests(1).os_hash_value == hashlib.sha256(b"a").hexdigest()
    assert twin.digests(2).os_hash_value == hashlib.sha256(b"ab").hexdigest()
    assert twin.digests(2).checksum == hashlib.md5(b"ab").hexdigest()
    assert twin.digests(2).os_hash_algo == "sha256"
