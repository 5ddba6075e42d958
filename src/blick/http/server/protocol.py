"""One HTTP/1.1 connection, request after request, as uvicorn's server wants it.

uvicorn keeps what it does well: sockets, workers, signals, draining, the ASGI lifespan. From it this module uses
`Config`, `ServerState` and what `Server` expects of a protocol: registration in `connections` and `tasks`,
`shutdown()`, `total_requests` and `default_headers`.
"""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.utils import get_local_addr, get_remote_addr
from uvicorn.server import ServerState

from blick.http.server.exchange import Application, Exchange, Scope, Surroundings, status_line
from blick.http.server.head import END, HeadRejected, RequestHead, parse_head
from blick.http.server.limits import ProtocolLimits
from blick.http.server.line import Line

# A client that waits for "100 Continue" and got its answer instead sends nothing; nor does one cut off at the end.
SHORT_LINGER_S = 2.0


def protocol_class(limits: ProtocolLimits) -> type[asyncio.Protocol]:
    """What to give uvicorn's `Config(http=...)`. Survives pickling, as workers need."""
    return cast("type[asyncio.Protocol]", ProtocolFactory(limits))


class ProtocolFactory:
    """Makes the protocol objects of a process; what they share is made with the first one."""

    def __init__(self, limits: ProtocolLimits) -> None:
        self._limits = limits
        self._process: Process | None = None

    def __reduce__(self) -> tuple[type["ProtocolFactory"], tuple[ProtocolLimits]]:
        return ProtocolFactory, (self._limits,)

    def __call__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> "BlickProtocol":
        """A protocol for one connection; the arguments are those that uvicorn's server passes."""
        if self._process is None or self._process.server_state is not server_state:
            self._process = Process(self._limits, config, server_state, app_state)
        return BlickProtocol(self._process, _loop or asyncio.get_running_loop())


class Process:
    """What all connections of one server share."""

    def __init__(
        self, limits: ProtocolLimits, config: Config, server_state: ServerState, app_state: dict[str, Any]
    ) -> None:
        if not config.loaded:
            config.load()
        access_logger = logging.getLogger("uvicorn.access")
        self.limits = limits
        self.server_state = server_state
        self.application = cast(Application, config.loaded_app)
        self.surroundings = Surroundings(
            limits,
            ThreadPoolExecutor(limits.threads, thread_name_prefix="socket"),
            logging.getLogger("uvicorn.error"),
            access_logger if config.access_log and access_logger.hasHandlers() else None,
        )
        self._app_state = app_state
        self._root_path = config.root_path
        self._asgi = {"version": config.asgi_version, "spec_version": "2.3"}
        self._default_headers: list[tuple[bytes, bytes]] | None = None
        self._default_head = b""

    def default_head(self) -> bytes:
        """Date and whatever else uvicorn puts into every response; it makes a new list every second."""
        headers = self.server_state.default_headers
        if headers is not self._default_headers:
            self._default_head = b"".join(b"%s: %s\r\n" % header for header in headers)
            self._default_headers = headers
        return self._default_head

    def scope(self, request: RequestHead) -> Scope:
        """An ASGI scope, but for the connection's addresses."""
        return {
            "type": "http",
            "asgi": self._asgi,
            "http_version": request.version,
            "method": request.method,
            "path": self._root_path + request.path,
            "raw_path": self._root_path.encode("ascii") + request.raw_path,
            "query_string": request.query,
            "root_path": self._root_path,
            "headers": request.headers,
            "state": self._app_state.copy(),
        }


