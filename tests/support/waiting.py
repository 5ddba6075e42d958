"""Waiting for what happens in another process: by looking again and again, with a deadline that only a fault meets."""

import asyncio
import time
from collections.abc import Callable

DEADLINE_S = 300.0
POLL_S = 0.05


def eventually(
    check: Callable[[], object], *, within_s: float = DEADLINE_S, what: str | Callable[[], str] = ""
) -> None:
    """Returns as soon as `check()` is true; AssertionError when it still is not after `within_s`.

    `what` should be; a function is asked at the failure, and may tell what is instead.
    """
    give_up_at = time.monotonic() + within_s
    while not check():
        if time.monotonic() >= give_up_at:
            raise AssertionError(f"not within {within_s} s: {what() if callable(what) else what or check}")
        time.sleep(POLL_S)


async def eventually_here(check: Callable[[], object], *, within_s: float = DEADLINE_S) -> None:
    """`eventually` for what other tasks of this event loop do."""
    give_up_at = time.monotonic() + within_s
    while not check():
        if time.monotonic() >= give_up_at:
            raise AssertionError(f"not within {within_s} s")
        await asyncio.sleep(0)
