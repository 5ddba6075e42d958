"""The body of an HTTP answer, by how its end is marked (RFC 9112 §6.3); blocks, so it runs in threads.

Bytes go from the socket into the caller's buffer, as they come: of what arrived before a connection broke, nothing is
lost. A body that ends without its mark is an error, never a short body.
"""

import re
import ssl
from http.client import HTTPResponse
from io import DEFAULT_BUFFER_SIZE, BufferedReader
from typing import Final, Protocol, cast

from blick.model.errors import SourceBroken

MALFORMED: Final = "The server's answer is malformed."
ENDED_EARLY: Final = "The server's answer ended early."

_LENGTH = re.compile(r"[0-9]{1,19}")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,16})[ \t]*(?:;[^\r\n]*)?\r?\n")
_MOST_LINE_BYTES = 1 << 13
_MOST_TRAILERS = 100


class Body(Protocol):
    """What is left of one body. `length_bytes` is what the server said at first; None if it did not."""

    length_bytes: int | None

    def read_some(self, buffer: memoryview) -> int:
        """Put at least one byte into `buffer` (not empty) and give the count; 0: the body has ended whole.

        Raises SourceBroken if it ended early or is malformed, TimeoutError and other OSErrors.
        """
        ...


def body_of(answer: HTTPResponse, method: str, connection: object) -> Body:
    """The body of `answer`, whose head has been read. `connection` is the socket that it comes from.

    Raises SourceBroken where one cannot tell where it ends.
    """
    length_bytes = _announced(answer)
    if method == "HEAD":
        return _NoBody(length_bytes)
    # http.client has let go of what has no body, by its status or its length.
    file = cast("BufferedReader | None", answer.fp)
    if file is None:
        return _NoBody(length_bytes)
    source = _Source(file)
    codings = answer.headers.get_all("transfer-encoding")
    if codings is not None:
        if [coding.strip().lower() for coding in codings] != ["chunked"]:
            raise SourceBroken(MALFORMED)
        return _ChunkedBody(source)
    if length_bytes is not None:
        return _SizedBody(source, length_bytes)
    if answer.headers.get("content-length") is not None:
        raise SourceBroken(MALFORMED)
    if isinstance(connection, ssl.SSLSocket):
        # The end of the connection is the end of the body here, so it has to be the server's own.
        connection.suppress_ragged_eofs = False  # type: ignore[attr-defined]  # it is documented by wrap_socket
    return _UnsizedBody(source)


def _announced(answer: HTTPResponse) -> int | None:
    """What Content-Length says, if it is a number that a size can be, and only one."""
    fields = answer.headers.get_all("content-length") or []
    values = {value.strip() for field in fields for value in field.split(",")}
    if len(values) != 1:
        return None
    [value] = values
    return int(value) if _LENGTH.fullmatch(value) else None


class _NoBody:
    def __init__(self, length_bytes: int | None) -> None:
        self.length_bytes = length_bytes

    def read_some(self, buffer: memoryview) -> int:  # noqa: ARG002 - the contract's
        return 0


class _SizedBody:
    def __init__(self, source: "_Source", length_bytes: int) -> None:
        self.length_bytes: int | None = length_bytes
        self._source = source
        self._left_bytes = length_bytes

    def read_some(self, buffer: memoryview) -> int:
        if self._left_bytes == 0:
            return 0
        with buffer[: self._left_bytes] as room:
            count = self._source.read_more(room)
        self._left_bytes -= count
        return count


class _UnsizedBody:
    """The end of the connection is the end of the body. One without a byte is none: its head may have been cut."""

    length_bytes: int | None = None

    def __init__(self, source: "_Source") -> None:
        self._source = source
        self._has_begun = False
        self._has_ended = False

    def read_some(self, buffer: memoryview) -> int:
        if self._has_ended:
            return 0
        if self._has_begun:
            count = self._source.read_some(buffer)
        else:
            count = self._source.read_more(buffer)
            self._has_begun = True
        self._has_ended = count == 0
        return count


class _ChunkedBody:
    length_bytes: int | None = None

    def __init__(self, source: "_Source") -> None:
        self._source = source
        self._left_bytes = 0  # of the chunk
        self._has_begun = False
        self._has_ended = False

    def read_some(self, buffer: memoryview) -> int:
        if self._left_bytes == 0 and not self._has_ended:
            self._begin_chunk()
        if self._has_ended:
            return 0
        with buffer[: self._left_bytes] as room:
            count = self._source.read_more(room)
        self._left_bytes -= count
        return count

    def _begin_chunk(self) -> None:
        if self._has_begun and self._source.line().strip(b"\r\n"):
            raise SourceBroken(MALFORMED)  # a chunk that is longer than it says
        found = _CHUNK.fullmatch(self._source.line())
        if found is None:
            raise SourceBroken(MALFORMED)
        self._has_begun = True
        self._left_bytes = int(found[1], 16)
        if self._left_bytes == 0:
            self._skip_trailers()
            self._has_ended = True

    def _skip_trailers(self) -> None:
        for _ in range(_MOST_TRAILERS):
            if not self._source.line().strip(b"\r\n"):
                return
        raise SourceBroken(MALFORMED)


class _Source:
    """What the server sends, from where the head was read.

    The file underneath reads ahead for lines. It may drop what it read ahead when the connection breaks, so this takes
    that out first.
    """

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self._is_ahead = True

    def read_some(self, buffer: memoryview) -> int:
        """At least one byte, or 0 at the end of the connection."""
        is_small = len(buffer) <= DEFAULT_BUFFER_SIZE
        if not is_small and not self._is_ahead:
            return self._file.readinto1(buffer)
        piece = self._file.read1(min(len(buffer), DEFAULT_BUFFER_SIZE))
        buffer[: len(piece)] = piece
        self._is_ahead = is_small
        return len(piece)

    def read_more(self, buffer: memoryview) -> int:
        """At least one byte; the connection must not end here."""
        count = self.read_some(buffer)
        if count == 0:
            raise SourceBroken(ENDED_EARLY)
        return count

    def line(self) -> bytes:
        """A line with its end."""
        self._is_ahead = True
        line = self._file.readline(_MOST_LINE_BYTES)
        if not line.endswith(b"\n"):
            raise SourceBroken(MALFORMED if len(line) == _MOST_LINE_BYTES else ENDED_EARLY)
        return line
