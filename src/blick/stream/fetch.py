"""The one way in which Blick reads from addresses that users name: over HTTP, past the operator's filter.

Every request, and every redirect, is resolved here, its addresses are screened, and the connection goes to an address
that passed, while TLS names the host: a name cannot change its meaning between the check and the use.
"""

from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from blick.model.blob import ByteRange
from blick.model.errors import SourceBroken
from blick.model.uri_filter import UriFilter
from blick.stream.hop import interruptible_hop

if TYPE_CHECKING:
    from blick.stream.http_line import Line

_THREADS = 16  # each waits for a server of others; an idle one costs nothing


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """How to reach servers. `ca_file` None: the system's authorities. `proxies` are by scheme, `host:port` or a URL.

    What goes through a proxy is resolved by the proxy; then only the text of a URI is judged here.
    """

    connect_timeout_s: float = 10
    read_timeout_s: float = 60
    most_redirects: int = 5
    ca_file: str | None = None
    verify: bool = True
    proxies: Mapping[str, str] = field(default_factory=dict)


class Answer:
    """A server's answer: head now, body on demand. A `BodySource`, so it can be pumped into a store."""

    def __init__(self, line: "Line", threads: ThreadPoolExecutor) -> None:
        self._line = line
        self._threads = threads
        self.status = line.status
        self.headers: Mapping[str, str] = line.headers
        """By lower-case name."""
        self.length_bytes = line.length_bytes
        """How long the body is; None if the server does not say."""

    async def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` completely, or up to the end of the body; give the count. 0: the body has ended whole.

        The buffer belongs to the caller again as soon as this returns, also when cancelled. Raises SourceBroken if
        the body ended early, SourceUnavailable if the server went silent.
        """
        return await interruptible_hop(self._threads, self._line.interrupt, self._line.readinto, buffer)


class Fetcher:
    """Makes requests. One event loop's; `aclose` ends its threads, when nothing is being fetched any more."""

    def __init__(self, uri_filter: UriFilter, options: FetchOptions | None = None) -> None:
        self._filter = uri_filter
        self._options = options or FetchOptions()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="fetch")

    @asynccontextmanager
    async def open(
        self, uri: str, *, method: str = "GET", wanted: ByteRange | None = None, recorded: bool = False
    ) -> AsyncIterator[Answer]:
        """Send a request, follow redirects, and give the answer, which must not be used outside the context.

        `wanted` (not empty) asks for a part; whether the server gave one its status tells. `recorded` says that the
        URI passed the filter before and may not pass it today: then its text is not judged, its addresses are.
        Answers are of status 200 or 206. Raises Invalid (refused by the filter, here or in a redirect),
        SourceMissing (404, 410), SourceDenied (401, 403), RangeNotSatisfiable (416), SourceUnavailable, SourceBroken,
        or SourceError for other statuses and too many redirects.
        """
        # The HTTP library is loaded by those who fetch only.
        from blick.stream.http_line import Line

        line = Line(self._filter, self._options)
        try:
            await interruptible_hop(self._threads, line.interrupt, line.request, uri, method, wanted, recorded)
            yield Answer(line, self._threads)
        finally:
            line.close()

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
