"""HTTP for Swift, straight on the standard library's client. Everything here blocks, and is called through a hop.

Bytes go from the writer's buffer to the socket and from the socket to the reader's, without a copy in between. Before
any byte of a body Swift is asked whether it will take it (Expect: 100-continue), so that a lapsed token, a missing
container, a full account or an object that exists already are known while nothing is lost.
"""

import http.client
import io
import socket
import ssl
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from blick.stream.sockets import shut

CONNECT_TIMEOUT_S = 10.0
IDLE_TIMEOUT_S = 60.0
"""How long Swift may be silent. The same as its own default for us."""

_CONTINUE_TIMEOUT_S = 5.0  # something in between may not know Expect; then the body goes out unasked
_MOST_IDLE = 8  # connections kept for each server
_SEND_BYTES = 1 << 20  # a timeout counts for one such piece
_MOST_HEAD_BYTES = 64 << 10
_BROKEN_HEAD = "the head of the answer broke off"
_MOST_ANSWER_BYTES = 16 << 20  # a listing of 1000 names is a few hundred KiB


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said: status, headers by lower-case name, and body, where it was read."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class Connections:
    """Connections to any servers, kept for the next request. Safe to use from several threads."""

    def __init__(self, ca_file: str | None, *, insecure: bool) -> None:
        self._ca_file = ca_file
        self._insecure = insecure
        self._tls: ssl.SSLContext | None = None
        self._idle: dict[tuple[str, str], list[http.client.HTTPConnection]] = defaultdict(list)
        self._lock = threading.Lock()

    def open(self, url: str, *, fresh: bool = False) -> "Connection":
        """A connection to the server of `url`: one that is kept, unless `fresh`, or else a new one."""
        parts = urlsplit(url)
        origin = (parts.scheme, parts.netloc)
        with self._lock:
            idle = self._idle[origin]
            if idle and not fresh:
                return Connection(self, origin, idle.pop(), reused=True)
        return Connection(self, origin, self._connect(*origin), reused=False)

    def keep(self, origin: tuple[str, str], plain: http.client.HTTPConnection) -> None:
        """Take back a connection on which everything was read."""
        with self._lock:
            if len(self._idle[origin]) < _MOST_IDLE:
                self._idle[origin].append(plain)
                return
        plain.close()

    def close(self) -> None:
        """Close what is kept."""
        with self._lock:
            kept = [plain for idle in self._idle.values() for plain in idle]
            self._idle.clear()
        for plain in kept:
            plain.close()

    def _connect(self, scheme: str, netloc: str) -> http.client.HTTPConnection:
        plain = (
            http.client.HTTPSConnection(netloc, timeout=CONNECT_TIMEOUT_S, context=self._context())
            if scheme == "https"
            else http.client.HTTPConnection(netloc, timeout=CONNECT_TIMEOUT_S)
        )
        plain.connect()
        plain.sock.settimeout(IDLE_TIMEOUT_S)
        return plain

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            context = ssl.create_default_context(cafile=self._ca_file)
            if self._insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            self._tls = context
        return self._tls


class Connection:
    """One request and its answer. Raises OSError and http.client.HTTPException as they come.

    `interrupt` may be called from another thread: whatever waits for the server then fails. `close` always.
    """

    def __init__(
        self, home: Connections, origin: tuple[str, str], plain: http.client.HTTPConnection, *, reused: bool
    ) -> None:
        self.reused = reused
        self._home = home
        self._origin = origin
        self._plain: http.client.HTTPConnection | None = plain
        self._socket = plain.sock
        self._response: http.client.HTTPResponse | None = None
        self._chunked = False

    def send_head(self, method: str, target: str, headers: Mapping[str, str]) -> None:
        """Send the request without its body."""
        plain = self._open()
        plain.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers.items():
            plain.putheader(name, value)
        self._chunked = headers.get("Transfer-Encoding") == "chunked"
        plain.endheaders()

    def may_send(self) -> Answer | None:
        """Wait for the server's consent to the body; None: it is there. An answer is a refusal: nothing may be sent."""
        self._socket.settimeout(_CONTINUE_TIMEOUT_S)
        try:
            # Not buffered: what comes after this head belongs to the real answer.
            with self._socket.makefile("rb", buffering=0) as stream:
                head = _read_head(stream)
        except TimeoutError:
            head = None
        finally:
            self._socket.settimeout(IDLE_TIMEOUT_S)
        return None if head is None or head.status == http.client.CONTINUE else head

    def send(self, view: memoryview) -> None:
        """Send some of the body."""
        plain = self._open()
        for offset in range(0, len(view), _SEND_BYTES):
            # Given back at once: an error's traceback would hold on to the caller's buffer.
            with view[offset : offset + _SEND_BYTES] as piece:
                if self._chunked:
                    plain.send(b"%x\r\n" % len(piece))
                plain.send(piece)
                if self._chunked:
                    plain.send(b"\r\n")

    def end_body(self) -> None:
        """Say that the body is whole."""
        if self._chunked:
            self._open().send(b"0\r\n\r\n")

    def answer(self, *, read_body: bool = True) -> Answer:
        """Wait for the answer; with its body, after which the connection is kept for others."""
        self._response = response = self._open().getresponse()
        headers = {name.lower(): value for name, value in response.headers.items()}
        if not read_body:
            return Answer(response.status, headers)
        body = response.read(_MOST_ANSWER_BYTES)
        self.finish()
        return Answer(response.status, headers, body)

    def readinto(self, view: memoryview) -> int:
        """Put some of the answer's body into `view`; 0: it has ended, or broke off."""
        assert self._response is not None
        return self._response.readinto(view)

    def finish(self) -> None:
        """Keep the connection for others if the answer was read to its end; else close it."""
        plain, response = self._plain, self._response
        if plain is None:
            return
        if response is not None and response.isclosed() and plain.sock is not None:
            self._plain = None
            self._home.keep(self._origin, plain)
        else:
            self.close()

    def close(self) -> None:
        """End the connection, whatever is under way: a body that was not ended is then nothing to Swift."""
        plain, self._plain = self._plain, None
        if self._response is not None:
            self._response.close()
        if plain is not None:
            plain.close()

    def interrupt(self) -> None:
        """Make what waits for the server in another thread fail now."""
        shut(self._socket)

    def _open(self) -> http.client.HTTPConnection:
        if self._plain is None:
            raise http.client.NotConnected
        return self._plain


def _read_head(stream: io.RawIOBase | socket.SocketIO) -> Answer:
    """The head of an answer. TimeoutError only before its first byte."""
    first = stream.read(1)
    try:
        lines = [(first or b"") + stream.readline(_MOST_HEAD_BYTES)]
        size_bytes = len(lines[0])
        while lines[-1] not in (b"\r\n", b"\n"):
            lines.append(stream.readline(_MOST_HEAD_BYTES))
            size_bytes += len(lines[-1])
            if not lines[-1] or size_bytes > _MOST_HEAD_BYTES:
                raise http.client.RemoteDisconnected(_BROKEN_HEAD)
    except TimeoutError as error:
        raise http.client.RemoteDisconnected(_BROKEN_HEAD) from error
    version, _, rest = lines[0].partition(b" ")
    if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
        raise http.client.BadStatusLine(lines[0].decode("latin-1", "replace")[:80])
    parsed = http.client.parse_headers(io.BytesIO(b"".join(lines[1:])))
    return Answer(int(rest[:3]), {name.lower(): value for name, value in parsed.items()})
