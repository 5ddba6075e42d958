"""What the data of an image has to be: its size and its hash, as the image's record tells them."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from blick.cli.replication.documents import Document
from blick.model.errors import SourceBroken


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Either may be unknown: an image without a hash is known by its size alone."""

    size_bytes: int | None
    algorithm: str | None = None
    value: str | None = None

    @classmethod
    def of(cls, document: Document) -> "Fingerprint":
        """By the record's multihash, or by its MD5 where there is no other, or none that this Python knows."""
        size = document.get("size")
        size_bytes = size if isinstance(size, int) else None
        algorithm, value = document.get("os_hash_algo"), document.get("os_hash_value")
        if algorithm and value and algorithm in hashlib.algorithms_available:
            return cls(size_bytes, algorithm, value)
        if checksum := document.get("checksum"):
            return cls(size_bytes, "md5", checksum)
        return cls(size_bytes)

    @property
    def is_hashed(self) -> bool:
        """Is there a hash to go by?"""
        return self.algorithm is not None


class Check:
    """Watches data go by and says in the end whether it was what it had to be."""

    def __init__(self, wanted: Fingerprint, what: str) -> None:
        """`what` names the data in the texts of errors."""
        self._wanted = wanted
        self._what = what
        self._digest = hashlib.new(wanted.algorithm, usedforsecurity=False) if wanted.algorithm else None
        self.passed_bytes = 0

    def update(self, piece: bytes) -> None:
        """The next piece. Raises SourceBroken as soon as there is too much."""
        self.passed_bytes += len(piece)
        if self._wanted.size_bytes is not None and self.passed_bytes > self._wanted.size_bytes:
            raise SourceBroken(f"{self._what} has more than the {self._wanted.size_bytes} bytes that it should have.")
        if self._digest is not None:
            self._digest.update(piece)

    def require_whole(self) -> None:
        """Raises SourceBroken unless that was all, and the right bytes."""
        if fault := self.fault():
            raise SourceBroken(f"{self._what} {fault}")

    def fault(self) -> str:
        """What is wrong with the data if that was all of it; empty if nothing is."""
        size = self._wanted.size_bytes
        if size is not None and self.passed_bytes != size:
            return f"has {self.passed_bytes} bytes, and should have {size}."
        if self._digest is not None and self._digest.hexdigest() != str(self._wanted.value).lower():
            return f"is damaged: its {self._wanted.algorithm} is not the recorded one."
        return ""


def checked(pieces: Iterable[bytes], check: Check) -> Iterator[bytes]:
    """The same pieces; the last one only if all of it was right, so that nobody ever has wrong data complete.

    Raises SourceBroken before the last piece otherwise.
    """
    held: bytes | None = None
    for piece in chain(pieces, (None,)):
        if piece is None:
            check.require_whole()
        else:
            check.update(piece)
        if held is not None:
            yield held
        held = piece
