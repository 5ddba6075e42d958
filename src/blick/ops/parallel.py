"""The same work for many things, a few of them at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def each(items: Iterable[T], most: int, work: Callable[[T], Awaitable[None]]) -> None:
    """Do `work` for every item, at most `most` at once. The first error ends the others, and is raised."""
    left = iter(items)

    async def strand() -> None:
        for item in left:
            await work(item)

    strands = [asyncio.create_task(strand()) for _ in range(most)]
    try:
        await asyncio.gather(*strands)
    finally:
        for task in strands:
            task.cancel()
        await asyncio.wait(strands)
