"""What the stores of type s3, gcs and azure have in common: the contract, on top of blocking calls to one bucket."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from threading import Lock
from typing import Generic, TypeVar

from blick.model.blob import ByteRange, Location, StoredObject
from blick.model.errors import DataNotFound, Invalid, RangeInvalid, StoreDenied, StoreFull
from blick.stores.base import Writer
from blick.stores.objects.backend import Backend, Place, is_key
from blick.stores.objects.parts import MIB, MOST_OBJECT_BYTES, PartPlan
from blick.stores.objects.reader import ResumingReader
from blick.stores.objects.writer import part_writer
from blick.stream.hop import hop, interruptible_hop

_BUFFER_BYTES = 2 * MIB  # one hop each; a download has two, one being sent on while the other is filled
_CALLS = 16  # threads for everything but parts: a download needs one only while it waits for the server
_Made = TypeVar("_Made", bound=Backend)
_Answer = TypeVar("_Answer")


class ObjectStore(ABC, Generic[_Made]):
    """Keeps objects in a bucket. Also OwnsUri, CanProbe, CanList; a driver says how its URIs look.

    `make` connects nothing yet but may load the library; it is called in a thread, when first needed.
    """

    def __init__(self, name: str, make: Callable[[], _Made], part_bytes: int, part_threads: int) -> None:
        self._name = name
        self._make = make
        self._made: _Made | None = None
        self._making = Lock()
        self._part_bytes = part_bytes
        self._calls = ThreadPoolExecutor(_CALLS, thread_name_prefix=f"store-{name}")
        self._parts = ThreadPoolExecutor(part_threads, thread_name_prefix=f"parts-{name}")

    @property
    def name(self) -> str:
        """The store's id."""
        return self._name

    @abstractmethod
    def uri_of(self, key: str) -> str:
        """The URI of an object in the configured bucket."""

    @abstractmethod
    def place_of(self, uri: str) -> Place | None:
        """The object that `uri` means, None if it is not one of this server's."""

    @property
    @abstractmethod
    def bucket(self) -> str:
        """Where new objects go."""

    @asynccontextmanager
    async def writer(self, key: str, size_bytes: int | None) -> AsyncIterator[Writer]:
        """See Store.writer. Raises Invalid for a key that is no plain name."""
        _require_plain(key)
        if size_bytes is not None and size_bytes > MOST_OBJECT_BYTES:
            raise StoreFull(self._name, f"an object has {MOST_OBJECT_BYTES} bytes at most")
        backend = await hop(self._calls, self._backend)
        plan = PartPlan(self._part_bytes, size_bytes)
        location = Location(self._name, self.uri_of(key))
        async with part_writer(backend, location, key, plan, self._parts) as writer:
            yield writer

    async def read(self, location: Location, wanted: ByteRange | None = None) -> AsyncGenerator[memoryview, None]:
        """See Store.read."""
        place = self._require_place(location)
        if wanted is not None and wanted.length_bytes == 0:
            if wanted.offset_bytes > await self.size_bytes(location):
                raise RangeInvalid(self._name)
            return
        part = (0, None) if wanted is None else (wanted.offset_bytes, wanted.length_bytes)
        reader = ResumingReader(self._name, await hop(self._calls, self._backend), place, *part)
        size_bytes = _BUFFER_BYTES if wanted is None else min(_BUFFER_BYTES, wanted.length_bytes)
        filled, spare = (memoryview(bytearray(size_bytes)) for _ in range(2))
        filling: asyncio.Task[int] | None = None
        try:
            count = await self._fill(reader, filled)
            while count:
                filling = asyncio.create_task(self._fill(reader, spare))
                yield filled[:count]
                filled, spare = spare, filled
                count = await filling
        finally:
            if filling is not None:
                filling.cancel()
                await asyncio.wait({filling})
                if not filling.cancelled():
                    filling.exception()  # seen
            await hop(self._calls, reader.close)

    async def size_bytes(self, location: Location) -> int:
        """See Store.size_bytes."""
        place = self._require_place(location)
        return (await self._ask(lambda backend: backend.info(place))).size_bytes

    async def delete(self, location: Location) -> None:
        """See Store.delete. What is not of this server is not ours to remove: DataNotFound."""
        place = self.place_of(location.uri)
        if place is None:
            raise DataNotFound(self._name)
        await self._ask(lambda backend: backend.delete(place))

    async def discard(self, key: str) -> None:
        """See Store.discard. Raises Invalid for a key that is no plain name."""
        _require_plain(key)
        await self._ask(lambda backend: backend.discard(key))

    def owns(self, uri: str) -> bool:
        """See OwnsUri. Other buckets of the same server may be other stores', or nobody's."""
        place = self.place_of(uri)
        return place is not None and place.bucket == self.bucket

    async def probe(self) -> None:
        """See CanProbe."""
        await self._ask(lambda backend: backend.probe())

    async def objects(self) -> AsyncGenerator[StoredObject, None]:
        """See CanList. One page of the server's at a time."""
        backend = await hop(self._calls, self._backend)
        pages = backend.pages()
        while (page := await self._ask(lambda _: next(pages, None))) is not None:
            for entry in page:
                location = None if entry.location is None else Location(self._name, entry.location.uri)
                yield replace(entry, location=location)

    async def aclose(self) -> None:
        """See Store.aclose."""
        await hop(None, self._parts.shutdown)
        await hop(None, self._calls.shutdown)
        if self._made is not None:
            await hop(None, self._made.close)

    def _backend(self) -> _Made:
        with self._making:
            if self._made is None:
                self._made = self._make()
            return self._made

    def _require_place(self, location: Location) -> Place:
        place = self.place_of(location.uri)
        if place is None:
            raise StoreDenied(self._name, "the location is not one of this store's server")
        return place

    async def _ask(self, call: Callable[[_Made], _Answer]) -> _Answer:
        """Make a call in a thread; when this is cancelled, its requests are broken off."""
        backend = await hop(self._calls, self._backend)
        scope = backend.scope()
        return await interruptible_hop(self._calls, scope.interrupt, scope.run, call, backend)

    async def _fill(self, reader: ResumingReader, buffer: memoryview) -> int:
        return await interruptible_hop(self._calls, reader.interrupt, reader.fill, buffer)


class SigningObjectStore(ObjectStore[_Made]):
    """One that also has CanSignUrls."""

    @property
    @abstractmethod
    def signed_url_ttl_s(self) -> int:
        """See CanSignUrls."""

    async def signed_url(self, location: Location, ttl_s: int) -> str:
        """See CanSignUrls."""
        place = self._require_place(location)
        backend = await hop(self._calls, self._backend)
        return await hop(self._calls, backend.sign, place, ttl_s)


def _require_plain(key: str) -> None:
    if not is_key(key):
        raise Invalid("An object's name must be letters, digits, dots, dashes and underscores only.")
