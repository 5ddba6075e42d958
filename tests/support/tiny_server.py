"""Blick's HTTP protocol on a real socket, run by uvicorn's server in a thread, with an application for tests."""

import asyncio
import hashlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from blick.http.server.limits import ProtocolLimits
from blick.http.server.protocol import protocol_class
from blick.model.errors import BodyIncomplete
from blick.stream.body import AsgiBody, request_body

TIMEOUT_S = 20.0


class TinyApplication:
    """What each path does is said where it is done; `notes` collects what the application saw."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes: list[str] = []
        self.noted = threading.Condition()
        self.task: asyncio.Task[Any] | None = None

    def note(self, text: str) -> None:
        with self.noted:
            self.notes.append(text)
            self.noted.notify_all()

    def await_note(self, text: str) -> None:
        with self.noted:
            assert self.noted.wait_for(lambda: text in self.notes, TIMEOUT_S), (text, self.notes)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        name = scope["path"].split("/")[1].replace("-", "_")
        handler = getattr(self, f"on_{name}", self.on_scope)
        await handler(scope, receive, send)

    async def on_scope(self, scope: Any, receive: Any, send: Any) -> None:
        """Tell what came."""
        told = {
            "method": scope["method"],
            "path": scope["path"].encode("utf-8", "surrogateescape").hex(),
            "raw_path": scope["raw_path"].decode(),
            "query": scope["query_string"].decode(),
            "headers": [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]],
        }
        await answer(send, 200, json.dumps(told).encode())

    async def on_receive(self, scope: Any, receive: Any, send: Any) -> None:
        """Read the body by messages; answer its length and hash."""
        await self._read(AsgiBody(receive), 70_000, send)

    async def on_handoff(self, scope: Any, receive: Any, send: Any) -> None:
        """Read the body past the event loop; the query is the size of the buffer."""
        body = request_body(scope, receive)
        assert not isinstance(body, AsgiBody) or scope["scheme"] == "https" or not has_body(scope)
        await self._read(body, int(scope["query_string"] or 100_000), send)

    async def on_mixed(self, scope: Any, receive: Any, send: Any) -> None:
        """Read one message, then the rest past the event loop."""
        digest, size = hashlib.md5(), 0
        message = await receive()
        digest.update(message["body"])
        size += len(message["body"])
        buffer = memoryview(bytearray(50_000))
        body = request_body(scope, receive)
        while count := await body.readinto(buffer):
            digest.update(buffer[:count])
            size += count
        await answer(send, 200, f"{size} {digest.hexdigest()}".encode())

    async def on_both(self, scope: Any, receive: Any, send: Any) -> None:
        """Read past the event loop while somebody else watches for the client by messages."""
        body, buffer = request_body(scope, receive), memoryview(bytearray(100_000))
        digest, size, watcher = hashlib.md5(), 0, None
        while count := await body.readinto(buffer):
            watcher = watcher or asyncio.create_task(receive())
            digest.update(buffer[:count])
            size += count
        assert watcher is not None
        watcher.cancel()
        await answer(send, 200, f"{size} {digest.hexdigest()}".encode())

    async def _read(self, body: Any, buffer_bytes: int, send: Any) -> None:
        digest, size = hashlib.md5(), 0
        buffer = memoryview(bytearray(buffer_bytes))
        try:
            while count := await body.readinto(buffer):
                digest.update(buffer[:count])
                size += count
                if count < buffer_bytes:
                    break
        except BodyIncomplete as error:
            self.note("incomplete")
            await answer(send, 400, str(error).encode())
            return
        await answer(send, 200, f"{size} {digest.hexdigest()}".encode())

    async def on_early(self, scope: Any, receive: Any, send: Any) -> None:
        """Refuse without looking at the body."""
        await answer(send, 413, b"too large")

    async def on_early_after(self, scope: Any, receive: Any, send: Any) -> None:
        """Refuse after the first 64 KiB."""
        await request_body(scope, receive).readinto(memoryview(bytearray(65536)))
        await answer(send, 413, b"too large")

    async def on_cancel(self, scope: Any, receive: Any, send: Any) -> None:
        """Begin to read past the event loop; be cancelled when told to; then answer."""
        buffer = memoryview(bytearray(1 << 20))
        self.loop = asyncio.get_running_loop()
        self.task = asyncio.create_task(request_body(scope, receive).readinto(buffer))
        self.note("reading")
        try:
            await self.task
        except asyncio.CancelledError:
            buffer[:] = bytes(len(buffer))
            self.note("cancelled")
        await asyncio.sleep(0.05)
        assert not any(buffer), "a thread wrote into the buffer afterwards"
        await answer(send, 409, b"cancelled")

    async def on_watch(self, scope: Any, receive: Any, send: Any) -> None:
        """Stream without end and watch for the client meanwhile."""
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        gone = asyncio.create_task(receive())
        while not gone.done():
            await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
            await asyncio.sleep(0.001)
        self.note(gone.result()["type"])

    async def on_wait(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer when told to."""
        self.loop = asyncio.get_running_loop()
        self.go = asyncio.Event()
        self.note("waiting")
        await self.go.wait()
        await answer(send, 200, b"waited")

    async def on_file(self, scope: Any, receive: Any, send: Any) -> None:
        """Send `folder/data`; the query: offset,count,promised length or c for chunked."""
        offset, count, promised = scope["query_string"].decode().split(",")
        headers = [] if promised == "c" else [(b"content-length", promised.encode())]
        with (self.folder / "data").open("rb") as file:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for number in range(2):  # in two parts
                await send(
                    {
                        "type": "http.response.zerocopysend",
                        "file": file.fileno(),
                        "offset": int(offset) + number * (int(count) // 2),
                        "count": int(count) // 2 if number == 0 else int(count) - int(count) // 2,
                        "more_body": number == 0,
                    }
                )
        self.note("sent" if (await receive())["type"] != "http.request" else "odd")

    async def on_pieces(self, scope: Any, receive: Any, send: Any) -> None:
        """Three pieces without a length."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in (b"one", b"two", b""):
            await send({"type": "http.response.body", "body": piece, "more_body": bool(piece)})

    async def on_big(self, scope: Any, receive: Any, send: Any) -> None:
        """Pieces of 1 MiB, as many as the query says."""
        count = int(scope["query_string"])
        length = str(count << 20).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        for number in range(count):
            await send({"type": "http.response.body", "body": bytes([number]) * (1 << 20), "more_body": True})
        await send({"type": "http.response.body"})

    async def on_lent(self, scope: Any, receive: Any, send: Any) -> None:
        """As `on_big`, from one buffer that is written over as soon as it is free."""
        assert "blick.lent_body" in scope["extensions"]
        count = int(scope["query_string"])
        length = str(count << 20).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        buffer = bytearray(1 << 20)
        for number in range(count):
            buffer[:] = bytes([number]) * len(buffer)
            body = memoryview(buffer)[: -1 if number % 2 else None]
            await send({"type": "http.response.body", "body": body, "more_body": True})
            buffer[:] = b"!" * len(buffer)
            if number % 2:
                await send({"type": "http.response.body", "body": bytes([number]), "more_body": True})
        await send({"type": "http.response.body"})

    async def on_empty(self, scope: Any, receive: Any, send: Any) -> None:
        """204."""
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def on_crash(self, scope: Any, receive: Any, send: Any) -> None:
        """Raise, after as much of the response as the query says."""
        if b"start" in scope["query_string"]:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        if b"body" in scope["query_string"]:
            await send({"type": "http.response.body", "body": b"some", "more_body": True})
        if b"return" not in scope["query_string"]:
            raise ValueError("a fault in the application")

    async def on_split(self, scope: Any, receive: Any, send: Any) -> None:
        """Try to smuggle a header into the response."""
        headers = [(b"x-name", b"a\r\nset-cookie: b")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def has_body(scope: Any) -> bool:
    headers = dict(scope["headers"])
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


async def answer(send: Any, status: int, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode()), (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class TinyServer:
    """A running server."""

    def __init__(self, application: TinyApplication, server: uvicorn.Server, port: int) -> None:
        self.application = application
        self.server = server
        self.port = port

    def connect(self, receive_bytes: int | None = None) -> socket.socket:
        connection = socket.socket()
        connection.settimeout(TIMEOUT_S)
        if receive_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.connect(("127.0.0.1", self.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def talk(self, data: bytes, half_close: bool = False) -> bytes:
        """Send `data`; give all that comes until the server closes the connection."""
        with self.connect() as connection:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    data = bytearray()
    while piece := connection.recv(1 << 20):
        data += piece
    return bytes(data)


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """One response with a content-length, and nothing behind it."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        assert piece, data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        piece = connection.recv(1 << 20)
        assert piece, body[:100]
        body += piece
    return int(first.split()[1]), headers, body


@contextmanager
def serve(folder: Path, limits: ProtocolLimits, **options: Any) -> Iterator[TinyServer]:
    application = TinyApplication(folder)
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    config = uvicorn.Config(
        application,
        http=protocol_class(limits),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
        **{"loop": os.environ.get("BLICK_TEST_LOOP", "uvloop"), **options},
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield TinyServer(application, server, listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(TIMEOUT_S)
        listener.close()
        assert not thread.is_alive()
