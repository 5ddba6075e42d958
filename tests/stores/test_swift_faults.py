"""The store of type swift when something goes wrong: the right error, nothing left over, and the next attempt works."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from blick.model.blob import ByteRange, Location
from blick.model.errors import (
    DataExists,
    DataNotFound,
    RangeInvalid,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from blick.stores.base import Writer
from blick.stores.conformance import DATA, MIB, get, new_key, put, require_missing
from blick.stores.swift.store import SwiftStore
from tests.stores.swift_fixtures import SMALL_SEGMENTS, Behind, everything, opened, options_for
from tests.support.breaking_line import BreakingLine, breaking_line
from tests.support.server import free_port
from tests.support.swift import Swift

pytestmark = pytest.mark.needs("swift")


@pytest.fixture
def behind(swift: Swift) -> Iterator[Behind]:
    with Behind(swift) as client:
        yield client


@pytest.fixture
def line(swift: Swift) -> Iterator[BreakingLine]:
    with breaking_line(swift.port) as made:
        yield made


@pytest.fixture(scope="module")
def mortal_swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    with Swift(tmp_path_factory.mktemp("swift")) as server:
        yield server


@pytest.fixture
def own_swift(mortal_swift: Swift) -> Iterator[Swift]:
    """One that a test may stop. It runs again for the next."""
    yield mortal_swift
    mortal_swift.go_on()
    mortal_swift.restart()


@pytest.fixture(params=[None, 3 * MIB], ids=["segments", "one request"])
def size_hint(request: pytest.FixtureRequest) -> int | None:
    """Of an object of three pieces of 1 MiB."""
    hint: int | None = request.param
    return hint


@pytest.fixture
async def store(swift: Swift) -> AsyncIterator[SwiftStore]:
    async with opened(options_for(swift, swift_store_large_object_chunk_size=1)) as made:
        yield made


def container(store: SwiftStore) -> str:
    return store._options.container


async def put_pieces(store: SwiftStore, key: str, hint: int | None, count: int = 3) -> Location:
    """An object of pieces of 1 MiB."""
    async with store.writer(key, hint) as writer:
        for number in range(count):
            await writer.write(memoryview(bytes([number]) * MIB))
        return await writer.commit()


async def test_wrong_credentials(swift: Swift) -> None:
    async with opened(options_for(swift, swift_store_key="wrong-key")) as store:
        for work in (put(store, new_key(), DATA), store.probe(), store.discard(new_key())):
            with pytest.raises(StoreDenied) as refused:
                await work
            assert "wrong-key" not in str(refused.value)


async def test_no_rights_to_write(swift: Swift) -> None:
    """This user may not even make a container."""
    async with opened(options_for(swift, swift_store_user="test:tester3")) as store:
        with pytest.raises(StoreDenied):
            await put(store, new_key(), DATA)


async def test_the_container_is_missing(swift: Swift, behind: Behind, size_hint: int | None) -> None:
    async with opened(options_for(swift, swift_store_create_container_on_put=False)) as store:
        for work in (put_pieces(store, new_key(), size_hint), store.probe()):
            with pytest.raises(StoreUnavailable, match="no container"):
                await work
        await store.discard(new_key())
        assert await everything(store) == []
        behind.put(container(store))
        await store.probe()
        await put_pieces(store, new_key(), size_hint)


async def test_the_server_is_gone_before(own_swift: Swift, size_hint: int | None) -> None:
    own_swift.stop()
    async with opened(options_for(own_swift)) as store:
        for work in (put_pieces(store, new_key(), size_hint), store.probe()):
            with pytest.raises(StoreUnavailable) as lost:
                await work
            assert own_swift.key not in str(lost.value)
        own_swift.start()
        await store.probe()
        location = await put_pieces(store, new_key(), size_hint)
        own_swift.restart()
        assert await store.size_bytes(location) == 3 * MIB  # the kept connection is dead, and so is the token


@pytest.mark.parametrize("pieces", [1, 3])
async def test_the_server_dies_during_an_upload(own_swift: Swift, size_hint: int | None, pieces: int) -> None:
    key = new_key()
    async with opened(options_for(own_swift, swift_store_large_object_chunk_size=2)) as store:

        async def upload() -> None:
            async with store.writer(key, size_hint) as writer:
                for number in range(3):
                    if number == pieces:
                        own_swift.kill()
                    await writer.write(memoryview(bytes(MIB)))
                own_swift.kill()
                await writer.commit()

        with pytest.raises(StoreUnavailable):
            await upload()
        own_swift.start()
        assert all(entry.location is None for entry in await everything(store))
        await store.discard(key)
        assert await everything(store) == []
        await put_pieces(store, key, size_hint)


async def test_the_line_breaks_in_the_middle_of_an_upload(
    swift: Swift, line: BreakingLine, behind: Behind, size_hint: int | None
) -> None:
    options = options_for(swift, swift_store_auth_address=f"http://{line.address}/auth/v1.0")
    async with opened(options) as store:
        await store.probe()
        line.cut_after(3 * MIB // 2)
        key = new_key()
        with pytest.raises(StoreUnavailable):
            await put_pieces(store, key, size_hint)
        line.mend()
        await store.discard(key)
        assert behind.names(container(store)) == []
        location = await put_pieces(store, key, size_hint)
        assert await store.size_bytes(location) == 3 * MIB


async def test_a_read_goes_on_where_it_broke(swift: Swift, line: BreakingLine, size_hint: int | None) -> None:
    address = f"http://{line.address}/auth/v1.0"
    options = options_for(swift, swift_store_auth_address=address, swift_store_retry_get_count=5)
    data = b"".join(bytes([number]) * MIB for number in range(3))
    async with opened(options) as store:
        location = await put_pieces(store, new_key(), size_hint)
        line.reset_after(2 * MIB)
        assert await get(store, location) == data
        line.reset_after(MIB)
        assert await get(store, location, ByteRange(5, 3 * MIB - 7)) == data[5:-2]


async def test_a_read_that_may_not_be_retried(swift: Swift, line: BreakingLine) -> None:
    async with opened(options_for(swift, swift_store_auth_address=f"http://{line.address}/auth/v1.0")) as store:
        location = await put_pieces(store, new_key(), None)
        line.reset_after(2 * MIB)
        with pytest.raises(StoreUnavailable, match="broke off"):
            await get(store, location)
        assert len(await get(store, location)) == 3 * MIB


async def _read_to_the_end(pieces: AsyncGenerator[memoryview, None]) -> None:
    async for piece in pieces:
        assert b"b" not in bytes(piece)


async def test_an_object_replaced_while_it_is_read(swift: Swift, line: BreakingLine, behind: Behind) -> None:
    """Bytes of two objects are never mixed."""
    address = f"http://{line.address}/auth/v1.0"
    options = options_for(swift, swift_store_auth_address=address, swift_store_retry_get_count=3)
    async with opened(options) as store:
        key = new_key()
        location = await put(store, key, *[b"a" * MIB] * 40)
        async with aclosing(store.read(location)) as pieces:
            await anext(pieces)
            behind.put(f"{container(store)}/{key}", b"b" * 40 * MIB)
            line.cut()
            line.mend()
            with pytest.raises(RangeInvalid, match="replaced"):
                await _read_to_the_end(pieces)


async def test_segments_are_missing(store: SwiftStore, behind: Behind) -> None:
    location = await put_pieces(store, new_key(), None)
    first, second = [name for name in behind.names(container(store)) if name.endswith(("-00001", "-00002"))]
    behind.request("DELETE", f"{container(store)}/{second}")
    with pytest.raises(StoreError):
        await get(store, location)
    behind.request("DELETE", f"{container(store)}/{first}")
    with pytest.raises(RangeInvalid):
        await get(store, location)
    await store.delete(location)  # to the end, although a part is gone
    assert behind.names(container(store)) == []


async def test_an_object_is_too_large_for_the_cluster(tmp_path: Path) -> None:
    with Swift(tmp_path / "swift", max_file_bytes=2 * MIB) as swift:
        async with opened(options_for(swift, swift_store_large_object_chunk_size=1)) as store:
            with pytest.raises(StoreFull):
                await put_pieces(store, new_key(), 3 * MIB)
            assert await everything(store) == []
            await put_pieces(store, new_key(), None)
        async with opened(options_for(swift)) as store:
            with pytest.raises((StoreFull, StoreUnavailable)):  # told in the middle, perhaps by hanging up
                await put_pieces(store, new_key(), None)
            assert await everything(store) == []


async def test_the_quota_is_used_up(own_swift: Swift, size_hint: int | None) -> None:
    async with opened(options_for(own_swift)) as store:
        with Behind(own_swift) as behind:
            behind.put(container(store))
            behind.put(f"{container(store)}/filler", bytes(MIB))
            behind.request("POST", container(store), {"X-Container-Meta-Quota-Bytes": str(MIB)})
        own_swift.forget_tokens()  # and how full the container was
        with pytest.raises(StoreFull):
            await put_pieces(store, new_key(), size_hint)
        assert await everything(store) == []
        with pytest.raises(StoreFull):
            await put_pieces(store, new_key(), 3 * MIB)
        with Behind(own_swift) as behind:
            behind.request("POST", container(store), {"X-Container-Meta-Quota-Bytes": str(100 * MIB)})
        await put_pieces(store, new_key(), size_hint)


async def test_objects_cannot_be_written_for_a_while(own_swift: Swift) -> None:
    async with opened(options_for(own_swift)) as store:
        location = await put(store, new_key(), DATA)
        own_swift.stop_objects()
        for work in (put(store, new_key(), DATA), get(store, location), store.size_bytes(location)):
            with pytest.raises(StoreUnavailable):
                await work
        own_swift.start_objects()
        assert await get(store, location) == DATA
        await put(store, new_key(), DATA)


async def test_the_token_lapses_in_the_middle(own_swift: Swift, size_hint: int | None) -> None:
    async with opened(options_for(own_swift, swift_store_large_object_chunk_size=1)) as store:
        async with store.writer(new_key(), size_hint) as writer:
            for number in range(3):
                await writer.write(memoryview(bytes([number]) * MIB))
                own_swift.forget_tokens()
            location = await writer.commit()
        own_swift.forget_tokens()
        assert len(await get(store, location)) == 3 * MIB
        own_swift.forget_tokens()
        await store.delete(location)


async def test_a_silent_server_does_not_hold_up_who_is_cancelled(own_swift: Swift, size_hint: int | None) -> None:
    async with opened(options_for(own_swift)) as store:
        location = await put_pieces(store, new_key(), size_hint)
        own_swift.pause()
        try:
            for work in (get(store, location), store.size_bytes(location), store.delete(location), store.probe()):
                task = asyncio.ensure_future(work)
                await asyncio.sleep(0.2)
                assert not task.done()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asyncio.wait_for(task, 20)
        finally:
            own_swift.go_on()
        assert len(await get(store, location)) == 3 * MIB


async def test_what_a_killed_process_left(swift: Swift, behind: Behind, size_hint: int | None) -> None:
    options = options_for(swift, **SMALL_SEGMENTS) if size_hint is None else options_for(swift)
    key = new_key()
    command = [sys.executable, "-m", "tests.stores.swift_child", repr(options), key, str(size_hint or 0)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"written\n"
        child.kill()
    async with opened(options) as store:
        (entry,) = await everything(store)
        assert (entry.key, entry.location) == (key, None)
        await store.discard(key)
        assert behind.names(container(store)) == []
        await put_pieces(store, key, size_hint)


async def _write_and_commit(writer: Writer, data: bytes) -> None:
    await writer.write(memoryview(data))
    await writer.commit()


class TestOneRequest:
    """What the suite for all stores says of writers, for those that know the size."""

    async def test_an_object_that_is_there_already(self, store: SwiftStore) -> None:
        key = new_key()
        location = await put(store, key, b"first")
        with pytest.raises(DataExists):
            await put_pieces(store, key, 3 * MIB)
        assert await get(store, location) == b"first"

    async def test_one_that_is_put_there_meanwhile(self, store: SwiftStore, behind: Behind) -> None:
        key = new_key()
        async with store.writer(key, 3) as writer:
            await writer.write(memoryview(b"abc"))
            behind.put(f"{container(store)}/{key}", b"somebody's")
            with pytest.raises(StoreError):
                await writer.commit()
        assert behind.request("GET", f"{container(store)}/{key}").content == b"somebody's"

    @pytest.mark.parametrize("hint", [0, 1, 5])
    async def test_sizes(self, store: SwiftStore, hint: int) -> None:
        async with store.writer(new_key(), hint) as writer:
            for _ in range(hint):
                await writer.write(memoryview(b"x"))
            await writer.write(memoryview(b""))
            location = await writer.commit()
        assert await get(store, location) == b"x" * hint

    @pytest.mark.parametrize("data", [b"", b"abc", b"abcdef"])
    async def test_another_size_than_announced(self, store: SwiftStore, data: bytes) -> None:
        async with store.writer(new_key(), 4) as writer:
            with pytest.raises(StoreError, match="announced"):
                await _write_and_commit(writer, data)
        assert await everything(store) == []

    async def test_nothing_is_visible_before_commit(self, store: SwiftStore) -> None:
        key = new_key()
        async with store.writer(key, 10) as writer:
            await writer.write(memoryview(DATA))
            assert [entry.location for entry in await everything(store)] == [None]
            location = await writer.commit()
        assert await get(store, location) == DATA

    async def test_a_stalled_writer_cannot_publish(self, store: SwiftStore) -> None:
        key = new_key()
        stalled = store.writer(key, 10)
        first = await stalled.__aenter__()
        await first.write(memoryview(DATA))
        location = await put_pieces(store, key, 3 * MIB)
        with pytest.raises(StoreError):
            await first.commit()
        await stalled.__aexit__(None, None, None)
        assert await store.size_bytes(location) == 3 * MIB

    async def test_a_discarded_writer_cannot_publish(self, store: SwiftStore, behind: Behind) -> None:
        key = new_key()
        stalled = store.writer(key, 10)
        writer = await stalled.__aenter__()
        await writer.write(memoryview(DATA))
        await store.discard(key)
        with pytest.raises(StoreError):
            await writer.commit()
        await stalled.__aexit__(None, None, None)
        assert behind.names(container(store)) == []

    @pytest.mark.parametrize("rounds", [0, 1, 3, 10])
    async def test_a_cancelled_commit_leaves_all_or_nothing(self, store: SwiftStore, rounds: int) -> None:
        key = new_key()
        location = await put(store, key, DATA)
        await store.delete(location)
        committed: list[Location] = []
        ready = asyncio.Event()

        async def upload() -> None:
            async with store.writer(key, 10) as writer:
                await writer.write(memoryview(DATA))
                ready.set()
                committed.append(await writer.commit())

        task = asyncio.create_task(upload())
        await ready.wait()
        for _ in range(rounds):
            await asyncio.sleep(0.004)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        if committed:
            assert await get(store, committed[0]) == DATA
        else:
            await require_missing(store, location)
            assert await everything(store) == []


async def test_nobody_listens() -> None:
    address = f"http://127.0.0.1:{free_port()}/auth/v1.0"
    options = {"swift_store_auth_address": address, "swift_store_user": "a:b", "swift_store_key": "secret"}
    async with opened(options) as store:
        with pytest.raises(StoreUnavailable) as lost:
            await store.probe()
        assert "secret" not in str(lost.value)
        assert "127.0.0.1" not in str(lost.value)
        with pytest.raises(DataNotFound):
            await get(store, Location("swift", "file:///tmp/x"))
