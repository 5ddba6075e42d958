"""A web server on the loopback interface with one object, that breaks connections and says things that are not so."""

import re
import socket
import ssl
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field

from tests.support.local_http import TIMEOUT_S, LocalHandler, LocalServer


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


class LyingServer(LocalServer):
    """`data` at any path, in the `manners`. `requests` are (method, Range or "") as they came, `heads` all headers."""

    def __init__(self, data: bytes, manners: Manners | None = None, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(_Handler, tls)
        self.data = data
        self.manners = manners or Manners()
        self.requests: list[tuple[str, str]] = []
        self.heads: list[dict[str, str]] = []
        self.gone_silent = threading.Event()
        self.stopped = threading.Event()

    def url(self, path: str = "/image", host: str = "127.0.0.1") -> str:
        return f"{self._scheme}://{host}:{self.port}{path}"

    def behave(self, data: bytes, manners: Manners) -> None:
        """Begin anew with these."""
        self.data, self.manners = data, manners
        self.requests.clear()
        self.heads.clear()

    def stop(self) -> None:
        self.stopped.set()
        super().stop()


class _Handler(LocalHandler):
    owner: LyingServer

    def do_HEAD(self) -> None:
        manners = self._noted()
        if not manners.knows_head:
            return self._refuse(405)
        length = len(self.owner.data) if manners.head_length is None else manners.head_length
        self.begin(200, {"Content-Length": str(length), **self._version()})
        return None

    def do_GET(self) -> None:
        manners = self._noted()
        if manners.failures:
            return self._refuse(manners.failures.pop(0))
        if manners.versions:
            self.owner.data, manners.etag = manners.versions.pop(0)
        data, offset = self.owner.data, self._offset()
        if offset is None:
            return self._send(200, data, {})
        if offset >= len(data):
            return self._refuse(416, {"Content-Range": f"bytes */{len(data)}"})
        whole = len(data) if manners.whole_length is None else manners.whole_length
        told = manners.content_range or f"bytes {offset}-{len(data) - 1}/{whole}"
        return self._send(206, data[offset:], {"Content-Range": told})

    def _noted(self) -> Manners:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.owner.heads.append(headers)
        self.owner.requests.append((self.command, headers.get("range", "")))
        return self.owner.manners

    def _offset(self) -> int | None:
        """From where on the client gets it; None: all."""
        manners = self.owner.manners
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        condition = self.headers.get("if-range")
        if found is None or not manners.knows_parts:
            return None
        if manners.minds_if_range and condition not in (None, manners.etag, manners.last_modified):
            return None
        return int(found[1])

    def _version(self) -> dict[str, str]:
        manners = self.owner.manners
        told = {"ETag": manners.etag, "Last-Modified": manners.last_modified}
        return {name: value for name, value in told.items() if value is not None}

    def _refuse(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.begin(status, {"Content-Length": "0", **(headers or {})})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        manners = self.owner.manners
        framing = {"length": {"Content-Length": str(len(body))}, "chunked": {"Transfer-Encoding": "chunked"}}.get(
            manners.framing, {"Connection": "close"}
        )
        most = manners.breaks.pop(0) if manners.breaks else None
        self.begin(status, {**framing, **self._version(), **headers, **manners.headers})
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
        if self.owner.manners.framing != "chunked":
            self.wfile.write(data)
            return
        size = self.owner.manners.chunk_bytes
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            self.wfile.write(b"%x;x=y\r\n%b\r\n" % (len(piece), piece))

    def _break(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        if self.owner.manners.keeps_silent:
            self.owner.gone_silent.set()
            self.owner.stopped.wait(TIMEOUT_S)
        elif self.owner.manners.by_reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        else:
            self._close()

    def _close(self) -> None:
        """Without TLS's own good-bye: as a connection ends that something between the two has cut."""
        self.close_connection = True
        socket.socket.shutdown(self.connection, socket.SHUT_RDWR)
