"""Requests of a library that another thread can break off, so that nobody has to wait for a silent server.

A thread that waits is freed by shutting the very connection it waits on. So the libraries get connections that tell,
before they are used, the scope in which their thread makes its call.
"""

import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import urllib3
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from blick.stream.sockets import shut

P = ParamSpec("P")
T = TypeVar("T")

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
"""The silence that is taken for an end; servers assemble large objects for a while."""
CLEANING_TIMEOUT_S = 10
"""The same for cleaning up after what failed: somebody waits, and what is left is found again."""

_PIECE_BYTES = 1 << 20


class Scope:
    """What belongs together in being waited for: calls of one upload, or one call. Used by many threads at once."""

    def __init__(self, lines: "Lines", read_timeout_s: float = READ_TIMEOUT_S) -> None:
        self.read_timeout_s = read_timeout_s
        self._lines = lines
        self._lock = threading.Lock()
        self._connections: dict[int, Any] = {}
        self._interrupted = False

    def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call whose requests `interrupt` concerns."""
        return self._lines.run_in(self, call, *args, **kwargs)

    def interrupt(self) -> None:
        """From any thread: requests that are under way fail at once, and later ones are not sent."""
        with self._lock:
            self._interrupted = True
            for connection in self._connections.values():
                if connection.sock is not None:  # else the thread looks again once it is connected
                    shut(connection.sock)

    def waits_on(self, connection: Any) -> None:
        """This thread will wait on that connection. Raises ConnectionAbortedError when interrupted."""
        with self._lock:
            if self._interrupted:
                raise ConnectionAbortedError
            self._connections[threading.get_ident()] = connection

    def waits_no_more(self) -> None:
        """This thread's connection may be somebody else's from now on."""
        with self._lock:
            self._connections.pop(threading.get_ident(), None)


class Lines:
    """Which scope each thread is in. Safe to use from many threads."""

    def __init__(self) -> None:
        self._current = threading.local()

    def run_in(self, scope: Scope, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call in this thread, in `scope`."""
        before = getattr(self._current, "scope", None)
        self._current.scope = scope
        try:
            return call(*args, **kwargs)
        finally:
            self._current.scope = before

    def scope(self) -> Scope:
        """The one of this thread; a new one if it is in none."""
        scope: Scope | None = getattr(self._current, "scope", None)
        return scope or Scope(self)

    def track(self, manager: urllib3.PoolManager, http: Any, https: Any) -> None:
        """Have `manager` make connections of these classes that tell the scope of the thread that will wait on them."""
        manager.pool_classes_by_scheme = {
            "http": self._pool(HTTPConnectionPool, http),
            "https": self._pool(HTTPSConnectionPool, https),
        }

    def _pool(self, pool: type[HTTPConnectionPool], base: Any) -> type[HTTPConnectionPool]:
        def connect(connection: Any) -> None:
            base.connect(connection)
            scope = self.scope()
            connection.sock.settimeout(scope.read_timeout_s)  # until then it is that for connecting
            scope.waits_on(connection)

        def request(connection: Any, *args: Any, **kwargs: Any) -> None:
            self.scope().waits_on(connection)
            base.request(connection, *args, **kwargs)

        def send(connection: Any, data: Any) -> None:
            # The time-out counts for one call: in pieces it is about silence, not about how long a part may take.
            if not isinstance(data, bytes | bytearray) or len(data) <= _PIECE_BYTES:
                base.send(connection, data)
                return
            with memoryview(data) as view:
                for begin in range(0, len(view), _PIECE_BYTES):
                    with view[begin : begin + _PIECE_BYTES] as piece:
                        base.send(connection, piece)

        tracked = type(f"Tracked{base.__name__}", (base,), {"connect": connect, "request": request, "send": send})
        return type(f"Tracked{pool.__name__}", (pool,), {"ConnectionCls": tracked})
