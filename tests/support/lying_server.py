"""A web server on the loopback interface with one object, that breaks connections and says things that are not so."""

import re
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TIMEOUT_S = 120.0


@dataclass
class Manners:
    """How the server behaves. One that is left as it is, is a good server.

    `breaks` are used up, one per GET: after so many bytes of the body the connection breaks. `failures` are used up
    before that, one per request: the status that it gets. `versions` take the place of data and ETag, one per GET.
    """

    framing: str = "length"  # or "chunked", or "close": the end of the connection is the end of the body
    etag: str | None = '"one"'
    last_modified: str | None = None
    knows_parts: bool = True
    minds_if_range: bool = True
    breaks: list[int] = field(default_factory=list)
    by_reset: bool = False
    keeps_silent: bool = False  # where it would break
    failures: list[int] = field(default_factory=list)
    versions: list[tuple[bytes, str | None]] = field(default_factory=list)
    knows_head: bool = True
    head_length: int | None = None
    whole_length: int | None = None  # what Content-Range says instead of the truth
    content_range: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    chunk_bytes: int = 10_000


class LyingServer:
    """`data` at any path, in the `manners`. `requests` are (method, Range or "") as they came, `heads` all headers."""

    def __init__(self, data: bytes, manners: Manners | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.data = data
        self.manners = manners or Manners()
        self.requests: list[tuple[str, str]] = []
        self.heads: list[dict[str, str]] = []
        self.gone_silent = threading.Event()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"web": self}))
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._scheme = "http" if tls is None else "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.stopped = threading.Event()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, path: str = "/image", host: str = "127.0.0.1") -> str:
        return f"{self._scheme}://{host}:{self.port}{path}"

    def behave(self, data: bytes, manners: Manners) -> None:
        """Begin anew with these."""
        self.data, self.manners = data, manners
        self.requests.clear()
        self.heads.clear()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(TIMEOUT_S)


@contextmanager
def lying_server(
    data: bytes, manners: Manners | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[LyingServer]:
    """A running one."""
    server = LyingServer(data, manners, tls)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    web: LyingServer
    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT_S

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        manners = self._noted()
        if not manners.knows_head:
            return self._refuse(405)
        length = len(self.web.data) if manners.head_length is None else manners.head_length
        self._begin(200, {"Content-Length": str(length), **self._version()})
        return None

    def do_GET(self) -> None:
        manners = self._noted()
        if manners.failures:
            return self._refuse(manners.failures.pop(0))
        if manners.versions:
            self.web.data, manners.etag = manners.versions.pop(0)
        data, offset = self.web.data, self._offset()
        if offset is None:
            return self._send(200, data, {})
        if offset >= len(data):
            return self._refuse(416, {"Content-Range": f"bytes */{len(data)}"})
        whole = len(data) if manners.whole_length is None else manners.whole_length
        told = manners.content_range or f"bytes {offset}-{len(data) - 1}/{whole}"
        return self._send(206, data[offset:], {"Content-Range": told})

    def _noted(self) -> Manners:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.web.heads.append(headers)
        self.web.requests.append((self.command, headers.get("range", "")))
        return self.web.manners

    def _offset(self) -> int | None:
        """From where on the client gets it; None: all."""
        manners = self.web.manners
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        condition = self.headers.get("if-range")
        if found is None or not manners.knows_parts:
            return None
        if manners.minds_if_range and condition not in (None, manners.etag, manners.last_modified):
            return None
        return int(found[1])

    def _version(self) -> dict[str, str]:
        manners = self.web.manners
        told = {"ETag": manners.etag, "Last-Modified": manners.last_modified}
        return {name: value for name, value in told.items() if value is not None}

    def _refuse(self, status: int, headers: dict[str, str] | None = None) -> None:
        self._begin(status, {"Content-Length": "0", **(headers or {})})

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        manners = self.web.manners
        framing = {"length": {"Content-Length": str(len(body))}, "chunked": {"Transfer-Encoding": "chunked"}}.get(
            manners.framing, {"Connection": "close"}
        )
        most = manners.breaks.pop(0) if manners.breaks else None
        self._begin(status, {**framing, **self._version(), **headers, **manners.headers})
        with suppress(OSError):
            self._write(body[:most])
            if most is not None:
                return self._break()
            if manners.framing == "chunked":
                self.wfile.write(b"0\r\n\r\n")
            if manners.framing == "close":
                self._close()
        return None

    def _write(self, data: bytes) -> None:
        if self.web.manners.framing != "chunked":
            self.wfile.write(data)
            return
        size = self.web.manners.chunk_bytes
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            self.wfile.write(b"%x;x=y\r\n%b\r\n" % (len(piece), piece))

    def _break(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        if self.web.manners.keeps_silent:
            self.web.gone_silent.set()
            self.web.stopped.wait(TIMEOUT_S)
        elif self.web.manners.by_reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        else:
            self._close()

    def _close(self) -> None:
        """Without TLS's own good-bye: as a connection ends that something between the two has cut."""
        self.close_connection = True
        socket.socket.shutdown(self.connection, socket.SHUT_RDWR)
