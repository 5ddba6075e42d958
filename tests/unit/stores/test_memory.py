"""What only the memory store does."""

import pytest

from blick.model.errors import StoreFull
from blick.stores.conformance import put
from blick.stores.memory import MemoryStore


async def test_it_runs_full_where_it_has_a_capacity() -> None:
    store = MemoryStore("m", {"memory_store_capacity": 10})
    location = await put(store, "one", b"123456")
    with pytest.raises(StoreFull):
        await put(store, "two", b"123", b"45")
    with pytest.raises(StoreFull):
        async with store.writer("two", 5):
            pass
    await put(store, "two", b"1234")
    await store.delete(location)
    await put(store, "three", b"123456")


def test_two_stores_do_not_own_each_other_s_uris() -> None:
    assert MemoryStore("a", {}).owns("memory://a/key")
    assert not MemoryStore("a", {}).owns("memory://ab/key")
