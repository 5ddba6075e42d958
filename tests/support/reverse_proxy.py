"""A proxy in front of another HTTP server that counts what passes, and can hold it up or answer in its place."""

import http.client
import ssl
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.support.server import HOST

_NOT_PASSED_ON = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "date", "server"}
)


class ReverseProxy:
    """Listens on a free port from construction on; use it in a `with`.

    `counts` has the requests so far by method and path, without their queries.
    """

    def __init__(self, target: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        """`target` is the address HOST:PORT of the other server; it may be set later. `tls` is for our own clients."""
        self.target = target
        self.counts: Counter[tuple[str, str]] = Counter()
        self.answer_instead: int | None = None
        """A status that everybody gets, without a word to the other server."""
        self._open = threading.Event()
        self._open.set()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer((HOST, 0), self._handler())
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, name="reverse proxy")

    @property
    def address(self) -> str:
        """HOST:PORT"""
        return f"{HOST}:{self.port}"

    @property
    def port(self) -> int:
        return self._server.server_port

    def hold(self) -> None:
        """Let requests wait, once they are counted, until `let_go`."""
        self._open.clear()

    def let_go(self) -> None:
        """The end of `hold`."""
        self._open.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.let_go()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self) -> None:
                with proxy._lock:
                    proxy.counts[self.command, urlsplit(self.path).path] += 1
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                proxy._open.wait()
                if proxy.answer_instead is not None:
                    self._answer(proxy.answer_instead, [], b"")
                    return
                assert proxy.target is not None
                connection = http.client.HTTPConnection(proxy.target, timeout=120)
                try:
                    connection.request(self.command, self.path, body, dict(self.headers))
                    answer = connection.getresponse()
                    self._answer(answer.status, answer.getheaders(), answer.read())
                except OSError:
                    self.close_connection = True  # as if there were no proxy
                finally:
                    connection.close()

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on

            def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
                self.send_response(status)
                for name, value in headers:
                    if name.lower() not in _NOT_PASSED_ON:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing: the counts tell what passed."""

        return Handler
