"""A proxy in front of an HTTP server that passes everything on and notes what was asked."""

import http.client
from urllib.parse import urlsplit

from tests.support.local_http import TIMEOUT_S, LocalHandler, LocalServer


class CountingProxy(LocalServer):
    """`requests` are (method, path without query) in the order in which they came."""

    def __init__(self, target: str) -> None:
        """`target` is the URL of the server behind it; only its address counts."""
        super().__init__(_Handler)
        self.target = urlsplit(target).netloc
        self.requests: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class _Handler(LocalHandler):
    owner: CountingProxy
    protocol_version = "HTTP/1.0"

    def _pass_on(self) -> None:
        self.owner.requests.append((self.command, urlsplit(self.path).path))
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        connection = http.client.HTTPConnection(self.owner.target, timeout=TIMEOUT_S)
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

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on
