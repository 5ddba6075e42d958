"""Objects as files in the datastores of a vSphere, in one folder of each (spec: stores §9).

A URI is `vsphere://<host>/folder/<image folder>/<image id>?dcPath=<datacenter>&dsName=<datastore>`; Nova reads it.
Bytes go by HTTPS to and from the datastore; names are given, moved and removed by the vSphere's file manager.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from blick.model.blob import ByteRange, Location, StoredObject
from blick.model.errors import DataInUse, DataNotFound, Invalid, RangeInvalid, StoreUnavailable, WriterClosed
from blick.stores.base import Writer
from blick.stores.vmware.options import FIRST_CHARACTERS, Place, is_key, read_options
from blick.stream.hop import to_the_end

READ_BYTES = 1 << 20  # one thread hop each


class VmwareStore:
    """Keeps objects in datastores. Also HasFreeSpace, HasProperties, OwnsUri, CanProbe, CanList.

    Connects when first needed. Raises StartRefused for options that make no sense.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        # These need the library of the extra, which is loaded for those who have such a store only.
        from blick.stores.vmware import files as vmware_files
        from blick.stores.vmware import partial as vmware_partial

        self._name = name
        self._options = read_options(name, options)
        self._files = vmware_files.Files(name, self._options)
        self._partials = vmware_partial

    @property
    def name(self) -> str:
        """The store's id."""
        return self._name

    async def properties(self) -> Mapping[str, Any]:
        """See HasProperties. There are none."""
        return {}

    @asynccontextmanager
    async def writer(self, key: str, size_bytes: int | None) -> AsyncIterator[Writer]:
        """See Store.writer. Raises Invalid for a key that cannot be a file's name."""
        _require_key(key)
        partial = self._partials.Partial(self._name, key, self._options, self._files)
        writer = _VmwareWriter(self._name, partial)
        try:
            await partial.begin(size_bytes)
            yield writer
        finally:
            writer.usable = False
            await to_the_end(partial.close(keep=writer.committed))

    async def read(self, location: Location, wanted: ByteRange | None = None) -> AsyncGenerator[memoryview, None]:
        """See Store.read."""
        place = self._place(location)
        if wanted is not None and wanted.length_bytes == 0:
            if wanted.offset_bytes > await self._files.size_bytes(place):
                raise RangeInvalid(self._name)
            return
        exchange, left = await self._files.begin(lambda line, cookie: line.begin_get(place, cookie, wanted))
        try:
            buffer = memoryview(bytearray(min(READ_BYTES, left)))
            while left:
                piece = buffer[:left]
                count = await self._files.step(exchange, exchange.readinto, piece)
                yield piece
                left -= count
        finally:
            exchange.close()

    async def size_bytes(self, location: Location) -> int:
        """See Store.size_bytes."""
        return await self._files.size_bytes(self._place(location))

    async def delete(self, location: Location) -> None:
        """See Store.delete. Raises DataInUse where a host has the file open."""
        if not await self._files.remove(self._place(location)):
            raise DataNotFound(self._name)

    async def discard(self, key: str) -> None:
        """See Store.discard. Raises Invalid for a key that cannot be a file's name."""
        _require_key(key)
        try:
            await self._partials.remove_partials(self._files, self._options, key)
            # Last, and whether or not it was seen: an upload may have been given its name a moment ago.
            for datastore in self._options.weights:
                await self._files.remove(self._options.place(datastore, key))
        except DataInUse as error:
            raise StoreUnavailable(self._name, "a host still has the file open") from error

    async def free_bytes(self) -> int:
        """See HasFreeSpace. What the emptiest datastore would take."""
        return max((await self._files.free_bytes()).values(), default=0)

    def owns(self, uri: str) -> bool:
        """See OwnsUri."""
        return self._options.place_of(uri) is not None

    async def probe(self) -> None:
        """See CanProbe."""
        await self._files.probe()

    async def objects(self) -> AsyncGenerator[StoredObject, None]:
        """See CanList."""
        for datastore in self._options.weights:
            # A search gives all it finds at once, so there is one for every character that a key may begin with.
            for first in FIRST_CHARACTERS:
                for file in await self._files.find(datastore, f"{first}*"):
                    name = file.place.name
                    if not name.startswith(first):
                        continue  # found by somebody who takes small letters for large ones
                    key = self._partials.partial_key(name)
                    if key is not None:
                        yield StoredObject(key, None, file.size_bytes, file.modified_at_s)
                    elif is_key(name):
                        location = Location(self._name, self._options.uri_of(file.place))
                        yield StoredObject(name, location, file.size_bytes, file.modified_at_s)

    async def aclose(self) -> None:
        """Log out and end the threads."""
        await self._files.aclose()

    def _place(self, location: Location) -> Place:
        place = self._options.place_of(location.uri)
        if place is None:
            raise DataNotFound(self._name, "the location is not in an image folder of this vSphere")
        return place


class _VmwareWriter:
    """Closed for good by anything that goes wrong: after a failed or cancelled write nobody knows what is there."""

    def __init__(self, store: str, partial: Any) -> None:
        self.committed = False
        self.usable = True
        self._store = store
        self._partial = partial

    async def write(self, buffer: memoryview) -> None:
        self._take()
        await self._partial.append(buffer)
        self.usable = True

    async def commit(self) -> Location:
        self._take()
        await self._partial.finish()
        location: Location = await to_the_end(self._partial.publish())
        # Only now: if the await is cancelled, nobody learns of the object, and leaving the context removes it.
        self.committed = True
        return location

    def _take(self) -> None:
        if not self.usable:
            raise WriterClosed(self._store)
        self.usable = False


def _require_key(key: str) -> None:
    if not is_key(key):
        raise Invalid(f"{key!r} cannot be the name of an object.")
