"""A body fetched over HTTP that outlives its connections: what broke off is taken up where it stopped.

Whole or not at all: bytes of two versions are never put together, and an end that comes before what the server
announced, in whichever of its answers, is no end.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from blick.model.errors import (
    Invalid,
    RangeNotSatisfiable,
    SourceBroken,
    SourceError,
    SourceUnavailable,
)
from blick.stream.fetch import Answer, Fetcher

_log = logging.getLogger(__name__)

_PART = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")
# Each pause is so many times as long as the one before.
_GROWTH: Final = 4.0
_CHANGED: Final = "The data changed on the server meanwhile."


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a download is tried again without a byte in between, and how long to wait before that."""

    retries: int = 4
    first_pause_s: float = 0.2
    longest_pause_s: float = 30

    def pause_s(self, failures: int) -> float:
        """How long to wait after so many failures in a row (1 or more)."""
        return min(self.longest_pause_s, self.first_pause_s * _GROWTH ** min(failures - 1, 16))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to download. `secrets` are headers that no redirect carries to another server.

    `is_verified` says that the caller compares the whole with a hash: then a download is taken up even where the server
    does not tell versions of its data apart, as long as their size is the same.
    """

    uri: str = field(repr=False)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_verified: bool = False


@asynccontextmanager
async def download(fetcher: Fetcher, wanted: Wanted, patience: Patience) -> AsyncIterator["Download"]:
    """Ask for it, and give the body, which must not be used outside the context.

    Raises Invalid (refused by the filter), or a SourceError.
    """
    async with AsyncExitStack() as lines:
        body = Download(fetcher, wanted, patience, lines)
        await body.begin()
        yield body


class Download:
    """A `BodySource`. Made by `download`."""

    def __init__(self, fetcher: Fetcher, wanted: Wanted, patience: Patience, lines: AsyncExitStack) -> None:
        self._fetcher = fetcher
        self._wanted = wanted
        self._patience = patience
        self._lines = lines  # holds what is open, one line at most
        self._answer: Answer | None = None
        self._version: _Version | None = None
        self._size_bytes: int | None = None
        self._read_bytes = 0
        self._failures = 0  # in a row
        self._has_ended = False

    @property
    def size_bytes(self) -> int | None:
        """How long the body is; None as long as the server has not told."""
        return self._size_bytes

    async def begin(self) -> None:
        """Get the first answer. Once, before anything else."""
        while self._answer is None:
            await self._try_to_take_up()

    async def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` completely, or up to the end of the body; give the count. 0: the body has ended whole.

        The buffer belongs to the caller again as soon as this returns, also when cancelled. Raises SourceBroken if the
        body broke off and cannot be taken up, changed meanwhile, or ended early; SourceUnavailable if the server did
        not come back in time; another SourceError or Invalid if it refuses to go on.
        """
        filled = 0
        while filled < len(buffer):
            with buffer[filled:] as rest:
                count = await self._read_some(rest)
            if count == 0:
                break
            filled += count
        return filled

    async def _read_some(self, buffer: memoryview) -> int:
        while not self._has_ended:
            if self._answer is None:
                await self._try_to_take_up()
                continue
            try:
                count = await self._answer.fill(buffer)
            except (SourceBroken, SourceUnavailable) as error:
                await self._put_up_with(error)
                continue
            if count > 0:
                self._count(count)
                return count
            await self._judge_end()
        return 0

    def _count(self, count: int) -> None:
        self._read_bytes += count
        self._failures = 0
        if self._size_bytes is not None and self._read_bytes > self._size_bytes:
            raise SourceBroken(f"The server sent more than the {self._size_bytes} bytes that it announced.")

    async def _judge_end(self) -> None:
        """The body of an answer has ended as it should: was that all?"""
        is_whole = self._size_bytes == self._read_bytes and self._wanted.is_verified  # a hash will say so, too
        if self._size_bytes in (None, self._read_bytes) and not is_whole:
            announced = await self._size_by_head()
            # Where HEAD tells less, it is HEAD that is wrong: many a program writes a 0 there.
            self._size_bytes = max(self._read_bytes, announced or 0)
        if self._read_bytes == self._size_bytes:
            self._has_ended = True
        else:
            await self._put_up_with(SourceBroken("The server's answer ended early."))

    async def _size_by_head(self) -> int | None:
        """What HEAD says; asked at the end, for some servers do not answer two requests at once."""
        try:
            async with self._fetcher.open(self._wanted.uri, method="HEAD", secrets=self._wanted.secrets) as answer:
                return answer.length_bytes
        except (SourceError, RangeNotSatisfiable, Invalid):
            return None  # not every server knows HEAD

    async def _try_to_take_up(self) -> None:
        """Have an answer afterwards, or know that it has ended, or have waited."""
        headers = {}
        if self._read_bytes > 0 and self._version is not None:
            headers = self._version.asks_for(self._read_bytes)
        opened = self._fetcher.open(self._wanted.uri, headers=headers, secrets=self._wanted.secrets)
        try:
            answer = await self._lines.enter_async_context(opened)
        except (SourceBroken, SourceUnavailable) as error:
            await self._put_up_with(error)
        except RangeNotSatisfiable as error:
            # All was there already, but for the mark of its end.
            if error.size_bytes != self._read_bytes or self._size_bytes is not None:
                raise SourceBroken(_CHANGED) from error
            await self._judge_end()
        else:
            self._accept(answer)
            self._answer = answer

    def _accept(self, answer: Answer) -> None:
        """Raises SourceBroken unless the answer goes on where we are."""
        _require_plain(answer)
        version = _Version.of(answer.headers)
        if self._read_bytes == 0:
            if _differ(self._size_bytes, answer.length_bytes):
                raise SourceBroken(_CHANGED)  # the caller may have been told
            self._version = version
            self._size_bytes = answer.length_bytes if self._size_bytes is None else self._size_bytes
            return
        assert self._version is not None
        is_same = self._version.is_same(version) or (self._wanted.is_verified and not self._version.is_told)
        if answer.status != 206:
            if not is_same or _differ(self._size_bytes, answer.length_bytes):
                raise SourceBroken(_CHANGED)
            raise SourceBroken(f"The download broke off after {self._read_bytes} bytes; the server gives no parts.")
        size_bytes = _size_of_whole(answer.headers, self._read_bytes)
        if not is_same or self._size_bytes not in (None, size_bytes):
            raise SourceBroken(_CHANGED)
        self._size_bytes = size_bytes

    async def _put_up_with(self, error: SourceError) -> None:
        """Wait before the next attempt. Raises `error` when patience has ended, SourceBroken if there can be none."""
        self._answer = None
        await self._lines.aclose()
        if self._size_bytes is not None and self._read_bytes == self._size_bytes:
            self._has_ended = True  # only the mark of its end was missing
            return
        self._failures += 1
        if self._failures > self._patience.retries:
            raise error
        if self._read_bytes and not self._can_go_on():
            raise SourceBroken(
                f"The download broke off after {self._read_bytes} bytes; the server does not tell whether its data is "
                "still the same."
            ) from error
        _log.info("a download broke off after %s bytes: %s", self._read_bytes, error)
        await asyncio.sleep(self._patience.pause_s(self._failures))

    def _can_go_on(self) -> bool:
        return self._version is not None and (self._version.is_told or self._wanted.is_verified)


