"""Images that lie on web servers of others: to be read, never to be written or removed (spec: stores §4).

A location is the URL itself. Nobody but the server at its end knows what is there now, so sizes and ends are
checked at each read.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from blick.model.blob import ByteRange, Location
from blick.model.errors import (
    DataNotFound,
    Invalid,
    RangeInvalid,
    RangeNotSatisfiable,
    RangeUnsupported,
    SourceBroken,
    SourceDenied,
    SourceError,
    SourceMissing,
    SourceUnavailable,
    StoreDenied,
    StoreError,
    StoreReadOnly,
    StoreUnavailable,
)
from blick.model.uri_filter import UriFilter
from blick.stores.base import Writer
from blick.stream.fetch import Answer, Fetcher, FetchOptions, require_part

_log = logging.getLogger(__name__)

_BUFFER_BYTES = 1 << 20  # one thread hop each
_SCHEMES = ("http", "https")


class HttpStore:
    """A store of type http. Also OwnsUri.

    Options: https_ca_certificates_file, https_insecure, http_proxy_information; and `uri_filter`, a UriFilter, which
    screens the addresses that are connected to, and redirects.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self._name = name
        ca_file = options.get("https_ca_certificates_file") or None
        self._verifies = ca_file is not None or not options.get("https_insecure", True)
        self._warned = False
        self._fetcher = Fetcher(
            options.get("uri_filter") or UriFilter(),
            FetchOptions(
                ca_file=ca_file,
                verify=self._verifies,
                proxies=options.get("http_proxy_information") or {},
            ),
        )

    @property
    def name(self) -> str:
        """The store's id."""
        return self._name

    @asynccontextmanager
    async def writer(self, key: str, size_bytes: int | None) -> AsyncIterator[Writer]:  # noqa: ARG002 - the contract's
        """Raises StoreReadOnly."""
        raise StoreReadOnly(self._name)
        yield  # makes this a generator, which a context manager is made of

    async def read(self, location: Location, wanted: ByteRange | None = None) -> AsyncGenerator[memoryview, None]:
        """See Store.read. Raises RangeUnsupported where the server gives whole objects only."""
        if wanted is not None and wanted.length_bytes == 0:
            await self._require_inside(location, wanted)
            return
        with self._own_errors():
            async with self._fetcher.open(location.uri, wanted=wanted, recorded=True) as answer:
                left = None if wanted is None else self._length_of(answer, wanted)
                buffer = memoryview(bytearray(_BUFFER_BYTES))
                while left is None or left > 0:
                    count = await answer.readinto(buffer if left is None else buffer[:left])
                    if count == 0:
                        break
                    left = None if left is None else left - count
                    yield buffer[:count]
                if left:
                    raise RangeInvalid(self._name)

    async def size_bytes(self, location: Location) -> int:
        """See Store.size_bytes. Raises StoreError where the server does not tell."""
        self._warn_once(location.uri)
        with self._own_errors():
            length = await self._announced(location.uri, "HEAD")
            if length is None:
                length = await self._announced(location.uri, "GET")
        if length is None:
            raise StoreError(self._name, "the server does not tell how long the data is")
        return length

    async def delete(self, location: Location) -> None:  # noqa: ARG002 - the contract's
        """Raises StoreReadOnly: the data belongs to somebody else."""
        raise StoreReadOnly(self._name)

    async def discard(self, key: str) -> None:
        """Nothing is ever left here."""

    async def aclose(self) -> None:
        """See Store.aclose."""
        await self._fetcher.aclose()

    def owns(self, uri: str) -> bool:
        """See OwnsUri."""
        return uri.partition(":")[0].lower() in _SCHEMES

    async def _announced(self, uri: str, method: str) -> int | None:
        """The length that the server announces; None if it does not, or does not know the method."""
        try:
            async with self._fetcher.open(uri, method=method, recorded=True) as answer:
                return answer.length_bytes
        except (SourceMissing, SourceUnavailable):
            raise
        except SourceError:
            if method == "GET":
                raise
            return None

    async def _require_inside(self, location: Location, wanted: ByteRange) -> None:
        if wanted.offset_bytes > await self.size_bytes(location):
            raise RangeInvalid(self._name)

    def _length_of(self, answer: Answer, wanted: ByteRange) -> int:
        """How much of the answer's body to read for `wanted`."""
        if require_part(answer, wanted):
            return wanted.length_bytes
        if wanted.offset_bytes > 0:
            raise RangeUnsupported(self._name)
        if answer.length_bytes is not None and answer.length_bytes < wanted.length_bytes:
            raise RangeInvalid(self._name)
        return wanted.length_bytes

    def _warn_once(self, uri: str) -> None:
        if not self._verifies and not self._warned and uri[:6].lower() == "https:":
            self._warned = True
            _log.warning(
                "store %s reads over HTTPS without verifying servers: set https_insecure to false, or give a "
                "https_ca_certificates_file",
                self._name,
            )

    @contextmanager
    def _own_errors(self) -> Iterator[None]:
        try:
            yield
        except SourceMissing as error:
            raise DataNotFound(self._name) from error
        except (SourceDenied, Invalid) as error:
            raise StoreDenied(self._name, str(error)) from error
        except SourceUnavailable as error:
            raise StoreUnavailable(self._name, str(error)) from error
        except (SourceBroken, RangeNotSatisfiable) as error:
            raise RangeInvalid(self._name, str(error)) from error
        except SourceError as error:
            raise StoreError(self._name, str(error)) from error
