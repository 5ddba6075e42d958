"""A body that passes, and tells how many of its bytes have."""

from collections.abc import Awaitable, Callable

from blick.stream.body import BodySource

Note = Callable[[int], Awaitable[None]]


class ToldBody:
    """`body`, with `note` called for the count of bytes of each piece."""

    def __init__(self, body: BodySource, note: Note) -> None:
        self._body = body
        self._note = note

    async def readinto(self, buffer: memoryview) -> int:
        """See BodySource. Raises besides what `note` raises."""
        count = await self._body.readinto(buffer)
        await self._note(count)
        return count
