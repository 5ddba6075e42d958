"""The bytes of a new object on their way to Swift: in one request, or cut into segments.

Everything here blocks. Nothing holds more than the piece that it was given, except for buffer files where asked for.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from blick.model.errors import StoreError, StoreUnavailable
from blick.stores.swift.client import Client
from blick.stores.swift.errors import as_unavailable, error_of
from blick.stores.swift.http import Answer
from blick.stores.swift.names import segment_name, segment_prefix
from blick.stores.swift.uri import Place

_READ_BYTES = 1 << 20
_TRIES = 3  # of a buffered segment


class Put:
    """One request that brings a body. `size_bytes` None: as long as it gets."""

    def __init__(self, client: Client, place: Place, headers: Mapping[str, str], size_bytes: int | None) -> None:
        """Returns when Swift is ready for the body. Raises what it has against it."""
        self._client = client
        self._connection, answer = client.open_put(place, headers, size_bytes)
        if answer.status != 100:
            client.release(self._connection)
            raise self._error(answer)

    def send(self, view: memoryview) -> None:
        """Some of the body."""
        try:
            self._connection.send(view)
        except ConnectionError as error:
            # Swift may have said why before it hung up.
            raise self._error(self._last_words()) from error
        except OSError:
            with as_unavailable(self._client.name):
                raise

    def finish(self) -> Answer:
        """The body is whole: give the answer to it. Raises what Swift has against it."""
        try:
            with as_unavailable(self._client.name):
                self._connection.end_body()
                answer = self._connection.answer()
        finally:
            self._client.release(self._connection)
        if answer.status != 201:
            raise self._error(answer)
        return answer

    def abort(self) -> None:
        """Break off; for Swift there was nothing."""
        self._connection.close()
        self._client.release(self._connection)

    def _last_words(self) -> Answer:
        with as_unavailable(self._client.name):
            return self._connection.answer()

    def _error(self, answer: Answer) -> StoreError:
        return error_of(self._client.name, answer.status, "take the data", self._client.login.refused)


class _Buffered:
    """A segment in a file that nobody sees, so that its request can be made again."""

    def __init__(self, client: Client, place: Place, folder: Path) -> None:
        self._client = client
        self._place = place
        self._size_bytes = 0
        with self._own_errors():
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by finish and abort

    def send(self, view: memoryview) -> None:
        with self._own_errors():
            self._file.write(view)
        self._size_bytes += len(view)

    def finish(self) -> Answer:
        with self._file:
            for tries_left in reversed(range(_TRIES)):
                try:
                    return self._put()
                except StoreUnavailable:
                    if not tries_left or self._client.is_stopped:
                        raise
            raise AssertionError("the loop returns or raises")

    def abort(self) -> None:
        self._file.close()

    def _put(self) -> Answer:
        with self._own_errors():
            self._file.seek(0)  # writes what is still in memory
        put = Put(self._client, self._place, {}, self._size_bytes)
        try:
            while piece := self._file.read(_READ_BYTES):
                put.send(memoryview(piece))
            return put.finish()
        except BaseException:
            put.abort()
            raise

    @contextmanager
    def _own_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            said = f"cannot write the upload buffer: {error.strerror}"
            raise StoreUnavailable(self._client.name, said) from error


class Body(Protocol):
    """Takes an object's bytes and makes them the object."""

    size_bytes: int

    def append(self, view: memoryview) -> None:
        """More bytes."""
        ...

    def publish(self) -> None:
        """Make the object visible. Raises DataExists if there is one already."""
        ...

    def abandon(self) -> None:
        """Break off what is under way. Whoever calls it removes what lies in Swift: see `leftovers`."""
        ...

    def leftovers(self) -> list[Place]:
        """What lies in Swift, perhaps, beside the object itself."""
        ...


