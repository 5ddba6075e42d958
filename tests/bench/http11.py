"""A small blocking HTTP/1.1 client: it must cost next to nothing, for it shares the machine with the server."""

import contextlib
import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

MIB = 1024 * 1024
RECEIVE_BYTES = 64 * 1024  # what the field's clients read at once
HEAD_LIMIT_BYTES = 64 * 1024
TIMEOUT_S = 600


class UnexpectedAnswer(Exception):
    """The server answered with another status than the benchmark needs, or cut the connection."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and header fields (names in lower case); `body` is empty when it was discarded."""

    status: int
    headers: dict[str, str]
    body: bytes
    body_bytes: int


class Connection:
    """One connection to a server on loopback, opened on demand and again whenever the server closed it.

    Not for several threads. Every request raises UnexpectedAnswer unless the status is the expected one.
    """

    def __init__(self, port: int, headers: Mapping[str, str] | None = None) -> None:
        """`headers` go with every request."""
        self._port = port
        self._headers = dict(headers or {})
        self._socket: socket.socket | None = None
        self._buffer = memoryview(bytearray(RECEIVE_BYTES))

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def request(
        self,
        method: str,
        path: str,
        expect: int,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        discard: bool = False,
    ) -> Answer:
        """Send a request with a small body and read the answer; `discard` counts the body without keeping it."""
        fields = {**self._headers, **(headers or {})}
        if body or method in ("POST", "PATCH", "PUT"):
            fields["Content-Length"] = str(len(body))
        connection = self._send(_head(method, path, fields) + body)
        answer = self._receive(connection, discard)
        return _checked(answer, expect, f"{method} {path}")

    def upload(self, path: str, source: BinaryIO, offset: int, size_bytes: int, chunk_bytes: int | None) -> None:
        """PUT `size_bytes` of the file from `offset` on; with `chunk_bytes` chunked, else with Content-Length."""
        length = {"Transfer-Encoding": "chunked"} if chunk_bytes else {"Content-Length": str(size_bytes)}
        head = _head("PUT", path, {**self._headers, "Content-Type": "application/octet-stream", **length})
        connection = self._send(head)
        # A server that answers early may close: its answer says more than the broken pipe.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if chunk_bytes:
                _send_chunks(connection, source, offset, size_bytes, chunk_bytes)
            else:
                _send_file(connection, source, offset, size_bytes)
        _checked(self._receive(connection, discard=False), 204, f"PUT {path}")

    def open_upload(self, path: str, size_bytes: int) -> socket.socket:
        """Begin a PUT and hand out the socket: the caller sends the body in its own time, then calls finish."""
        fields = {"Content-Type": "application/octet-stream", "Content-Length": str(size_bytes), **self._headers}
        return self._send(_head("PUT", path, fields))

    def finish_upload(self) -> None:
        """Read the answer to a PUT begun by open_upload."""
        assert self._socket is not None
        _checked(self._receive(self._socket, discard=False), 204, "PUT")

    def _send(self, data: bytes) -> socket.socket:
        connection = self._socket or self._connect()
        connection.sendall(data)
        return connection

    def _connect(self) -> socket.socket:
        self._socket = socket.create_connection(("127.0.0.1", self._port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Time-outs kept by the kernel leave the socket blocking, as sendfile wants it.
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", TIMEOUT_S, 0))
        return self._socket

    def _receive(self, connection: socket.socket, discard: bool) -> Answer:
        status, headers, rest = _receive_head(connection)
        length = int(headers["content-length"]) if "content-length" in headers else None
        chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        parts: list[bytes] | None = None if discard else [rest]
        if status in (204, 304):
            count = 0
        elif chunked:
            parts = [_receive_chunks(connection, rest)]
            count = len(parts[0])
        else:
            count = self._receive_body(connection, len(rest), length, parts)
        unbounded = length is None and not chunked and status not in (204, 304)
        if unbounded or headers.get("connection", "").lower() == "close":
            self.close()
        return Answer(status, headers, b"".join(parts or ()), count)

    def _receive_body(
        self, connection: socket.socket, count: int, length: int | None, parts: list[bytes] | None
    ) -> int:
        while length is None or count < length:
            received = connection.recv_into(self._buffer)
            if not received:
                break
            if parts is not None:
                parts.append(bytes(self._buffer[:received]))
            count += received
        if length is not None and count != length:
            raise UnexpectedAnswer(f"{count} bytes received instead of {length}")
        return count


def _checked(answer: Answer, expect: int, what: str) -> Answer:
    if answer.status != expect:
        raise UnexpectedAnswer(f"{what}: {answer.status} instead of {expect}: {answer.body[:300]!r}")
    return answer


def _head(method: str, path: str, fields: dict[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Accept: */*"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _receive_head(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(HEAD_LIMIT_BYTES)
        if not more or len(data) > HEAD_LIMIT_BYTES:
            raise UnexpectedAnswer(f"no complete answer, only {data[:200]!r}")
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split()[1]), headers, rest


def _send_file(connection: socket.socket, source: BinaryIO, offset: int, size_bytes: int) -> None:
    end = offset + size_bytes
    while offset < end:
        sent = os.sendfile(connection.fileno(), source.fileno(), offset, end - offset)
        if sent == 0:
            raise UnexpectedAnswer("the data file is shorter than the upload")
        offset += sent


def _send_chunks(connection: socket.socket, source: BinaryIO, offset: int, size_bytes: int, chunk_bytes: int) -> None:
    for start in range(offset, offset + size_bytes, chunk_bytes):
        size = min(chunk_bytes, offset + size_bytes - start)
        connection.sendall(b"%x\r\n" % size, socket.MSG_MORE)
        _send_file(connection, source, start, size)
        connection.sendall(b"\r\n", socket.MSG_MORE)
    connection.sendall(b"0\r\n\r\n")


def _receive_chunks(connection: socket.socket, data: bytes) -> bytes:
    """A chunked body as a whole; only for small ones (no trailers, no chunk extensions)."""
    while not data.endswith(b"0\r\n\r\n"):
        more = connection.recv(RECEIVE_BYTES)
        if not more:
            raise UnexpectedAnswer("the connection ended within a chunked answer")
        data += more
    body = bytearray()
    while data:
        size, _, data = data.partition(b"\r\n")
        body += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]
    return bytes(body)
