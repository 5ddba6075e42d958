"""One HTTP exchange about a file in a datastore; blocking.

A datastore answers like a plain web server: PUT, GET with ranges and HEAD, with a session's cookie. Everything here is
used by one thread at a time, except `interrupt`.
"""

import re
import socket
import ssl
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from threading import Lock
from traceback import clear_frames

from blick.model.blob import ByteRange
from blick.model.errors import (
    DataExists,
    DataNotFound,
    RangeInvalid,
    RangeUnsupported,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from blick.stores.vmware.options import Place, VmwareOptions

CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 60.0
_LEAVING_TIMEOUT_S = 5.0
_LENGTH = re.compile(r"[0-9]{1,19}")
_REFUSALS: dict[int, type[StoreError]] = {
    403: StoreDenied,
    404: DataNotFound,
    409: DataExists,
    410: DataNotFound,
    413: StoreFull,
    416: RangeInvalid,
    507: StoreFull,
}


class SessionEnded(Exception):
    """The cookie is not, or no longer, that of a session."""


class Exchange:
    """One request and its answer. `close` it, or `abandon` an unfinished PUT."""

    def __init__(self, store: str, options: VmwareOptions, tls: ssl.SSLContext) -> None:
        self._store = store
        self._lock = Lock()
        self._interrupted = False
        self._is_putting = False
        host, port = options.address
        self._connection = HTTPSConnection(host, port, timeout=CONNECT_TIMEOUT_S, context=tls)
        self._response: HTTPResponse | None = None
        self._left_bytes: int | None = None

    def put_empty(self, place: Place, cookie: str) -> None:
        """Make an empty file."""
        self.begin_put(place, cookie, 0)
        self.finish_put()

    def begin_put(self, place: Place, cookie: str, size_bytes: int | None) -> None:
        """Begin to write a file; `size_bytes` None: as much as comes."""
        self._left_bytes = size_bytes
        self._is_putting = True
        length = ("Transfer-Encoding", "chunked") if size_bytes is None else ("Content-Length", str(size_bytes))
        self._ask("PUT", place, cookie, (length, ("Content-Type", "application/octet-stream")))

    def send(self, buffer: memoryview) -> None:
        """Write on. Raises StoreError for more than was announced."""
        if not buffer:
            return  # an empty piece is how chunks end
        pieces: list[bytes | memoryview]
        if self._left_bytes is None:
            pieces = [b"%x\r\n" % len(buffer), buffer, b"\r\n"]
        elif len(buffer) > self._left_bytes:
            raise StoreError(self._store, "there is more data than was announced")
        else:
            self._left_bytes -= len(buffer)
            pieces = [buffer]
        try:
            for piece in pieces:
                self._connection.send(piece)
        except (OSError, HTTPException) as error:
            clear_frames(error.__traceback__)  # they hold slices of the buffer, which is the caller's
            self._judge_early_answer()
            raise self._gone() from error

    def finish_put(self) -> None:
        """The file is whole. Raises StoreError for less than was announced."""
        if self._left_bytes:
            raise StoreError(self._store, "there is less data than was announced")
        try:
            if self._left_bytes is None:
                self._connection.send(b"0\r\n\r\n")
            self._is_putting = False
            self._take_answer()
        except (OSError, HTTPException) as error:
            raise self._gone() from error

    def size_bytes(self, place: Place, cookie: str) -> int:
        """How large a file is. Raises DataNotFound."""
        self._ask("HEAD", place, cookie)
        self._take_answer()
        return self._announced_bytes()

    def begin_get(self, place: Place, cookie: str, wanted: ByteRange | None) -> int:
        """Begin to read a file, or just the part `wanted`, which is not empty; give how much comes."""
        part = () if wanted is None else (("Range", f"bytes={wanted.offset_bytes}-{wanted.end_bytes - 1}"),)
        self._ask("GET", place, cookie, part)
        self._take_answer()
        length_bytes = self._announced_bytes()
        if wanted is not None:
            assert self._response is not None
            if self._response.status != 206:
                raise RangeUnsupported(self._store)
            if length_bytes != wanted.length_bytes:
                raise RangeInvalid(self._store)
        return length_bytes

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer`, which is not longer than what is left. Raises RangeInvalid where the data ends early."""
        assert self._response is not None
        filled = 0
        try:
            while filled < len(buffer):
                count = self._response.readinto(buffer[filled:])
                if not count:
                    raise RangeInvalid(self._store, "the server's answer ended early")
                filled += count
        except (OSError, HTTPException) as error:
            raise self._gone() from error
        return filled

    def interrupt(self) -> None:
        """Make whatever waits for the network end at once. From any thread."""
        with self._lock:
            self._interrupted = True
            self._shut(socket.SHUT_WR if self._is_putting else socket.SHUT_RDWR)

    def abandon(self) -> None:
        """End a PUT in the middle, and wait until the server has seen it: only then the file can be removed."""
        sock: socket.socket | None = self._connection.sock
        try:
            if sock is not None and self._is_putting:
                sock.settimeout(_LEAVING_TIMEOUT_S)
                self._shut(socket.SHUT_WR)
                while sock.recv(1 << 16):
                    continue
        except OSError:
            return  # it is gone already, or hangs: what it still writes is found by discard
        finally:
            self.close()

    def close(self) -> None:
        """Give the connection back."""
        if self._response is not None:
            self._response.close()
        self._connection.close()

    def _ask(self, method: str, place: Place, cookie: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        try:
            self._connection.connect()
            with self._lock:
                if self._interrupted:
                    raise StoreUnavailable(self._store, "the request was called off")
                assert self._connection.sock is not None
                self._connection.sock.settimeout(ANSWER_TIMEOUT_S)
            self._connection.putrequest(method, place.resource, skip_accept_encoding=True)
            for name, value in (("Cookie", cookie), ("User-Agent", "blick"), ("Connection", "close"), *headers):
                self._connection.putheader(name, value)
            self._connection.endheaders()
        except (OSError, HTTPException) as error:
            raise self._gone() from error

    def _take_answer(self) -> None:
        try:
            self._response = self._connection.getresponse()
        except (OSError, HTTPException) as error:
            raise self._gone() from error
        self._judge(self._response.status)

    def _judge_early_answer(self) -> None:
        """A server that wants no more data may have said why before it hung up."""
        try:
            self._response = self._connection.getresponse()
        except (OSError, HTTPException):
            return
        if self._response.status >= 300:
            self._judge(self._response.status)

    def _judge(self, status: int) -> None:
        if status in (200, 201, 204, 206):
            return
        if status == 401:
            raise SessionEnded
        if status in _REFUSALS:
            raise _REFUSALS[status](self._store)
        kind = StoreUnavailable if status >= 500 or status in (408, 429) else StoreError
        raise kind(self._store, f"the server answered {status}")

    def _announced_bytes(self) -> int:
        assert self._response is not None
        text = self._response.headers.get("Content-Length", "")
        if not _LENGTH.fullmatch(text):
            raise StoreError(self._store, "the server does not tell how long the data is")
        return int(text)

    def _gone(self) -> StoreUnavailable:
        return StoreUnavailable(self._store, "the server does not answer, or hung up")

    def _shut(self, how: int) -> None:
        sock = self._connection.sock
        if sock is None:
            return
        try:
            socket.socket.shutdown(sock, how)  # past TLS, which another thread may be using
        except OSError:
            return  # it is closed already


def tls_context(store: str, options: VmwareOptions) -> ssl.SSLContext:
    """Whom to trust. Raises StoreUnavailable for a file of authorities that cannot be used."""
    try:
        context = ssl.create_default_context(cafile=options.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise StoreUnavailable(store, "the file of vmware_ca_file cannot be used") from error
    if not options.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
