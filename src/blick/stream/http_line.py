"""One HTTP exchange of the fetcher, blocking; runs in threads of `blick.stream.fetch`."""

import http.client
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException, HTTPResponse
from threading import Lock
from typing import Any, Protocol
from urllib.parse import unquote, urljoin, urlsplit

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from blick.model.errors import (
    RangeNotSatisfiable,
    SourceBroken,
    SourceDenied,
    SourceError,
    SourceMissing,
    SourceUnavailable,
)
from blick.model.uri_filter import Target, UriFilter, parse_target
from blick.stream.addresses import resolve
from blick.stream.http_body import ENDED_EARLY, Body, body_of
from blick.stream.sockets import shut

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_USER_AGENT = "blick"
_PROXY_PORT = 3128
_WHOLE_SIZE = re.compile(r"bytes \*/([0-9]{1,19})")


class Options(Protocol):
    """See `blick.stream.fetch.FetchOptions`."""

    @property
    def connect_timeout_s(self) -> float: ...
    @property
    def read_timeout_s(self) -> float: ...
    @property
    def most_redirects(self) -> int: ...
    @property
    def ca_file(self) -> str | None: ...
    @property
    def verify(self) -> bool: ...
    @property
    def proxies(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. `headers` go along with redirects; `secrets` are headers for the first server only."""

    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


class Line:
    """One request with its redirects, and its answer. One thread at a time; `interrupt` may come from another."""

    def __init__(self, uri_filter: UriFilter, options: Options) -> None:
        self._filter = uri_filter
        self._options = options
        self._lock = Lock()
        self._connection: HTTPConnection | None = None
        self._socket: socket.socket | None = None
        self._response: HTTPResponse | None = None
        self._body: Body | None = None
        self._failure: tuple[type[SourceError], str] | None = None
        self._interrupted = False

    @property
    def status(self) -> int:
        """200 or 206."""
        assert self._response is not None
        return self._response.status

    @property
    def headers(self) -> dict[str, str]:
        """By lower-case name; of a repeated one the last."""
        assert self._response is not None
        return {name.lower(): value for name, value in self._response.headers.items()}

    @property
    def length_bytes(self) -> int | None:
        """What Content-Length says, if it is a number that a size can be."""
        assert self._body is not None
        return self._body.length_bytes

    def request(self, uri: str, question: Question, recorded: bool) -> None:
        """See Fetcher.open."""
        target = parse_target(uri) if recorded else self._filter.target(uri)
        secrets = {**_authorization(target), **question.secrets}
        for _ in range(self._options.most_redirects + 1):
            self._ask(target, question, secrets)
            if self.status not in _REDIRECTS:
                self._judge(question)
                return
            uri = urljoin(uri, self.headers.get("location", ""))
            following = self._filter.target(uri)
            # What is meant for one server is not shown to another.
            is_same = (following.scheme, following.authority) == (target.scheme, target.authority)
            target, secrets = following, {**(secrets if is_same else {}), **_authorization(following)}
            self.close()
        raise SourceError(f"There were more than {self._options.most_redirects} redirects.")

    def fill(self, buffer: memoryview) -> int:
        """See Answer.fill."""
        assert self._body is not None
        filled = 0
        while filled < len(buffer):
            if self._failure is not None:
                kind, text = self._failure
                raise kind(text)
            try:
                with buffer[filled:] as rest:  # given back at once, also where an error's traceback lives on
                    count = self._body.read_some(rest)
            except (OSError, SourceBroken) as error:
                kind, text = self._failure = _failure_of(error)
                if filled == 0:
                    raise kind(text) from error
                break
            if count == 0:
                break
            filled += count
        return filled

    def readinto(self, buffer: memoryview) -> int:
        """See Answer.readinto."""
        filled = self.fill(buffer)
        if 0 < filled < len(buffer):
            with buffer[filled:] as rest:
                self.fill(rest)  # raises if it was not the end
        return filled

    def interrupt(self) -> None:
        """Make whatever waits for the network end at once."""
        with self._lock:
            self._interrupted = True
            # A connection that is to be closed after the answer has given its socket away by then.
            sock = self._socket or (self._connection.sock if self._connection is not None else None)
        if sock is not None:
            shut(sock)

    def close(self) -> None:
        """Give the connection back. Nothing must be running on it."""
        if self._response is not None:
            self._response.close()
        if self._connection is not None:
            self._connection.close()
        with self._lock:
            self._connection = self._socket = None
        self._response = self._body = None

    def _ask(self, target: Target, question: Question, secrets: Mapping[str, str]) -> None:
        headers = {"Host": target.authority, "User-Agent": _USER_AGENT, "Accept-Encoding": "identity"}
        headers |= {**question.headers, **secrets}
        path = target.path
        proxy = _Proxy.of(self._options.proxies.get(target.scheme))
        if proxy is None:
            connection = self._connect_directly(target)
        else:
            connection = self._connect_by_proxy(target, proxy)
            if target.scheme == "http":
                headers |= proxy.headers
                path = f"http://{target.authority}{target.path}"
        try:
            connection.request(question.method, path, headers=headers)
            # Not urllib3's own: its responses lose bytes when the connection breaks.
            self._response = http.client.HTTPConnection.getresponse(connection)
        except HTTPException as error:
            raise SourceBroken(f"The host {target.host} does not speak HTTP.") from error
        except (HTTPError, OSError, ValueError) as error:
            raise SourceUnavailable(f"The host {target.host} does not answer.") from error
        self._body = body_of(self._response, question.method, self._socket)

    def _connect_directly(self, target: Target) -> HTTPConnection:
        last: Exception | None = None
        for address in self._filter.screen(target, resolve(target)):
            kind: Any = HTTPConnection
            if target.scheme == "https":
                kind = partial(HTTPSConnection, server_hostname=target.host, **self._tls())
            connection = kind(address, target.port, timeout=self._options.connect_timeout_s)
            try:
                return self._connected(connection)
            except ssl.SSLError as error:
                raise SourceUnavailable(f"The host {target.host} has no certificate that can be trusted.") from error
            except (HTTPError, OSError) as error:
                connection.close()
                last = error
        raise SourceUnavailable(f"The host {target.host} cannot be reached.") from last

    def _connect_by_proxy(self, target: Target, proxy: "_Proxy") -> HTTPConnection:
        self._filter.screen_unresolved(target)
        kind: Any = HTTPConnection
        if target.scheme == "https":
            kind = partial(HTTPSConnection, **self._tls())
        connection = kind(proxy.host, proxy.port, timeout=self._options.connect_timeout_s)
        if target.scheme == "https":
            connection.set_tunnel(target.host, target.port, headers=proxy.headers)
        try:
            return self._connected(connection)
        except ssl.SSLError as error:
            raise SourceUnavailable(f"The host {target.host} has no certificate that can be trusted.") from error
        except (HTTPError, OSError, HTTPException) as error:
            raise SourceUnavailable(f"The proxy for {target.host} cannot be used.") from error

    def _connected(self, connection: HTTPConnection) -> HTTPConnection:
        with self._lock:
            if self._interrupted:
                raise SourceUnavailable("Fetching was called off.")
            self._connection = connection
        connection.connect()
        with self._lock:
            if self._interrupted or connection.sock is None:
                raise SourceUnavailable("Fetching was called off.")
            connection.timeout = self._options.read_timeout_s  # each request sets the socket's by it
            self._socket = connection.sock
        return connection

    def _tls(self) -> dict[str, Any]:
        try:
            context = ssl.create_default_context(cafile=self._options.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise SourceUnavailable("The file of certificate authorities cannot be used.") from error
        if self._options.verify:
            return {"ssl_context": context}
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return {"ssl_context": context, "assert_hostname": False}

    def _judge(self, question: Question) -> None:
        status = self.status
        if status == 200 or (status == 206 and "Range" in question.headers):
            return
        if status == 206:
            raise SourceBroken("The server sent a part of the data, though it was asked for all.")
        if status == 416:
            found = _WHOLE_SIZE.fullmatch(self.headers.get("content-range", ""))
            raise RangeNotSatisfiable("The server has no such part of the data.", int(found[1]) if found else None)
        if status in (404, 410):
            raise SourceMissing(f"The server answered {status}.")
        if status in (401, 403):
            raise SourceDenied(f"The server answered {status}.")
        if status >= 500 or status in (408, 429):
            raise SourceUnavailable(f"The server answered {status}.")
        raise SourceError(f"The server answered {status}.")


@dataclass(frozen=True, slots=True)
class _Proxy:
    """Where it is, and what tells it who we are."""

    host: str
    port: int
    headers: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, text: str | None) -> "_Proxy | None":
        """From `host:port` or a URL, which may hold user and password."""
        if text is None:
            return None
        where = urlsplit(text if "//" in text else f"//{text}")
        headers = {}
        if where.username is not None:
            headers["Proxy-Authorization"] = _basic(unquote(where.username), unquote(where.password or ""))
        return cls(where.hostname or "", where.port or _PROXY_PORT, headers)


def _failure_of(error: OSError | SourceBroken) -> tuple[type[SourceError], str]:
    """What it means that reading a body ended so."""
    if isinstance(error, TimeoutError):
        return SourceUnavailable, "The server went silent."
    return SourceBroken, ENDED_EARLY if isinstance(error, OSError) else str(error)


def _authorization(target: Target) -> dict[str, str]:
    """What tells the server who we are, if the URI did."""
    return {} if target.credentials is None else {"Authorization": _basic(*target.credentials)}


def _basic(user: str, password: str) -> str:
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"
