"""What another region's image service looks like from outside: one image, and as many lies as a test wants."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TIMEOUT_S = 120.0


class RemoteRegion:
    """Answers whoever has the `token`. `requests` are (method, path), `tokens` what came with them.

    `breaks` are used up, one per answer: after so many bytes of its body the connection breaks. `statuses` are answered
    instead of the `record`, or of the `file`. `record_text` takes the place of the record's JSON.
    """

    def __init__(self, record: Any, data: bytes, token: str) -> None:
        self.record: Any = record
        self.record_text: bytes | None = None
        self.data = data
        self.token = token
        self.tokens_last_requests = 1_000_000
        self.chunked = False
        self.breaks: list[int] = []
        self.statuses: dict[str, int] = {}
        self.redirect_to: str | None = None
        self.requests: list[tuple[str, str]] = []
        self.tokens: list[str | None] = []
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"region": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(TIMEOUT_S)


@contextmanager
def remote_region(record: Any, data: bytes, token: str) -> Iterator[RemoteRegion]:
    """A running one."""
    region = RemoteRegion(record, data, token)
    region.start()
    try:
        yield region
    finally:
        region.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    region: RemoteRegion
    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT_S

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._end(405)

    def do_GET(self) -> None:
        region = self.region
        region.requests.append((self.command, self.path))
        region.tokens.append(self.headers.get("x-auth-token"))
        what = "file" if self.path.endswith("/file") else "record"
        if region.redirect_to is not None:
            return self._end(302, {"Location": region.redirect_to + self.path})
        if region.tokens[-1] != region.token or len(region.requests) > region.tokens_last_requests:
            return self._end(401)
        if what in region.statuses:
            return self._end(region.statuses[what])
        if what == "record":
            text = json.dumps(region.record).encode() if region.record_text is None else region.record_text
            return self._send(200, text, {"Content-Type": "application/json"})
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        if found is None:
            return self._send(200, region.data, {}, chunked=region.chunked)
        first, size = int(found[1]), len(region.data)
        return self._send(206, region.data[first:], {"Content-Range": f"bytes {first}-{size - 1}/{size}"})

    def _end(self, status: int, headers: dict[str, str] | None = None) -> None:
        self._begin(status, {"Content-Length": "0", **(headers or {})})

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, status: int, body: bytes, headers: dict[str, str], *, chunked: bool = False) -> None:
        most = self.region.breaks.pop(0) if self.region.breaks else None
        framing = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(body))}
        self._begin(status, {**framing, **headers})
        with suppress(OSError):
            if chunked and body:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(body), body))
            elif not chunked:
                self.wfile.write(body[:most])
            if chunked:
                self.wfile.write(b"0\r\n\r\n")
        self.close_connection = self.close_connection or most is not None
