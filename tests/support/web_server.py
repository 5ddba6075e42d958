"""A web server on the loopback interface that has objects, and misbehaves where the first part of a path says so."""

import re
import ssl
import threading
import time

from tests.support.local_http import TIMEOUT_S, LocalHandler, LocalServer

PIECE_BYTES = 1 << 16
SLOW_PIECES = 8
SLOW_PAUSE_S = 0.15


class WebServer(LocalServer):
    """`objects` by name; `/<manner>/<name>` serves one of them, in one of the manners of `_Handler`.

    `requests` are (method, path) as they came, `heads` their headers. A body of manner `waiting` stops half way until
    `go` is set.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(_Handler, tls)
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.heads: list[dict[str, str]] = []
        self.failures_left = 0
        self.go = threading.Event()
        self.waiting = threading.Event()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{self._scheme}://{host}:{self.port}{path}"

    def put(self, data: bytes, manner: str = "plain", name: str | None = None) -> str:
        """Have an object; gives the URL that serves it in that manner."""
        name = name or f"object-{len(self.objects)}"
        self.objects[name] = data
        return self.url(f"/{manner}/{name}")

    def stop(self) -> None:
        self.go.set()
        super().stop()


class _Handler(LocalHandler):
    owner: WebServer

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.owner.requests.append((self.command, self.path))
        self.owner.heads.append({name.lower(): value for name, value in self.headers.items()})
        path = re.sub(r"^https?://[^/]*", "", self.path)  # as a proxy is asked
        _, manner, name = path.split("/", 2)
        data = self.owner.objects.get(name, b"")
        try:
            getattr(self, f"as_{manner.replace('-', '_')}")(name, data)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def as_plain(self, name: str, data: bytes) -> None:
        """As a good server does, parts included."""
        if name not in self.owner.objects:
            return self._end(404)
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        if found is None:
            return self._send(200, data)
        first, last = int(found[1]), min(int(found[2]), len(data) - 1)
        if first >= len(data):
            return self._end(416)
        return self._send(206, data[first : last + 1], {"Content-Range": f"bytes {first}-{last}/{len(data)}"})

    def as_whole(self, name: str, data: bytes) -> None:
        """Knows no parts."""
        if name not in self.owner.objects:
            return self._end(404)
        return self._send(200, data)

    def as_no_head(self, name: str, data: bytes) -> None:
        return self._end(405) if self.command == "HEAD" else self.as_plain(name, data)

    def as_unsized(self, name: str, data: bytes) -> None:
        """Tells no length: the end of the connection is the end of the data."""
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        if self.command == "GET":
            self.wfile.write(data)

    def as_chunked(self, name: str, data: bytes, *, ends: bool = True) -> None:
        """HEAD tells the length, GET sends chunks."""
        if self.command == "HEAD":
            return self._send(200, data)
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        if ends:
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True
        return None

    def as_chunked_unfinished(self, name: str, data: bytes) -> None:
        """HEAD promises everything, GET ends half way and without the last chunk."""
        half = data if self.command == "HEAD" else data[: len(data) // 2]
        self.as_chunked(name, half, ends=False)

    def as_short(self, name: str, data: bytes) -> None:
        """Promises everything and breaks off half way."""
        self._send(200, data, cut=len(data) // 2)

    def as_head_lies(self, name: str, data: bytes) -> None:
        """HEAD promises more than GET has."""
        if self.command == "HEAD":
            return self._send(200, data + b"more")
        return self._send(200, data)

    def as_boasting(self, name: str, data: bytes) -> None:
        """Promises a number of bytes that no integer parser likes."""
        self.send_response(200)
        self.send_header("Content-Length", "9" * 5000)
        self.end_headers()
        self.close_connection = True

    def as_flaky(self, name: str, data: bytes) -> None:
        """Breaks off while there are `failures_left`."""
        if self.command == "GET" and self.owner.failures_left > 0:
            self.owner.failures_left -= 1
            return self.as_short(name, data)
        return self.as_plain(name, data)

    def as_slow(self, name: str, data: bytes) -> None:
        """Takes its time between the pieces. Knows parts."""
        rest = self._begin_rest(data)
        step = max(1, len(rest) // SLOW_PIECES)
        for begin in range(0, len(rest), step):
            time.sleep(SLOW_PAUSE_S)
            self.wfile.write(rest[begin : begin + step])

    def as_breaking(self, name: str, data: bytes) -> None:
        """Breaks off after a part of what is still wanted, every time until little is left. Knows parts."""
        rest = self._begin_rest(data)
        cut = len(rest) if len(rest) <= 2 * PIECE_BYTES else len(rest) // 3
        self.wfile.write(rest[:cut])
        self.close_connection = True

    def _begin_rest(self, data: bytes) -> bytes:
        """The head of an answer; gives what has to follow: nothing to HEAD, else all or what the range wants."""
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        first, last = (int(found[1]), int(found[2] or len(data) - 1)) if found else (0, len(data) - 1)
        part = data[first : last + 1]
        self.send_response(206 if found else 200)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{len(data)}"')
        if found:
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(data)}")
        self.end_headers()
        return b"" if self.command == "HEAD" else part

    def as_waiting(self, name: str, data: bytes) -> None:
        """The second half comes after `go`."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(data[: len(data) // 2])
        self.wfile.flush()
        self.owner.waiting.set()
        assert self.owner.go.wait(TIMEOUT_S)
        self.wfile.write(data[len(data) // 2 :])

    def as_status(self, name: str, data: bytes) -> None:
        """Answers the status that the path names."""
        self._end(int(name.partition("/")[0]))

    def as_redirect(self, name: str, data: bytes) -> None:
        """`/redirect/<count>/<path>`: so many redirects, then the path."""
        count, _, rest = name.partition("/")
        left = int(count) - 1
        self._end(302, {"Location": f"/redirect/{left}/{rest}" if left else f"/{rest}"})

    def as_redirect_to(self, name: str, data: bytes) -> None:
        """`/redirect-to/<url>`."""
        self._end(301, {"Location": name})

    def as_garbage(self, name: str, data: bytes) -> None:
        self.wfile.write(b"this is no HTTP\r\n\r\n")
        self.close_connection = True

    def as_guarded(self, name: str, data: bytes) -> None:
        """Wants user and password: `user:secret`."""
        if self.headers.get("authorization") != "Basic dXNlcjpzZWNyZXQ=":
            return self._end(401)
        return self.as_plain(name, data)

    def _end(self, status: int, headers: dict[str, str] | None = None) -> None:
        self._send(status, b"", headers)

    def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None, cut: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for field, value in (headers or {}).items():
            self.send_header(field, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(data[:cut])
        if cut is not None:
            self.close_connection = True
