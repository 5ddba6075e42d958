"""Memcached, asked for short entries; whatever is wrong with it only costs time."""

import hashlib
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar

from blick.identity.keystone.options import MemcachedOptions, MemcachedTls
from blick.model.errors import StartRefused

try:
    from pymemcache.client.base import PooledClient
    from pymemcache.exceptions import (
        MemcacheClientError,
        MemcacheError,
        MemcacheServerError,
        MemcacheUnexpectedCloseError,
    )
except ModuleNotFoundError as error:
    raise StartRefused(
        "[keystone_authtoken] memcached_servers needs a package that is not installed: pip install 'blick[keystone]'."
    ) from error

_PORT = 11211
_LONGEST_TTL_S = 30 * 86_400  # memcached takes more for a date
T = TypeVar("T")


class MemcachedFailed(Exception):
    """No server could be asked, or the one that was asked failed; the text says which and why."""


@dataclass(slots=True)
class _Server:
    name: str
    client: Any  # pymemcache has no types
    dead_until_s: float = 0.0


class Memcached:
    """Several servers, each with its share of the names. Blocking; for any number of threads up to `connections`.

    A server that failed is left alone for a while, and others take its names meanwhile.
    """

    def __init__(self, options: MemcachedOptions, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is connected yet. Raises StartRefused for addresses and certificates that cannot be used."""
        tls = _tls_context(options.tls) if options.tls else None
        self._dead_retry_s = options.dead_retry_s
        self._clock = clock
        self._lock = Lock()
        self._servers = [
            _Server(
                name,
                PooledClient(
                    _address(name),
                    connect_timeout=options.socket_timeout_s,
                    timeout=options.socket_timeout_s,
                    no_delay=True,
                    max_pool_size=options.connections,
                    pool_idle_timeout=options.idle_s,
                    default_noreply=False,
                    tls_context=tls,
                ),
            )
            for name in options.servers
        ]

    def get(self, name: str) -> bytes | None:
        """What is kept under that name; None for nothing. Raises MemcachedFailed."""
        kept = self._ask(name, lambda client: client.get(name))
        return kept if isinstance(kept, bytes) else None

    def set(self, name: str, value: bytes, ttl_s: int) -> None:
        """Keep something for so long, or for less. Raises MemcachedFailed."""
        self._ask(name, lambda client: client.set(name, value, expire=min(ttl_s, _LONGEST_TTL_S)))

    def close(self) -> None:
        """Close the connections."""
        for server in self._servers:
            server.client.close()

    def _ask(self, name: str, call: Callable[[Any], T]) -> T:
        server = self._server_of(name)
        try:
            return self._with_a_live_connection(server.client, call)
        except (MemcacheError, OSError, ValueError) as error:
            # A server that says no to one entry is well otherwise.
            said_no = isinstance(error, MemcacheServerError | MemcacheClientError)
            if not said_no or isinstance(error, MemcacheUnexpectedCloseError):
                with self._lock:
                    server.dead_until_s = self._clock() + self._dead_retry_s
            raise MemcachedFailed(f"{server.name}: {error}") from error

    def _with_a_live_connection(self, client: Any, call: Callable[[Any], T]) -> T:
        try:
            return call(client)
        except (ConnectionError, MemcacheUnexpectedCloseError):
            client.close()  # the server was started anew, and all connections to it are old
            return call(client)

    def _server_of(self, name: str) -> _Server:
        """The live server with the highest score for that name: others keep their names when one dies."""
        now_s = self._clock()
        with self._lock:
            live = [server for server in self._servers if server.dead_until_s <= now_s]
        if not live:
            raise MemcachedFailed("every server failed a short while ago")
        return max(live, key=lambda server: hashlib.sha256(f"{server.name} {name}".encode()).digest())


def _address(name: str) -> str | tuple[str, int]:
    """The address that an operator wrote: host, host:port, [IPv6]:port, unix:/path, with inet: or inet6: before it."""
    if name.startswith(("unix:", "/")):
        return name.removeprefix("unix:")
    text = name.removeprefix("inet6:").removeprefix("inet:")
    host, bracket, rest = text.removeprefix("[").partition("]") if text.startswith("[") else (text, "", "")
    if not bracket and text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        port = rest.removeprefix(":")
    if not host or not (port or "0").isdecimal():
        raise StartRefused(f"[keystone_authtoken] memcached_servers: {name} is not the address of a server.")
    return host, int(port) if port else _PORT


def _tls_context(tls: MemcachedTls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.cert_file is not None:
            context.load_cert_chain(tls.cert_file, tls.key_file)
        if tls.ciphers is not None:
            context.set_ciphers(tls.ciphers)
    except (OSError, ValueError) as error:
        raise StartRefused(f"[keystone_authtoken] memcache_tls_: {error}") from error
    return context
