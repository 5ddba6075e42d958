"""How the S3 library's requests travel. botocore offers each, signed, to whoever listens to its event before-send, and
takes the answer from there.
"""

from typing import Any
from urllib.parse import urlsplit

import urllib3
from botocore.awsrequest import AWSHTTPConnection, AWSHTTPSConnection, AWSPreparedRequest, AWSResponse
from botocore.exceptions import (
    BotoCoreError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
    SSLError,
)
from botocore.utils import get_environ_proxies
from urllib3 import exceptions

from blick.stores.objects.lines import CONNECT_TIMEOUT_S, Lines, Scope


class S3Lines(Lines):
    """The connections of one store, and the handler of the library's event."""

    def __init__(self, ca_file: str | None, count: int) -> None:
        """`ca_file` None: the system's. `count` connections of each server are kept."""
        super().__init__()
        self._manager = urllib3.PoolManager(maxsize=count, ca_certs=ca_file)
        self.track(self._manager, AWSHTTPConnection, AWSHTTPSConnection)

    def send(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse | None:
        """The handler: the answer, or None where the library has to go through a proxy by itself.

        Raises the library's errors.
        """
        if get_environ_proxies(request.url):
            return None
        scope = self.scope()
        try:
            return self._sent(request, scope)
        except (exceptions.HTTPError, OSError) as error:
            raise _as_the_library_s(request.url, error) from error
        finally:
            scope.waits_no_more()

    def close(self) -> None:
        """Close the connections that are kept."""
        self._manager.clear()

    def _sent(self, request: AWSPreparedRequest, scope: Scope) -> AWSResponse:
        parts = urlsplit(request.url)
        answer = self._manager.connection_from_url(request.url).urlopen(
            method=request.method,
            url=f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/",
            body=request.body,
            headers=request.headers,
            retries=False,
            assert_same_host=False,
            preload_content=False,
            decode_content=False,
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=scope.read_timeout_s),
            chunked=_text(request.headers.get("Transfer-Encoding", "")).lower() == "chunked",
        )
        response = AWSResponse(request.url, answer.status, answer.headers, answer)
        if not request.stream_output:
            response.content  # noqa: B018 - reads it
        return response


def _as_the_library_s(url: str, error: Exception) -> BotoCoreError:
    if isinstance(error, exceptions.SSLError):
        return SSLError(endpoint_url=url, error=error)
    if isinstance(error, exceptions.NewConnectionError):
        return EndpointConnectionError(endpoint_url=url, error=error)
    if isinstance(error, exceptions.ConnectTimeoutError):
        return ConnectTimeoutError(endpoint_url=url, error=error)
    if isinstance(error, exceptions.ReadTimeoutError):
        return ReadTimeoutError(endpoint_url=url, error=error)
    return ConnectionClosedError(endpoint_url=url, error=error)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
