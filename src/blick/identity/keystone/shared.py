"""Tokens that were found good, as the processes of a deployment share them in memcached."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import msgspec

from blick.identity.keystone.cache import ENTRY_FORMAT, Entry
from blick.identity.keystone.memcached import Memcached, MemcachedFailed
from blick.identity.keystone.options import MemcachedOptions
from blick.identity.keystone.sealing import sealing
from blick.stream.hop import hop

_log = logging.getLogger(__name__)

_QUIET_S = 60.0  # between two lines in the log about the same trouble

P = ParamSpec("P")
T = TypeVar("T")


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Entry)


class SharedTokens:
    """Entries by the SHA-256 of their token. One per process, for the event loop's thread. Closed with `aclose`.

    Nothing here raises but at the start: without memcached, tokens are looked up more often, and the log says so.
    """

    def __init__(self, options: MemcachedOptions) -> None:
        """Nothing is connected yet. Raises StartRefused."""
        self._memcached = Memcached(options)
        self._sealing = sealing(options.strategy, options.secret)
        self._wait_s = options.connection_wait_s
        self._threads = ThreadPoolExecutor(options.connections, thread_name_prefix="memcached")
        self._turns = asyncio.Semaphore(options.connections)
        self._quiet_until_s = 0.0

    async def find(self, digest: bytes) -> Entry | None:
        """An entry that is whole and was sealed for this token; None in every other case."""
        kept = await self._call(self._memcached.get, self._sealing.place(digest))
        opened = self._sealing.open(digest, kept) if kept is not None else None
        if opened is None:
            return None
        try:
            entry = _DECODER.decode(opened)
        except msgspec.MsgspecError:
            return None
        return entry if entry.format == ENTRY_FORMAT else None

    async def keep(self, digest: bytes, entry: Entry, ttl_s: int) -> None:
        """Let others find the entry, for at most so long."""
        sealed = self._sealing.seal(digest, _ENCODER.encode(entry))
        await self._call(self._memcached.set, self._sealing.place(digest), sealed, ttl_s)

    async def aclose(self) -> None:
        """End threads and connections; calls that run are waited for."""
        await hop(None, self._threads.shutdown, wait=True)
        self._memcached.close()

    async def _call(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """One call in a thread; None where it fails, or where its turn does not come."""
        try:
            async with asyncio.timeout(self._wait_s):
                await self._turns.acquire()
        except TimeoutError:
            self._complain("all connections are in use")
            return None
        try:
            return await hop(self._threads, call, *args, **kwargs)
        except MemcachedFailed as error:
            self._complain(str(error))
            return None
        finally:
            self._turns.release()

    def _complain(self, reason: str) -> None:
        now_s = time.monotonic()
        if now_s >= self._quiet_until_s:
            self._quiet_until_s = now_s + _QUIET_S
            _log.warning("memcached cannot be used, tokens are looked up at Keystone more often: %s", reason)
