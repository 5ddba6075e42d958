"""What every store has to do. A driver is done when it passes this suite against the real thing.

Subclass StoreConformance in a test module and give it a fixture `store`. A store that is only read is subject to
ReadConformance, which needs a fixture `shelf` besides. Every test uses keys of its own, so that one backend may serve
all of them. Needs pytest and pytest-asyncio (asyncio_mode = auto); nothing else imports this module.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Protocol
from uuid import uuid4

import pytest

from blick.model.blob import ByteRange, Location, StoredObject
from blick.model.errors import DataExists, DataNotFound, RangeInvalid, StoreError, WriterClosed
from blick.stores.base import (
    CanAdopt,
    CanCopy,
    CanList,
    CanProbe,
    HasFreeSpace,
    HasLocalFile,
    HasLocalPath,
    HasProperties,
    OwnsUri,
    Store,
    TellsUse,
)
from blick.stores.memory import MemoryStore

MIB = 1 << 20
DATA = b"0123456789"
# Long enough that a write of it is still under way when the event loop comes round again.
SLOW_BYTES = 32 * MIB
BLOCK_BYTES = 64 << 10


class Interrupted(Exception):
    """What goes wrong in the body of a writer's context in these tests."""


def new_key() -> str:
    """A key that nobody used before: an image id."""
    return str(uuid4())


async def put(store: Store, key: str, *pieces: bytes | bytearray) -> Location:
    """Store `pieces` as the object `key`."""
    async with store.writer(key, None) as writer:
        for piece in pieces:
            await writer.write(memoryview(piece))
        return await writer.commit()


async def get(store: Store, location: Location, wanted: ByteRange | None = None) -> bytes:
    """The object's bytes, or just `wanted`."""
    async with aclosing(store.read(location, wanted)) as pieces:
        return b"".join([bytes(piece) async for piece in pieces])


async def location_of_missing(store: Store, key: str) -> Location:
    """Where the object `key` would be; it is not there."""
    location = await put(store, key, b"x")
    await store.delete(location)
    return location


async def require_missing(store: Store, location: Location) -> None:
    """Fail unless nothing can be seen at `location`."""
    with pytest.raises(DataNotFound):
        await store.size_bytes(location)
    with pytest.raises(DataNotFound):
        await get(store, location)


async def listed(store: Store, key: str) -> list[StoredObject] | None:
    """What `store` lists under `key`, once the list is read to its end; None if it cannot list."""
    if not isinstance(store, CanList):
        return None
    async with aclosing(store.objects()) as found:
        return [entry async for entry in found if entry.key == key]


class Shelf(Protocol):
    """How objects get to where a store finds them."""

    async def put(self, *pieces: bytes) -> Location:
        """A new object of these bytes."""
        ...

    async def missing(self) -> Location:
        """A place where an object could be, but none is."""
        ...