@dataclass(frozen=True, slots=True)
class _Version:
    """What a server tells its data's versions apart by: a strong ETag, else the time of the last change."""

    etag: str | None
    last_modified: str | None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> "_Version":
        etag = headers.get("etag", "").strip()
        return cls(etag if etag.startswith('"') else None, headers.get("last-modified", "").strip() or None)

    @property
    def is_told(self) -> bool:
        return self.etag is not None or self.last_modified is not None

    def is_same(self, other: "_Version") -> bool:
        """Is it certain?"""
        if self.etag is not None:
            return self.etag == other.etag
        return self.last_modified is not None and self.last_modified == other.last_modified

    def asks_for(self, offset_bytes: int) -> dict[str, str]:
        """The headers that ask for the rest of this version, or all of another."""
        headers = {"Range": f"bytes={offset_bytes}-"}
        condition = self.etag or self.last_modified
        return headers if condition is None else {**headers, "If-Range": condition}


def _differ(one: int | None, other: int | None) -> bool:
    """Are both known, and not the same?"""
    return one is not None and other is not None and one != other


def _size_of_whole(headers: Mapping[str, str], offset_bytes: int) -> int:
    """The size of the whole, in an answer that has all from `offset_bytes` on. Raises SourceBroken for others."""
    found = _PART.fullmatch(headers.get("content-range", "").strip())
    if found is None:
        raise SourceBroken("The server does not say which part of the data it sent.")
    first, last, size_bytes = (int(number) for number in found.groups())
    if first != offset_bytes or last != size_bytes - 1:
        raise SourceBroken("The server sent another part of the data than the one asked for.")
    return size_bytes


async def read_small(fetcher: Fetcher, wanted: Wanted, patience: Patience, most_bytes: int) -> bytes:
    """A document of at most `most_bytes`; one that broke off is read again from its beginning.

    Raises Invalid (refused by the filter), or a SourceError, also where it is longer.
    """
    failures = 0
    while True:
        buffer = bytearray(most_bytes + 1)
        try:
            async with fetcher.open(wanted.uri, secrets=wanted.secrets) as answer:
                _require_plain(answer)
                count = await answer.readinto(memoryview(buffer))
            break
        except (SourceBroken, SourceUnavailable):
            failures += 1
            if failures > patience.retries:
                raise
            await asyncio.sleep(patience.pause_s(failures))
    if count > most_bytes:
        raise SourceError(f"The server's answer is longer than the {most_bytes} bytes that it may have.")
    return bytes(buffer[:count])


def _require_plain(answer: Answer) -> None:
    encoding = answer.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise SourceError(f"The server sends its data encoded ({encoding[:40]}), though it was asked not to.")
