"""Values that describe stored bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ByteRange:
    """`length_bytes` bytes from offset `offset_bytes` on; both ≥ 0."""

    offset_bytes: int
    length_bytes: int

    @property
    def end_bytes(self) -> int:
        """The offset just behind the last byte."""
        return self.offset_bytes + self.length_bytes


@dataclass(frozen=True, slots=True)
class Location:
    """Where one copy of an image's bytes lies: a URI of the store `store`.

    `metadata` is what the database keeps beside the URI (strings, lists and dicts only).
    """

    store: str
    uri: str
    metadata: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What lies in a store under the name `key`, whether or not a record knows of it.

    `location` is where its bytes are read; None for what is not a whole object: the parts of an upload that goes on
    or broke off. `size_bytes` None: the store does not tell without reading. `modified_at_s` is seconds since 1970
    by the store's clock, None if it does not tell.
    """

    key: str
    location: Location | None
    size_bytes: int | None
    modified_at_s: float | None


@dataclass(frozen=True, slots=True)
class ReadAccess:
    """Who else may read an object directly from its store: everybody, or the projects of these ids."""

    public: bool = False
    projects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Digests:
    """What was computed over a whole body: its size and its two hashes, in lower-case hex."""

    size_bytes: int
    checksum: str
    os_hash_algo: str
    os_hash_value: str
