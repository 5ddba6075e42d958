"""A proxy in front of an HTTP server that passes everything on and notes what was asked."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.support.server import HOST

TIMEOUT_S = 120.0


class CountingProxy(ThreadingHTTPServer):
    """Listens on a free port. `requests` are (method, path without query) in the order in which they came."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        """`target` is the URL of the server behind it; only its address counts."""
        super().__init__((HOST, 0), _Handler)
        self.target = urlsplit(target).netloc
        self.requests: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_address[1]}"


@contextmanager
def counting_proxy(target: str) -> Iterator[CountingProxy]:
    """One that runs inside the `with`."""
    with CountingProxy(target) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join(TIMEOUT_S)


class _Handler(BaseHTTPRequestHandler):
    server: CountingProxy

    def _pass_on(self) -> None:
        self.server.requests.append((self.command, urlsplit(self.path).path))
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        connection = http.client.HTTPConnection(self.server.target, timeout=TIMEOUT_S)
        try:
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Silent."""
