"""The parts that an object is uploaded in: how large they are, and where their bytes wait for being sent.

Object stores take at most 10,000 parts of an object, and a part's size has to be told before its first byte is sent.
So bytes are gathered first: in memory as long as parts are small, in a temporary file for the parts of giants.
"""

import tempfile
from collections.abc import Sequence
from typing import IO

MIB = 1 << 20
MOST_PARTS = 10_000
LEAST_PART_BYTES = 5 * MIB  # S3's, for all parts but the last
MOST_OBJECT_BYTES = 5 << 40
MEMORY_BYTES = 20 * MIB
"""For the parts of one upload. The buffers that bytes come in take 8 MiB more; in all it is below 32."""
_USUAL_PART_BYTES = MEMORY_BYTES // 4  # one being filled and three under way
# Sizes of parts from that number on, for an upload that does not tell its size: 10,000 of them hold 5 TiB, and the
# first 50 GiB of it need no file.
_GROWTH: Sequence[tuple[int, int]] = (
    (7501, 1856 * MIB),
    (5001, 256 * MIB),
    (3801, 20 * MIB),
    (3001, 12 * MIB),
    (2001, 8 * MIB),
)


class PartPlan:
    """How large each part of one upload is."""

    def __init__(self, wished_bytes: int, size_bytes: int | None) -> None:
        """`wished_bytes` is what the operator wants, as far as there is memory for it. `size_bytes` None: unknown."""
        self._least_bytes = max(LEAST_PART_BYTES, min(wished_bytes, _USUAL_PART_BYTES))
        if size_bytes is not None:
            needed = -(-size_bytes // MOST_PARTS)
            self._least_bytes = max(self._least_bytes, -(-needed // MIB) * MIB)
        self._size_bytes = size_bytes

    def size_of(self, number: int) -> int:
        """The bytes of part `number`, counted from 1."""
        if self._size_bytes is not None:
            return self._least_bytes
        grown = next((size_bytes for first, size_bytes in _GROWTH if number >= first), 0)
        return max(self._least_bytes, grown)


class PartData:
    """The bytes of one part: appended to until it is sent, then let go of."""

    def __init__(self, size_bytes: int) -> None:
        """`size_bytes` decides where they wait; see `in_memory`."""
        self.size_bytes = 0
        self._most_bytes = size_bytes
        self._memory = bytearray()
        self._file: IO[bytes] | None = None

    @property
    def in_memory(self) -> bool:
        """Whether appending costs nothing but a copy, and the part counts as memory."""
        return self._most_bytes <= MEMORY_BYTES

    @property
    def memory_bytes(self) -> int:
        """What it takes when it is full."""
        return self._most_bytes if self.in_memory else 0

    @property
    def room_bytes(self) -> int:
        """How much more belongs into this part."""
        return self._most_bytes - self.size_bytes

    def append(self, piece: memoryview) -> None:
        """Copy `piece`, which has to fit. Blocks, and raises OSError, unless `in_memory`."""
        if self.in_memory:
            self._memory += piece
        else:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by let_go
            self._file.write(piece)
        self.size_bytes += len(piece)

    def content(self) -> "bytearray | IO[bytes]":
        """The bytes to send, from the beginning each time: in memory, or as a file."""
        if self._file is None:
            return self._memory
        self._file.seek(0)
        return self._file

    def let_go(self) -> None:
        """Free the memory or the file. Nobody must be sending it."""
        self._memory = bytearray()
        if self._file is not None:
            self._file.close()
            self._file = None
