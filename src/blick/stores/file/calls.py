"""Calls into file systems, which may hang for as long as a network or a disk does.

With a time limit, a call that exceeds it is waited for no more: its caller gets StoreUnavailable. Nothing can stop the
thread, which may wake up at any time later. Therefore calls are made in a Lane, one at a time: it knows whether one of
them still runs, and closes or removes what they use only behind the last of them.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from blick.model.errors import StoreUnavailable
from blick.stream.hop import hop, hop_within

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger(__name__)

# Each may sit in a slow disk for a while; with more than this at once a disk gains nothing.
_THREADS = 16


@dataclass(frozen=True, slots=True)
class CallLimits:
    """`timeout_s` for one call, None for no limit. With one: in how many threads, and how many of them have to be busy
    before it is worth a warning.
    """

    timeout_s: float | None = None
    threads: int = _THREADS
    warn_from: int = _THREADS


class Calls:
    """The threads of the store `store`, until `aclose`."""

    def __init__(self, store: str, limits: CallLimits) -> None:
        self.store = store
        self.limits = limits
        self._threads = ThreadPoolExecutor(limits.threads, thread_name_prefix=f"store-{store}")
        self._lock = threading.Lock()
        self._under_way = 0
        self._hanging = 0
        self._has_warned = False

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of one call that leaves nothing open. Raises what it raises, and StoreUnavailable at the limit."""
        return await Lane(self).run(call, *args, **kwargs)

    async def in_thread(self, patience: int, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `call` in a thread; raises TimeoutError after `patience` times the limit (see hop_within)."""
        if self.limits.timeout_s is None:
            return await hop(self._threads, call, *args, **kwargs)
        self._require_a_thread()
        return await hop_within(patience * self.limits.timeout_s, self._threads, call, *args, **kwargs)

    def begins(self) -> None:
        """A call begins in its thread."""
        with self._lock:
            self._under_way += 1
            warns = self._under_way >= self.limits.warn_from and not self._has_warned
            self._has_warned = self._has_warned or warns
            under_way = self._under_way
        if warns and self.limits.timeout_s is not None:
            _log.warning("store %s: %d of %d threads wait for files", self.store, under_way, self.limits.threads)

    def ends(self, *, hung: bool) -> None:
        """A call ends in its thread; `hung` says that it was told of in `hangs`."""
        with self._lock:
            self._under_way -= 1
            self._hanging -= hung
            self._has_warned = self._has_warned and self._under_way > 0

    def hangs(self) -> None:
        """A call that runs is waited for no more."""
        with self._lock:
            self._hanging += 1

    async def aclose(self) -> None:
        """Wait for running calls and end the threads; not for those that hang."""
        with self._lock:
            hanging = self._hanging
        if hanging:
            _log.warning("store %s: %d threads still wait for files", self.store, hanging)
            self._threads.shutdown(wait=False)
        else:
            await hop(None, self._threads.shutdown)

    def _require_a_thread(self) -> None:
        """Once all of them hang there is no use in waiting in line."""
        with self._lock:
            if self._hanging >= self.limits.threads:
                raise StoreUnavailable(self.store, "all threads wait for files")


class Lane:
    """Calls that use the same things: one at a time, and none any more after one that was cancelled or given up."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._lock = threading.Lock()
        self._is_running = False
        self._is_given_up = False
        self._last: Callable[[], None] | None = None

    @property
    def is_limited(self) -> bool:
        """Whether calls may be given up: then nothing that belongs to somebody else may be lent to them."""
        return self._calls.limits.timeout_s is not None

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `call`. Raises what it raises, and StoreUnavailable at the limit."""
        return await self.run_patiently(1, call, *args, **kwargs)

    async def run_patiently(self, patience: int, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `run`, with `patience` times the limit: for calls that take as long as there is much to do."""
        try:
            return await self._calls.in_thread(patience, self._run, lambda: call(*args, **kwargs))
        except TimeoutError:
            self._give_up()
            raise self._no_answer() from None
        except asyncio.CancelledError:
            self._give_up()
            raise

    def end(self, cleanup: Callable[[], None]) -> bool:
        """No call begins any more. If none runs, gives True: the caller cleans up. If one does, it is given up, and
        `cleanup` is called right behind it, in its thread, whenever that is.
        """
        self._give_up()
        with self._lock:
            if self._is_running:
                self._last = cleanup
            return not self._is_running

    def require_wanted(self) -> None:
        """For calls to ask before a step that cannot be undone. Raises StoreUnavailable if they were given up."""
        if self._is_given_up:
            raise self._no_answer()

    def _run(self, call: Callable[[], T]) -> T:
        with self._lock:
            if self._is_given_up:
                raise self._no_answer()
            self._is_running = True
        self._calls.begins()
        try:
            return call()
        finally:
            with self._lock:
                self._is_running = False
                hung, last = self._is_given_up, self._last
            if last is not None:
                last()
            self._calls.ends(hung=hung)

    def _give_up(self) -> None:
        with self._lock:
            hangs = self._is_running and not self._is_given_up
            self._is_given_up = True
        if hangs:
            self._calls.hangs()

    def _no_answer(self) -> StoreUnavailable:
        return StoreUnavailable(self._calls.store, "the file system did not answer in time")
