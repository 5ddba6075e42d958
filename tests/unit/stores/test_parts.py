"""Several objects, read as one."""

from collections.abc import AsyncIterator

import pytest

from blick.model.blob import ByteRange, Location
from blick.model.errors import DataNotFound, RangeInvalid, StoreReadOnly
from blick.stores.memory import MemoryStore
from blick.stores.parts import PartsStore, joined

PIECES = (b"abc", b"", b"defgh", b"i")
WHOLE = b"".join(PIECES)


@pytest.fixture
async def memory() -> AsyncIterator[MemoryStore]:
    store = MemoryStore("memory", {})
    yield store
    await store.aclose()


@pytest.fixture
async def place(memory: MemoryStore) -> Location:
    parts = []
    for number, data in enumerate(PIECES):
        async with memory.writer(str(number), len(data)) as writer:
            await writer.write(memoryview(data))
            parts.append((await writer.commit(), len(data)))
    return joined("x", "parts", parts)


async def read(store: PartsStore, place: Location, wanted: ByteRange | None = None) -> bytes:
    return b"".join([bytes(piece) async for piece in store.read(place, wanted)])


async def test_reading(memory: MemoryStore, place: Location) -> None:
    store = PartsStore("parts", lambda _: memory)
    assert await read(store, place) == WHOLE
    assert await store.size_bytes(place) == len(WHOLE)
    for begin in range(len(WHOLE) + 1):
        for end in range(begin, len(WHOLE) + 1):
            assert await read(store, place, ByteRange(begin, end - begin)) == WHOLE[begin:end]
    with pytest.raises(RangeInvalid):
        await read(store, place, ByteRange(5, len(WHOLE)))


async def test_nothing_at_all(memory: MemoryStore) -> None:
    store, place = PartsStore("parts", lambda _: memory), joined("x", "parts", [])
    assert (await read(store, place), await store.size_bytes(place)) == (b"", 0)
    await store.delete(place)


async def test_removing(memory: MemoryStore, place: Location) -> None:
    store = PartsStore("parts", lambda _: memory)
    await memory.delete(Location("memory", place.metadata["parts"][0]["uri"]))
    with pytest.raises(DataNotFound):
        await read(store, place)
    await store.delete(place)
    await store.delete(place)
    assert [found async for found in memory.objects()] == []


async def test_no_new_data(memory: MemoryStore) -> None:
    store = PartsStore("parts", lambda _: memory)
    with pytest.raises(StoreReadOnly):
        async with store.writer("key", 1):
            pass
