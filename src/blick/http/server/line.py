"""One connection's transport: flow control both ways, its socket, and one timer."""

import asyncio
import os
import socket
from collections.abc import Callable

Action = Callable[[], None]


class Line:
    """What requests and responses need of their connection. Only for the event loop's thread."""

    __slots__ = (
        "_action",
        "_deadline_s",
        "_reading",
        "_timer",
        "_transport",
        "_writable",
        "eof",
        "loop",
        "lost",
        "plain",
        "write_paused",
    )

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.lost = False
        self.write_paused = False
        self.plain = transport.get_extra_info("sslcontext") is None
        self._transport = transport
        self._reading = True
        self.eof = False
        self._writable = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._deadline_s: float | None = None
        self._action: Action | None = None
        if self.plain:
            # Whoever waits for an empty write buffer (sendfile) or for back-pressure waits for the same moment.
            # Under TLS, where nobody sends files, uvloop would take this limit for: never ready to be written to.
            transport.set_write_buffer_limits(high=0)

    # Out

    @property
    def closing(self) -> bool:
        """Whether nothing more can be written."""
        return self.lost or self._transport.is_closing()

    def write(self, data: bytes | memoryview) -> None:
        """Send `data`, now or when the client takes it."""
        if not self.closing:
            self._transport.write(data)

    def pause_writing(self) -> None:
        """The transport holds bytes that the client does not take."""
        self.write_paused = True
        self._writable.clear()

    def resume_writing(self) -> None:
        """The transport holds nothing."""
        self.write_paused = False
        self._writable.set()

    async def flushed(self, stall_s: float) -> None:
        """Wait until the client took everything written, or is gone; one that takes nothing is cut off."""
        if not self.write_paused or self.lost:
            return
        self.set_deadline(stall_s, self.abort)
        try:
            await self._writable.wait()
        finally:
            self.clear_deadline()

    def write_eof(self) -> None:
        """Tell the client that nothing follows, where the transport can."""
        if self.closing or not self._transport.can_write_eof():
            return
        try:
            self._transport.write_eof()
        except OSError:  # asyncio's own loop: the client has reset the connection, and the loop has not seen it yet
            self.abort()

    def close(self, stall_s: float) -> None:
        """End the connection once everything is sent."""
        self._transport.close()
        if not self.lost:
            self.set_deadline(stall_s, self.abort)

    def abort(self) -> None:
        """End the connection now."""
        self._transport.abort()

    # In

    def pause_reading(self) -> None:
        """Take nothing from the network until `resume_reading`."""
        if self._reading and not self.closing:
            self._reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take bytes from the network again."""
        if not self._reading and not self.eof and not self.closing:
            self._reading = True
            self._transport.resume_reading()

    def note_eof(self) -> None:
        """The client has sent its last byte."""
        self.eof = True

    def duplicate(self) -> socket.socket:
        """The connection's socket under a second descriptor, which the caller closes. Raises OSError."""
        descriptor = os.dup(self._transport.get_extra_info("socket").fileno())
        try:
            return socket.socket(fileno=descriptor)
        except OSError:
            os.close(descriptor)
            raise

    # Time

    def set_deadline(self, seconds: float, action: Action) -> None:
        """Call `action` unless `clear_deadline` or another deadline comes within `seconds`."""
        deadline_s = self.loop.time() + seconds
        self._deadline_s, self._action = deadline_s, action
        # A timer that fires too early looks again: cheaper than a new one for every request.
        if self._timer is None or self._timer.when() > deadline_s:
            self._arm(deadline_s)

    def clear_deadline(self) -> None:
        """Nothing is waited for."""
        self._deadline_s = self._action = None

    def _arm(self, when_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(when_s, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._deadline_s is None or self._action is None:
            return
        if self.loop.time() < self._deadline_s:
            self._arm(self._deadline_s)
            return
        action = self._action
        self.clear_deadline()
        action()

    def end(self) -> None:
        """The connection is gone."""
        self.lost = True
        self.clear_deadline()
        if self._timer is not None:
            self._timer.cancel()
        self.resume_writing()
