"""Ends of uploads that a hanging osd must not hold up: librbd may wait in them for as long as it hangs."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable

from blick.stream.hop import to_the_end

_log = logging.getLogger(__name__)


async def closed(store: str, close: Callable[[], None], limit_s: float | None) -> None:
    """Run `close` and wait for it, at most so long (None: for ever); it goes on alone after that.

    It gets a thread that nobody joins, neither the store's others nor the process at its end, and must use nothing that
    belongs to the caller. It must not raise. When cancelled, waits all the same, then lets the cancellation go on.
    """
    ended = asyncio.get_running_loop().create_future()
    threading.Thread(target=_run, args=(close, ended), name=f"close-{store}", daemon=True).start()
    await to_the_end(_wait(store, ended, limit_s))


async def _wait(store: str, ended: "asyncio.Future[None]", limit_s: float | None) -> None:
    done, _ = await asyncio.wait({ended}, timeout=limit_s)
    if not done:
        _log.error("store %s: Ceph does not let go of an image: left to itself, and to the next clean-up", store)


def _run(close: Callable[[], None], ended: "asyncio.Future[None]") -> None:
    try:
        close()
    finally:
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            ended.get_loop().call_soon_threadsafe(_note, ended)


def _note(ended: "asyncio.Future[None]") -> None:
    if not ended.done():
        ended.set_result(None)
