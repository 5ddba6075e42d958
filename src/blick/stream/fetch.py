"""The one way in which Blick reads from addresses that users name: over HTTP, past the operator's filter.

Every request, and every redirect, is resolved here, its addresses are screened, and the connection goes to an address
that passed, while TLS names the host: a name cannot change its meaning between the check and the use.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from blick.model.blob import ByteRange
from blick.model.errors import SourceBroken, SourceError
from blick.model.uri_filter import UriFilter
from blick.stream.addresses import require_fetchable
from blick.stream.hop import hop, interruptible_hop

if TYPE_CHECKING:
    from blick.stream.http_line import Line

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 16  # each waits for a server of others; an idle one costs nothing
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """How to reach servers. `ca_file` None: the system's authorities.

    `answer_within_s` is how long a question may take, with its redirects, until its answer begins; and
    `least_bytes_s` is how slow a body may be, apart from one silence: a server that never falls silent, and never comes
    to an end either, would keep us for ever.
    `proxies` are by scheme, `host:port` or a URL, which may hold user and password. What goes through a proxy is
    resolved by the proxy; then only the text of a URI is judged here.
    """

    connect_timeout_s: float = 10
    read_timeout_s: float = 60
    answer_within_s: float = 600
    least_bytes_s: int = 1024
    most_redirects: int = 5
    ca_file: str | None = None
    verify: bool = True
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)


class Answer:
    """A server's answer: head now, body on demand. A `BodySource`, so it can be pumped into a store."""

    def __init__(self, line: "Line", threads: ThreadPoolExecutor, options: FetchOptions) -> None:
        self._line = line
        self._threads = threads
        self._options = options
        self.status = line.status
        self.headers: Mapping[str, str] = line.headers
        """By lower-case name."""
        self.length_bytes = line.length_bytes
        """How long the body is; None if the server does not say."""

    async def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` completely, or up to the end of the body; give the count. 0: the body has ended whole.

        The buffer belongs to the caller again as soon as this returns, also when cancelled. Raises SourceBroken if
        the body ended early, SourceUnavailable if the server went silent, SourceError if it sends too slowly.
        """
        return await self._read(self._line.readinto, buffer)

    async def fill(self, buffer: memoryview) -> int:
        """Like `readinto`, for those who can go on where a body broke off: what came before is not lost.

        A count that is less than the buffer's length may mean either; the next call gives 0, or raises.
        """
        return await self._read(self._line.fill, buffer)

    async def _read(self, call: Callable[[memoryview], int], buffer: memoryview) -> int:
        within_s = self._options.read_timeout_s + len(buffer) / self._options.least_bytes_s
        return await _hop_within(within_s, self._line, self._threads, call, buffer)


async def _hop_within(
    within_s: float, line: "Line", threads: ThreadPoolExecutor, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Let a thread do that with the line. Raises SourceError if it takes too long: the line is of no use then.

    The wait for a thread is none of the server's doing, and does not count.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as limit:

            def begin() -> None:
                limit.reschedule(loop.time() + within_s)

            def run() -> T:
                loop.call_soon_threadsafe(begin)
                return call(*args, **kwargs)

            return await interruptible_hop(threads, line.interrupt, run)
    except TimeoutError as error:
        raise SourceError("The server sends too slowly.") from error


class Fetcher:
    """Makes requests. One event loop's; `aclose` ends its threads, when nothing is being fetched any more."""

    def __init__(self, uri_filter: UriFilter, options: FetchOptions | None = None, threads: int = _THREADS) -> None:
        """`threads` is how many servers can be waited for at once."""
        self._filter = uri_filter
        self._options = options or FetchOptions()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="fetch")

    @asynccontextmanager
    async def open(
        self,
        uri: str,
        *,
        method: str = "GET",
        wanted: ByteRange | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
        secrets: Mapping[str, str] = _NO_HEADERS,
        recorded: bool = False,
    ) -> AsyncIterator[Answer]:
        """Send a request, follow redirects, and give the answer, which must not be used outside the context.

        `wanted` (not empty) asks for a part; whether the server gave one its status tells. `headers` are added to the
        request, and so are `secrets`, which no redirect carries to another server. `recorded` says that the URI passed
        the filter before and may not pass it today: then its text is not judged, its addresses are.
        Answers are of status 200, or 206 if a part was asked for. Raises Invalid (refused by the filter, here or in a
        redirect), SourceMissing (404, 410), SourceDenied (401, 403), RangeNotSatisfiable (416), SourceUnavailable,
        SourceBroken, or SourceError for other statuses, too many redirects, and what takes too long.
        """
        # The HTTP library is loaded by those who fetch only.
        from blick.stream.http_line import Line, Question

        if wanted is not None:
            headers = {**headers, "Range": f"bytes={wanted.offset_bytes}-{wanted.end_bytes - 1}"}
        line = Line(self._filter, self._options)
        question = Question(method, headers, secrets)
        try:
            within_s = self._options.answer_within_s
            await _hop_within(within_s, line, self._threads, line.request, uri, question, recorded)
            yield Answer(line, self._threads, self._options)
        finally:
            line.close()

    async def require_allowed(self, uri: str) -> None:
        """Raises Invalid unless `uri` passes the filter and leads to an address that may be connected to. Asks DNS."""
        target = self._filter.target(uri)
        if target.scheme in self._options.proxies:
            self._filter.screen_unresolved(target)
        else:
            await hop(self._threads, require_fetchable, self._filter, uri)

    async def aclose(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=True)


def require_part(answer: Answer, wanted: ByteRange) -> bool:
    """Is the answer's body the part that was asked for? False: it is the whole object.

    Raises SourceBroken if it is another part.
    """
    if answer.status != 206:
        return False
    part = answer.headers.get("content-range", "").removeprefix("bytes").strip().partition("/")[0]
    if part != f"{wanted.offset_bytes}-{wanted.end_bytes - 1}":
        raise SourceBroken(f"The server sent the bytes {part[:80]!r} instead of the ones asked for.")
    return True
