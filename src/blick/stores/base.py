"""The one interface that every store implements.

A driver is a class with these methods and nothing more. What only some backends can do (a local path, free
space, a signed URL …) is a protocol of its own further down; callers ask with `isinstance`.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from blick.model.blob import ByteRange, Location


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
        """Begin the object `key` (an image id). `size_bytes` is a hint, None if unknown.

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
        """Remove the object. Raises DataNotFound, StoreDenied, StoreUnavailable."""
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

    @property
    def properties(self) -> Mapping[str, Any]:
        """Names and values, no secrets among them."""
        ...
