"""Waiting for what happens in another process: by looking again and again, with a deadline that only a fault meets."""

import time
from collections.abc import Callable

DEADLINE_S = 300.0
POLL_S = 0.05


def eventually(check: Callable[[], object], *, within_s: float = DEADLINE_S, what: str = "") -> None:
    """Returns as soon as `check()` is true; AssertionError when it still is not after `within_s`."""
    give_up_at = time.monotonic() + within_s
    while not check():
        assert time.monotonic() < give_up_at, f"not within {within_s} s: {what or check}"
        time.sleep(POLL_S)
