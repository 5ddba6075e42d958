"""The one interface that every store implements.

A driver is a class with these methods and nothing more. What only some backends can do (a local path, free
space, a signed URL …) is a protocol of its own further down; callers ask with `isinstance`.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from blick.model.blob import ByteRange, Location, ReadAccess, StoredObject
from blick.model.context import RequestContext


class Writer(Protocol):
    """Takes the bytes of one new object, in order; nothing of it is visible until committed."""

    async def write(self, buffer: memoryview) -> None:
        """Append `buffer`. It belongs to the caller again as soon as this returns, also when cancelled.

        Raises StoreFull, StoreDenied, StoreUnavailable; WriterClosed after commit.
        """
        ...

    async def commit(self) -> Location:
        """Make the object durable and visible, and tell where it is. Once only.

        Raises DataExists (and leaves the existing object alone), StoreFull, StoreDenied, StoreUnavailable.
        """
        ...


class Store(Protocol):
    """A place that keeps image bytes. Safe to use from many tasks of one event loop at once."""

    @property
    def name(self) -> str:
        """The store's id in the configuration, as users name it."""
        ...

    def writer(self, key: str, size_bytes: int | None) -> AbstractAsyncContextManager[Writer]:
        """Begin the object `key` (an image id). `size_bytes` is a hint, None if unknown; a store may refuse, with
        StoreError, data that turns out to be of another length.

        Leaving the context without `commit`, on an error or a cancellation too, leaves nothing behind.
        A left-over of an earlier, broken-off writer of the same key is replaced.
        Raises StoreReadOnly, StoreFull, StoreDenied, StoreUnavailable.
        """
        ...

    def read(self, location: Location, wanted: ByteRange | None = None) -> AsyncGenerator[memoryview, None]:
        """The bytes of the object, or just `wanted`. A piece is valid until the next one is asked for.

        Raises DataNotFound, RangeInvalid (outside the object, or the object ended early), StoreDenied,
        StoreUnavailable. Whoever stops before the end closes the iterator (contextlib.aclosing).
        """
        ...

    async def size_bytes(self, location: Location) -> int:
        """The object's size. Raises DataNotFound, StoreDenied, StoreUnavailable."""
        ...

    async def delete(self, location: Location) -> None:
        """Remove the object, durably. Raises DataNotFound, DataInUse, StoreReadOnly, StoreDenied, StoreUnavailable.

        One that was removed in part before (a process died in the middle) is removed to the end. After DataNotFound and
        StoreReadOnly (it never removes anything) nobody asks again: where the data may only be out of reach for now it
        is StoreUnavailable. Two may ask at once.
        """
        ...

    async def discard(self, key: str) -> None:
        """Remove whatever a writer of `key` left when its process was killed: partial bytes, and an object that
        was committed but never recorded. Nothing there is no error. Only for a key whose record has no location.
        A writer of `key` that is still at work somewhere fails in its commit. Raises StoreDenied, StoreUnavailable.
        """
        ...

    async def aclose(self) -> None:
        """Give back connections and threads. The store is not used afterwards."""
        ...


@runtime_checkable
class HasLocalPath(Protocol):
    """The bytes are a local file, which may be handed to sendfile."""

    def local_path(self, location: Location) -> Path:
        """The file of that location; it need not exist. Raises StoreDenied for a location outside the store."""
        ...


@runtime_checkable
class HasLocalFile(Protocol):
    """The store can open the bytes as a local file."""

    async def open_file(self, location: Location) -> int:
        """A descriptor of the object's regular file, open for reading, which the caller closes.

        Raises DataNotFound, StoreDenied, StoreUnavailable. Nothing stays open when cancelled.
        """
        ...


@runtime_checkable
class HasFreeSpace(Protocol):
    """The store can tell how much it would still take."""

    async def free_bytes(self) -> int:
        """Bytes that a new object may use now."""
        ...


