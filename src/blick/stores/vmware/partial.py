"""One object on its way into a datastore: under a name of its own until it is whole, gone if it never is.

Beside the growing `<key>.<token>.blick-part` lies an empty `<key>.<token>.blick-fence`. A server makes the former when
it gets to it; the latter is there before the upload begins. Whoever takes it away has stopped the upload for good: it
cannot be committed without taking its fence away itself.
"""

import logging
from secrets import token_hex

from blick.model.blob import Location
from blick.model.errors import DataExists, DataNotFound, StoreError, StoreFull, StoreUnavailable
from blick.stores.vmware.files import Files
from blick.stores.vmware.folder import Exchange
from blick.stores.vmware.options import Datastore, Place, VmwareOptions, is_key
from blick.stores.vmware.session import FileMissing, FileThere

_log = logging.getLogger(__name__)

_PART, _FENCE = "blick-part", "blick-fence"


def partial_key(name: str) -> str | None:
    """The key of the object that a file of that name was to become; None if it is no part or fence."""
    front, _, kind = name.rpartition(".")
    key, _, _ = front.rpartition(".")
    return key if kind in (_PART, _FENCE) and is_key(key) else None


class Partial:
    """The upload of the object `key`. Begin, append …, publish, and close always. Creating it touches nothing."""

    def __init__(self, store: str, key: str, options: VmwareOptions, files: Files) -> None:
        self._store = store
        self._key = key
        self._options = options
        self._files = files
        self._exchange: Exchange | None = None
        self._part: Place | None = None
        self._written_bytes = 0
        self._fenced = False
        self._moved = False

    async def begin(self, size_bytes: int | None) -> None:
        """Choose a datastore, clean away what an earlier upload of the key left, and begin. Raises StoreFull."""
        datastore = await self._files.choose(size_bytes or 0)
        await self._files.make_folder(datastore)
        await remove_partials(self._files, self._options, self._key)
        self._part = self._options.place(datastore, f"{self._key}.{token_hex(8)}.{_PART}")
        self._fenced = True
        await self._put_fence(datastore)
        part = self._part
        self._exchange, _ = await self._files.begin(lambda line, cookie: line.begin_put(part, cookie, size_bytes))

    async def append(self, buffer: memoryview) -> None:
        """Write on."""
        assert self._exchange is not None
        await self._files.step(self._exchange, self._exchange.send, buffer)
        self._written_bytes += len(buffer)

    async def finish(self) -> None:
        """The bytes are all there; have the server say so. Raises StoreFull where it kept less than it was given."""
        assert self._exchange is not None
        assert self._part is not None
        await self._files.step(self._exchange, self._exchange.finish_put)
        self._exchange.close()
        self._exchange = None
        kept_bytes = await self._size_bytes(self._part)
        if kept_bytes is None:
            raise self._superseded()
        if kept_bytes != self._written_bytes:
            raise StoreFull(self._store, "the datastore did not keep all of the data")

    async def publish(self) -> Location:
        """Give the object its name. Raises DataExists, StoreUnavailable. Not to be broken off."""
        assert self._part is not None
        final = self._part.beside(self._key)
        for datastore in self._options.weights:
            if await self._size_bytes(self._options.place(datastore, self._key)) is not None:
                raise DataExists(self._store)
        if not await self._files.remove(self._fence):
            raise self._superseded()
        self._fenced = False
        try:
            await self._files.move(self._part, final)
        except FileMissing:
            raise self._superseded() from None
        except FileThere:
            raise DataExists(self._store) from None
        self._moved = True
        return Location(self._store, self._options.uri_of(final))

    async def close(self, *, keep: bool) -> None:
        """Let go; unless `keep`, remove it, published or not. Raises nothing: what is left is for discard to find."""
        if self._exchange is not None:
            await self._files.run(self._exchange.abandon)
        if keep or self._part is None:
            return
        places = [self._part.beside(self._key)] if self._moved else [self._part]
        if self._fenced:
            places.insert(0, self._fence)
        try:
            for place in places:
                await self._files.remove(place)
        except StoreError as error:
            _log.warning("store %s: cannot clean up behind object %s: %s", self._store, self._key, error)

    @property
    def _fence(self) -> Place:
        assert self._part is not None
        return self._part.beside(f"{self._part.name.removesuffix(_PART)}{_FENCE}")

    async def _put_fence(self, datastore: Datastore) -> None:
        try:
            await self._files.put_empty(self._fence)
        except DataNotFound:
            # Somebody removed the folder that we made, or found, when we first wrote here.
            self._files.forget_folder(datastore)
            await self._files.make_folder(datastore)
            await self._files.put_empty(self._fence)

    async def _size_bytes(self, place: Place) -> int | None:
        try:
            return await self._files.size_bytes(place)
        except DataNotFound:
            return None

    def _superseded(self) -> StoreUnavailable:
        return StoreUnavailable(self._store, "the partial object was cleaned away, or begun anew, by somebody else")


async def remove_partials(files: Files, options: VmwareOptions, key: str) -> None:
    """Stop every upload of the key, and remove what it has written. Raises StoreUnavailable where that is locked."""
    for datastore in options.weights:
        # Until nothing is found: a part may appear while its fence is taken away.
        while found := await _partials(files, datastore, key):
            # Fences first: an upload whose part cannot be seen yet cannot be committed any more either.
            for place in sorted(found, key=lambda place: place.name.endswith(_PART)):
                await files.remove(place)


async def _partials(files: Files, datastore: Datastore, key: str) -> list[Place]:
    return [file.place for file in await files.find(datastore, f"{key}.*") if partial_key(file.place.name) == key]
