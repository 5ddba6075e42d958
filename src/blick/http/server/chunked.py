"""Where the payload lies in the bytes of a body: by a known length, or in chunks (RFC 9112 §7.1), read strictly.

Both framings are driven the same way: while `payload_bytes` is not 0, so many bytes of payload come next, and
whoever moves them tells `took`; else `read_framing` is shown what came; until `complete`.
"""

import re
from typing import Protocol

SIZE_LINE_BYTES = 256  # size and extensions of one chunk
TRAILER_BYTES = 8 << 10  # all trailers together; they are dropped

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_SIZE_LINE_START = re.compile(rb"[0-9A-Fa-f]{1,15}[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?\r?")
_TRAILER = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+:[\t\x20-\x7e\x80-\xff]*")


class ChunkError(Exception):
    """Not chunked coding as the RFC has it."""


class Framing(Protocol):
    """Tells payload from what surrounds it."""

    @property
    def payload_bytes(self) -> int:
        """How many bytes of payload come next, without anything in between."""
        ...

    @property
    def complete(self) -> bool:
        """Whether the body has ended whole."""
        ...

    @property
    def self_limiting(self) -> bool:
        """Whether nothing but payload is left, so that nobody has to look for the end."""
        ...

    def took(self, count: int) -> None:
        """`count` (≤ `payload_bytes`) bytes of payload were moved."""
        ...

    def read_framing(self, data: memoryview) -> int:
        """Read `data` up to the next payload or the end of the body; give how much of it was used.

        Only while `payload_bytes` is 0 and the body is not complete. Raises ChunkError.
        """
        ...


class FixedLength:
    """A body of `payload_bytes` bytes."""

    __slots__ = ("payload_bytes",)
    self_limiting = True

    def __init__(self, payload_bytes: int) -> None:
        self.payload_bytes = payload_bytes

    @property
    def complete(self) -> bool:
        """See Framing."""
        return self.payload_bytes == 0

    def took(self, count: int) -> None:
        """See Framing."""
        self.payload_bytes -= count

    def read_framing(self, data: memoryview) -> int:  # noqa: ARG002 - the interface has it
        """See Framing: there is none."""
        return 0


class ChunkDecoder:
    """A chunked body."""

    __slots__ = ("_line", "_trailers_bytes", "_within", "complete", "likely_bytes", "likely_frame", "payload_bytes")
    self_limiting = False

    def __init__(self) -> None:
        self.payload_bytes = 0
        self.complete = False
        self.likely_frame = b""  # between this chunk and the next, if that is of the same size; b"": unknown
        self.likely_bytes = 0  # the size of both
        self._line = b""  # the beginning of a line that has not come whole
        self._within = _SIZE
        self._trailers_bytes = 0

    def took(self, count: int) -> None:
        """See Framing."""
        self.payload_bytes -= count

    def read_framing(self, data: memoryview) -> int:
        """See Framing."""
        used = 0
        while used < len(data) and not self.payload_bytes and not self.complete:
            used += self._read_line(data[used:])
        return used

    def passed_likely_frame(self) -> None:
        """Instead of `read_framing`, at the end of a chunk's payload: `likely_frame` came."""
        self.payload_bytes = self.likely_bytes

    def _read_line(self, data: memoryview) -> int:
        """Take a line, or what there is of it, and give its length."""
        most = (SIZE_LINE_BYTES if self._within != _TRAILERS else TRAILER_BYTES) + 2
        start = bytes(data[: most - len(self._line)])
        line = self._line + start
        end = line.find(b"\n")
        if end < 0:
            if len(line) >= most:
                raise ChunkError("A line of the chunked coding is too long.")
            self._check_start(line)
            self._line = line
            return len(start)
        if line[end - 1 : end] != b"\r":
            raise ChunkError("A line of the chunked coding ends without a carriage return.")
        used = end + 1 - len(self._line)
        self._line = b""
        self._take_line(line[: end - 1])
        return used

    def _check_start(self, line: bytes) -> None:
        """Refuse at once what no further byte can make good: garbage behind a chunk, or in place of a size."""
        if (self._within == _CHUNK_END and not b"\r\n".startswith(line)) or (
            self._within == _SIZE and not _SIZE_LINE_START.fullmatch(line)
        ):
            raise ChunkError("Malformed chunk.")

    def _take_line(self, line: bytes) -> None:
        if self._within == _CHUNK_END:
            if line:
                raise ChunkError("A chunk is longer than it said.")
            self._within = _SIZE
        elif self._within == _SIZE:
            match = _SIZE_LINE.fullmatch(line)
            if match is None:
                raise ChunkError("Malformed chunk size.")
            self.payload_bytes = int(match[1], 16)
            self._within = _CHUNK_END if self.payload_bytes else _TRAILERS
            self.likely_bytes = self.payload_bytes
            self.likely_frame = b"\r\n%s\r\n" % line if len(line) == len(match[1]) else b""
        else:
            self._take_trailer(line)

    def _take_trailer(self, line: bytes) -> None:
        self._trailers_bytes += len(line) + 2
        if self._trailers_bytes > TRAILER_BYTES or (line and not _TRAILER.fullmatch(line)):
            raise ChunkError("Malformed trailers, or too long ones.")
        self.complete = not line


_SIZE, _CHUNK_END, _TRAILERS = range(3)
