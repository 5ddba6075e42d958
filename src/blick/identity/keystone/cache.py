"""Tokens that were found good a short while ago: in this process, and in memcached where there is one.

However many requests come with the same unknown token at the same time, it is looked up once.
"""

import asyncio
import contextlib
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from blick.identity.keystone.token import Token, read_token
from blick.model.errors import ServiceUnavailable

_log = logging.getLogger(__name__)

ENTRY_FORMAT = 1
_MOST_TOKENS = 4096
_MOST_BYTES = 16 << 20
# Longer than any lookup whose parts each stay within their bounds; what is left of it goes on without the caller.
_PATIENCE_S = 60.0
# Clocks of two machines differ; an entry of so far in the future is still one of now.
_SKEW_S = 60


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """What Keystone answered about a token, and when that was, in seconds since 1970."""

    checked_at_s: float
    answer: bytes
    format: int = ENTRY_FORMAT


class Lookup(Protocol):
    """Where tokens are looked up that are not remembered."""

    async def ask(self, token: str, *, allow_expired: bool) -> bytes | None:
        """The description of a token; None where it is not valid. Raises ServiceUnavailable."""
        ...


class Shared(Protocol):
    """Where other processes find what this one was told. Never raises."""

    async def find(self, digest: bytes) -> Entry | None:
        """What another process kept about the token with that SHA-256."""
        ...

    async def keep(self, digest: bytes, entry: Entry, ttl_s: int) -> None:
        """Let others find the entry, for at most so long."""
        ...

    async def aclose(self) -> None:
        """Give up threads and connections."""
        ...


@dataclass(frozen=True, slots=True)
class _Remembered:
    token: Token
    checked_at_s: float


class TokenCache:
    """Tokens by their hash, never by themselves. One per process, for the event loop's thread.

    What Keystone refused is not remembered. What it said is believed for `ttl_s` (0: not at all) from the moment it
    was said, wherever it was remembered; whether a token has expired meanwhile is for the caller to see.
    """

    def __init__(
        self, lookup: Lookup, ttl_s: int, shared: Shared | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._lookup = lookup
        self._ttl_s = ttl_s
        self._shared = shared if ttl_s else None
        self._clock = clock
        self._remembered: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._size_bytes = 0
        self._flights: dict[tuple[bytes, bool], asyncio.Task[Token | None]] = {}
        self._errands: set[asyncio.Task[None]] = set()

    async def get(self, token: str, *, allow_expired: bool = False) -> Token | None:
        """What Keystone says of a token; None where it is not valid.

        Raises ServiceUnavailable. When cancelled, the lookup goes on for others who wait for it.
        """
        digest = hashlib.sha256(token.encode("latin-1")).digest()
        known = self._recall(digest)
        if known is not None:
            return known
        flight = self._flights.get((digest, allow_expired))
        if flight is None:
            flight = asyncio.create_task(self._find(token, digest, allow_expired), name="token")
            self._flights[digest, allow_expired] = flight
            flight.add_done_callback(lambda done: self._landed((digest, allow_expired), done))
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await asyncio.shield(flight)
        except TimeoutError as error:
            raise ServiceUnavailable("The identity service takes too long to answer. Try again later.") from error

    async def aclose(self) -> None:
        """End what is still under way; calls that run are waited for."""
        under_way = [*self._flights.values(), *self._errands]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        if self._shared is not None:
            await self._shared.aclose()

    # -- in this process -----------------------------------------------------------------------------------------

    def _recall(self, digest: bytes) -> Token | None:
        remembered = self._remembered.get(digest)
        if remembered is None:
            return None
        if not self._is_fresh(remembered.checked_at_s):
            self._forget(digest)
            return None
        self._remembered.move_to_end(digest)
        return remembered.token

    def _remember(self, digest: bytes, token: Token, checked_at_s: float) -> Token:
        if not self._ttl_s:
            return token
        self._forget(digest)
        self._remembered[digest] = _Remembered(token, checked_at_s)
        self._size_bytes += token.size_bytes
        while len(self._remembered) > _MOST_TOKENS or self._size_bytes > _MOST_BYTES:
            self._forget(next(iter(self._remembered)))
        return token

    def _forget(self, digest: bytes) -> None:
        remembered = self._remembered.pop(digest, None)
        if remembered is not None:
            self._size_bytes -= remembered.token.size_bytes

    def _is_fresh(self, checked_at_s: float) -> bool:
        return -_SKEW_S <= self._clock() - checked_at_s < self._ttl_s

    # -- looking up ----------------------------------------------------------------------------------------------

    def _landed(self, flight: tuple[bytes, bool], done: "asyncio.Task[Token | None]") -> None:
        del self._flights[flight]
        if not done.cancelled():
            done.exception()  # seen: nobody may have waited for it to the end

    async def _find(self, token: str, digest: bytes, allow_expired: bool) -> Token | None:
        entry = await self._shared.find(digest) if self._shared is not None else None
        if entry is not None and self._is_fresh(entry.checked_at_s):
            with contextlib.suppress(ValueError):  # from somebody who is not us: Keystone knows better
                return self._remember(digest, read_token(entry.answer), entry.checked_at_s)
        asked_at_s = self._clock()  # a revocation may come while Keystone answers
        answer = await self._lookup.ask(token, allow_expired=allow_expired)
        if answer is None:
            return None
        try:
            described = read_token(answer)
        except ValueError as error:
            _log.error("Keystone's answer about a token makes no sense: %s", error)
            raise ServiceUnavailable("The identity service gives answers that make no sense.") from error
        if self._shared is not None:
            self._run_errand(self._shared.keep(digest, Entry(asked_at_s, answer), self._ttl_s))
        return self._remember(digest, described, asked_at_s)

    def _run_errand(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that nobody has to wait for."""
        task = asyncio.create_task(work, name="memcached")
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)
