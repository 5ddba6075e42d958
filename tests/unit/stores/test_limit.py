"""The ceiling itself; that a limited store is a store is shown by the conformance suite."""

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from blick.model.context import RequestContext
from blick.stores.base import ABILITIES, ActsForCaller, CanCopy, CanProbe, HasLocalPath, Store
from blick.stores.conformance import get, listed, put
from blick.stores.file.store import FileStore
from blick.stores.limit import limited
from blick.stores.memory import MemoryStore


@pytest.fixture
def store() -> Store:
    return limited(MemoryStore("m", {}), readers=1, writers=1)


async def _rounds() -> None:
    """Let everything that can run do so."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_second_writer_waits_for_the_first(store: Store) -> None:
    async with store.writer("one", None) as writer:
        second = asyncio.create_task(put(store, "two", b"2"))
        await _rounds()
        assert not second.done()
        await writer.commit()
    assert await get(store, await second) == b"2"


async def test_a_second_reader_waits_until_the_first_is_closed(store: Store) -> None:
    location = await put(store, "one", b"1")
    async with aclosing(store.read(location)) as pieces:
        await anext(pieces)
        second = asyncio.create_task(get(store, location))
        await _rounds()
        assert not second.done()
    assert await second == b"1"


async def test_copying_within_the_store_does_not_wait_for_itself(store: Store) -> None:
    location = await put(store, "one", b"1")
    async with aclosing(store.read(location)) as pieces, store.writer("two", None) as writer:
        async for piece in pieces:
            await writer.write(piece)
        copy = await writer.commit()
    assert await get(store, copy) == b"1"


async def test_who_is_cancelled_in_the_line_takes_nobody_s_place(store: Store) -> None:
    async with store.writer("one", None) as writer:
        waiting = asyncio.create_task(put(store, "two", b"2"))
        await _rounds()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await writer.commit()
    await put(store, "three", b"3")


async def test_it_has_the_abilities_of_the_inner_store_and_no_others(tmp_path: Path) -> None:
    file, memory = FileStore("f", {"filesystem_store_datadir": str(tmp_path)}), MemoryStore("m", {})
    for inner in (file, memory):
        outer = limited(inner, readers=1, writers=1)
        assert [isinstance(outer, ability) for ability in ABILITIES] == [
            isinstance(inner, ability) for ability in ABILITIES
        ]
        assert isinstance(outer, CanProbe)
        await outer.probe()
    assert isinstance(limited(file, readers=1, writers=1), HasLocalPath)
    assert not isinstance(limited(memory, readers=1, writers=1), HasLocalPath)
    await file.aclose()


async def test_it_passes_on_what_abilities_give(store: Store) -> None:
    location = await put(store, "key", b"data")
    assert [entry.location for entry in await listed(store, "key") or ()] == [location]


async def test_a_copy_waits_for_its_turn_among_the_writers(tmp_path: Path) -> None:
    file = limited(FileStore("f", {"filesystem_store_datadir": str(tmp_path)}), readers=1, writers=1)
    location = await put(file, "one", b"1")
    assert isinstance(file, CanCopy)
    async with file.writer("two", None):
        copying = asyncio.create_task(file.copy_from(file, location, "three"))
        await _rounds()
        assert not copying.done()
    copy = await copying
    assert copy is not None
    assert await get(file, copy) == b"1"
    await file.aclose()


class Rented(MemoryStore):
    """A store whose data belongs to its users: one more store for each of them."""

    def acting_for(self, caller: RequestContext) -> Store:
        return MemoryStore(f"of {caller.project_id}", {})


async def test_who_acts_for_a_caller_is_under_the_same_ceiling() -> None:
    store = limited(Rented("m", {}), readers=1, writers=1)
    assert isinstance(store, ActsForCaller)
    hers, his = (store.acting_for(RequestContext("r", project_id=name)) for name in ("hers", "his"))
    assert hers.name == "of hers"
    async with hers.writer("one", None) as writer:
        second = asyncio.create_task(put(his, "two", b"2"))
        await _rounds()
        assert not second.done()
        await writer.commit()
    assert await get(his, await second) == b"2"


async def test_it_may_be_limited_again(tmp_path: Path) -> None:
    file = FileStore("f", {"filesystem_store_datadir": str(tmp_path)})
    twice = limited(limited(file, readers=1, writers=1), readers=1, writers=1)
    assert isinstance(twice, HasLocalPath)
    assert twice.local_path(await put(twice, "key", b"data")) == tmp_path / "key"
    await twice.aclose()