@runtime_checkable
class OwnsUri(Protocol):
    """The store knows its own URIs: how a location whose record names no store finds one."""

    def owns(self, uri: str) -> bool:
        """Whether `uri` is a place in this store, whether or not something is there."""
        ...


@runtime_checkable
class HasProperties(Protocol):
    """The store has properties that services look up to find the best way to its bytes (spec: images-api §16)."""

    async def properties(self) -> Mapping[str, Any]:
        """Names and values, no secrets among them. May ask the backend. Raises StoreUnavailable, StoreDenied."""
        ...


@runtime_checkable
class CanProbe(Protocol):
    """The store can tell whether its backend is there and would serve us."""

    async def probe(self) -> None:
        """Ask for a sign of life, cheaply, and change nothing.

        Raises what a reader or writer would meet now: StoreUnavailable, StoreDenied, StoreReadOnly (reading works).
        """
        ...


@runtime_checkable
class CanList(Protocol):
    """The store can name everything in it that may be an image's."""

    def objects(self) -> AsyncGenerator[StoredObject, None]:
        """Every object, and what uploads that go on or broke off have left so far; in any order, in bounded memory.

        What appears or vanishes meanwhile may be missed or named. What cannot be an object of ours (a folder, a name
        that is no key) is left out. Raises StoreDenied, StoreUnavailable. Whoever stops early closes the iterator.
        """
        ...


@runtime_checkable
class CanCopy(Protocol):
    """The store can take over an object of another store without its bytes passing through us."""

    async def copy_from(self, source: "Store", location: Location, key: str) -> Location | None:
        """The object `key` here, with the bytes that `source` has at `location`. None: not from there; nothing was
        done, and the caller copies by reading and writing.

        All or nothing, also when cancelled. Raises as `writer` and `read` do, DataExists among them.
        """
        ...


@runtime_checkable
class CanAdopt(Protocol):
    """The store can make an object of bytes that another store has, without a second copy of them."""

    async def adopt(self, source: "Store", location: Location, key: str) -> Location | None:
        """The object `key` here: the very bytes that `source` has at `location`, under one more name.

        None: not these; nothing was done, and the caller copies. From then on the two are the same bytes, so nobody may
        write to either any more; each is removed by itself. One that an earlier call, cut off behind its effect, made
        of the same bytes is given again. All or nothing, also when cancelled. Raises DataNotFound, DataExists (other
        bytes of that key), StoreFull, StoreDenied, StoreUnavailable.
        """
        ...


@runtime_checkable
class CanSignUrls(Protocol):
    """The store can give out URLs at which anybody may read an object for a while, from the backend itself."""

    @property
    def signed_url_ttl_s(self) -> int:
        """How long downloads are to be sent there instead of through us; 0: the operator did not ask for it."""
        ...

    async def signed_url(self, location: Location, ttl_s: int) -> str:
        """A URL for GET, with ranges, that works for `ttl_s` seconds. Raises StoreDenied, StoreUnavailable."""
        ...


@runtime_checkable
class TellsUse(Protocol):
    """Others may build on objects of the store, which then cannot be removed."""

    async def require_unused(self, location: Location) -> None:
        """Raises DataInUse where `delete` would at this moment, StoreUnavailable. Missing data is unused."""
        ...


@runtime_checkable
class ActsForCaller(Protocol):
    """The store keeps data in accounts of its users and needs their credentials."""

    def acting_for(self, caller: RequestContext) -> "Store":
        """The same store, which reads, writes and removes in the caller's name; itself where the operator gave it an
        account of its own. Not to be closed, and not to be used longer than the caller's request.
        """
        ...


@runtime_checkable
class HasAccessLists(Protocol):
    """The store itself decides who may read objects directly from it, and has to be told."""

    async def set_access(self, location: Location, access: ReadAccess) -> None:
        """From now on these may read the object. Raises DataNotFound, CallerRefused, StoreDenied, StoreUnavailable."""
        ...
