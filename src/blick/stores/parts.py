"""Bytes that lie in several objects, read as if they were one: uploads whose parts were never put together."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

from blick.model.blob import ByteRange, Location
from blick.model.errors import DataNotFound, RangeInvalid, StoreReadOnly
from blick.stores.base import Store, Writer


def joined(name: str, store_id: str, parts: Iterable[tuple[Location, int]]) -> Location:
    """A location of the store `store_id`, a PartsStore: these parts, with their sizes, one behind the other."""
    told = [
        {"store": place.store, "uri": place.uri, "metadata": dict(place.metadata), "size": size_bytes}
        for place, size_bytes in parts
    ]
    return Location(store_id, f"parts:{name}", {"parts": told})


class PartsStore:
    """Knows where parts lie only from the locations that it is given. Takes no new data.

    `store_of` finds the store of a part by its id; raises StoreUnavailable.
    """

    def __init__(self, name: str, store_of: Callable[[Location], Store]) -> None:
        self._name = name
        self._store_of = store_of

    @property
    def name(self) -> str:
        """The store's id."""
        return self._name

    @asynccontextmanager
    async def writer(self, key: str, size_bytes: int | None) -> AsyncIterator[Writer]:  # noqa: ARG002 - the contract
        """See Store.writer: always StoreReadOnly."""
        raise StoreReadOnly(self._name)
        yield  # makes it a generator

    async def read(self, location: Location, wanted: ByteRange | None = None) -> AsyncGenerator[memoryview, None]:
        """See Store.read."""
        parts = list(_parts(location))
        whole_bytes = sum(size_bytes for _, size_bytes in parts)
        asked = wanted or ByteRange(0, whole_bytes)
        if asked.end_bytes > whole_bytes:
            raise RangeInvalid(self._name)
        begin_bytes = 0
        for place, size_bytes in parts:
            first = max(asked.offset_bytes - begin_bytes, 0)
            last = min(asked.end_bytes - begin_bytes, size_bytes)
            begin_bytes += size_bytes
            if first < last:
                async with aclosing(self._store_of(place).read(place, ByteRange(first, last - first))) as pieces:
                    async for piece in pieces:
                        yield piece

    async def size_bytes(self, location: Location) -> int:
        """See Store.size_bytes: of what is there."""
        return sum([await self._store_of(place).size_bytes(place) for place, _ in _parts(location)])

    async def delete(self, location: Location) -> None:
        """See Store.delete. Parts that are gone already are fine."""
        for place, _ in _parts(location):
            with contextlib.suppress(DataNotFound):
                await self._store_of(place).delete(place)

    async def discard(self, key: str) -> None:
        """See Store.discard: no writer ever left anything."""

    async def aclose(self) -> None:
        """See Store.aclose: the stores of the parts are not ours."""


def _parts(location: Location) -> Iterator[tuple[Location, int]]:
    parts: list[Mapping[str, Any]] = location.metadata["parts"]
    for part in parts:
        yield Location(part["store"], part["uri"], part["metadata"]), part["size"]
