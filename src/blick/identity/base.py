"""What an identity is asked, and what it has to answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from blick.model.context import RequestContext


@dataclass(frozen=True, slots=True)
class IdentityRequest:
    """All that a request says of its caller.

    `headers` are ASGI's: names in lower case, in the order of the request. `path` is the one that routes are chosen
    by, percent-decoded. `peer` is the address at the other end of the connection, whatever headers say; None where
    the connection has none (a local socket).
    """

    headers: Sequence[tuple[bytes, bytes]]
    method: str
    path: str
    peer: str | None
    request_id: str


class Identity(Protocol):
    """Who is calling. One per process; for the event loop's thread."""

    async def authenticate(self, request: IdentityRequest) -> RequestContext:
        """The caller. `is_admin` is left to policy, except where everybody is an administrator.

        Raises Unauthenticated; PeerRefused where not even an anonymous caller may come from; Invalid for headers
        that make no sense; ServiceUnavailable where the caller cannot be found out now.
        """
        ...

    def challenge(self, base_url: str) -> str:
        """What WWW-Authenticate tells a caller without valid identity; `base_url` is where it called us."""
        ...

    async def aclose(self) -> None:
        """Give back threads and connections, once nothing uses them any more."""
        ...


def unique_header(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """The value of a header; None where there is none; empty where there are several, which are as good as none."""
    found: bytes | None = None
    for key, value in headers:
        if key == name:
            found = value if found is None else b""
    return found
