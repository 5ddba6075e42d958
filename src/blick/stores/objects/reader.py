"""Reading an object in one request, which is asked again from where it broke off. Blocks."""

from threading import Event, Lock

from blick.model.errors import DataNotFound, RangeInvalid, StoreUnavailable
from blick.stores.objects.backend import Backend, Body, Place

_ATTEMPTS = 4  # in a row without a byte
_FIRST_PAUSE_S = 0.1


class ResumingReader:
    """The bytes of `place` from an offset on, None: up to the end. One thread at a time, but for `interrupt`."""

    def __init__(self, store: str, backend: Backend, place: Place, offset_bytes: int, length_bytes: int | None) -> None:
        self._store = store
        self._backend = backend
        self._place = place
        self._position_bytes = offset_bytes
        self._end_bytes = None if length_bytes is None else offset_bytes + length_bytes
        self._tag = ""
        self._scope = backend.scope()
        self._body: Body | None = None
        self._lock = Lock()
        self._interrupted = Event()

    def fill(self, buffer: memoryview) -> int:
        """Fill `buffer`, or up to the end; 0 at the end. Raises as Store.read does."""
        return self._scope.run(self._fill, buffer)

    def interrupt(self) -> None:
        """From another thread: make what waits for the server end soon."""
        self._interrupted.set()
        self._scope.interrupt()
        with self._lock:
            if self._body is not None:
                self._body.interrupt()

    def close(self) -> None:
        """Give the connection back; at any point."""
        self._close_body()

    def _fill(self, buffer: memoryview) -> int:
        filled = 0
        failures = 0
        while filled < len(buffer) and not self._at_end():
            try:
                count = self._read(buffer[filled:])
            except StoreUnavailable:
                self._close_body()
                failures += 1
                if failures == _ATTEMPTS or self._interrupted.wait(_FIRST_PAUSE_S * 2**failures):
                    raise
                continue
            failures = 0
            filled += count
            self._position_bytes += count
        return filled

    def _at_end(self) -> bool:
        return self._end_bytes is not None and self._position_bytes >= self._end_bytes

    def _read(self, buffer: memoryview) -> int:
        body = self._body or self._open()
        assert self._end_bytes is not None
        wanted = min(len(buffer), self._end_bytes - self._position_bytes)
        if wanted == 0:
            return 0
        count = body.readinto(buffer[:wanted])
        if count == 0:
            raise StoreUnavailable(self._store, "the server closed the connection in the middle of an object")
        return count

    def _open(self) -> Body:
        length = None if self._end_bytes is None else self._end_bytes - self._position_bytes
        try:
            body = self._backend.open(self._place, self._position_bytes, length, self._tag)
        except DataNotFound:
            if self._tag:  # it was there a moment ago
                raise RangeInvalid(self._store, "the object was removed while it was read") from None
            raise
        with self._lock:
            self._body = body
            if self._interrupted.is_set():
                body.interrupt()
        self._tag = body.info.tag
        if self._end_bytes is None:
            self._end_bytes = body.info.size_bytes
        if body.info.size_bytes < self._end_bytes:
            raise RangeInvalid(self._store)
        return body

    def _close_body(self) -> None:
        with self._lock:
            body, self._body = self._body, None
        if body is not None:
            body.close()
