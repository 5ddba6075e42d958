"""From names to addresses; blocks while DNS is asked, so it runs in threads."""

import socket

from blick.model.errors import Invalid, SourceUnavailable
from blick.model.uri_filter import REFUSED, Target, UriFilter


def resolve(target: Target) -> tuple[str, ...]:
    """The addresses of the target's host, as this machine knows it. Raises SourceUnavailable if there are none."""
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise SourceUnavailable(f"The host {target.host} is not known.") from error
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def require_fetchable(uri_filter: UriFilter, uri: str) -> None:
    """Raises Invalid unless `uri` passes the filter, and its host has an address that may be connected to."""
    target = uri_filter.target(uri)
    try:
        addresses = resolve(target)
    except SourceUnavailable as error:
        raise Invalid(f"{REFUSED}: {error}") from error
    uri_filter.screen(target, addresses)
