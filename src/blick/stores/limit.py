"""A ceiling on how much is going on in a store at once. The result is a store like any other."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from blick.model.blob import ByteRange, Location
from blick.model.context import RequestContext
from blick.stores.base import ABILITIES, Store, Writer


def limited(inner: Store, readers: int, writers: int) -> Store:
    """`inner`, with at most so many reads and so many writers under way; the next ones wait in line.

    It has the optional abilities that `inner` has, and no others: what it is asked for by isinstance stays true.
    Reads and writers are counted apart, so that copying within one store cannot wait for itself.
    """
    return _made(inner, _Ceiling(asyncio.Semaphore(readers), asyncio.Semaphore(writers)))


@dataclass(frozen=True, slots=True)
class _Ceiling:
    """The places that are left for reads and for writers."""

    readers: asyncio.Semaphore
    writers: asyncio.Semaphore


def _made(inner: Store, ceiling: _Ceiling) -> Store:
    names = [name for ability in ABILITIES if isinstance(inner, ability) for name in _members(ability)]
    passed_on = {name: _COUNTED.get(name) or _passed_on(name) for name in names}
    return cast("Store", type("LimitStore", (LimitStore,), passed_on)(inner, ceiling))


def _members(ability: type) -> list[str]:
    return [name for name in vars(ability) if not name.startswith("_")]


def _passed_on(name: str) -> property:
    return property(lambda self: getattr(self._inner, name))


async def _copy_from(self: Any, source: Store, location: Location, key: str) -> Location | None:
    """See CanCopy. Waits for its turn among the writers."""
    async with self._ceiling.writers:
        copied: Location | None = await self._inner.copy_from(source, location, key)
    return copied


def _acting_for(self: Any, caller: RequestContext) -> Store:
    """See ActsForCaller. Under the same ceiling."""
    return _made(self._inner.acting_for(caller), self._ceiling)


_COUNTED = {"copy_from": _copy_from, "acting_for": _acting_for}
"""What of the abilities is not simply passed on, because it would lead past the ceiling."""


class LimitStore:
    """The part of a limited store that every store has; made by `limited`."""

    def __init__(self, inner: Store, ceiling: _Ceiling) -> None:
        self._inner = inner
        self._ceiling = ceiling

    @property
    def name(self) -> str:
        """The inner store's id."""
        return self._inner.name

    @asynccontextmanager
    async def writer(self, key: str, size_bytes: int | None) -> AsyncIterator[Writer]:
        """See Store.writer. Waits for its turn."""
        async with self._ceiling.writers, self._inner.writer(key, size_bytes) as writer:
            yield writer

    async def read(self, location: Location, wanted: ByteRange | None = None) -> AsyncGenerator[memoryview, None]:
        """See Store.read. Waits for its turn, which lasts until the iterator ends or is closed."""
        async with self._ceiling.readers, aclosing(self._inner.read(location, wanted)) as pieces:
            async for piece in pieces:
                yield piece

    async def size_bytes(self, location: Location) -> int:
        """See Store.size_bytes."""
        return await self._inner.size_bytes(location)

    async def delete(self, location: Location) -> None:
        """See Store.delete."""
        await self._inner.delete(location)

    async def discard(self, key: str) -> None:
        """See Store.discard."""
        await self._inner.discard(key)

    async def aclose(self) -> None:
        """Close the inner store."""
        await self._inner.aclose()
