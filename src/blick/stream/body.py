"""Where the bytes of an upload come from.

The server of `blick.http.server` hands its own, faster source to the application as the ASGI extension
`EXTENSION`; `request_body` takes that, or reads plain ASGI messages under TLS and on any other server.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Protocol, cast

from blick.model.errors import BodyIncomplete

EXTENSION = "blick.request_body"

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class BodySource(Protocol):
    """The bytes of one body, in order, read once, by one reader at a time."""

    async def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` completely, or up to the end of the body; give the count of bytes put there.

        0 means that the body has ended whole. `buffer` (writable, not empty) belongs to the caller again as soon
        as this returns, also when cancelled. Raises BodyIncomplete when the client went away, its framing is
        broken or it stayed idle for too long; what was put into the buffer is worth nothing then.
        """
        ...


class RequestBody(BodySource, Protocol):
    """A body that can also be had bit by bit, as it comes, for readers who keep what came before it broke off."""

    async def read_some(self, buffer: memoryview) -> int:
        """Wait until something came, and put into `buffer` what there is, as far as it has room; give the count.

        Otherwise like `readinto`, but for this: all that came before an error was given before it is raised, except
        to a reader who was cancelled.
        """
        ...


class AsgiBody:
    """A body read through ASGI's `receive`."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._piece = memoryview(b"")
        self._more = True

    async def readinto(self, buffer: memoryview) -> int:
        """See BodySource."""
        filled = 0
        while filled < len(buffer) and (self._piece or self._more):
            if not self._piece:
                await self._next_piece()
                continue
            count = min(len(self._piece), len(buffer) - filled)
            buffer[filled : filled + count] = self._piece[:count]
            self._piece = self._piece[count:]
            filled += count
        return filled

    async def read_some(self, buffer: memoryview) -> int:
        """See RequestBody."""
        while not self._piece and self._more:
            await self._next_piece()
        count = min(len(self._piece), len(buffer))
        buffer[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    async def _next_piece(self) -> None:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise BodyIncomplete("The client went away, or its body broke off.")
        self._piece = memoryview(message.get("body", b""))
        self._more = bool(message.get("more_body", False))


class PiecesBody:
    """A body made of pieces, each of which is valid until the next is asked for; its errors are the pieces' own."""

    def __init__(self, pieces: AsyncIterator[memoryview]) -> None:
        self._pieces = pieces
        self._piece = memoryview(b"")

    async def readinto(self, buffer: memoryview) -> int:
        """See BodySource."""
        filled = 0
        while filled < len(buffer):
            if not self._piece:
                following = await anext(self._pieces, None)
                if following is None:
                    break
                self._piece = following
                continue
            count = min(len(self._piece), len(buffer) - filled)
            buffer[filled : filled + count] = self._piece[:count]
            self._piece = self._piece[count:]
            filled += count
        return filled


def request_body(scope: Mapping[str, Any], receive: Receive) -> RequestBody:
    """The body of the request `scope`, from the fastest source that this server offers."""
    source = (scope.get("extensions") or {}).get(EXTENSION)
    return cast(RequestBody, source) if source is not None else AsgiBody(receive)
