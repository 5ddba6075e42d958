"""Blocks of zeros, which files need not have: what is never written reads as zeros."""

from collections.abc import Iterator
from typing import Final

HOLE_BYTES: Final = 64 << 10
"""Zeros are left out in these units: the largest block size that file systems use, so that every hole counts."""
_ZEROS = bytes(HOLE_BYTES)


def data_pieces(buffer: memoryview, offset_bytes: int) -> Iterator[tuple[int, memoryview]]:
    """The parts of `buffer`, which belongs at `offset_bytes` of a file, that are not blocks of zeros, with their
    places. Blocks are cut where the file's are, not where the buffer begins; neighbours come as one piece.
    """
    begin, position = 0, 0
    while position < len(buffer):
        end = min(position + HOLE_BYTES - (offset_bytes + position) % HOLE_BYTES, len(buffer))
        # startswith compares without copying, and stops at the first byte that differs.
        if _ZEROS.startswith(buffer[position:end]):
            if begin < position:
                yield offset_bytes + begin, buffer[begin:position]
            begin = end
        position = end
    if begin < position:
        yield offset_bytes + begin, buffer[begin:position]
