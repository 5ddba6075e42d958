"""The body of one request, as far as it has come."""

from collections import deque

from blick.http.server.chunked import ChunkDecoder, ChunkError, FixedLength, Framing


class Inbound:
    """Takes the raw bytes of a body and keeps its payload until somebody wants it.

    `broken` says why nothing can come any more although the body has not ended; it stays None otherwise.
    """

    __slots__ = ("_pieces", "broken", "buffered_bytes", "framing")

    def __init__(self, body_bytes: int | None) -> None:
        self.framing: Framing = ChunkDecoder() if body_bytes is None else FixedLength(body_bytes)
        self.broken: str | None = None
        self.buffered_bytes = 0
        self._pieces: deque[memoryview] = deque()

    @property
    def complete(self) -> bool:
        """Whether the body came whole; parts of it may still be buffered here."""
        return self.framing.complete

    def feed(self, data: bytes) -> int:
        """Take what came from the network; give how much of it belongs to this body."""
        view, used, framing = memoryview(data), 0, self.framing
        while used < len(view) and not framing.complete and self.broken is None:
            count = min(framing.payload_bytes, len(view) - used)
            if count:
                self._pieces.append(view[used : used + count])
                self.buffered_bytes += count
                framing.took(count)
            else:
                count = self._read_framing(view[used:])
            used += count
        return used

    def _read_framing(self, view: memoryview) -> int:
        try:
            return self.framing.read_framing(view)
        except ChunkError as error:
            self.broken = str(error)
            return len(view)

    def take(self) -> bytes:
        """All of the payload that is here."""
        whole = b"".join(self._pieces)
        self._pieces.clear()
        self.buffered_bytes = 0
        return whole

    def take_into(self, buffer: memoryview) -> int:
        """Put what is here into `buffer`, as much as fits; give the count of bytes."""
        filled = 0
        while self._pieces and filled < len(buffer):
            piece = self._pieces.popleft()
            count = min(len(piece), len(buffer) - filled)
            buffer[filled : filled + count] = piece[:count]
            filled += count
            if count < len(piece):
                self._pieces.appendleft(piece[count:])
        self.buffered_bytes -= filled
        return filled
