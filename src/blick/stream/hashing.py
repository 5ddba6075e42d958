"""The two hashes of every image: MD5, which the API calls checksum, and one of the operator's choice."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blick.model.blob import Digests
from blick.model.errors import Invalid

if TYPE_CHECKING:
    from hashlib import _Hash


@dataclass(frozen=True, slots=True)
class Hashing:
    """Which second hash to compute; `algorithm` is one of hashlib's names, with a digest of fixed length.

    Raises Invalid when this machine does not know the algorithm.
    """

    algorithm: str = "sha512"

    def __post_init__(self) -> None:
        try:
            size_bytes = _new(self.algorithm).digest_size
        except (ValueError, TypeError):
            size_bytes = 0
        if size_bytes == 0:  # unknown, or of free length (shake_128)
            raise Invalid(f"The hash algorithm {self.algorithm!r} is not one that can be computed here.")

    def begin(self) -> "RunningHashes":
        """Fresh hashes for one body."""
        return RunningHashes(self.algorithm)


class RunningHashes:
    """Hashes of one body under way. The two may be fed from two threads, each of them by one at a time."""

    def __init__(self, algorithm: str) -> None:
        self._algorithm = algorithm
        self.md5 = _new("md5")
        self.second = _new(algorithm)

    def copy(self) -> "RunningHashes":
        """The same again, to go on from here in another way. Nobody may feed these meanwhile."""
        twin = RunningHashes(self._algorithm)
        twin.md5, twin.second = self.md5.copy(), self.second.copy()
        return twin

    def digests(self, size_bytes: int) -> Digests:
        """What came out over the `size_bytes` bytes fed to both."""
        return Digests(size_bytes, self.md5.hexdigest(), self._algorithm, self.second.hexdigest())


def _new(algorithm: str) -> "_Hash":
    # MD5 is part of the API and protects nothing: it must work where OpenSSL runs in FIPS mode, too.
    return hashlib.new(algorithm, usedforsecurity=False)
