"""A request with a body of any length, passed on to another node of the same service as it comes.

The node may answer before the body has ended; then nobody sends it the rest. Where the body breaks off, so does the
node's request: what the node makes of a part is its own to decide.
"""

import asyncio
import http.client
import select
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException, HTTPResponse
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from blick.model.errors import NodeBroken, NodeUnreachable
from blick.stream.body import RequestBody
from blick.stream.hop import interruptible_hop
from blick.stream.node_line import NodeLine
from blick.stream.nodes import NodeAnswer, NodeRequest

if TYPE_CHECKING:
    from urllib3.connection import HTTPConnection

P = ParamSpec("P")
T = TypeVar("T")

# Each brings a buffer to a node; a node that does not take it keeps its thread waiting.
_THREADS = 16
_BUFFER_BYTES = 1 << 20
# For a buffer to be taken, and for the rest of an answer that has begun.
_SILENCE_S = 60.0
_MOST_ANSWER_BYTES = 1 << 20
_BODILESS = frozenset({204, 304})
_LAST_CHUNK = b"0\r\n\r\n"


class NodeRelay:
    """Passes requests on. One event loop's; `close` ends its threads, when nothing is being passed on any more."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="relay")

    async def pass_on(
        self,
        base_url: str,
        request: NodeRequest,
        body: RequestBody | None,
        size_bytes: int | None,
        *,
        ca_file: str | None,
        verify: bool,
        patience_s: float,
    ) -> NodeAnswer:
        """The answer of the node at `base_url` to `request`, with `body` in the place of its own.

        `size_bytes` None: the body goes on as long as it goes on. The node may take `patience_s` to begin its answer
        once it has everything. Raises NodeUnreachable, NodeBroken, and what reading the body raises.
        """
        passing = _Passing(NodeLine(base_url, ca_file, verify=verify), request)
        try:
            await self._run(passing, passing.begin, size_bytes if body is not None else 0)
            if body is not None and size_bytes != 0:
                await self._send(passing, body)
            await passing.answer_begins(patience_s)
            return await self._run(passing, passing.answer, patience_s)
        except TimeoutError as error:
            raise NodeUnreachable(f"The node {base_url} did not answer in time.") from error
        finally:
            passing.close()

    async def _send(self, passing: "_Passing", body: RequestBody) -> None:
        buffer = memoryview(bytearray(_BUFFER_BYTES))
        while count := await body.read_some(buffer):
            if not await self._run(passing, passing.send, buffer[:count]):
                return
        await self._run(passing, passing.end)

    async def _run(self, passing: "_Passing", call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await interruptible_hop(self._threads, passing.line.interrupt, call, *args, **kwargs)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=True)


class _Passing:
    """One request under way on `line`. Its methods block, but for `answer_begins`."""

    def __init__(self, line: NodeLine, request: NodeRequest) -> None:
        self.line = line
        self._request = request
        self._connection: HTTPConnection | None = None
        self._response: HTTPResponse | None = None
        self._is_chunked = False

    def begin(self, size_bytes: int | None) -> None:
        """Connect, and send the head. Raises NodeUnreachable, NodeBroken."""
        connection, prefix = self.line.connect(_SILENCE_S)
        self._connection = connection
        self._is_chunked = size_bytes is None
        framing = ("transfer-encoding", "chunked") if size_bytes is None else ("content-length", str(size_bytes))
        try:
            connection.putrequest(self._request.method, prefix + self._request.path, skip_accept_encoding=True)
            for name, value in (*self._request.headers.items(), framing):
                connection.putheader(name, value)
            connection.endheaders()
        except (HTTPException, OSError, ValueError) as error:
            raise NodeBroken(f"The node {self.line.base_url} takes no request.") from error

    def send(self, piece: memoryview) -> bool:
        """Send what comes next; False: the node wants no more of it. Raises TimeoutError."""
        assert self._connection is not None
        if self._has_answered():
            return False
        try:
            if self._is_chunked:
                self._connection.send(b"%x\r\n" % len(piece))
            self._connection.send(piece)
            if self._is_chunked:
                self._connection.send(b"\r\n")
        except TimeoutError:
            raise
        except OSError:
            return False  # it may have answered before it closed
        return True

    def end(self) -> None:
        """That was all."""
        if self._is_chunked:
            assert self._connection is not None
            try:
                self._connection.send(_LAST_CHUNK)
            except OSError:
                return  # as in `send`

    async def answer_begins(self, patience_s: float) -> None:
        """Wait for the answer without a thread, where one can tell from outside. Raises TimeoutError."""
        if self.line.socket is None or isinstance(self.line.socket, ssl.SSLSocket):
            return
        loop, waiter = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
        loop.add_reader(self.line.socket.fileno(), _finish, waiter)
        try:
            async with asyncio.timeout(patience_s):
                await waiter
        finally:
            loop.remove_reader(self.line.socket.fileno())

    def answer(self, patience_s: float) -> NodeAnswer:
        """What the node says. Raises NodeBroken, TimeoutError."""
        connection = self._connection
        assert connection is not None
        assert connection.sock is not None
        connection.sock.settimeout(max(patience_s, _SILENCE_S))
        try:
            # Past the library's own kind of answer, which only goes with its own way of asking.
            response = self._response = http.client.HTTPConnection.getresponse(connection)
            if response.status not in _BODILESS and response.length is None and not response.chunked:
                # The library takes a head that broke off for one that is whole.
                raise NodeBroken(f"The node {self.line.base_url} does not say where its answer ends.")
            if (response.length or 0) > _MOST_ANSWER_BYTES:
                raise NodeBroken(f"The node {self.line.base_url} says more than it has to.")
            body = response.read(None if not response.chunked else _MOST_ANSWER_BYTES)
        except TimeoutError:
            raise
        except (HTTPException, OSError, ValueError) as error:
            raise NodeBroken(f"The node {self.line.base_url} gave no whole answer.") from error
        return NodeAnswer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)

    def close(self) -> None:
        """End the connection."""
        if self._response is not None:
            self._response.close()
        self.line.close()

    def _has_answered(self) -> bool:
        if self.line.socket is None or isinstance(self.line.socket, ssl.SSLSocket):
            return False  # what comes may be TLS's own
        poll = select.poll()
        poll.register(self.line.socket, select.POLLIN)
        return bool(poll.poll(0))


def _finish(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
