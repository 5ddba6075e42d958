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

from blick.http.server.chunked import ChunkDecoder, ChunkError
from blick.http.server.inbound import Inbound
from blick.http.server.limits import ProtocolLimits
from blick.http.server.line import Line
from blick.model.errors import BodyIncomplete
from blick.stream.hop import hop

SIDE_BYTES = 64 << 10  # what lies behind the payload that was asked for
BETS = 64  # chunks received by one call
LOW_WATER_BYTES = 256 << 10  # waking a thread for less costs more than it brings ...
LOW_WATER_S = 0.005  # ... unless no more is to come
FAST_BYTES = 64 << 10  # so much waiting in the socket at once is a fast client

LOOP_BYTES = 256 << 10  # the event loop moves at most so much at once (about 0.05 ms)

GONE = "The client went away before its body was complete."
IDLE = "The client sent nothing for too long."
LOST = "The reading of the body was broken off."


class SocketBody:
    """A BodySource for one request. Call `close` when the request is over, `wake` when the connection is."""

    __slots__ = (
        "_before",
        "_executor",
        "_fast",
        "_inbound",
        "_limits",
        "_line",
        "_low_water_bytes",
        "_on_end",
        "_over",
        "_reading",
        "_rest",
        "_side",
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
        self._rest = memoryview(b"")  # received, but not worked off
        self._low_water_bytes = 1
        self._fast = False  # a small body needs no thread at all
        self._reading = False
        self._over = False
        self._waiter: asyncio.Future[None] | None = None

    async def readinto(self, buffer: memoryview) -> int:
        """See blick.stream.body.BodySource."""
        return await self._read(buffer, len(buffer))

    async def read_some(self, buffer: memoryview) -> int:
        """See blick.stream.body.RequestBody."""
        return await self._read(buffer, 1)

    async def _read(self, buffer: memoryview, least_bytes: int) -> int:
        filled = self._inbound.take_into(buffer)
        if filled >= least_bytes or self._inbound.complete:
            return filled
        self._check()
        self._reading = True
        try:
            return await self._receive(buffer, filled, least_bytes)
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

    @property
    def has_taken_over(self) -> bool:
        """Whether the socket is read here, and must not be read by the transport."""
        return self._reading or self._socket is not None

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
        if self._inbound.broken is None and not self._inbound.complete and (self._line.lost or self._over):
            self._inbound.broken = GONE
        if self._inbound.broken is not None:
            raise BodyIncomplete(self._inbound.broken)

    async def _receive(self, buffer: memoryview, filled: int, least_bytes: int) -> int:
        self._before()
        if self._socket is None:
            await self._take_over()
        while filled < least_bytes and not self._inbound.complete:
            if self._fast:
                count = await hop(self._executor, self._fill, buffer[filled:])
                self._fast = filled + count == len(buffer)
            else:
                count = await self._wait_and_fill(buffer[filled:])
                self._fast = count >= FAST_BYTES
            filled += count
            if filled < least_bytes:
                self._check()
        if self._inbound.complete:
            self._set_low_water(1)
            self._on_end(bytes(self._rest))
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
        while filled < len(buffer) and not self._inbound.complete:
            try:
                filled += self._receive_once(buffer[filled:])
            except BlockingIOError:
                if patience_s <= 0:
                    break
                patience_s -= self._wait_in_thread(self._wanted_bytes(len(buffer) - filled), patience_s)
            except OSError:
                if not filled:
                    raise
                break  # what came before the end is not lost; the next call meets the end again
        self._set_low_water(1)
        return filled

    def _wanted_bytes(self, room_bytes: int) -> int:
        """How many bytes may still come for so much room."""
        framing = self._inbound.framing
        return min(room_bytes, framing.payload_bytes) if framing.self_limiting else room_bytes

    def _wait_in_thread(self, wanted_bytes: int, patience_s: float) -> float:
        """Wait for bytes, a little longer for many; give the seconds that it took."""
        assert self._socket is not None
        began_s = time.monotonic()
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        self._set_low_water(min(wanted_bytes, LOW_WATER_BYTES))
        if not poll.poll(LOW_WATER_S * 1000):
            self._set_low_water(1)
            poll.poll(patience_s * 1000)
        return time.monotonic() - began_s

    def _set_low_water(self, count: int) -> None:
        """How much has to lie in the socket before it counts as readable; the transport needs 1."""
        if count != self._low_water_bytes and self._socket is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
            self._low_water_bytes = count

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
        if self._rest:
            return self._work_off(buffer)
        if framing.payload_bytes == 0:
            self._rest = self._side[: _some(self._socket.recv_into(self._side))]
            return self._work_off(buffer)
        if isinstance(framing, ChunkDecoder):
            filled, self._rest = receive_chunks(self._socket, framing, buffer, self._side)
            return filled
        count = _some(self._socket.recv_into(buffer[: framing.payload_bytes]))
        framing.took(count)
        return count

    def _work_off(self, buffer: memoryview) -> int:
        """Use what was received already, as far as `buffer` has room."""
        framing, rest, filled = self._inbound.framing, self._rest, 0
        while rest and not framing.complete:
            if framing.payload_bytes == 0:
                rest = rest[framing.read_framing(rest) :]
                continue
            count = min(len(rest), framing.payload_bytes, len(buffer) - filled)
            if not count:
                break
            buffer[filled : filled + count] = rest[:count]
            framing.took(count)
            filled, rest = filled + count, rest[count:]
        self._rest = rest
        return filled

    def _release(self) -> None:
        if self._socket is not None:
            self._set_low_water(1)
            self._socket.close()
            self._socket = None


def receive_chunks(
    connection: socket.socket, decoder: ChunkDecoder, buffer: memoryview, side: memoryview
) -> tuple[int, memoryview]:
    """Receive payload into `buffer`, many chunks by one call; give its count, and bytes still to be decoded.

    It bets that the chunks to come are as long as this one, and lays out the places for the bytes accordingly:
    payload in `buffer`, what is between two chunks apart. A lost bet costs a copy. The bytes to be decoded may
    lie in `side`, which has to be left alone until then.
    """
    places = _lay_out(decoder, buffer, side)
    left, filled, index = _some(connection.recvmsg_into(places)[0]), 0, 0
    while True:
        count = min(left, len(places[index]))
        decoder.took(count)
        filled, left = filled + count, left - count
        if not left:
            return filled, side[:0]
        if places[index + 1] is side:
            return filled, side[:left]
        frame = decoder.likely_frame
        if left < len(frame) or places[index + 1] != frame:
            return filled, memoryview(b"".join(places[index + 1 :]))[:left]
        decoder.passed_likely_frame()
        left -= len(frame)
        index += 2


def _lay_out(decoder: ChunkDecoder, buffer: memoryview, side: memoryview) -> list[memoryview]:
    """Payload, frame, payload, frame …, payload, and `side` unless the last payload reaches beyond `buffer`."""
    frame = decoder.likely_frame
    end = decoder.payload_bytes
    places = [buffer[:end]]
    while frame and end < len(buffer) and len(places) < 2 * BETS:
        places += (memoryview(bytearray(len(frame))), buffer[end : end + decoder.likely_bytes])
        end += decoder.likely_bytes
    if end <= len(buffer):
        places.append(side)
    return places


def _some(count: int) -> int:
    if count == 0:
        raise ConnectionError("closed by the client")
    return count


def _finish(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
