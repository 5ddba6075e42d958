"""One object, or a part of it, being read. Everything here blocks, and is used by one thread at a time."""

import http.client
import logging
from collections.abc import Mapping

from blick.model.blob import ByteRange
from blick.model.errors import DataExists, RangeInvalid, RangeUnsupported, StoreUnavailable
from blick.stores.swift.client import Client
from blick.stores.swift.errors import error_of
from blick.stores.swift.http import Answer, Connection
from blick.stores.swift.uri import Place

_log = logging.getLogger(__name__)


_PAUSE_S = 0.5  # between tries to go on
FIRST_BYTES = 4 << 20
"""How much the first request asks for. The second one asks for all the rest, which does not begin at an object's first
byte: Swift then leaves out computing an MD5 of what it sends, a third of what a download costs it. What is sent to
clients has hashes of its own."""


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
        self._answer_end_bytes = self._end_bytes = 0

    def open(self) -> int:
        """How many bytes there will be. Raises DataNotFound, RangeInvalid, StoreDenied, StoreUnavailable."""
        first_end = self._offset_bytes + FIRST_BYTES
        if self._wanted is not None:
            first_end = min(first_end, self._wanted.end_bytes)
        try:
            answer = self._request(self._range(first_end))
        except RangeInvalid:
            if self._wanted is not None:
                raise
            answer = self._request({})  # an empty object has no first byte
        size_bytes = self._size_of(answer)
        self._end_bytes = self._wanted.end_bytes if self._wanted else size_bytes
        if self._end_bytes > size_bytes:
            raise RangeInvalid(self._client.name)
        self._etag = answer.headers.get("etag")
        return self._end_bytes - self._offset_bytes

    def readinto(self, view: memoryview) -> int:
        """Fill `view`, which is not longer than what is left. Raises StoreUnavailable where the connection ends."""
        filled = 0
        while filled < len(view):
            if self._offset_bytes == self._answer_end_bytes:
                self._ask_for_the_rest()
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
        while self._retries_left > 0 and not self._client.is_stopped:
            self._retries_left -= 1
            _log.warning("store %s: a read broke off at byte %d; asking on", self._client.name, self._offset_bytes)
            try:
                self._ask_for_the_rest()
            except StoreUnavailable as error:
                cause = error
                self._client.wait(_PAUSE_S)
            else:
                return
        raise StoreUnavailable(self._client.name, "the connection broke off in the middle of the data") from cause

    def _ask_for_the_rest(self) -> None:
        self.close()
        same = {"If-Match": self._etag} if self._etag else {}
        try:
            self._size_of(self._request({**self._range(self._end_bytes), **same}))
        except DataExists as error:  # 412: there is another object now
            raise RangeInvalid(self._client.name, "the object was replaced while it was read") from error

    def _size_of(self, answer: Answer) -> int:
        """How long the object is, of which `answer` brings a part or all."""
        length = answer.headers.get("content-length", "")
        total = answer.headers.get("content-range", "").rpartition("/")[2]
        is_part = answer.status == http.client.PARTIAL_CONTENT
        if not length.isdigit() or (is_part and not total.isdigit()):
            raise StoreUnavailable(self._client.name, "Swift does not tell how long the object is")
        if not is_part and self._offset_bytes > 0:
            raise RangeUnsupported(self._client.name)  # a manifest by list, of more segments than Swift counts
        self._answer_end_bytes = self._offset_bytes + int(length)
        return int(total) if is_part else int(length)

    def _request(self, headers: Mapping[str, str]) -> Answer:
        self._connection, answer = self._client.open_get(self._place, headers)
        if answer.status in (http.client.OK, http.client.PARTIAL_CONTENT):
            return answer
        self.close()
        if answer.status == http.client.CONFLICT:
            raise RangeInvalid(self._client.name, "segments of the object are missing")
        raise error_of(self._client.name, answer.status, "give the data", self._client.login.refused)

    def _range(self, end_bytes: int) -> dict[str, str]:
        return {"Range": f"bytes={self._offset_bytes}-{end_bytes - 1}"}
