"""The same work for many things: bounded, and ended by the first error."""

import asyncio

import pytest

from blick.ops.parallel import each


async def test_everything_is_done_a_few_at_a_time() -> None:
    running, most, done = 0, 0, []

    async def work(item: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        done.append(item)

    await each(range(20), 3, work)
    assert (sorted(done), most) == (list(range(20)), 3)
    await each([], 3, work)


async def test_the_first_error_ends_the_others() -> None:
    ended: list[int] = []

    async def work(item: int) -> None:
        try:
            await asyncio.sleep(0 if item == 1 else 3600)
        finally:
            ended.append(item)
        raise ValueError(item)

    with pytest.raises(ValueError, match="1"):
        await each(range(9), 3, work)
    assert sorted(ended) == [0, 1, 2]
