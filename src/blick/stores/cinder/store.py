"""Images as volumes of Cinder (spec: stores §7).

A URI is `cinder://<volume id>`, or `cinder://<store id>/<volume id>` where stores have ids. Nova and Cinder read it.
"""

import copy
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from blick.model.blob import ByteRange, Location, StoredObject
from blick.model.context import RequestContext
from blick.model.errors import DataInUse, DataNotFound, RangeInvalid, StoreDenied, StoreUnavailable, WriterClosed
from blick.stores.base import Store, Writer
from blick.stores.cinder.options import read_options, volume_of
from blick.stream.hop import hop, to_the_end

READ_BYTES = 1 << 20  # one thread hop each
_THREADS = 16  # each waits for Cinder or for a volume


class CinderStore:
    """Keeps objects in volumes. Also OwnsUri, HasProperties, CanProbe, CanList, ActsForCaller.

    Connects when first needed. Raises StartRefused for options that make no sense, ImportError where libraries are
    missing. Without an account of its own it works for callers only: StoreDenied otherwise.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        # These need the libraries of the extra, which are loaded for those who have such a store only.
        from blick.stores.cinder import api as cinder_api
        from blick.stores.cinder import attach as cinder_attach
        from blick.stores.cinder import brick as cinder_brick
        from blick.stores.cinder import ceph as cinder_ceph
        from blick.stores.cinder import partial as cinder_partial

        self._name = name
        self._options = read_options(name, options)
        self._cinder = cinder_api
        self._partials = cinder_partial
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"store-{name}")
        if self._options.ceph_conf is not None:
            self._devices: Any = cinder_ceph.CephDevices(name, self._options)
        else:
            self._devices = cinder_brick.BrickDevices(name, self._options)
        self._volumes = cinder_attach.Volumes(name, self._options, self._devices, self._threads)
        self._writing = cinder_partial.Writing()
        account = self._options.account
        self._for_owner = cinder_api.api_of_account(name, self._options, account) if account else None
        self._acting: Any = self._for_owner(None) if self._for_owner else None

    @property
    def name(self) -> str:
        """The store's id."""
        return self._name

    async def properties(self) -> Mapping[str, Any]:
        """See HasProperties."""
        return {"volume_type": self._options.volume_type, "use_multipath": self._options.use_multipath}

    @asynccontextmanager
    async def writer(self, key: str, size_bytes: int | None) -> AsyncIterator[Writer]:
        """See Store.writer."""
        partial = self._partials.Partial(self._name, key, self._options, self._api, self._volumes, self._writing)
        writer = _CinderWriter(self._name, partial, self._location)
        with self._writing.entered(partial):
            try:
                await partial.begin(size_bytes)
                yield writer
            finally:
                writer.usable = False
                await to_the_end(partial.close(keep=writer.committed))

    async def read(self, location: Location, wanted: ByteRange | None = None) -> AsyncGenerator[memoryview, None]:
        """See Store.read."""
        volume = await self._volume(location)
        part = wanted or ByteRange(0, volume.size_bytes)
        if part.end_bytes > volume.size_bytes:
            raise RangeInvalid(self._name)
        if not part.length_bytes:
            return
        buffer = memoryview(bytearray(min(READ_BYTES, part.length_bytes)))
        async with self._volumes.reading(self._api, volume) as device:
            offset = part.offset_bytes
            while offset < part.end_bytes:
                piece = buffer[: part.end_bytes - offset]
                count = await self._volumes.run(device.read_into, piece, offset)
                yield piece[:count]
                offset += count

    async def size_bytes(self, location: Location) -> int:
        """See Store.size_bytes."""
        volume = await self._volume(location)
        return int(volume.size_bytes)

    async def delete(self, location: Location) -> None:
        """See Store.delete. Raises DataInUse where the volume is attached, or volumes depend on it."""
        await self._volumes.remove(self._api, (await self._volume(location)).id)

    async def discard(self, key: str) -> None:
        """See Store.discard. Raises StoreUnavailable where another process still has the volume open."""
        await self._writing.stop(key)
        for volume in await self._volumes.run(self._api.find, key):
            try:
                await self._volumes.remove_left_over(self._api, volume)
            except DataInUse as error:
                raise StoreUnavailable(self._name, "somebody still has the volume open") from error

    def owns(self, uri: str) -> bool:
        """See OwnsUri. A URI that names no store counts as everybody's: from before stores had ids."""
        named = volume_of(uri)
        return named is not None and named[0] in (None, self._name)

    async def probe(self) -> None:
        """See CanProbe. Where volumes are the callers', there is nobody to ask as: nothing is raised."""
        if self._acting is not None:
            await self._volumes.run(self._api.probe, self._options.volume_type)

    async def objects(self) -> AsyncGenerator[StoredObject, None]:
        """See CanList. The volumes of the service's account."""
        marker: str | None = None
        while True:
            volumes, marker = await self._volumes.run(self._api.page, marker)
            for volume in volumes:
                location = self._location(volume.id) if volume.is_whole else None
                size_bytes = volume.size_bytes if volume.is_whole else volume.room_bytes
                yield StoredObject(volume.key, location, size_bytes, volume.created_at_s)
            if marker is None:
                return

    def acting_for(self, caller: RequestContext) -> Store:
        """See ActsForCaller. With an account of its own, the store only notes whose the new images are."""
        acting = copy.copy(self)
        if self._for_owner is not None:
            acting._acting = self._for_owner(caller.project_id)
        else:
            acting._acting = self._cinder.api_of_caller(self._name, self._options, caller)
        return acting

    async def aclose(self) -> None:
        """Wait for running calls, end the threads and the connections."""
        await hop(self._threads, self._devices.close)
        await hop(None, self._threads.shutdown)

    @property
    def _api(self) -> Any:
        if self._acting is None:
            raise StoreDenied(self._name, "volumes are kept in users' projects, and nobody is calling")
        return self._acting

    async def _volume(self, location: Location) -> Any:
        named = volume_of(location.uri)
        if named is None:
            raise DataNotFound(self._name, "the location is no volume")
        return await self._volumes.run(self._api.show, named[1])

    def _location(self, volume_id: str) -> Location:
        store = f"{self._name}/" if self._options.uri_names_store else ""
        return Location(self._name, f"cinder://{store}{volume_id}")


class _CinderWriter:
    """Closed for good by anything that goes wrong: after a failed or cancelled write nobody knows what is there."""

    def __init__(self, store: str, partial: Any, location: Any) -> None:
        self.committed = False
        self.usable = True
        self._store = store
        self._partial = partial
        self._location = location

    async def write(self, buffer: memoryview) -> None:
        self._take()
        await self._partial.append(buffer)
        self.usable = True

    async def commit(self) -> Location:
        self._take()
        await self._partial.finish()
        volume_id = await to_the_end(self._partial.publish())
        # Only now: if the await is cancelled, nobody learns of the object, and leaving the context removes it.
        self.committed = True
        return self._location(volume_id)  # type: ignore[no-any-return]

    def _take(self) -> None:
        if not self.usable:
            raise WriterClosed(self._store)
        self.usable = False