class Whole:
    """An object in one request. Its last byte is held back until it is published: without it, there is nothing."""

    def __init__(self, client: Client, place: Place, headers: Mapping[str, str], size_bytes: int) -> None:
        self.size_bytes = 0
        self._client = client
        self._place = place
        self._headers = {**headers, "If-None-Match": "*"}
        self._announced_bytes = size_bytes
        self._put: Put | None = None
        self._last = b""

    def append(self, view: memoryview) -> None:
        """See Body. Raises StoreError for more bytes than were announced."""
        self.size_bytes += len(view)
        if self.size_bytes > self._announced_bytes:
            raise StoreError(self._client.name, "more data came than was announced")
        if self._put is None:
            self._put = Put(self._client, self._place, self._headers, self._announced_bytes)
        held_back = 1 if view and self.size_bytes == self._announced_bytes else 0
        with view[: len(view) - held_back] as piece:
            self._put.send(piece)
        if held_back:
            self._last = view[-1:].tobytes()

    def publish(self) -> None:
        """See Body. Raises StoreError for fewer bytes than were announced."""
        if self.size_bytes < self._announced_bytes:
            raise StoreError(self._client.name, "less data came than was announced")
        put = self._put or Put(self._client, self._place, self._headers, 0)
        put.send(memoryview(self._last))
        self._put = None
        put.finish()

    def abandon(self) -> None:
        """See Body."""
        if self._put is not None:
            self._put.abort()

    def leftovers(self) -> list[Place]:
        """See Body."""
        return []


@dataclass(frozen=True, slots=True)
class _Segment:
    name: str
    etag: str
    size_bytes: int


class Segments:
    """An object in segments of `segment_bytes`, each a request of its own, and a manifest that makes them one."""

    def __init__(
        self,
        client: Client,
        place: Place,
        writer: str,
        headers: Mapping[str, str],
        segment_bytes: int,
        buffer_folder: Path | None,
    ) -> None:
        self.size_bytes = 0
        self._client = client
        self._place = place
        self._writer = writer
        self._headers = {**headers, "If-None-Match": "*"}
        self._segment_bytes = segment_bytes
        self._buffer_folder = buffer_folder
        self._done: list[_Segment] = []
        self._open: Put | _Buffered | None = None
        self._open_bytes = 0
        self._begun = 0

    def append(self, view: memoryview) -> None:
        """See Body."""
        offset = 0
        while offset < len(view):
            if self._open is None:
                self._begun += 1
                self._open, self._open_bytes = self._begin(self._segment_place(self._begun)), 0
            count = min(self._segment_bytes - self._open_bytes, len(view) - offset)
            with view[offset : offset + count] as piece:
                self._open.send(piece)
            offset += count
            self._open_bytes += count
            self.size_bytes += count
            if self._open_bytes == self._segment_bytes:
                self._end_segment()

    def publish(self) -> None:
        """See Body. A manifest that lists the segments, where the cluster has such and takes so many."""
        if self._open is not None:
            self._end_segment()
        place, headers = self._place, dict(self._headers)
        if not self._done:
            self._client.request("PUT", place.container, place.object, headers=headers)
        elif len(self._done) <= self._client.large_objects().most_segments:
            query = {"multipart-manifest": "put"}
            self._client.request(
                "PUT", place.container, place.object, query=query, headers=headers, body=self._manifest()
            )
        else:
            prefix = segment_prefix(place.object, self._writer)
            headers["X-Object-Manifest"] = f"{quote(place.container, safe='')}/{quote(prefix, safe='')}"
            self._client.request("PUT", place.container, place.object, headers=headers)

    def abandon(self) -> None:
        """See Body."""
        if self._open is not None:
            self._open.abort()

    def leftovers(self) -> list[Place]:
        """See Body. Also of the segment whose end Swift may have met although we did not hear of it."""
        return [self._segment_place(number) for number in range(1, self._begun + 1)]

    def _begin(self, place: Place) -> "Put | _Buffered":
        if self._buffer_folder is not None:
            return _Buffered(self._client, place, self._buffer_folder)
        return Put(self._client, place, {}, None)

    def _end_segment(self) -> None:
        segment, self._open = self._open, None
        assert segment is not None
        etag = segment.finish().headers.get("etag", "").strip('"')
        self._done.append(_Segment(self._segment_place(self._begun).object, etag, self._open_bytes))

    def _segment_place(self, number: int) -> Place:
        return Place(self._place.container, segment_name(self._place.object, self._writer, number))

    def _manifest(self) -> bytes:
        entries = [
            {"path": f"/{self._place.container}/{part.name}", "etag": part.etag, "size_bytes": part.size_bytes}
            for part in self._done
        ]
        return json.dumps(entries).encode()
