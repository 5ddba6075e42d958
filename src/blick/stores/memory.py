"""Objects in this process's memory: for tests and for embedding. Another process does not see them."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from blick.model.blob import ByteRange, Location, StoredObject
from blick.model.errors import DataExists, DataNotFound, RangeInvalid, StoreFull, StoreUnavailable, WriterClosed
from blick.stores.base import Writer


class MemoryStore:
    """Keeps objects in a dict. Also OwnsUri, CanProbe, CanList. Option memory_store_capacity (bytes, default none)."""

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self._name = name
        self._capacity_bytes: int | None = options.get("memory_store_capacity")
        self._objects: dict[str, bytes] = {}
        self._partials: dict[str, bytearray] = {}

    @property
    def name(self) -> str:
        """The store's id."""
        return self._name

    @asynccontextmanager
    async def writer(self, key: str, size_bytes: int | None) -> AsyncIterator[Writer]:
        """See Store.writer."""
        self._require_room(size_bytes or 0)
        partial = self._partials[key] = bytearray()
        writer = _MemoryWriter(self, key, partial)
        try:
            yield writer
        finally:
            writer.usable = False
            if self._partials.get(key) is partial:
                del self._partials[key]

    async def read(self, location: Location, wanted: ByteRange | None = None) -> AsyncGenerator[memoryview, None]:
        """See Store.read."""
        data = self._find(location)
        part = wanted or ByteRange(0, len(data))
        if part.end_bytes > len(data):
            raise RangeInvalid(self._name)
        if part.length_bytes:
            yield memoryview(data)[part.offset_bytes : part.end_bytes]

    async def size_bytes(self, location: Location) -> int:
        """See Store.size_bytes."""
        return len(self._find(location))

    async def delete(self, location: Location) -> None:
        """See Store.delete."""
        self._find(location)
        del self._objects[self._key_of(location.uri)]

    async def discard(self, key: str) -> None:
        """See Store.discard."""
        self._partials.pop(key, None)
        self._objects.pop(key, None)

    async def aclose(self) -> None:
        """Forget everything."""
        self._objects.clear()
        self._partials.clear()

    def owns(self, uri: str) -> bool:
        """See OwnsUri."""
        return uri.startswith(self._prefix)

    async def probe(self) -> None:
        """See CanProbe: this process's memory is always there."""

    async def objects(self) -> AsyncGenerator[StoredObject, None]:
        """See CanList."""
        for key, data in tuple(self._objects.items()):
            yield StoredObject(key, self._location(key), len(data), None)
        for key, partial in tuple(self._partials.items()):
            yield StoredObject(key, None, len(partial), None)

    def grow(self, partial: bytearray, buffer: memoryview) -> None:
        """Append `buffer` to a writer's bytes. Raises StoreFull."""
        self._require_room(len(buffer))
        partial += buffer

    def publish(self, key: str, partial: bytearray) -> Location:
        """Make a writer's bytes the object `key`. Raises DataExists, StoreUnavailable (not the writer any more)."""
        if self._partials.get(key) is not partial:
            raise StoreUnavailable(self._name, "the partial object was cleaned away, or begun anew, by somebody else")
        if key in self._objects:
            raise DataExists(self._name)
        self._objects[key] = bytes(self._partials.pop(key))
        return self._location(key)

    @property
    def _prefix(self) -> str:
        return f"memory://{self._name}/"

    def _location(self, key: str) -> Location:
        return Location(self._name, self._prefix + key)

    def _key_of(self, uri: str) -> str:
        return uri.removeprefix(self._prefix)

    def _find(self, location: Location) -> bytes:
        data = self._objects.get(self._key_of(location.uri))
        if data is None:
            raise DataNotFound(self._name)
        return data

    def _require_room(self, size_bytes: int) -> None:
        if self._capacity_bytes is None:
            return
        held = (self._objects.values(), self._partials.values())
        if sum(len(data) for kind in held for data in kind) + size_bytes > self._capacity_bytes:
            raise StoreFull(self._name)


class _MemoryWriter:
    def __init__(self, store: MemoryStore, key: str, partial: bytearray) -> None:
        self.usable = True
        self._store = store
        self._key = key
        self._partial = partial

    async def write(self, buffer: memoryview) -> None:
        self._require_usable()
        self._store.grow(self._partial, buffer)

    async def commit(self) -> Location:
        self._require_usable()
        self.usable = False
        return self._store.publish(self._key, self._partial)

    def _require_usable(self) -> None:
        if not self.usable:
            raise WriterClosed(self._store.name)
