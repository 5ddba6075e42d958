"""What the tests' own HTTP servers have in common: a port of this machine, threads of this process, silence."""

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

TIMEOUT_S = 120.0


class LocalServer:
    """Runs inside a `with`, or from `start` to `stop`."""

    def __init__(self, handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None) -> None:
        """Each handler knows the server as its `owner`."""
        self._server = _Server(("127.0.0.1", 0), type("Handler", (handler,), {"owner": self}))
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._scheme = "http" if tls is None else "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(TIMEOUT_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away, or that do not trust the certificate, are part of the tests."""


class LocalHandler(BaseHTTPRequestHandler):
    """One connection to a server; it is kept open."""

    owner: Any
    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT_S

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def begin(self, status: int, headers: dict[str, str]) -> None:
        """Send the head of an answer."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
