"""What the drivers of object stores have to bring: blocking calls to one bucket (container). The rest they share.

Everything here blocks, is called from threads of the store's, several at once, and raises store errors only.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from blick.model.blob import StoredObject
from blick.stores.objects.lines import Scope
from blick.stores.objects.parts import PartData

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


@dataclass(frozen=True, slots=True)
class Place:
    """An object's name, and the bucket it is in: the configured one, or an earlier one that locations still name."""

    bucket: str
    key: str


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """`tag` is what changes with the object's content; empty if the server tells none."""

    size_bytes: int
    tag: str


class Body(Protocol):
    """The answer to one request for an object's bytes."""

    @property
    def info(self) -> ObjectInfo:
        """Of the whole object, not of the part that was asked for."""
        ...

    def readinto(self, buffer: memoryview) -> int:
        """Some bytes, at most as many as fit; 0 at the end. Raises StoreUnavailable where the connection broke."""
        ...

    def interrupt(self) -> None:
        """From another thread: make a `readinto` that waits end soon."""
        ...

    def close(self) -> None:
        """Give the connection back."""
        ...


class Upload(Protocol):
    """One writer's upload, known to the server from its beginning on."""

    def put_part(self, number: int, data: PartData) -> None:
        """Send part `number` (from 1 on). Parts come in any order, several at once; all but the last have the size of
        the plan. Raises StoreFull, StoreDenied, StoreUnavailable: also if the upload was called off by somebody else.
        """
        ...

    def finish(self) -> None:
        """Make the parts the object, at once and only if there is none yet: DataExists. Once only, as the last."""
        ...

    def abort(self) -> None:
        """Leave nothing of it, nor of an object that `finish` made. What others made meanwhile stays."""
        ...

    def call_off(self) -> None:
        """From any thread, and at once: parts that are under way fail, and none is sent any more.

        Not to be called while `finish` runs, whose outcome has to be known.
        """
        ...


class Backend(Protocol):
    """One bucket of one server, and what is read from its other buckets."""

    def scope(self) -> Scope:
        """A scope for calls of these methods, that can be broken off."""
        ...

    def begin(self, key: str) -> Upload:
        """Register an upload with the server, and call off all others of that key."""
        ...

    def info(self, place: Place) -> ObjectInfo:
        """Raises DataNotFound, StoreDenied, StoreUnavailable."""
        ...

    def open(self, place: Place, offset_bytes: int, length_bytes: int | None, tag: str) -> Body:
        """Ask for bytes, None: up to the end, of the object that has that tag (empty: whatever it has).

        Raises DataNotFound, RangeInvalid (outside, or another tag), StoreDenied, StoreUnavailable.
        """
        ...

    def delete(self, place: Place) -> None:
        """Raises DataNotFound, StoreDenied, StoreUnavailable."""
        ...

    def discard(self, key: str) -> None:
        """Call off all uploads of that key, then remove an object of that name. Nothing there is no error."""
        ...

    def pages(self) -> Iterator[Sequence[StoredObject]]:
        """All objects and unfinished uploads of the bucket, by the server's pages; locations without a store's name."""
        ...

    def probe(self) -> None:
        """See CanProbe."""
        ...

    def sign(self, place: Place, ttl_s: int) -> str:
        """See CanSignUrls. Does not ask the server."""
        ...

    def close(self) -> None:
        """Give all connections back."""
        ...


def is_key(name: str) -> bool:
    """Whether an object of ours can have that name."""
    return _KEY.fullmatch(name) is not None
