"""Reading a stored copy to its end only to know its hashes."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from blick.model.blob import ByteRange, Digests, Location
from blick.model.errors import StoreUnavailable
from blick.ops.services import Services
from blick.stores.base import Store
from blick.stream.body import PiecesBody
from blick.stream.hashing import Hashing
from blick.stream.pump import Write, pump

Told = Callable[[int], None]
"""Is told of every so many bytes that have come."""

_TRIES = 4
_FIRST_PAUSE_S = 0.5
_NO_LIMIT_BYTES = 1 << 63


async def digests_of(
    services: Services, store: Store, location: Location, hashing: Hashing, size_bytes: int | None, told: Told
) -> Digests:
    """The size and the hashes of what lies at `location`. `size_bytes`: as far as is known. Raises StoreError."""
    return await transfer(services, store, location, _drop, hashing, size_bytes, told)


async def transfer(
    services: Services,
    store: Store,
    location: Location,
    write: Write,
    hashing: Hashing,
    size_bytes: int | None,
    told: Told,
) -> Digests:
    """Move what lies at `location` through `write`; give its size and hashes. Raises StoreError."""
    async with aclosing(_pieces(store, location, size_bytes, told)) as pieces:
        return await pump(
            PiecesBody(pieces),
            write,
            hashing=hashing,
            inspection=None,
            cap_bytes=_NO_LIMIT_BYTES,
            expected_bytes=None,
            threads=services.threads,
        )


async def _pieces(
    store: Store, location: Location, size_bytes: int | None, told: Told
) -> AsyncGenerator[memoryview, None]:
    """Everything that lies there, in order. Where the line breaks it goes on by range from there, a few times."""
    offset, failed = 0, 0
    while True:
        wanted = None if offset == 0 or size_bytes is None else ByteRange(offset, size_bytes - offset)
        try:
            async with aclosing(store.read(location, wanted)) as pieces:
                async for piece in pieces:
                    yield piece
                    offset, failed = offset + len(piece), 0
                    told(len(piece))
            return
        except StoreUnavailable:
            failed += 1
            if failed == _TRIES or (offset and offset >= (size_bytes or 0)):
                raise
        await asyncio.sleep(_FIRST_PAUSE_S * 2 ** (failed - 1))


async def _drop(_buffer: memoryview) -> None:
    """Where the bytes go: nowhere."""
