"""Objects as VDIs of a Sheepdog cluster, where Glance kept images until Ussuri.

A URI is `sheepdog://<address>:<port>:<image id>`, or `sheepdog://<image id>` in older rows. Every node of a cluster
serves all of it, so that only the configured one is ever spoken to, whatever a URI says.
"""

import logging
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, suppress
from itertools import islice
from typing import Any, Concatenate, ParamSpec, TypeVar

from blick.model.blob import ByteRange, Location, StoredObject
from blick.model.errors import DataExists, DataNotFound, RangeInvalid, StartRefused, StoreError, WriterClosed
from blick.stores.base import Writer
from blick.stores.legacy.keys import is_key, require_key
from blick.stores.legacy.sheepdog_dog import Dog, Leash
from blick.stores.legacy.sheepdog_vdis import Vdi, Vdis
from blick.stream.hop import hop, interruptible_hop

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger(__name__)

_SCHEME = "sheepdog://"
_THREADS = 10
_MIB = 1 << 20
_READ_BYTES = _MIB
# Gathered for one command: starting it, and the 4 MiB of index that it reads first, cost much beside a small piece.
_WRITE_BYTES = 8 * _MIB
_LISTED_AT_ONCE = 200


class SheepdogStore:
    """A store of type sheepdog. Also OwnsUri, CanProbe, CanList. Runs the command `dog`.

    Options: sheepdog_store_address, sheepdog_store_port; sheepdog_store_chunk_size (MiB), what one command reads.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        program = shutil.which("dog")
        if program is None:
            raise StartRefused(f"Store {name}: there is no program dog here, which comes with Sheepdog.")
        self._name = name
        self._chunk_bytes = int(options.get("sheepdog_store_chunk_size") or 64) * _MIB
        address = str(options.get("sheepdog_store_address") or "127.0.0.1")
        port = int(options.get("sheepdog_store_port") or 7000)
        self._place = f"{address}:{port}"
        self._dog = Dog(name, program, address, port)
        self._vdis = Vdis(self._dog)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"store-{name}")

    @property
    def name(self) -> str:
        """The store's id."""
        return self._name

    @asynccontextmanager
    async def writer(self, key: str, size_bytes: int | None) -> AsyncIterator[Writer]:  # noqa: ARG002 - the contract's
        """See Store.writer. Raises Invalid for a key that no object may have."""
        require_key(key)
        upload = _Upload(self._vdis, key, min(self._chunk_bytes, _WRITE_BYTES))
        writer = _SheepdogWriter(self, upload)
        try:
            await self.call(upload.begin)
            yield writer
        finally:
            writer.usable = False
            await hop(self._threads, self._end, upload, keep=writer.committed)

    async def read(self, location: Location, wanted: ByteRange | None = None) -> AsyncGenerator[memoryview, None]:
        """See Store.read."""
        key = self._key_of(location)
        size_bytes = (await self.interruptible(self._vdis.find, key)).size_bytes
        part = wanted or ByteRange(0, size_bytes)
        if part.end_bytes > size_bytes:
            raise RangeInvalid(self._name)
        buffer = memoryview(bytearray(min(_READ_BYTES, part.length_bytes)))
        for begin in range(part.offset_bytes, part.end_bytes, self._chunk_bytes):
            chunk = ByteRange(begin, min(self._chunk_bytes, part.end_bytes - begin))
            async for piece in self._read_chunk(key, chunk, buffer):
                yield piece

    async def size_bytes(self, location: Location) -> int:
        """See Store.size_bytes."""
        return (await self.interruptible(self._vdis.find, self._key_of(location))).size_bytes

    async def delete(self, location: Location) -> None:
        """See Store.delete."""
        await self.call(self._vdis.remove, self._key_of(location))

    async def discard(self, key: str) -> None:
        """See Store.discard. Raises Invalid for a key that no object may have."""
        require_key(key)
        await self.call(self._vdis.discard, key)

    async def objects(self) -> AsyncGenerator[StoredObject, None]:
        """See CanList."""
        leash = Leash()
        found = self._vdis.all(leash)
        try:
            while batch := await interruptible_hop(self._threads, leash.cut, _take, found):
                for vdi in batch:
                    location = None if vdi.is_attempt else Location(self._name, self.uri_of(vdi.key))
                    yield StoredObject(vdi.key, location, vdi.size_bytes, vdi.created_at_s)
        finally:
            await hop(self._threads, found.close)

    async def probe(self) -> None:
        """See CanProbe."""
        await self.interruptible(self._vdis.ping)

    def owns(self, uri: str) -> bool:
        """See OwnsUri: a URI that names no node, or ours."""
        place, _, key = uri.removeprefix(_SCHEME).rpartition(":")
        return uri.startswith(_SCHEME) and place in ("", self._place) and is_key(key)

    async def aclose(self) -> None:
        """Wait for running commands and end the threads."""
        await hop(None, self._threads.shutdown)

    async def call(self, call: Callable[Concatenate[Leash, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `call(leash, …)` in a thread, to its end: what the cluster was asked for happens, whoever is killed."""
        return await hop(self._threads, call, Leash(), *args, **kwargs)

    async def interruptible(self, call: Callable[Concatenate[Leash, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `call`, but a cancellation ends the command that runs."""
        leash = Leash()
        return await interruptible_hop(self._threads, leash.cut, call, leash, *args, **kwargs)

    def uri_of(self, key: str) -> str:
        """Where the object `key` is."""
        return f"{_SCHEME}{self._place}:{key}"

    async def _read_chunk(self, key: str, part: ByteRange, buffer: memoryview) -> AsyncGenerator[memoryview, None]:
        """The bytes of `part`, by one command, through `buffer`."""
        leash, stack = Leash(), ExitStack()
        command = self._dog.reading(leash, "vdi", "read", key, str(part.offset_bytes), str(part.length_bytes))
        try:
            pipe = await interruptible_hop(self._threads, leash.cut, stack.enter_context, command)
            left = part.length_bytes
            while left:
                piece = buffer[:left]
                await interruptible_hop(self._threads, leash.cut, pipe.read_whole, piece)
                yield piece
                left -= len(piece)
            await interruptible_hop(self._threads, leash.cut, pipe.require_success)
        finally:
            leash.cut()
            await hop(self._threads, stack.close)

    def _key_of(self, location: Location) -> str:
        """The object's name, whichever node of the cluster the URI names. Raises DataNotFound."""
        key = location.uri.removeprefix(_SCHEME).rpartition(":")[2]
        if not location.uri.startswith(_SCHEME) or not is_key(key):
            raise DataNotFound(self._name)
        return key

    def _end(self, upload: "_Upload", *, keep: bool) -> None:
        """What cannot be cleaned up now is left to the next writer, or to discard."""
        try:
            upload.end(Leash(), keep=keep)
        except StoreError as error:
            _log.warning("store %s: cannot clean up behind object %s: %s", self._name, upload.key, error)


class _Upload:
    """One attempt to store the object `key`, in pieces of `piece_bytes`. Blocks; used by one thread at a time."""

    def __init__(self, vdis: Vdis, key: str, piece_bytes: int) -> None:
        self.key = key
        self._vdis = vdis
        self._piece_bytes = piece_bytes
        self._name: str | None = None
        self._size_bytes = 0
        self._rest = bytearray()
        self._may_be_published = False

    def begin(self, leash: Leash) -> None:
        self._name = self._vdis.begin(leash, self.key)

    def append(self, leash: Leash, buffer: memoryview) -> None:
        taken = 0
        while taken < len(buffer):
            # Released at once: an error on its way up must not hold on to the caller's bytes.
            with buffer[taken : taken + self._piece_bytes - len(self._rest)] as piece:
                self._rest += piece
                taken += len(piece)
            if len(self._rest) == self._piece_bytes:
                self._write_rest(leash)

    def commit(self, leash: Leash) -> None:
        assert self._name is not None
        if self._rest:
            self._write_rest(leash)
        self._vdis.freeze(leash, self._name)
        self._may_be_published = True
        try:
            self._vdis.publish(leash, self._name, self.key)
        except DataExists:
            self._may_be_published = False
            raise

    def end(self, leash: Leash, *, keep: bool) -> None:
        if self._name is None:
            return
        if self._may_be_published and not keep:
            with suppress(DataNotFound):
                self._vdis.remove(leash, self.key)
        self._vdis.remove_attempt(leash, self._name)

    def _write_rest(self, leash: Leash) -> None:
        assert self._name is not None
        self._vdis.write(leash, self._name, self._size_bytes, bytes(self._rest))
        self._size_bytes += len(self._rest)
        self._rest.clear()


class _SheepdogWriter:
    """Closed for good by anything that goes wrong: after a failed or cancelled write nobody knows what is there."""

    def __init__(self, store: SheepdogStore, upload: _Upload) -> None:
        self.usable = True
        self.committed = False
        self._store = store
        self._upload = upload

    async def write(self, buffer: memoryview) -> None:
        self._take()
        await self._store.interruptible(self._upload.append, buffer)
        self.usable = True

    async def commit(self) -> Location:
        self._take()
        await self._store.call(self._upload.commit)
        # Only now: if the await is cancelled, nobody learns of the object, and leaving the context removes it.
        self.committed = True
        return Location(self._store.name, self._store.uri_of(self._upload.key))

    def _take(self) -> None:
        if not self.usable:
            raise WriterClosed(self._store.name)
        self.usable = False


def _take(found: Iterator[Vdi]) -> list[Vdi]:
    return list(islice(found, _LISTED_AT_ONCE))
