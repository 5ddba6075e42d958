"""One HTTP exchange of the fetcher, blocking; runs in threads of `blick.stream.fetch`."""

import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Mapping
from functools import partial
from http.client import HTTPException
from threading import Lock
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, ReadTimeoutError

from blick.model.blob import ByteRange
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

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_USER_AGENT = "blick"
_LENGTH = re.compile(r"[0-9]{1,19}")


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


class Line:
    """One request with its redirects, and its answer. One thread at a time; `interrupt` may come from another."""

    def __init__(self, uri_filter: UriFilter, options: Options) -> None:
        self._filter = uri_filter
        self._options = options
        self._lock = Lock()
        self._connection: HTTPConnection | None = None
        self._response: urllib3.BaseHTTPResponse | None = None
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
        text = self.headers.get("content-length", "")
        return int(text) if _LENGTH.fullmatch(text) else None

    def request(self, uri: str, method: str, wanted: ByteRange | None, recorded: bool) -> None:
        """See Fetcher.open."""
        target = parse_target(uri) if recorded else self._filter.target(uri)
        credentials = target.credentials
        for _ in range(self._options.most_redirects + 1):
            self._ask(target, method, wanted, credentials)
            if self.status not in _REDIRECTS:
                self._judge()
                return
            uri = urljoin(uri, self.headers.get("location", ""))
            following = self._filter.target(uri)
            # What is meant for one server is not shown to another.
            same = (following.scheme, following.authority) == (target.scheme, target.authority)
            target, credentials = following, following.credentials or (credentials if same else None)
            self.close()
        raise SourceError(f"There were more than {self._options.most_redirects} redirects.")

    def readinto(self, buffer: memoryview) -> int:
        """See Answer.readinto."""
        assert self._response is not None
        filled = 0
        try:
            while filled < len(buffer):
                piece = self._response.read(len(buffer) - filled)
                if not piece:
                    break
                buffer[filled : filled + len(piece)] = piece
                filled += len(piece)
        except ReadTimeoutError as error:
            raise SourceUnavailable("The server went silent.") from error
        except (HTTPError, HTTPException, OSError) as error:
            raise SourceBroken("The server's answer ended early.") from error
        return filled

    def interrupt(self) -> None:
        """Make whatever waits for the network end at once."""
        with self._lock:
            self._interrupted = True
            sock = self._connection.sock if self._connection is not None else None
        if sock is not None:
            try:
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # past TLS, which another thread is using
            except OSError:
                return  # it is closed already

    def close(self) -> None:
        """Give the connection back. Nothing must be running on it."""
        if self._response is not None:
            self._response.close()
        if self._connection is not None:
            self._connection.close()
        self._connection = self._response = None

    def _ask(self, target: Target, method: str, wanted: ByteRange | None, credentials: tuple[str, str] | None) -> None:
        headers = {"Host": target.authority, "User-Agent": _USER_AGENT, "Accept-Encoding": "identity"}
        if wanted is not None:
            headers["Range"] = f"bytes={wanted.offset_bytes}-{wanted.end_bytes - 1}"
        if credentials is not None:
            headers["Authorization"] = f"Basic {b64encode(':'.join(credentials).encode()).decode()}"
        proxy = self._options.proxies.get(target.scheme)
        connection = self._connect_directly(target) if proxy is None else self._connect_by_proxy(target, proxy)
        absolute = proxy is not None and target.scheme == "http"
        path = f"http://{target.authority}{target.path}" if absolute else target.path
        try:
            connection.request(method, path, headers=headers, preload_content=False, decode_content=False)
            self._response = connection.getresponse()
        except (HTTPError, OSError, ValueError) as error:
            raise SourceUnavailable(f"The host {target.host} does not answer.") from error
        except HTTPException as error:
            raise SourceBroken(f"The host {target.host} does not speak HTTP.") from error

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

    def _connect_by_proxy(self, target: Target, proxy: str) -> HTTPConnection:
        where = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        place = where.hostname or "", where.port or 3128
        kind: Any = HTTPConnection
        if target.scheme == "https":
            kind = partial(HTTPSConnection, **self._tls())
        connection = kind(*place, timeout=self._options.connect_timeout_s)
        if target.scheme == "https":
            connection.set_tunnel(target.host, target.port)
        try:
            return self._connected(connection)
        except (HTTPError, OSError) as error:
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

    def _judge(self) -> None:
        status = self.status
        if status in (200, 206):
            return
        if status == 416:
            raise RangeNotSatisfiable("The server has no such part of the data.")
        if status in (404, 410):
            raise SourceMissing(f"The server answered {status}.")
        if status in (401, 403):
            raise SourceDenied(f"The server answered {status}.")
        if status >= 500 or status in (408, 429):
            raise SourceUnavailable(f"The server answered {status}.")
        raise SourceError(f"The server answered {status}.")