class BlickProtocol(asyncio.Protocol):
    """Splits what comes into requests and runs them, one at a time."""

    def __init__(self, process: Process, loop: asyncio.AbstractEventLoop) -> None:
        self._process = process
        self._limits = process.limits
        self._loop = loop
        self._line: Line
        self._exchange: Exchange | None = None
        self._buffer = b""  # came, and belongs to no request yet
        self._head_begun = False
        self._ending = False  # no further request
        self._lingering = False
        self._linger_left_bytes = process.limits.linger_bytes

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        stream = cast(asyncio.Transport, transport)
        self._line = Line(stream, self._loop)
        self._client = get_remote_addr(stream)
        self._server = get_local_addr(stream)
        self._scheme = "http" if self._line.plain else "https"
        self._process.server_state.connections.add(cast(Any, self))
        self._line.set_deadline(self._limits.head_s, self._head_late)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """See asyncio.Protocol."""
        self._process.server_state.connections.discard(cast(Any, self))
        self._line.end()
        if self._exchange is not None:
            self._exchange.connection_lost()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        exchange = self._exchange
        if exchange is None:
            if self._lingering:
                self._drop(len(data))
                return
            self._buffer = self._buffer + data if self._buffer else data
            self._next_request()
            return
        if exchange.inbound.broken is not None:
            return
        if not exchange.inbound.complete:
            data = data[exchange.feed(data) :]
        if data:
            self._buffer += data
            if len(self._buffer) > self._limits.pipelined_bytes:
                self._line.pause_reading()

    def eof_received(self) -> bool:
        """See asyncio.Protocol. A client that has sent all it wanted may still read its answer."""
        self._line.note_eof()
        self._ending = True
        if self._exchange is None:
            return False
        self._exchange.keep_alive = False
        self._exchange.break_off("The client closed the connection before its body was complete.")
        return self._line.plain

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._line.pause_writing()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._line.resume_writing()

    # What uvicorn's server calls

    def shutdown(self) -> None:
        """Let a request that runs end, and take no further one."""
        self._ending = True
        if self._exchange is not None:
            self._exchange.keep_alive = False
        elif self._lingering:
            self._line.set_deadline(SHORT_LINGER_S, self._close)
        else:
            self._close()

    # Requests

    def _next_request(self) -> None:
        """Begin the request whose head lies in the buffer, or wait for more."""
        data = self._buffer
        if data[0] in b"\r\n":  # empty lines before a request are ignored
            data = data.lstrip(b"\r\n")
        end = data.find(END) + len(END)
        if end < len(END) and len(data) <= self._limits.head_bytes:
            self._buffer = data
            self._await_head()
            return
        if end < len(END) or end > self._limits.head_bytes:
            self._reject(431, "The request's head is too long.")
            return
        self._buffer = data[end:]
        try:
            request = parse_head(data[:end], self._limits)
        except HeadRejected as rejection:
            self._reject(rejection.status, rejection.text)
            return
        self._begin(request)

    def _await_head(self) -> None:
        if self._buffer and not self._head_begun:
            self._head_begun = True
            self._line.set_deadline(self._limits.head_s, self._head_late)

    def _begin(self, request: RequestHead) -> None:
        self._head_begun = False
        self._line.clear_deadline()
        scope = self._process.scope(request)
        scope["client"], scope["server"], scope["scheme"] = self._client, self._server, self._scheme
        exchange = Exchange(self, self._line, self._process.surroundings, request, scope)
        if request.body_bytes != 0:
            self._begin_body(exchange)
        if self._ending:
            exchange.keep_alive = False
        self._exchange = exchange
        task = self._loop.create_task(exchange.run(self._process.application))
        tasks = self._process.server_state.tasks
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def _begin_body(self, exchange: Exchange) -> None:
        if self._buffer:
            self._buffer = self._buffer[exchange.feed(self._buffer) :]
        inbound = exchange.inbound
        if not inbound.framing.self_limiting or inbound.framing.payload_bytes > self._limits.buffered_body_bytes:
            self._line.pause_reading()  # a large body stays in the kernel until somebody wants it

    # What an exchange calls

    def default_head(self) -> bytes:
        """See exchange.Owner."""
        return self._process.default_head()

    def body_ended(self, behind: bytes) -> None:
        """See exchange.Owner."""
        self._buffer += behind
        self._line.resume_reading()

    def exchange_ended(self, exchange: Exchange) -> None:
        """See exchange.Owner."""
        self._process.server_state.total_requests += 1
        self._exchange = None
        if self._line.closing:
            return
        if exchange.keep_alive and not self._ending:
            self._line.set_deadline(self._limits.keep_alive_s, self._close)
            self._line.resume_reading()
            if self._buffer:
                self._next_request()
        elif self._line.eof or (exchange.body_whole and not self._buffer):
            self._close()
        else:
            self._linger(SHORT_LINGER_S if exchange.awaits_continue else self._limits.linger_s)

    # Ends

    def _reject(self, status: int, text: str) -> None:
        """Answer what is no request, and end."""
        self._process.surroundings.logger.info("Refused what %s sent: %d %s", self._client, status, text)
        body = text.encode("ascii")
        head = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self._line.write(b"".join((status_line(status), self.default_head(), head % len(body), body)))
        self._linger(self._limits.linger_s)

    def _head_late(self) -> None:
        if self._head_begun:
            self._reject(408, "The request's head took too long.")
        else:
            self._close()

    def _linger(self, seconds: float) -> None:
        """Read and drop what the client still sends: closing over its head would take the answer from it."""
        self._buffer = b""
        self._lingering = True
        self._line.write_eof()
        self._line.resume_reading()
        self._line.set_deadline(SHORT_LINGER_S if self._ending else seconds, self._close)

    def _drop(self, count: int) -> None:
        self._linger_left_bytes -= count
        if self._linger_left_bytes < 0:
            self._close()

    def _close(self) -> None:
        self._line.close(self._limits.stall_s)
