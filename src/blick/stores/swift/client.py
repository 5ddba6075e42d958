"""Requests to Swift in somebody's name: with a valid token, on a good connection, refusals as a store's errors."""

import http.client
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from blick.model.errors import StoreUnavailable
from blick.stores.swift.auth import Access, Login
from blick.stores.swift.errors import as_unavailable, error_of
from blick.stores.swift.http import Answer, Connection, Connections
from blick.stores.swift.uri import Place

_PAGE = 1000
_OK = frozenset({200, 201, 202, 204})
_LOST = (ConnectionError, http.client.NotConnected)
"""How a kept connection shows that the server has closed it meanwhile."""
_Exchange = Callable[[Connection, str, Access], Answer]
"""Sends a request to a target with a token, and gives the answer."""


class _KeptConnectionLost(Exception):
    pass


@dataclass(frozen=True, slots=True)
class LargeObjects:
    """What a cluster says about manifests that list their segments (SLO). No segments: it has none."""

    most_segments: int = 0


class Client:
    """One operation's requests, made by one thread at a time. `interrupt` may be called from any other one.

    `storage_url` None: the account of the log-in. Raises StoreUnavailable for trouble with the connection, and what
    swift_errors says for refusals.
    """

    def __init__(self, name: str, login: Login, connections: Connections, storage_url: str | None = None) -> None:
        self.name = name
        self.login = login
        self._connections = connections
        self._storage_url = storage_url
        self._lock = threading.Lock()
        self._busy: set[Connection] = set()
        self._stopped = threading.Event()

    def storage_url(self) -> str:
        """The URL of the account."""
        return self._storage_url or self.login.access().storage_url

    @property
    def is_stopped(self) -> bool:
        """Whether it was interrupted."""
        return self._stopped.is_set()

    def wait(self, seconds: float) -> None:
        """Let time pass, unless interrupted."""
        self._stopped.wait(seconds)

    def interrupt(self) -> None:
        """Make this client's requests fail, the present one and all later ones."""
        with self._lock:
            self._stopped.set()
            busy = tuple(self._busy)
        for connection in busy:
            connection.interrupt()

    def request(
        self,
        method: str,
        container: str = "",
        object_name: str = "",
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        accepted: frozenset[int] = _OK,
    ) -> Answer:
        """The answer, with its body, if its status is one of `accepted`."""
        lengths = {"Content-Length": str(len(body))} if method in ("PUT", "POST") else {}

        def exchange(connection: Connection, target: str, access: Access) -> Answer:
            connection.send_head(method, target, {"X-Auth-Token": access.token, **lengths, **(headers or {})})
            if body:
                connection.send(memoryview(body))
            return connection.answer()

        answer = self._exchange(self._target(container, object_name, query), exchange)
        if answer.status not in accepted:
            raise error_of(
                self.name, answer.status, f"{method} {'object' if object_name else 'container'}", self.login.refused
            )
        return answer

    def head(self, place: Place) -> Mapping[str, str]:
        """The headers of an object, by lower-case name, from the newest of its replicas. Raises DataNotFound."""
        return self.request("HEAD", place.container, place.object, headers={"X-Newest": "true"}).headers

    def remove(self, place: Place, query: Mapping[str, str] | None = None) -> Answer | None:
        """Delete an object; None if there was none. Even then Swift remembers, and forgets what is put by a request
        that had begun before.
        """
        answer = self.request(
            "DELETE",
            place.container,
            place.object,
            query=query,
            accepted=_OK | {404},
            headers={"Accept": "application/json"},
        )
        return None if answer.status == 404 else answer

    def open_get(self, place: Place, headers: Mapping[str, str]) -> tuple[Connection, Answer]:
        """An answer whose body is still to be read; whoever gets it hands the connection to `release`."""

        def exchange(connection: Connection, target: str, access: Access) -> Answer:
            connection.send_head("GET", target, {"X-Auth-Token": access.token, **headers})
            return connection.answer(read_body=False)

        return self._open(self._target(place.container, place.object), exchange)

    def open_put(self, place: Place, headers: Mapping[str, str], size_bytes: int | None) -> tuple[Connection, Answer]:
        """A request whose body Swift is ready to take, with status 100; or its refusal. See open_get."""
        length = {"Transfer-Encoding": "chunked"} if size_bytes is None else {"Content-Length": str(size_bytes)}
        fixed = {"Content-Type": "application/octet-stream", "Expect": "100-continue", **length, **headers}

        def exchange(connection: Connection, target: str, access: Access) -> Answer:
            connection.send_head("PUT", target, {"X-Auth-Token": access.token, **fixed})
            return connection.may_send() or Answer(http.client.CONTINUE, {})

        return self._open(self._target(place.container, place.object), exchange)

    def release(self, connection: Connection) -> None:
        """Give back what open_get or open_put gave; it is closed unless its answer was read to the end."""
        with self._lock:
            self._busy.discard(connection)
        connection.finish()

    def listed(self, container: str, prefix: str = "") -> Iterator[Mapping[str, Any]]:
        """Every entry of a container ("" for the account, whose entries are containers). Raises DataNotFound."""
        marker = ""
        while True:
            query = {"format": "json", "limit": str(_PAGE), "prefix": prefix, "marker": marker}
            answer = self.request("GET", container, query={name: value for name, value in query.items() if value})
            entries = [entry for entry in _json(self.name, answer) if "name" in entry]
            yield from entries
            if len(entries) < _PAGE:
                return
            marker = entries[-1]["name"]

    def make_container(self, container: str, headers: Mapping[str, str]) -> None:
        """Create it, unless it is there."""
        self.request("PUT", container, headers=headers)

    def large_objects(self) -> LargeObjects:
        """What the cluster can do, as it tells everybody; nothing where it tells nothing."""
        parts = urlsplit(self.storage_url())
        before_version = parts.path.partition("/v1")[0]

        def exchange(connection: Connection, target: str, access: Access) -> Answer:  # noqa: ARG001 - open to all
            connection.send_head("GET", target, {})
            return connection.answer()

        answer = self._exchange(f"{before_version}/info", exchange)
        said = _json(self.name, answer).get("slo") if answer.status == 200 else None
        return LargeObjects(int(said.get("max_manifest_segments", 1000))) if isinstance(said, dict) else LargeObjects()

    def _exchange(self, target: str, exchange: _Exchange) -> Answer:
        connection, answer = self._open(target, exchange)
        self.release(connection)
        return answer

    def _open(self, target: str, exchange: _Exchange) -> tuple[Connection, Answer]:
        """`exchange` on a connection that is alive, and again with another token if this one is refused."""
        access = self.login.access()
        connection, answer = self._on_live_connection(target, access, exchange)
        if answer.status == 401:
            self.release(connection)
            fresh = self.login.renew(access)
            if fresh is None:
                raise error_of(self.name, 401, "this request", self.login.refused)
            connection, answer = self._on_live_connection(target, fresh, exchange)
        return connection, answer

    def _on_live_connection(self, target: str, access: Access, exchange: _Exchange) -> tuple[Connection, Answer]:
        with as_unavailable(self.name):
            try:
                return self._attempt(target, access, exchange, fresh=False)
            except _KeptConnectionLost:
                return self._attempt(target, access, exchange, fresh=True)

    def _attempt(self, target: str, access: Access, exchange: _Exchange, *, fresh: bool) -> tuple[Connection, Answer]:
        connection = self._take(fresh=fresh)
        try:
            return connection, exchange(connection, target, access)
        except _LOST as error:
            self._drop(connection)
            if connection.reused:
                raise _KeptConnectionLost from error
            raise
        except BaseException:
            self._drop(connection)
            raise

    def _take(self, *, fresh: bool) -> Connection:
        connection = self._connections.open(self.storage_url(), fresh=fresh)
        with self._lock:
            if not self._stopped.is_set():
                self._busy.add(connection)
                return connection
        connection.close()
        raise StoreUnavailable(self.name, "the operation was interrupted")

    def _drop(self, connection: Connection) -> None:
        connection.close()
        self.release(connection)

    def _target(self, container: str, object_name: str, query: Mapping[str, str] | None = None) -> str:
        path = urlsplit(self.storage_url()).path
        names = [name for name in (container, object_name) if name]
        tail = "?" + urlencode(query) if query else ""
        return "/".join([path, *(quote(name, safe="") for name in names)]) + tail


def _json(name: str, answer: Answer) -> Any:
    try:
        return json.loads(answer.body or b"[]")
    except ValueError as error:
        raise StoreUnavailable(name, "Swift's answer is no JSON") from error
