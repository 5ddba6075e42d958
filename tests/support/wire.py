"""Requests sent byte by byte over a plain socket, for clients that no library would be: wrong, slow, rude or gone."""

import http.client
import json
import socket
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.support.server import HOST

TIMEOUT_S = 60.0
"""No answer takes so long, on however busy a machine; it only keeps a broken test from hanging."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One connection to a server on the loopback interface; use it in a `with`.

    What is sent and what is read are in the caller's hands; nothing happens by itself.
    """

    def __init__(
        self, port: int, *, tls: ssl.SSLContext | None = None, receive_buffer_bytes: int | None = None
    ) -> None:
        """`receive_buffer_bytes`: how much the kernel takes in on our behalf, None for its usual amount."""
        self._plain = socket.socket()
        self._plain.settimeout(TIMEOUT_S)
        if receive_buffer_bytes is not None:
            self._plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self._plain.connect((HOST, port))
        self.socket = tls.wrap_socket(self._plain, server_hostname=HOST) if tls else self._plain

    def head(self, method: str, path: str, headers: Mapping[str, str]) -> Self:
        """Sends the head of a request, exactly with these headers and a Host."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}", *(f"{name}: {value}" for name, value in headers.items())]
        self.send("\r\n".join([*lines, "", ""]).encode())
        return self

    def upload_head(self, token: str, image_id: str, **headers: str) -> Self:
        """Sends the head of an upload. `headers`: Content-Length as `content_length`, and so on."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        usual = {"X-Auth-Token": token, "Content-Type": "application/octet-stream"}
        return self.head("PUT", f"/v2/images/{image_id}/file", usual | named)

    def send(self, data: bytes) -> Self:
        """Sends all of it. OSError when the server does not take it."""
        self.socket.sendall(data)
        return self

    def chunk(self, data: bytes) -> Self:
        """Sends one chunk of a chunked body; an empty one ends it."""
        return self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def send_as_long_as_taken(self, data: bytes) -> int:
        """Sends as much of `data` as the server takes, and returns how much that was."""
        sent = 0
        view = memoryview(data)
        try:
            while sent < len(data):
                sent += self.socket.send(view[sent : sent + (1 << 16)])
        except OSError:
            return sent
        return sent

    def read_head(self) -> bytes:
        """What comes up to and with the next empty line; less if the server closes."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.socket.recv(1)
            if not byte:
                break
            head += byte
        return head

    def answer(self, method: str = "PUT") -> Answer:
        """The next final response. OSError or http.client.HTTPException when there is none or it breaks off."""
        response = http.client.HTTPResponse(self.socket, method=method)
        response.begin()
        body = response.read()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)

    def is_closed_by_server(self) -> bool:
        """Whether the server ends the connection; whatever it still sends is dropped."""
        try:
            while self.socket.recv(1 << 16):
                continue
        except TimeoutError:
            return False
        except OSError:
            return True
        return True

    def reset(self) -> None:
        """Ends the connection as a client does that was killed: with a reset, whatever is under way."""
        self._plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()
