"""Requests sent byte by byte over a plain socket, for clients that no library would be: wrong, slow, rude or gone."""

import http.client
import io
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
        try:
            self._plain.settimeout(TIMEOUT_S)
            if receive_buffer_bytes is not None:
                self._plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
            self._plain.connect((HOST, port))
            self.socket = tls.wrap_socket(self._plain, server_hostname=HOST) if tls else self._plain
        except OSError:
            self._plain.close()
            raise
        # One reader for all responses: what it holds of the next one must not get lost.
        self._reader = self.socket.makefile("rb")

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
        lines = []
        while lines[-1:] not in ([b"\r\n"], [b""]):
            lines.append(self._reader.readline())
        return b"".join(lines)

    def read_exactly(self, size_bytes: int) -> bytes:
        """The next bytes; fewer if the server closes."""
        return self._reader.read(size_bytes)

    def answer(self, method: str = "PUT") -> Answer:
        """The next final response. OSError or http.client.HTTPException when there is none or it breaks off."""
        response = http.client.HTTPResponse(_Source(self._reader), method=method)  # type: ignore[arg-type]
        response.begin()
        body = response.read()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)

    def is_closed_by_server(self) -> bool:
        """Whether the server ends the connection; whatever it still sends is dropped."""
        try:
            while self._reader.read1(1 << 16):
                continue
        except TimeoutError:
            return False
        except OSError:
            return True
        return True

    def reset(self) -> None:
        """Ends the connection as a client does that was killed: with a reset, whatever is under way."""
        self._plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        self._reader.close()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Source:
    """What HTTPResponse takes for a socket; it may close its view of the reader as often as it likes."""

    def __init__(self, reader: io.BufferedReader) -> None:
        self._reader = reader

    def makefile(self, _mode: str) -> "_View":
        return _View(self._reader)


class _View(io.BufferedIOBase):
    def __init__(self, reader: io.BufferedReader) -> None:
        self._reader = reader

    def read(self, size: int | None = -1) -> bytes:
        return self._reader.read(-1 if size is None else size)

    def read1(self, size: int = -1) -> bytes:
        return self._reader.read1(size)

    def readline(self, size: int | None = -1) -> bytes:  # type: ignore[override]
        return self._reader.readline(-1 if size is None else size)

    def readinto(self, buffer: Any) -> int:
        return self._reader.readinto(buffer)
