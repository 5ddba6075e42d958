"""The data of an image of another service, to its end: where a connection breaks, the next goes on from there."""

import time
from collections.abc import Iterator

from blick.cli.replication.service import ImageService
from blick.model.errors import SourceBroken, SourceUnavailable

_ATTEMPTS_IN_A_ROW = 5
_PAUSE_S = 1.0


class RemoteData:
    """Gives pieces from `offset_bytes` on. Whether they are the right ones is the reader's to check."""

    def __init__(
        self, service: ImageService, image_id: str, size_bytes: int | None, chunk_bytes: int, offset_bytes: int = 0
    ) -> None:
        self._service = service
        self._image_id = image_id
        self._size_bytes = size_bytes
        self._chunk_bytes = chunk_bytes
        self._position = offset_bytes

    def pieces(self) -> Iterator[bytes]:
        """All that is left. Raises SourceBroken or SourceUnavailable when several attempts in a row gave nothing, and
        another SourceError where the service refuses.
        """
        failures = 0
        while self._size_bytes is None or self._position < self._size_bytes:
            before = self._position
            try:
                yield from self._some()
                if self._size_bytes is None or self._position >= self._size_bytes:
                    return
                raise SourceBroken(f"{self._service.url}: the data of {self._image_id} ended early.")
            except (SourceBroken, SourceUnavailable):
                # Without its size nobody could tell a broken end from a real one, nor whether the rest fits.
                failures = failures + 1 if self._position == before else 1
                if failures >= _ATTEMPTS_IN_A_ROW or (self._size_bytes is None and self._position > 0):
                    raise
            time.sleep(_PAUSE_S * failures)

    def _some(self) -> Iterator[bytes]:
        """Up to where a connection breaks, or to the end."""
        with self._service.data(self._image_id, self._position) as data:
            to_skip = self._position - data.offset_bytes
            for piece in data.pieces(self._chunk_bytes):
                wanted = piece[to_skip:] if to_skip else piece
                to_skip = max(0, to_skip - len(piece))
                if wanted:
                    self._position += len(wanted)
                    yield wanted
