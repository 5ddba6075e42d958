"""Requests to other nodes of the same service, at addresses that the service itself has written down."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import TYPE_CHECKING

from blick.model.errors import NodeBroken, NodeUnreachable
from blick.stream.hop import interruptible_hop
from blick.stream.node_line import NodeLine

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse
    from urllib3.connection import HTTPConnection

ANSWER_WITHIN_S = 60.0
_MOST_ANSWER_BYTES = 1 << 20
# Each waits for one node. Whoever finds all of them waiting waits in line, within his own time.
_THREADS = 8
_BODILESS = frozenset({204, 304})


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
        line = NodeLine(base_url, ca_file, verify=verify)
        exchange = _Exchange(line, request, within_s)
        try:
            async with asyncio.timeout(within_s), self._places:
                return await interruptible_hop(self._threads, line.interrupt, exchange.run)
        except TimeoutError as error:
            raise NodeUnreachable(f"The node {base_url} did not answer within {within_s:g} seconds.") from error

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=True)


class _Exchange:
    """One request and its answer on `line`, blocking."""

    def __init__(self, line: NodeLine, request: NodeRequest, within_s: float) -> None:
        self._line = line
        self._request = request
        self._within_s = within_s

    def run(self) -> NodeAnswer:
        """See Nodes.ask. Raises NodeUnreachable, NodeBroken."""
        # The HTTP library is loaded by those who ask only.
        from urllib3.exceptions import HTTPError

        try:
            connection, prefix = self._line.connect(self._within_s)
            try:
                return self._exchange(connection, prefix)
            except TimeoutError as error:
                raise NodeUnreachable(f"The node {self._line.base_url} went silent.") from error
            except (HTTPError, HTTPException, OSError, ValueError) as error:
                raise NodeBroken(f"The node {self._line.base_url} gave no whole answer.") from error
        finally:
            self._line.close()

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
            raise NodeBroken(f"The node {self._line.base_url} does not say where its answer ends.")
        body = b""
        while piece := response.read(_MOST_ANSWER_BYTES, decode_content=False):
            body += piece
            if len(body) > _MOST_ANSWER_BYTES:
                raise NodeBroken(f"The node {self._line.base_url} says more than it has to.")
        return NodeAnswer(response.status, headers, body)
