"""A request's body, read past the event loop: a thread receives straight into the reader's buffer.

Only a fast client gets a thread. One that makes the thread wait is *parked*: the loop watches its socket and
moves what comes, until so much comes at once that a thread is worth its while again. A thousand slow uploads
hold no thread.
"""

import asyncio
import select
import socket
import time
from collections.abc import Callable
from concurrent.futures import Executor

from blick.http.server.chunked import ChunkError
from blick.http.server.inbound import Inbound
from blick.http.server.limits import ProtocolLimits
from blick.http.server.line import Line
from blick.model.errors import BodyIncomplete
from blick.stream.hop import hop

SIDE_BYTES = 64 << 10  # where a chunk's end and the next one's size land, and payload behind them
FAST_BYTES = 64 << 10  # so much waiting in the socket at once is a fast client

LOOP_BYTES = 256 << 10  # the event loop moves at most so much at once (about 0.05 ms)

GONE = "The client went away before its body was complete."
IDLE = "The client sent nothing for too long."
LOST = "The reading of the body was broken off."


class SocketBody:
    """A BodySource for one request. Call `close` when the request is over, `wake` when the connection is."""

    __slots__ = (
        "_before",
        "_buffer_end",
        "_executor",
        "_fast",
        "_inbound",
        "_limits",
        "_line",
        "_on_end",
        "_over",
        "_reading",
        "_side",
        "_side_end",
        "_side_start",
        "_socket",
        "_waiter",
    )

    def __init__(
        self,
        line: Line,
        inbound: Inbound,
        executor: Executor,
        limits: ProtocolLimits,
        before: Callable[[], None],
        on_end: Callable[[bytes], None],
    ) -> None:
        """`before` is called before bytes are waited for, `on_end` at the end with what came behind the body."""
        self._line = line
        self._inbound = inbound
        self._executor = executor
        self._limits = limits
        self._before = before
        self._on_end = on_end
        self._socket: socket.socket | None = None
        self._side = memoryview(b"")
        self._side_start = self._side_end = 0
        self._fast = False  # a small body needs no thread at all
        self._reading = False
        self._over = False
        self._waiter: asyncio.Future[None] | None = None

    async def readinto(self, buffer: memoryview) -> int:
        """See blick.stream.body.BodySource."""
        filled = self._inbound.take_into(buffer)
        if filled == len(buffer) or self._inbound.complete:
            return filled
        self._check()
        self._reading = True
        try:
            return await self._receive(buffer, filled)
        except (ChunkError, OSError) as error:
            self._inbound.broken = str(error) if isinstance(error, ChunkError) else GONE
            raise BodyIncomplete(self._inbound.broken) from error
        except asyncio.CancelledError:
            self._inbound.broken = LOST  # what this call received is nowhere: the rest must not pass for whole
            raise
        finally:
            self._reading = False
            if self._over or self._inbound.complete or self._inbound.broken:
                self._release()

    def wake(self) -> None:
        """The connection is gone: whoever waits for its bytes must know."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)  # a thread that polls sees it
            except OSError:
                return  # the peer was faster

    def close(self) -> None:
        """Nobody reads any more."""
        self._over = True
        if not self._reading:
            self._release()

    def _check(self) -> None:
        if self._inbound.broken is None and (self._line.lost or self._over):
            self._inbound.broken = GONE
        if self._inbound.broken is not None:
            raise BodyIncomplete(self._inbound.broken)

    async def _receive(self, buffer: memoryview, filled: int) -> int:
        self._before()
        if self._socket is None:
            await self._take_over()
        while filled < len(buffer) and not self._inbound.complete:
            if self._fast:
                count = await hop(self._executor, self._fill, buffer[filled:])
                self._fast = filled + count == len(buffer)
            else:
                count = await self._wait_and_fill(buffer[filled:])
                self._fast = count >= FAST_BYTES
            filled += count
            if self._line.lost and not self._inbound.complete:
                self._check()
        if self._inbound.complete:
            self._on_end(bytes(self._side[self._side_start : self._side_end]))
        return filled

    async def _take_over(self) -> None:
        """From now on the transport does not read."""
        self._line.pause_reading()
        await self._line.flushed(self._limits.stall_s)  # "100 Continue"
        self._check()
        self._socket = self._line.duplicate()
        self._socket.setblocking(False)
        if not self._inbound.framing.self_limiting:
            self._side = memoryview(bytearray(SIDE_BYTES))

    def _fill(self, buffer: memoryview) -> int:
        """In a thread: receive until `buffer` is full, the body ends or patience does; give the count of bytes."""
        filled, patience_s = 0, self._limits.receive_patience_s
        poll: select.poll | None = None
        assert self._socket is not None
        while filled < len(buffer) and not self._inbound.complete:
            try:
                filled += self._receive_once(buffer[filled:])
            except BlockingIOError:
                if patience_s <= 0:
                    break
                if poll is None:
                    poll = select.poll()
                    poll.register(self._socket, select.POLLIN)
                began_s = time.monotonic()
                poll.poll(patience_s * 1000)
                patience_s -= time.monotonic() - began_s
        return filled

    async def _wait_and_fill(self, buffer: memoryview) -> int:
        """In the loop: wait for bytes and receive once; gives 0 when only framing came."""
        try:
            return self._receive_once(buffer[:LOOP_BYTES])
        except BlockingIOError:
            await self._readable()
            return 0

    async def _readable(self) -> None:
        assert self._socket is not None
        loop, descriptor = self._line.loop, self._socket.fileno()
        self._waiter = waiter = loop.create_future()
        loop.add_reader(descriptor, _finish, waiter)
        try:
            async with asyncio.timeout(self._limits.body_idle_s):
                await waiter
        except TimeoutError:
            self._inbound.broken = IDLE
            raise BodyIncomplete(IDLE) from None
        finally:
            loop.remove_reader(descriptor)
            self._waiter = None

    def _receive_once(self, buffer: memoryview) -> int:
        """Receive without waiting; give the count of payload bytes. Raises BlockingIOError, OSError, ChunkError."""
        assert self._socket is not None
        framing = self._inbound.framing
        if self._side_start < self._side_end:
            return self._take_side(buffer)
        if framing.payload_bytes == 0:
            self._side_start, self._side_end = 0, _some(self._socket.recv_into(self._side))
            return self._take_side(buffer)
        room = buffer[: framing.payload_bytes]
        if framing.self_limiting:
            count = _some(self._socket.recv_into(room))
        else:
            received = _some(self._socket.recvmsg_into([room, self._side])[0])
            count = min(received, len(room))
            self._side_start, self._side_end = 0, received - count
        framing.took(count)
        return count

    def _take_side(self, buffer: memoryview) -> int:
        """Work off what lies in the side buffer, as far as `buffer` has room."""
        framing, filled = self._inbound.framing, 0
        while self._side_start < self._side_end and not framing.complete:
            data = self._side[self._side_start : self._side_end]
            if framing.payload_bytes == 0:
                self._side_start += framing.read_framing(data)
                continue
            count = min(len(data), framing.payload_bytes, len(buffer) - filled)
            if not count:
                break
            buffer[filled : filled + count] = data[:count]
            filled += count
            framing.took(count)
            self._side_start += count
        return filled

    def _release(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _some(count: int) -> int:
    if count == 0:
        raise ConnectionError("closed by the client")
    return count


def _finish(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
