"""Requests to other nodes of the same service, at addresses that the service itself has written down."""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPException
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from blick.model.errors import NodeBroken, NodeUnreachable
from blick.stream.hop import interruptible_hop

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse
    from urllib3.connection import HTTPConnection

ANSWER_WITHIN_S = 60.0
_CONNECT_WITHIN_S = 10.0
_MOST_ANSWER_BYTES = 1 << 20
# Each waits for one node. Whoever finds all of them waiting waits in line, within his own time.
_THREADS = 8
_BODILESS = frozenset({204, 304})
_PORTS: Mapping[str, int] = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class NodeRequest:
    """What is asked of another node. `path` begins with a slash, and is quoted."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class NodeAnswer:
    """What the other node said, whatever its status. `headers` are by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Nodes:
    """Asks other nodes. One event loop's; `close` ends its threads, when nobody is being asked any more."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="node")
        self._places = asyncio.Semaphore(_THREADS)

    async def ask(
        self,
        base_url: str,
        request: NodeRequest,
        *,
        ca_file: str | None = None,
        verify: bool = True,
        within_s: float = ANSWER_WITHIN_S,
    ) -> NodeAnswer:
        """The answer of the node at `base_url`. Redirects are not followed; no proxy is used.

        Raises NodeUnreachable if there is no connection, or no answer in time, NodeBroken if there is no whole answer.
        """
        exchange = _Exchange(base_url, request, ca_file, verify=verify, within_s=within_s)
        try:
            async with asyncio.timeout(within_s), self._places:
                return await interruptible_hop(self._threads, exchange.interrupt, exchange.run)
        except TimeoutError as error:
            raise NodeUnreachable(f"The node {base_url} did not answer within {within_s:g} seconds.") from error

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=True)


class _Exchange:
    """One request and its answer, blocking. `interrupt` may come from another thread."""

    def __init__(
        self, base_url: str, request: NodeRequest, ca_file: str | None, *, verify: bool, within_s: float
    ) -> None:
        self._base_url = base_url
        self._request = request
        self._ca_file = ca_file
        self._verify = verify
        self._within_s = within_s
        self._lock = Lock()
        self._socket: socket.socket | None = None
        self._is_interrupted = False

    def run(self) -> NodeAnswer:
        """See Nodes.ask. Raises NodeUnreachable, NodeBroken."""
        # The HTTP library is loaded by those who ask only.
        from urllib3.exceptions import HTTPError

        connection, prefix = connection_to(self._base_url, self._ca_file, verify=self._verify)
        try:
            self._connect(connection)
            try:
                return self._exchange(connection, prefix)
            except TimeoutError as error:
                raise NodeUnreachable(f"The node {self._base_url} went silent.") from error
            except (HTTPError, HTTPException, OSError, ValueError) as error:
                raise NodeBroken(f"The node {self._base_url} gave no whole answer.") from error
        finally:
            connection.close()

    def interrupt(self) -> None:
        """Make whatever waits for the network end at once."""
        with self._lock:
            self._is_interrupted = True
            sock = self._socket
        if sock is not None:
            try:
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # past TLS, which another thread is using
            except OSError:
                return  # it is closed already

    def _connect(self, connection: "HTTPConnection") -> None:
        connect(connection, self._base_url)
        with self._lock:
            self._socket = connection.sock
            if self._is_interrupted or connection.sock is None:
                raise NodeUnreachable("The request was called off.")
        connection.sock.settimeout(self._within_s)
        connection.timeout = self._within_s

    def _exchange(self, connection: "HTTPConnection", prefix: str) -> NodeAnswer:
        asked = self._request
        connection.request(
            asked.method, prefix + asked.path, body=asked.body or None, headers=asked.headers, preload_content=False
        )
        with connection.getresponse() as response:
            return self._read(response)

    def _read(self, response: "BaseHTTPResponse") -> NodeAnswer:
        headers = {name.lower(): value for name, value in response.headers.items()}
        if response.status not in _BODILESS and not headers.keys() & {"content-length", "transfer-encoding"}:
            # The library takes a head that broke off for one that is whole.
            raise NodeBroken(f"The node {self._base_url} does not say where its answer ends.")
        body = b""
        while piece := response.read(_MOST_ANSWER_BYTES, decode_content=False):
            body += piece
            if len(body) > _MOST_ANSWER_BYTES:
                raise NodeBroken(f"The node {self._base_url} says more than it has to.")
        return NodeAnswer(response.status, headers, body)


def connection_to(base_url: str, ca_file: str | None, *, verify: bool) -> "tuple[HTTPConnection, str]":
    """A connection to a node, not made yet, and what paths begin with there. Raises NodeUnreachable, NodeBroken."""
    from urllib3.connection import HTTPConnection, HTTPSConnection

    where = urlsplit(base_url)
    try:
        port = where.port or _PORTS[where.scheme]
    except (KeyError, ValueError) as error:
        raise NodeUnreachable(f"{base_url!r:.200} is no URL of a node.") from error
    if not where.hostname or where.username is not None:
        raise NodeUnreachable(f"{base_url!r:.200} is no URL of a node.")
    kind: Any = HTTPConnection if where.scheme == "http" else HTTPSConnection
    tls = _tls(ca_file, verify=verify) if where.scheme == "https" else {}
    return kind(where.hostname, port, timeout=_CONNECT_WITHIN_S, **tls), where.path.rstrip("/")


def _tls(ca_file: str | None, *, verify: bool) -> dict[str, Any]:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise NodeBroken("The file of certificate authorities cannot be used.") from error
    if verify:
        return {"ssl_context": context}
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return {"ssl_context": context, "assert_hostname": False}


def connect(connection: "HTTPConnection", base_url: str) -> None:
    """Make the connection; blocks. Raises NodeUnreachable, NodeBroken."""
    from urllib3.exceptions import HTTPError

    try:
        connection.connect()
    except ssl.SSLError as error:
        raise NodeBroken(f"The node {base_url} has no certificate that can be trusted.") from error
    except (HTTPError, OSError) as error:
        raise NodeUnreachable(f"The node {base_url} cannot be reached.") from error
