"""One request and its response, as an ASGI application sees them."""

import asyncio
import http
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Protocol

from blick.http.server.handoff import SocketBody
from blick.http.server.head import RequestHead
from blick.http.server.inbound import Inbound
from blick.http.server.limits import ProtocolLimits
from blick.http.server.line import Line
from blick.http.server.sendfile import ClientStalled, FileBroken, FileSender

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Application = Callable[[Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

JOIN_BYTES = 64 << 10  # up to this size, one write of head and body is cheaper than two
LAST_CHUNK = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_DISCONNECT: Message = {"type": "http.disconnect"}
_PLAIN_TEXT = (b"content-type", b"text/plain; charset=utf-8")


def status_line(status: int) -> bytes:
    """The first line of a response."""
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return b"HTTP/1.1 %d %s\r\n" % (status, phrase.encode("ascii"))


_STATUS_LINES = {int(status): status_line(status) for status in http.HTTPStatus}


@dataclass(slots=True)
class Surroundings:
    """What all exchanges of a process share."""

    limits: ProtocolLimits
    executor: Executor
    logger: logging.Logger
    access_logger: logging.Logger | None


class Owner(Protocol):
    """The connection, as its exchanges see it."""

    def default_head(self) -> bytes:
        """Header lines of every response."""
        ...

    def body_ended(self, behind: bytes) -> None:
        """The body was read past the event loop; `behind` came after it."""
        ...

    def exchange_ended(self, exchange: "Exchange") -> None:
        """The response is complete."""
        ...


class Exchange:
    """Runs the application for one request. `keep_alive` tells afterwards whether the connection may live on."""

    __slots__ = (
        "_awaits_continue",
        "_body",
        "_chunked",
        "_end_told",
        "_event",
        "_head",
        "_left_bytes",
        "_line",
        "_owner",
        "_pending",
        "_request",
        "_scope",
        "_sender",
        "_surroundings",
        "complete",
        "inbound",
        "keep_alive",
    )

    def __init__(
        self, owner: Owner, line: Line, surroundings: Surroundings, request: RequestHead, scope: Scope
    ) -> None:
        self._owner = owner
        self._line = line
        self._surroundings = surroundings
        self._request = request
        self._scope = scope
        self._event = asyncio.Event()
        self._awaits_continue = request.expects_continue
        self._end_told = False
        self._body: SocketBody | None = None
        self._sender: FileSender | None = None
        self._pending: bytes | None = None  # the head of the response, until something of its body is there
        self._head = False  # the application has begun the response
        self._chunked = False
        self._left_bytes = 0
        self.inbound = Inbound(request.body_bytes)
        self.keep_alive = request.keep_alive and surroundings.limits.keep_alive_s > 0
        self.complete = False
        if line.plain:
            self._offer_extensions(scope)

    def _offer_extensions(self, scope: Scope) -> None:
        # A body may be a memoryview here: it is the application's again as soon as `send` returns.
        extensions: dict[str, Any] = {"http.response.zerocopysend": {}, "blick.lent_body": {}}
        if self._request.body_bytes != 0:
            self._body = SocketBody(
                self._line,
                self.inbound,
                self._surroundings.executor,
                self._surroundings.limits,
                self._ask,
                self._owner.body_ended,
            )
            extensions["blick.request_body"] = self._body
        scope["extensions"] = extensions

    # What the connection tells

    @property
    def awaits_continue(self) -> bool:
        """Whether the client holds its body back until it is asked for it."""
        return self._awaits_continue

    @property
    def body_whole(self) -> bool:
        """Whether the whole body was taken from the connection."""
        return self.inbound.complete and self.inbound.broken is None

    def feed(self, data: bytes) -> int:
        """Bytes of the body came; gives how many of them were."""
        used = self.inbound.feed(data)
        if self.inbound.buffered_bytes > self._surroundings.limits.buffered_body_bytes:
            self._line.pause_reading()
        self._line.clear_deadline()
        self._awaits_continue = False
        self._event.set()
        return used

    def break_off(self, reason: str) -> None:
        """Nothing more of the body will come."""
        if not self.inbound.complete and self.inbound.broken is None:
            self.inbound.broken = reason
        self._event.set()

    def connection_lost(self) -> None:
        """The client is gone."""
        self.break_off("The client went away.")
        if self._body is not None:
            self._body.wake()
        if self._sender is not None:
            self._sender.wake()

    # The application's side: receive

    async def receive(self) -> Message:
        """The ASGI callable: a piece of the body, or the news that no more is to be had."""
        while True:
            if self._line.closing or self.complete or self.inbound.broken is not None:
                return _DISCONNECT
            if not self._end_told and (self.inbound.buffered_bytes or self.inbound.complete):
                self._end_told = self.inbound.complete
                return {"type": "http.request", "body": self.inbound.take(), "more_body": not self._end_told}
            if not self.inbound.complete and (self._body is None or not self._body.has_taken_over):
                self._ask()
                self._line.resume_reading()
                self._line.set_deadline(self._surroundings.limits.body_idle_s, self._idle)
            self._event.clear()
            await self._event.wait()

    def _ask(self) -> None:
        """The body is wanted now."""
        if self._awaits_continue:
            self._awaits_continue = False
            self._line.write(CONTINUE)

    def _idle(self) -> None:
        self.break_off("The client sent nothing for too long.")

    # The application's side: send

    async def send(self, message: Message) -> None:
        """The ASGI callable. When the client is gone it does nothing: `receive` tells. Raises RuntimeError."""
        kind = message["type"]
        if self.complete:
            raise RuntimeError(f"{kind} after the response was complete.")
        if kind == "http.response.start":
            self._begin(message["status"], message.get("headers", ()))
            return
        if not self._head:
            raise RuntimeError(f"{kind} before http.response.start.")
        if self._line.closing:
            return
        if kind == "http.response.body":
            self._send_bytes(message.get("body", b""), message.get("more_body", False))
        elif kind == "http.response.zerocopysend" and self._line.plain:
            if not await self._send_file(message):
                return
        else:
            raise RuntimeError(f"{kind} is not known here.")
        more = message.get("more_body", False)
        if self._line.write_paused and (more or isinstance(message.get("body"), memoryview)):
            await self._line.flushed(self._surroundings.limits.stall_s)
        if not more:
            if self._chunked and kind != "http.response.body":
                self._line.write(LAST_CHUNK)
            self._finish()

    def _begin(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        if self._pending is not None or self._head:
            raise RuntimeError("http.response.start twice.")
        if not self.body_whole:
            self.keep_alive = False  # whatever of the body still comes would be taken for the next request
        lines: list[bytes] = []
        length: int | None = None
        for name, value in headers:
            lowered = name.lower()
            if lowered == b"content-length":
                length = int(value)
            elif lowered == b"connection":
                self.keep_alive = self.keep_alive and b"close" not in value.lower()
                continue
            elif lowered == b"transfer-encoding":
                continue  # ours to choose
            lines += (lowered, b": ", value, b"\r\n")
        self._frame(status, length, lines)
        block = b"".join(lines)
        if block.count(b"\n") != len(lines) // 4 or block.count(b"\r") != len(lines) // 4 or b"\0" in block:
            raise RuntimeError("A response header has a line break in it.")
        self._head = True
        self._pending = b"".join(
            (
                _STATUS_LINES.get(status) or status_line(status),
                self._owner.default_head(),
                block,
                b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n",
            )
        )
        if self._surroundings.access_logger is not None:
            self._log_access(self._surroundings.access_logger, status)

    def _frame(self, status: int, length: int | None, lines: list[bytes]) -> None:
        """Choose how the client will know where the response ends."""
        if self._request.method == "HEAD" or status in (204, 304):
            self._left_bytes = 0
        elif length is not None:
            self._left_bytes = length
        elif self._request.version == "1.1":
            self._chunked = True
            lines += (b"transfer-encoding", b": ", b"chunked", b"\r\n")
        else:
            self._left_bytes = -1  # until the connection closes
            self.keep_alive = False

    def _send_bytes(self, body: bytes | memoryview, more: bool) -> None:
        if self._request.method == "HEAD":
            body = b""
        if self._chunked:
            chunk = b"".join((b"%x\r\n" % len(body), body, b"\r\n")) if body else b""
            body = chunk if more else chunk + LAST_CHUNK
        elif self._left_bytes >= 0:
            self._left_bytes -= len(body)
            if self._left_bytes < 0:
                raise RuntimeError("The response is longer than its content-length.")
        if self._pending is not None and len(body) <= JOIN_BYTES:
            body, self._pending = b"".join((self._pending, body)), None
        self._send_head()
        if body:
            self._line.write(body)

    def _send_head(self) -> None:
        if self._pending is not None:
            self._line.write(self._pending)
            self._pending = None

    async def _send_file(self, message: Message) -> bool:
        """Send a part of a file; gives whether it all went out.

        Raises FileBroken where the application can send the rest from elsewhere: it must, or fail.
        """
        source: int = message["file"]
        offset = message.get("offset")
        offset = os.lseek(source, 0, os.SEEK_CUR) if offset is None else offset
        count = message.get("count")
        count = max(os.fstat(source).st_size - offset, 0) if count is None else count
        self._send_head()
        if self._request.method == "HEAD" or not count:
            return True
        if self._chunked:
            self._line.write(b"%x\r\n" % count)
        elif self._left_bytes >= 0:
            self._left_bytes -= count
            if self._left_bytes < 0:
                raise RuntimeError("The response is longer than its content-length.")
        try:
            if not await self._stream_file(source, offset, count):
                return False
        except FileBroken as error:
            if self._chunked:
                self._line.abort()  # the chunk that was announced can't be cut short
                return False
            if self._left_bytes >= 0:
                self._left_bytes += count - error.sent_bytes
            raise
        if self._chunked:
            self._line.write(b"\r\n")
        return True

    async def _stream_file(self, source: int, offset: int, count: int) -> bool:
        around = self._surroundings
        await self._line.flushed(around.limits.stall_s)
        if self._line.closing:
            return False
        self._sender = FileSender(self._line, around.executor, around.limits, source, offset, count)
        try:
            await self._sender.send()
        except (ClientStalled, OSError) as error:
            around.logger.info("A download was broken off: %s", str(error) or "the client took nothing for too long")
            self._line.abort()
            return False
        finally:
            self._sender = None
        return True

    def _finish(self) -> None:
        if self._left_bytes > 0 and self._request.method != "HEAD":
            raise RuntimeError("The response is shorter than its content-length.")
        self.complete = True
        self.break_off("The answer was given before the body was read.")
        self._owner.exchange_ended(self)

    # Running

    async def run(self, application: Application) -> None:
        """Run the application; whatever it does, the client gets an answer or a closed connection."""
        try:
            await application(self._scope, self.receive, self.send)
        except asyncio.CancelledError:
            await self._give_up(503, b"Service Unavailable")
            raise
        except Exception as error:
            self._surroundings.logger.error("Exception in the application", exc_info=error)
            await self._give_up(500, b"Internal Server Error")
        else:
            if not self.complete and not self._line.closing:
                self._surroundings.logger.error("The application ended without completing its response.")
                await self._give_up(500, b"Internal Server Error")
        finally:
            if self._body is not None:
                self._body.close()

    async def _give_up(self, status: int, text: bytes) -> None:
        if self.complete or self._line.closing:
            return
        if self._head and self._pending is None:
            self._line.abort()  # something of the response is out: only a cut tells that it is not whole
            return
        self._head, self._pending, self._chunked = False, None, False
        length = str(len(text)).encode("ascii")
        self.keep_alive = False
        await self.send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [_PLAIN_TEXT, (b"content-length", length)],
            }
        )
        await self.send({"type": "http.response.body", "body": text})

    def _log_access(self, logger: logging.Logger, status: int) -> None:
        client = self._scope["client"]
        query = self._scope["query_string"]
        target = self._scope["raw_path"] + (b"?" + query if query else b"")
        logger.info(
            '%s - "%s %s HTTP/%s" %d',
            f"{client[0]}:{client[1]}" if client else "",
            self._request.method,
            target.decode("ascii"),
            self._request.version,
            status,
        )
