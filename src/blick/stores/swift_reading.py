"""One object, or a part of it, being read. Everything here blocks, and is used by one thread at a time."""

import http.client
import logging
from collections.abc import Mapping

from blick.model.blob import ByteRange
from blick.model.errors import DataExists, RangeInvalid, RangeUnsupported, StoreUnavailable
from blick.stores.swift_client import Client
from blick.stores.swift_errors import error_of
from blick.stores.swift_http import Answer, Connection
from blick.stores.swift_uri import Place

_log = logging.getLogger(__name__)


class Reading:
    """Call open, then readinto until all that it promised is there, and close always.

    A connection that breaks off is replaced up to `retries` times, and the rest is asked for.
    """

    def __init__(self, client: Client, place: Place, wanted: ByteRange | None, retries: int) -> None:
        self._client = client
        self._place = place
        self._wanted = wanted
        self._retries_left = retries
        self._connection: Connection | None = None
        self._etag: str | None = None
        self._offset_bytes = wanted.offset_bytes if wanted else 0
        self._end_bytes = wanted.end_bytes if wanted else 0

    def open(self) -> int:
        """How many bytes there will be. Raises DataNotFound, RangeInvalid, StoreDenied, StoreUnavailable."""
        answer = self._request({} if self._wanted is None else self._range())
        length = answer.headers.get("content-length", "")
        if not length.isdigit():
            raise StoreUnavailable(self._client.name, "Swift does not tell how long the object is")
        if self._wanted is None:
            self._end_bytes = int(length)
        elif answer.status == http.client.PARTIAL_CONTENT:
            if int(length) != self._wanted.length_bytes:
                raise RangeInvalid(self._client.name)
        elif self._offset_bytes > 0:
            raise RangeUnsupported(self._client.name)  # a manifest by list, of more segments than Swift counts
        elif int(length) < self._end_bytes:
            raise RangeInvalid(self._client.name)
        self._etag = answer.headers.get("etag")
        return self._end_bytes - self._offset_bytes

    def readinto(self, view: memoryview) -> int:
        """Fill `view`, which is not longer than what is left. Raises StoreUnavailable where the connection ends."""
        filled = 0
        while filled < len(view):
            count, error = self._read(view[filled:])
            filled += count
            self._offset_bytes += count
            if count == 0:
                self._resume(error)
        return filled

    def close(self) -> None:
        """Give the connection back. Not worth a hop."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._client.release(connection)

    def _read(self, view: memoryview) -> tuple[int, Exception | None]:
        assert self._connection is not None
        try:
            return self._connection.readinto(view), None
        except (OSError, http.client.HTTPException) as error:
            return 0, error

    def _resume(self, cause: Exception | None) -> None:
        self.close()
        if self._retries_left <= 0 or self._client.is_stopped:
            raise StoreUnavailable(self._client.name, "the connection broke off in the middle of the data") from cause
        self._retries_left -= 1
        _log.warning(
            "store %s: a read broke off at byte %d; asking for the rest", self._client.name, self._offset_bytes
        )
        same = {"If-Match": self._etag} if self._etag else {}
        try:
            answer = self._request({**self._range(), **same})
        except DataExists as error:  # 412: there is another object now
            raise StoreUnavailable(self._client.name, "the object was replaced while it was read") from error
        if answer.status != http.client.PARTIAL_CONTENT and self._offset_bytes > 0:
            raise RangeUnsupported(self._client.name)

    def _request(self, headers: Mapping[str, str]) -> Answer:
        self._connection, answer = self._client.open_get(self._place, headers)
        if answer.status in (http.client.OK, http.client.PARTIAL_CONTENT):
            return answer
        self.close()
        if answer.status == http.client.CONFLICT:
            raise RangeInvalid(self._client.name, "segments of the object are missing")
        raise error_of(self._client.name, answer.status, "give the data", self._client.login.refused)

    def _range(self) -> dict[str, str]:
        return {"Range": f"bytes={self._offset_bytes}-{self._end_bytes - 1}"}
