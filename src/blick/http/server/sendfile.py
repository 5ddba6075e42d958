"""A file, or a part of one, to the client, without its bytes ever coming to Python.

The file may lie on a slow disk, so the copying is done by threads; a client that does not take the bytes is
parked as in `handoff`: the event loop waits for room, and a thread comes back only to use it.
"""

import asyncio
import errno
import os
import select
import time
from concurrent.futures import Executor

from blick.http.server.limits import ProtocolLimits
from blick.http.server.line import Line
from blick.stream.hop import hop

TURN_BYTES = 64 << 20  # a thread looks at the clock after so many
TURN_S = 1.0  # and is given back after so long, that others get it and a cancellation does not wait
FAST_BYTES = 4 << 20  # a client that took so many in one turn is worth waiting for


class FileBroken(Exception):
    """The file ended before the part that was promised, or cannot be read; `sent_bytes` of the part went out."""

    def __init__(self, reason: str, sent_bytes: int) -> None:
        self.sent_bytes = sent_bytes
        super().__init__(f"{reason} after {sent_bytes} bytes were sent")


class ClientStalled(Exception):
    """The client took nothing for too long."""


class FileSender:
    """Sends one part of an open file; `wake` when the connection is gone meanwhile."""

    __slots__ = ("_count", "_descriptor", "_executor", "_limits", "_line", "_offset", "_source", "_start", "_waiter")

    def __init__(
        self, line: Line, executor: Executor, limits: ProtocolLimits, source: int, offset: int, count: int
    ) -> None:
        self._line = line
        self._executor = executor
        self._limits = limits
        self._source = source
        self._offset = self._start = offset
        self._count = count
        self._descriptor = -1
        self._waiter: asyncio.Future[None] | None = None

    async def send(self) -> None:
        """Send it. The transport's own buffer has to be empty, and nobody may write meanwhile.

        Raises FileBroken, ClientStalled, OSError when the client is gone. Joins its thread when cancelled.
        """
        with self._line.duplicate() as connection:
            connection.setblocking(False)
            self._descriptor = connection.fileno()
            patience_s = self._limits.send_patience_s
            while self._count:
                before = self._count
                await hop(self._executor, self._send_some, patience_s)
                if not self._count:
                    break
                if self._line.lost:
                    raise ConnectionError("the client is gone")
                patience_s = self._limits.send_patience_s if before - self._count >= FAST_BYTES else 0.0
                await self._writable()

    def wake(self) -> None:
        """The connection is gone."""
        if self._waiter is not None:
            _finish(self._waiter)

    def _send_some(self, patience_s: float) -> None:
        """In a thread: send until all is sent, the turn is over, or the client makes it wait too long."""
        poll: select.poll | None = None
        end_s = time.monotonic() + TURN_S
        while self._count and time.monotonic() < end_s:
            try:
                sent = os.sendfile(self._descriptor, self._source, self._offset, min(self._count, TURN_BYTES))
            except BlockingIOError:
                if patience_s <= 0:
                    return
                if poll is None:
                    poll = select.poll()
                    poll.register(self._descriptor, select.POLLOUT)
                if not poll.poll(patience_s * 1000):
                    return
                continue
            except OSError as error:
                if isinstance(error, ConnectionError | TimeoutError) or error.errno == errno.ENOTCONN:
                    raise
                raise self._broken(error.strerror or "it cannot be read") from error
            if sent == 0:
                raise self._broken("the stored data ended early")
            self._offset += sent
            self._count -= sent

    def _broken(self, reason: str) -> FileBroken:
        return FileBroken(reason, self._offset - self._start)

    async def _writable(self) -> None:
        loop = self._line.loop
        self._waiter = waiter = loop.create_future()
        loop.add_writer(self._descriptor, _finish, waiter)
        try:
            async with asyncio.timeout(self._limits.stall_s):
                await waiter
        except TimeoutError:
            raise ClientStalled from None
        finally:
            loop.remove_writer(self._descriptor)
            self._waiter = None


def _finish(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
