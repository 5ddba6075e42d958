"""Objects as RBD images in a Ceph pool, each named like its Glance image, whole when it has the snapshot `snap`.

A URI is `rbd://<fsid>/<pool>/<image id>/snap`; Nova and Cinder parse it and clone from there. See adr/0011.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any

from blick.model.blob import ByteRange, Location, StoredObject
from blick.model.errors import DataInUse, DataNotFound, Invalid, StoreUnavailable, WriterClosed
from blick.stores.base import Store, Writer
from blick.stores.ceph_bindings import load_bindings
from blick.stores.rbd import images as rbd_images
from blick.stores.rbd.closing import closed
from blick.stores.rbd.cluster import Cluster
from blick.stores.rbd.listing import Listing
from blick.stores.rbd.options import read_options
from blick.stores.rbd.partial import PartialImage
from blick.stores.rbd.reader import OpenedImage
from blick.stores.rbd.uri import SNAPSHOT, RbdPlace, place_of
from blick.stream.hop import hop, interruptible_hop

# Each transfer holds one while it waits for Ceph; librados works in threads of its own besides.
_THREADS = 16
# A client that was killed is believed to have its images open for 30 s.
_FORGOTTEN_AFTER_S = 35.0
_TRY_AGAIN_AFTER_S = 1.0

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


class RbdStore:
    """A store of type rbd. Also OwnsUri, HasProperties, CanProbe, CanList, CanCopy, TellsUse.

    Raises StartRefused for options that make no sense and where Ceph's Python modules are missing. Connects when it is
    first needed. Has threads of its own, until `aclose`.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self._name = name
        self._options = read_options(name, options)
        self._bindings = load_bindings(name)
        self._cluster = Cluster(name, self._bindings, self._options)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"store-{name}")
        self._writing: set[PartialImage] = set()

    @property
    def name(self) -> str:
        """The store's id."""
        return self._name

    async def properties(self) -> Mapping[str, Any]:
        """See HasProperties."""
        return {
            "chunk_size": self._options.object_bytes,
            "pool": self._options.pool,
            "thin_provisioning": self._options.thin_provisioning,
            "fsid": await hop(self._threads, self._cluster.fsid),
        }

    async def probe(self) -> None:
        """See CanProbe."""
        await hop(self._threads, self._probe)

    @asynccontextmanager
    async def writer(self, key: str, size_bytes: int | None) -> AsyncIterator[Writer]:
        """See Store.writer. Raises Invalid for a key that is not a plain name."""
        _require_plain(key)
        partial = PartialImage(self._name, self._cluster, self._options, key)
        writer = _RbdWriter(self._name, partial, self._threads, self._publish)
        self._writing.add(partial)
        try:
            await hop(self._threads, partial.begin, size_bytes or 0)
            yield writer
        finally:
            writer.usable = False
            await self._let_go(partial, keep=writer.committed)

    async def read(self, location: Location, wanted: ByteRange | None = None) -> AsyncGenerator[memoryview, None]:
        """See Store.read."""
        opened = OpenedImage(self._name, self._cluster, self._place(location))
        try:
            await hop(self._threads, opened.open, wanted)
            while piece := await interruptible_hop(self._threads, opened.interrupt, opened.next_piece):
                yield memoryview(piece)
        finally:
            await hop(self._threads, opened.close)

    async def size_bytes(self, location: Location) -> int:
        """See Store.size_bytes."""
        return await hop(self._threads, self._size_bytes, self._place(location))

    async def delete(self, location: Location) -> None:
        """See Store.delete. What has clones of RBD's newer kind goes into RBD's trash; what is in there of an upload
        of that name, and is nobody's, goes as well."""
        if not await hop(self._threads, self._delete, self._place(location)):
            raise DataNotFound(self._name)

    async def discard(self, key: str) -> None:
        """See Store.discard. Raises Invalid for a key that is not a plain name.

        The image of a writer who is still at work goes into RBD's trash, so that he cannot finish it. Where he is in
        this process he removes it himself; raises StoreUnavailable if he is elsewhere and holds it for too long.
        """
        _require_plain(key)
        give_up_at_s = time.monotonic() + _FORGOTTEN_AFTER_S
        while not await hop(self._threads, self._discard, key) <= self._own_ids:
            if time.monotonic() >= give_up_at_s:
                raise StoreUnavailable(self._name, f"what was left of object {key} is in the trash, open somewhere")
            await asyncio.sleep(_TRY_AGAIN_AFTER_S)

    async def objects(self) -> AsyncGenerator[StoredObject, None]:
        """See CanList. Names of all images at once, the rest as it goes; images that are no ids are left out."""
        listing = await hop(self._threads, self._listing)
        for batch in await hop(self._threads, listing.batches, self._own_ids):
            for found in await hop(self._threads, listing.look_at, batch):
                yield found

    async def copy_from(self, source: Store, location: Location, key: str) -> Location | None:  # noqa: ARG002
        """See CanCopy. From any pool of the same cluster that our user may clone from: the location tells."""
        _require_plain(key)
        place = place_of(location.uri)
        if place is None or place.snapshot != SNAPSHOT:
            return None
        partial = PartialImage(self._name, self._cluster, self._options, key)
        self._writing.add(partial)
        copied = None
        try:
            if await interruptible_hop(self._threads, partial.interrupt, partial.begin_as_copy, place):
                copied = await hop(self._threads, self._publish, partial)
            return copied
        finally:
            await self._let_go(partial, keep=copied is not None)

    async def require_unused(self, location: Location) -> None:
        """See TellsUse."""
        await hop(self._threads, self._require_unused, self._place(location))

    def owns(self, uri: str) -> bool:
        """See OwnsUri. Before the cluster's id is known, the pool decides; a record without a pool is ours."""
        place = place_of(uri)
        if place is None or place.pool is None:
            return place is not None
        return place.pool == self._options.pool and self._cluster.known_fsid in (None, place.fsid)

    async def aclose(self) -> None:
        """Wait for running calls, disconnect, and end the threads."""
        await hop(self._threads, self._cluster.close)
        await hop(None, self._threads.shutdown)

    @property
    def _own_ids(self) -> frozenset[str | None]:
        """The images that writers of this process are at."""
        return frozenset(partial.image_id for partial in self._writing)

    def _place(self, location: Location) -> RbdPlace:
        # The cluster's id is not compared: behind a mirror, or after a rescue, the same images lie in another one.
        place = place_of(location.uri)
        if place is None:
            raise DataNotFound(self._name, "the location is not one of an RBD image")
        return place

    async def _let_go(self, partial: PartialImage, *, keep: bool) -> None:
        def close() -> None:
            try:
                partial.close(keep=keep)
            finally:
                self._writing.discard(partial)

        await closed(self._name, close, self._options.closing_limit_s)

    def _probe(self) -> None:
        with self._cluster.pool() as pool, self._cluster.watched(pool), suppress(self._bindings.rados.ObjectNotFound):
            pool.io.stat("rbd_directory")

    def _publish(self, partial: PartialImage) -> Location:
        partial.publish()
        return Location(self._name, RbdPlace(partial.key, self._cluster.fsid(), self._options.pool, SNAPSHOT).uri)

    def _size_bytes(self, place: RbdPlace) -> int:
        opened = OpenedImage(self._name, self._cluster, place)
        try:
            opened.open()
            return opened.size_bytes
        finally:
            opened.close()

    def _delete(self, place: RbdPlace) -> bool:
        with self._cluster.pool(place.pool) as pool, self._cluster.watched(pool):
            removed = rbd_images.remove(pool, place.image)
            # What a writer of it left there may be a clone, which keeps the original from going.
            if rbd_images.purge(pool, place.image) - self._own_ids:
                raise DataInUse(self._name)
            return removed

    def _discard(self, key: str) -> set[str]:
        try:
            with self._cluster.pool() as pool, self._cluster.watched(pool):
                return rbd_images.discard(pool, key)
        except DataInUse as error:
            raise StoreUnavailable(
                self._name, "what was left of the object is in use, and the trash refuses it"
            ) from error

    def _require_unused(self, place: RbdPlace) -> None:
        with self._cluster.pool(place.pool) as pool, self._cluster.watched(pool):
            rbd_images.require_unused(pool, place.image)

    def _listing(self) -> Listing:
        return Listing(self._name, self._cluster, self._cluster.fsid())


class _RbdWriter:
    """Closed for good by anything that goes wrong: after a failed or cancelled write nobody knows what is there."""

    def __init__(
        self, store: str, partial: PartialImage, threads: Executor, publish: Callable[[PartialImage], Location]
    ) -> None:
        self.committed = False
        self.usable = True
        self._store = store
        self._partial = partial
        self._threads = threads
        self._publish = publish

    async def write(self, buffer: memoryview) -> None:
        self._take()
        if not self._partial.gather(buffer):
            await interruptible_hop(self._threads, self._partial.interrupt, self._partial.append, buffer)
        self.usable = True

    async def commit(self) -> Location:
        self._take()
        location = await interruptible_hop(self._threads, self._partial.interrupt, self._publish, self._partial)
        # Only now: if the await is cancelled, nobody learns of the object, and leaving the context removes it.
        self.committed = True
        return location

    def _take(self) -> None:
        if not self.usable:
            raise WriterClosed(self._store)
        self.usable = False


def _require_plain(key: str) -> None:
    if not _KEY.fullmatch(key):
        raise Invalid("An object's name must be letters, digits, dots, dashes and underscores only.")
