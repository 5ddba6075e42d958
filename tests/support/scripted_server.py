"""A server that says exactly what it is told to, whatever it is asked: for those who must bear with rude peers."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tests.support.server import HOST

TIMEOUT_S = 60.0
PATIENCE_S = 0.05


class ScriptedServer:
    """`says` follows each request; `holds` keeps the connection open behind it until the server is stopped.

    `drips` sends it byte by byte; `first` is called before. `requests` are those that came, head and body.
    """

    def __init__(
        self,
        says: bytes = b"",
        *,
        first: Callable[[], object] = lambda: None,
        holds: bool = False,
        drips: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.says = says
        self.first = first
        self.holds = holds
        self.drips = drips
        self.requests: list[bytes] = []
        self.let_go = threading.Event()
        self.client_left = threading.Event()
        self._tls = tls
        self._listener = socket.create_server((HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{HOST}:{self.port}"

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(plain,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket) -> None:
        with plain, suppress(OSError):
            plain.settimeout(TIMEOUT_S)
            connection = self._tls.wrap_socket(plain, server_side=True) if self._tls else plain
            with connection:
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        request = _read_request(connection)
        self.requests.append(request)
        self.first()
        if self.drips:
            for number in range(len(self.says)):
                connection.sendall(self.says[number : number + 1])
                self._wait_or_see_him_leave(connection)
        else:
            connection.sendall(self.says)
        while self.holds and not self.let_go.is_set():
            self._wait_or_see_him_leave(connection)

    def _wait_or_see_him_leave(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_S)
        try:
            if connection.recv(1) == b"":
                self.client_left.set()
                raise OSError("the client has left")
        except TimeoutError:
            return

    def start(self) -> None:
        self._threads[0].start()

    def stop(self) -> None:
        """Ends every connection, too."""
        self._stopping.set()
        self.let_go.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(TIMEOUT_S)


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(1 << 16)
        if not piece:
            return data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
    )
    while len(body) < length:
        body += connection.recv(1 << 16)
    return head + b"\r\n\r\n" + body


@contextmanager
def scripted_server(says: bytes = b"", **options: Any) -> Iterator[ScriptedServer]:
    """A running one; `options` are ScriptedServer's."""
    server = ScriptedServer(says, **options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def http_answer(status: str, body: bytes = b"", **headers: str) -> bytes:
    """A whole answer; of the headers, underscores are dashes."""
    named = {"content-length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
