"""An HTTP proxy that leads every tunnel (CONNECT), wherever it is wanted to, to one port of this machine."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TIMEOUT_S = 120.0


class TunnelProxy(ThreadingHTTPServer):
    """Listens on a free port. `asked` are (what was asked for, headers). `target_port` None: all are refused."""

    daemon_threads = True

    def __init__(self, target_port: int | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target_port = target_port
        self.asked: list[tuple[str, dict[str, str]]] = []

    @property
    def address(self) -> str:
        """HOST:PORT"""
        return f"127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the tests."""


@contextmanager
def tunnel_proxy(target_port: int | None) -> Iterator[TunnelProxy]:
    """One that runs inside the `with`."""
    with TunnelProxy(target_port) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join(TIMEOUT_S)


class _Handler(BaseHTTPRequestHandler):
    server: TunnelProxy
    timeout = TIMEOUT_S

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_CONNECT(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((self.path, headers))
        if self.server.target_port is None:
            self.send_response(403)
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        with socket.create_connection(("127.0.0.1", self.server.target_port), TIMEOUT_S) as behind:
            up = threading.Thread(target=_pass_on, args=(self.connection, behind), daemon=True)
            up.start()
            _pass_on(behind, self.connection)
            up.join(TIMEOUT_S)
        self.close_connection = True


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(1 << 16):
            sink.sendall(piece)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