class WriterShelf:
    """Objects that are written through the store itself."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def put(self, *pieces: bytes) -> Location:
        """See Shelf."""
        return await put(self._store, new_key(), *pieces)

    async def missing(self) -> Location:
        """See Shelf."""
        return await location_of_missing(self._store, new_key())


class ReadConformance:
    """What is true of reading. `store` is an open store, `shelf` has it find objects; their fixtures close them."""

    async def test_gives_back_what_is_there(self, store: Store, shelf: Shelf) -> None:
        location = await shelf.put(b"12", b"", b"3")
        assert await get(store, location) == b"123"
        assert await store.size_bytes(location) == 3

    async def test_keeps_an_object_of_many_buffers(self, store: Store, shelf: Shelf) -> None:
        pieces = [bytes([number]) * MIB for number in range(9)]
        location = await shelf.put(*pieces, b"end")
        assert await store.size_bytes(location) == 9 * MIB + 3
        assert await get(store, location) == b"".join(pieces) + b"end"
        assert await get(store, location, ByteRange(9 * MIB - 2, 5)) == b"\x08\x08end"

    async def test_keeps_zeros(self, store: Store, shelf: Shelf) -> None:
        data = bytes(MIB) + b"x" + bytes(MIB)
        location = await shelf.put(data[: MIB // 3], data[MIB // 3 :])
        assert await store.size_bytes(location) == len(data)
        assert await get(store, location) == data

    async def test_keeps_an_empty_object(self, store: Store, shelf: Shelf) -> None:
        location = await shelf.put()
        assert await store.size_bytes(location) == 0
        assert await get(store, location) == b""
        assert await get(store, location, ByteRange(0, 0)) == b""

    @pytest.mark.parametrize(("offset", "length"), [(0, 0), (0, 1), (2, 3), (9, 1), (10, 0), (0, 10)])
    async def test_reads_a_range(self, store: Store, shelf: Shelf, offset: int, length: int) -> None:
        location = await shelf.put(DATA)
        assert await get(store, location, ByteRange(offset, length)) == DATA[offset : offset + length]

    @pytest.mark.parametrize(("offset", "length"), [(0, 11), (9, 2), (10, 1), (11, 0), (1 << 40, 1)])
    async def test_refuses_a_range_outside(self, store: Store, shelf: Shelf, offset: int, length: int) -> None:
        location = await shelf.put(DATA)
        with pytest.raises(RangeInvalid):
            await get(store, location, ByteRange(offset, length))

    async def test_tells_what_is_not_there(self, store: Store, shelf: Shelf) -> None:
        await require_missing(store, await shelf.missing())

    async def test_serves_several_readers_at_once(self, store: Store, shelf: Shelf) -> None:
        data = b"".join(bytes([number]) * MIB for number in range(4))
        location = await shelf.put(data)
        whole = [get(store, location) for _ in range(4)]
        parts = [get(store, location, ByteRange(number * MIB, MIB)) for number in range(4)]
        copies = await asyncio.gather(*whole, *parts)
        assert copies[:4] == [data] * 4
        assert b"".join(copies[4:]) == data

    async def test_a_reader_may_be_cancelled(self, store: Store, shelf: Shelf) -> None:
        location = await shelf.put(b"x" * 5 * MIB)
        task = asyncio.create_task(get(store, location))
        await asyncio.sleep(0)
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(outcome, asyncio.CancelledError) or outcome == b"x" * 5 * MIB
        assert await get(store, location) == b"x" * 5 * MIB

    async def test_abilities_tell_the_truth(self, store: Store, shelf: Shelf) -> None:
        location = await shelf.put(DATA)
        if isinstance(store, HasLocalPath):
            assert store.local_path(location).read_bytes() == DATA
        if isinstance(store, HasLocalFile):
            with open(await store.open_file(location), "rb") as file:  # noqa: ASYNC230, PTH123 - takes a descriptor
                assert file.read() == DATA
        if isinstance(store, HasFreeSpace):
            assert await store.free_bytes() > 0
        if isinstance(store, OwnsUri):
            assert store.owns(location.uri)
            assert not store.owns("nobody-s-scheme://" + location.uri)
        if isinstance(store, CanProbe):
            await store.probe()
        if isinstance(store, HasProperties):
            assert json.dumps(dict(await store.properties()))

    async def test_a_reader_may_leave_early(self, store: Store, shelf: Shelf) -> None:
        location = await shelf.put(bytes(5 * MIB))
        async with aclosing(store.read(location)) as pieces:
            assert len(await anext(pieces)) > 0
        assert await get(store, location, ByteRange(0, 1)) == b"\x00"


class StoreConformance(ReadConformance):
    """The whole suite. `store` is an open store that may be written; the fixture closes it."""

    names_objects_by_key = True
    """Whether an object's location follows from its key. False: the backend names objects as it likes."""

    @pytest.fixture
    def shelf(self, store: Store) -> Shelf:
        """The store's own writers."""
        return WriterShelf(store)

    async def test_names_itself_in_locations(self, store: Store) -> None:
        key = new_key()
        location = await put(store, key, DATA)
        assert location.store == store.name
        assert key in location.uri or not self.names_objects_by_key

    async def test_takes_a_size_hint(self, store: Store) -> None:
        async with store.writer(new_key(), len(DATA)) as writer:
            await writer.write(memoryview(DATA))
            location = await writer.commit()
        assert await get(store, location) == DATA

    async def test_tells_what_is_missing(self, store: Store) -> None:
        location = await location_of_missing(store, new_key())
        await require_missing(store, location)
        with pytest.raises(DataNotFound):
            await store.delete(location)

    async def test_shows_nothing_before_commit(self, store: Store) -> None:
        key = new_key()
        location = await location_of_missing(store, key)
        async with store.writer(key, None) as writer:
            await writer.write(memoryview(DATA))
            await require_missing(store, location)
            committed = await writer.commit()
            assert committed == location or not self.names_objects_by_key
            assert await get(store, committed) == DATA

    async def test_leaves_nothing_without_commit(self, store: Store) -> None:
        key = new_key()
        location = await location_of_missing(store, key)
        async with store.writer(key, None) as writer:
            await writer.write(memoryview(DATA))
        await require_missing(store, location)

    async def test_leaves_nothing_after_an_error_of_the_caller(self, store: Store) -> None:
        key = new_key()
        location = await location_of_missing(store, key)
        with suppress(Interrupted):
            async with store.writer(key, None) as writer:
                await writer.write(memoryview(DATA))
                raise Interrupted
        await require_missing(store, location)

    async def test_keeps_the_object_if_the_caller_fails_after_commit(self, store: Store) -> None:
        with suppress(Interrupted):
            async with store.writer(new_key(), None) as writer:
                await writer.write(memoryview(DATA))
                location = await writer.commit()
                raise Interrupted
        assert await get(store, location) == DATA

    async def test_leaves_nothing_after_a_cancellation_between_writes(self, store: Store) -> None:
        key = new_key()
        location = await location_of_missing(store, key)
        written = asyncio.Event()

        async def upload() -> None:
            async with store.writer(key, None) as writer:
                await writer.write(memoryview(DATA))
                written.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(upload())
        await written.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await require_missing(store, location)

    @pytest.mark.parametrize("rounds", [0, 1, 5, 50])
    async def test_a_cancelled_slow_write_touches_nothing_afterwards(self, store: Store, rounds: int) -> None:
        cancelled_key, next_key = new_key(), new_key()
        location = await location_of_missing(store, cancelled_key)
        # Zeros in between: a driver that leaves them out makes many calls of one write.
        buffer = bytearray((b"A" * BLOCK_BYTES + bytes(BLOCK_BYTES)) * (SLOW_BYTES // BLOCK_BYTES // 2))
        view = memoryview(buffer)
        begun = asyncio.Event()

        async def upload() -> None:
            async with store.writer(cancelled_key, None) as writer:
                begun.set()
                await writer.write(view)
                await asyncio.Event().wait()

        task = asyncio.create_task(upload())
        await begun.wait()
        for _ in range(rounds):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # The buffer is ours again: a thread that still reads it makes one of these two raise BufferError.
        view.release()
        buffer.clear()
        # Whatever the cancelled writer held may be given to the next one. Its object is short, so that it does not
        # paint over what does not belong there.
        second = await put(store, next_key, b"B")
        assert await get(store, second) == b"B"
        await require_missing(store, location)

    @pytest.mark.parametrize("rounds", [0, 1, 2, 5])
    async def test_a_cancelled_commit_leaves_all_or_nothing(self, store: Store, rounds: int) -> None:
        key = new_key()
        missing = await location_of_missing(store, key)
        committing = asyncio.Event()
        committed: list[Location] = []

        async def upload() -> None:
            async with store.writer(key, None) as writer:
                await writer.write(memoryview(DATA))
                committing.set()
                committed.append(await writer.commit())

        task = asyncio.create_task(upload())
        await committing.wait()
        for _ in range(rounds):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        # What the caller was told is there, even if it was cancelled on its way out of the context.
        if committed:
            assert await get(store, committed[0]) == DATA
        else:
            await require_missing(store, missing)

    async def test_a_cancelled_write_closes_the_writer(self, store: Store) -> None:
        async with store.writer(new_key(), None) as writer:
            task = asyncio.create_task(_write(writer.write, bytes(SLOW_BYTES)))
            await asyncio.sleep(0)
            task.cancel()
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
            if isinstance(outcome, asyncio.CancelledError):
                with pytest.raises(WriterClosed):
                    await writer.commit()

    async def test_lets_the_caller_reuse_its_buffer(self, store: Store) -> None:
        buffer = bytearray(b"aaaa")
        async with store.writer(new_key(), None) as writer:
            await writer.write(memoryview(buffer))
            buffer[:] = b"bbbb"
            await writer.write(memoryview(buffer))
            buffer[:] = b"cccc"
            location = await writer.commit()
        assert await get(store, location) == b"aaaabbbb"

    async def test_keeps_no_hold_on_the_buffer(self, store: Store) -> None:
        buffer = bytearray(DATA)
        async with store.writer(new_key(), None) as writer:
            with memoryview(buffer) as view:
                await writer.write(view)
            buffer.extend(b"may grow: nobody exports it any more")

    async def test_refuses_use_after_commit(self, store: Store) -> None:
        async with store.writer(new_key(), None) as writer:
            location = await writer.commit()
            with pytest.raises(WriterClosed):
                await writer.write(memoryview(DATA))
            with pytest.raises(WriterClosed):
                await writer.commit()
        assert await get(store, location) == b""

    async def test_refuses_use_after_leaving(self, store: Store) -> None:
        async with store.writer(new_key(), None) as writer:
            pass
        with pytest.raises(WriterClosed):
            await writer.write(memoryview(DATA))
        with pytest.raises(WriterClosed):
            await writer.commit()

    async def test_does_not_overwrite_an_object(self, store: Store) -> None:
        key = new_key()
        location = await put(store, key, b"first")
        with pytest.raises(DataExists):
            await put(store, key, b"second")
        assert await get(store, location) == b"first"

    async def test_an_abandoned_second_writer_leaves_the_object_alone(self, store: Store) -> None:
        key = new_key()
        location = await put(store, key, b"first")
        async with store.writer(key, None) as writer:
            await writer.write(memoryview(b"second"))
        assert await get(store, location) == b"first"

    async def test_replaces_what_a_broken_off_writer_left(self, store: Store) -> None:
        key = new_key()
        stalled = store.writer(key, None)
        first = await stalled.__aenter__()
        await first.write(memoryview(b"left over, and longer than what comes after it"))
        location = await put(store, key, b"new")
        with pytest.raises(StoreError):
            await first.commit()
        await stalled.__aexit__(None, None, None)
        assert await get(store, location) == b"new"

    async def test_discards_what_a_broken_off_writer_left(self, store: Store) -> None:
        key = new_key()
        location = await location_of_missing(store, key)
        stalled = store.writer(key, None)
        writer = await stalled.__aenter__()
        await writer.write(memoryview(DATA))
        await store.discard(key)
        with pytest.raises(StoreError):
            await writer.commit()
        await stalled.__aexit__(None, None, None)
        await require_missing(store, location)

    async def test_discards_an_object_that_was_never_recorded(self, store: Store) -> None:
        key = new_key()
        location = await put(store, key, DATA)
        await store.discard(key)
        await require_missing(store, location)
        assert await put(store, key, DATA) == location or not self.names_objects_by_key

    async def test_discards_nothing_without_complaint(self, store: Store) -> None:
        key, other = new_key(), new_key()
        location = await put(store, other, DATA)
        await store.discard(key)
        await store.discard(key)
        assert await get(store, location) == DATA

    async def test_lists_what_is_there(self, store: Store) -> None:
        key = new_key()
        location = await put(store, key, DATA)
        entries = await listed(store, key)
        if entries is None:
            pytest.skip("this store does not list")
        (entry,) = entries
        assert entry.location is not None
        assert (entry.location.store, entry.location.uri) == (location.store, location.uri)
        assert entry.size_bytes in (None, len(DATA))
        assert entry.modified_at_s is None or entry.modified_at_s > 0
        assert await get(store, entry.location) == DATA
        await store.delete(entry.location)
        assert await listed(store, key) == []

    async def test_lists_no_unfinished_object_as_whole(self, store: Store) -> None:
        key = new_key()
        async with store.writer(key, None) as writer:
            await writer.write(memoryview(DATA))
            entries = await listed(store, key)
            if entries is None:
                pytest.skip("this store does not list")
            assert all(entry.location is None for entry in entries)
        assert await listed(store, key) == []

    async def test_lists_nothing_after_a_discard(self, store: Store) -> None:
        key = new_key()
        stalled = store.writer(key, None)
        writer = await stalled.__aenter__()
        await writer.write(memoryview(DATA))
        await store.discard(key)
        left = await listed(store, key)
        with suppress(StoreError):
            await writer.commit()
        await stalled.__aexit__(None, None, None)
        if left is None:
            pytest.skip("this store does not list")
        assert left == []
        assert await listed(store, key) == []

    async def test_a_list_may_be_left_early(self, store: Store) -> None:
        location = await put(store, new_key(), DATA)
        await put(store, new_key(), DATA)
        if not isinstance(store, CanList):
            pytest.skip("this store does not list")
        async with aclosing(store.objects()) as found:
            await anext(found)
        assert await get(store, location) == DATA

    async def test_copies_an_object(self, store: Store) -> None:
        location = await put(store, new_key(), DATA, bytes(MIB), b"end")
        if not isinstance(store, CanCopy):
            pytest.skip("this store does not copy")
        copy = await store.copy_from(store, location, new_key())
        assert copy is not None
        assert copy.store == store.name
        assert copy.uri != location.uri
        assert await store.size_bytes(copy) == len(DATA) + MIB + 3
        assert await get(store, copy) == DATA + bytes(MIB) + b"end"
        assert await get(store, location, ByteRange(0, len(DATA))) == DATA
        await store.delete(copy)
        await require_missing(store, copy)

    async def test_copies_from_nobody_that_it_cannot_copy_from(self, store: Store) -> None:
        if not isinstance(store, CanCopy):
            pytest.skip("this store does not copy")
        other, key = MemoryStore("another", {}), new_key()
        missing = await location_of_missing(store, key)
        assert await store.copy_from(other, await put(other, key, DATA), key) is None
        await require_missing(store, missing)

    async def test_adopts_an_object(self, store: Store) -> None:
        location, key = await put(store, new_key(), DATA, bytes(MIB), b"end"), new_key()
        if not isinstance(store, CanAdopt):
            pytest.skip("this store does not adopt")
        adopted = await store.adopt(store, location, key)
        assert adopted is not None
        assert adopted.store == store.name
        assert adopted.uri != location.uri
        assert await store.adopt(store, location, key) == adopted
        await store.delete(location)
        assert await store.size_bytes(adopted) == len(DATA) + MIB + 3
        assert await get(store, adopted) == DATA + bytes(MIB) + b"end"
        await store.delete(adopted)
        await require_missing(store, adopted)

    async def test_adopts_nothing_in_the_place_of_another_object(self, store: Store) -> None:
        location, key = await put(store, new_key(), DATA), new_key()
        if not isinstance(store, CanAdopt):
            pytest.skip("this store does not adopt")
        there = await put(store, key, b"other")
        with pytest.raises(DataExists):
            await store.adopt(store, location, key)
        assert await get(store, there) == b"other"

    async def test_adopts_in_the_place_of_what_a_writer_left(self, store: Store) -> None:
        location, key = await put(store, new_key(), DATA), new_key()
        if not isinstance(store, CanAdopt):
            pytest.skip("this store does not adopt")
        async with store.writer(key, None) as stalled:
            await stalled.write(memoryview(b"other"))
            adopted = await store.adopt(store, location, key)
            assert adopted is not None
            with pytest.raises(StoreError):
                await stalled.commit()
        assert await get(store, adopted) == DATA
        assert len(await listed(store, key) or [adopted]) == 1

    async def test_adopts_nothing_that_it_cannot(self, store: Store) -> None:
        if not isinstance(store, CanAdopt):
            pytest.skip("this store does not adopt")
        other, key = MemoryStore("another", {}), new_key()
        missing = await location_of_missing(store, key)
        assert await store.adopt(other, await put(other, key, DATA), key) is None
        with pytest.raises(DataNotFound):
            await store.adopt(store, missing, new_key())
        await require_missing(store, missing)

    async def test_an_adoption_that_is_cancelled_leaves_nothing(self, store: Store) -> None:
        location = await put(store, new_key(), DATA)
        if not isinstance(store, CanAdopt):
            pytest.skip("this store does not adopt")
        for rounds in range(8):
            key = new_key()
            task = asyncio.ensure_future(store.adopt(store, location, key))
            for _ in range(rounds):
                await asyncio.sleep(0)
            task.cancel()
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(outcome, Location | asyncio.CancelledError)
            assert len(await listed(store, key) or []) == isinstance(outcome, Location)

    async def test_copies_nothing_that_is_missing(self, store: Store) -> None:
        if not isinstance(store, CanCopy):
            pytest.skip("this store does not copy")
        key = new_key()
        missing = await location_of_missing(store, key)
        with pytest.raises(DataNotFound):
            await store.copy_from(store, await location_of_missing(store, new_key()), key)
        await require_missing(store, missing)

    async def test_a_copy_overwrites_nothing(self, store: Store) -> None:
        if not isinstance(store, CanCopy):
            pytest.skip("this store does not copy")
        key = new_key()
        first = await put(store, key, b"first")
        with pytest.raises(DataExists):
            await store.copy_from(store, await put(store, new_key(), b"second"), key)
        assert await get(store, first) == b"first"

    @pytest.mark.parametrize("rounds", [0, 1, 2, 5, 20])
    async def test_a_cancelled_copy_leaves_all_or_nothing(self, store: Store, rounds: int) -> None:
        if not isinstance(store, CanCopy):
            pytest.skip("this store does not copy")
        data = bytes(MIB) + b"x" * MIB
        location, key = await put(store, new_key(), data), new_key()
        missing = await location_of_missing(store, key)
        task = asyncio.create_task(store.copy_from(store, location, key))
        for _ in range(rounds):
            await asyncio.sleep(0)
        task.cancel()
        (copy,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(copy, Location):
            assert await get(store, copy) == data
        else:
            assert isinstance(copy, asyncio.CancelledError)
            await require_missing(store, missing)
        assert await get(store, location) == data

    async def test_nobody_uses_a_new_object(self, store: Store) -> None:
        location = await put(store, new_key(), DATA)
        if not isinstance(store, TellsUse):
            pytest.skip("this store does not tell")
        await store.require_unused(location)
        await store.delete(location)
        await store.require_unused(location)

    async def test_writes_several_objects_at_once(self, store: Store) -> None:
        def pieces(number: int) -> list[bytes]:
            return [bytes([number]) * MIB] * 3

        keys = [new_key() for _ in range(6)]
        locations = await asyncio.gather(*[put(store, key, *pieces(number)) for number, key in enumerate(keys)])
        for number, location in enumerate(locations):
            assert await get(store, location) == b"".join(pieces(number))

    async def test_a_reader_may_stop_early(self, store: Store) -> None:
        location = await put(store, new_key(), bytes(5 * MIB))
        async with aclosing(store.read(location)) as pieces:
            assert len(await anext(pieces)) > 0
        await store.delete(location)
        await require_missing(store, location)


async def _write(write: Callable[[memoryview], Awaitable[None]], data: bytes) -> None:
    await write(memoryview(data))
