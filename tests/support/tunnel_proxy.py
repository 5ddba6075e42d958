"""An HTTP proxy that leads every tunnel (CONNECT), wherever it is wanted to, to one port of this machine."""

import socket
import threading
from contextlib import suppress

from tests.support.local_http import TIMEOUT_S, LocalHandler, LocalServer


class TunnelProxy(LocalServer):
    """`asked` are (what was asked for, headers). `target_port` None: all are refused."""

    def __init__(self, target_port: int | None) -> None:
        super().__init__(_Handler)
        self.target_port = target_port
        self.asked: list[tuple[str, dict[str, str]]] = []

    @property
    def address(self) -> str:
        """HOST:PORT"""
        return f"127.0.0.1:{self.port}"


class _Handler(LocalHandler):
    owner: TunnelProxy
    protocol_version = "HTTP/1.0"

    def do_CONNECT(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.owner.asked.append((self.path, headers))
        if self.owner.target_port is None:
            self.send_response(403)
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        with socket.create_connection(("127.0.0.1", self.owner.target_port), TIMEOUT_S) as behind:
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
