"""One connection to another node of the same service, blocking; runs in threads of `nodes` and `node_relay`."""

import socket
import ssl
from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from blick.model.errors import NodeBroken, NodeUnreachable
from blick.stream.sockets import shut

if TYPE_CHECKING:
    from urllib3.connection import HTTPConnection

_CONNECT_WITHIN_S = 10.0
_PORTS: Mapping[str, int] = {"http": 80, "https": 443}


class NodeLine:
    """For one request. One thread at a time; `interrupt` may come from another. `close` it always."""

    def __init__(self, base_url: str, ca_file: str | None, *, verify: bool) -> None:
        self.base_url = base_url
        self.socket: socket.socket | None = None
        self._ca_file = ca_file
        self._verify = verify
        self._connection: HTTPConnection | None = None
        self._lock = Lock()
        self._is_interrupted = False

    def connect(self, silence_s: float) -> "tuple[HTTPConnection, str]":
        """The connection, and what paths begin with there. The node may say nothing for `silence_s` from now on.

        Raises NodeUnreachable, NodeBroken.
        """
        # The HTTP library is loaded by those who ask only.
        from urllib3.exceptions import HTTPError

        connection, prefix = _connection_to(self.base_url, self._ca_file, verify=self._verify)
        self._connection = connection
        try:
            connection.connect()
        except ssl.SSLError as error:
            raise NodeBroken(f"The node {self.base_url} has no certificate that can be trusted.") from error
        except (HTTPError, OSError) as error:
            raise NodeUnreachable(f"The node {self.base_url} cannot be reached.") from error
        with self._lock:
            self.socket = connection.sock
            if self._is_interrupted or connection.sock is None:
                raise NodeUnreachable("The request was called off.")
        connection.sock.settimeout(silence_s)
        connection.timeout = silence_s
        return connection, prefix

    def interrupt(self) -> None:
        """Make whatever waits for the network end at once."""
        with self._lock:
            self._is_interrupted = True
            sock = self.socket
        if sock is not None:
            shut(sock)

    def close(self) -> None:
        """End the connection. Nothing must be running on it."""
        if self._connection is not None:
            self._connection.close()


def _connection_to(base_url: str, ca_file: str | None, *, verify: bool) -> "tuple[HTTPConnection, str]":
    """A connection that is not made yet, and what paths begin with there. Raises NodeUnreachable, NodeBroken."""
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
