"""One image on its way into a pool: not whole until published, gone if not.

Everything here blocks. An object of this module is used by one thread at a time, through a hop; the library answers in
threads of its own.
"""

import io
import logging
import threading
from collections.abc import Callable
from typing import Any

from blick.model.errors import DataExists, DataNotFound, StoreError, StoreUnavailable
from blick.stores.rbd import images as rbd_images
from blick.stores.rbd.cluster import Cluster, Pool
from blick.stores.rbd.errors import CephError
from blick.stores.rbd.opened import Opened
from blick.stores.rbd.options import MIB, RbdOptions
from blick.stores.rbd.uri import RbdPlace

_log = logging.getLogger(__name__)

# Measured against one osd on a machine of two cores: 8 MiB one by one 150 MiB/s, 2 MiB four at once 270, 4 MiB four at
# once 280. The library and the allocator take several times what is under way: three of 2 MiB grew the process by
# 29 MiB, four of 4 MiB by 75.
PIECE_BYTES = 2 * MIB
PIECES_UNDER_WAY = 3
# Zeros are left out in these units. A smaller one would make many small writes of a patchy image.
HOLE_BYTES = 256 << 10
_ZEROS = bytes(HOLE_BYTES)
_FIRST_STEP_BYTES = 16 * MIB
_LARGEST_STEP_BYTES = 8 << 30


class PartialImage:
    """The image `key`. Creating this object touches nothing yet.

    Call begin, append …, publish in this order, and close always, whatever happened. All but close raise StoreFull,
    StoreDenied or StoreUnavailable.
    """

    def __init__(self, store: str, cluster: Cluster, options: RbdOptions, key: str) -> None:
        self.key = key
        self.image_id: str | None = None
        self._store = store
        self._cluster = cluster
        self._options = options
        self._pool: Pool | None = None
        self._opened: Opened | None = None
        self._is_in_the_way = False
        self._may_be_there = False
        self._size_bytes = 0
        self._room_bytes = 0
        self._step_bytes = _FIRST_STEP_BYTES
        self._piece = io.BytesIO()
        self._writes = _WritesUnderWay()

    def begin(self, size_bytes: int) -> None:
        """Create the image, in the place of one that an earlier writer left. 0: the size is unknown."""
        self._pool = pool = self._cluster.acquire()
        with self._cluster.watched(pool):
            order = self._options.order
            self._is_in_the_way = not self._make(pool, lambda: rbd_images.create(pool, self.key, size_bytes, order))
            self._room_bytes = size_bytes

    def begin_as_copy(self, place: RbdPlace) -> bool:
        """Instead of begin and append: take over the image at `place`. False: it is not one that we can clone.

        Raises DataNotFound, DataExists too.
        """
        if place.fsid != self._cluster.fsid():
            return False
        self._pool = pool = self._cluster.acquire()
        rbd, order = pool.bindings.rbd, self._options.order
        with self._cluster.pool(place.pool) as source, self._cluster.watched(pool):
            try:
                if not self._make(pool, lambda: rbd_images.clone(source, place.image, pool, self.key, order)):
                    raise DataExists(self._store)
            except (rbd.PermissionError, rbd.InvalidArgument, rbd.FunctionNotSupported):
                # No right to clone from there, or a snapshot that is not protected, or features that clones lack.
                self._may_be_there = False
                return False
            rbd_images.make_independent(self._image, lambda: not self._writes.is_interrupted)
            self._room_bytes = self._size_bytes = int(self._image.size())
        return True

    def gather(self, buffer: memoryview) -> bool:
        """What `append` does, if that is copying to memory and nothing else; False: nothing was done.

        Not worth a hop, which costs as much as copying 1 MiB.
        """
        if len(buffer) >= PIECE_BYTES - self._piece.tell():
            return False
        self._piece.write(buffer)
        return True

    def append(self, buffer: memoryview) -> None:
        """Take over the bytes of `buffer`; full pieces are on their way when this returns.

        With an image in the way they are dropped: only `publish` may refuse for that.
        """
        assert self._pool is not None
        if self._is_in_the_way:
            return
        with self._cluster.watched(self._pool):
            position = 0
            while position < len(buffer):
                count = min(len(buffer) - position, PIECE_BYTES - self._piece.tell())
                self._piece.write(buffer[position : position + count])
                position += count
                if self._piece.tell() == PIECE_BYTES:
                    self._send_piece()

    def interrupt(self) -> None:
        """Make a running `append` or `publish` end soon, with StoreUnavailable. From any thread."""
        self._writes.interrupt()

    def publish(self) -> None:
        """Make the image whole. Raises DataExists if there is one of that name, and leaves it alone."""
        assert self._pool is not None
        if self._is_in_the_way:
            raise DataExists(self._store)
        try:
            with self._cluster.watched(self._pool):
                self._finish()
                # A writer that took the name over before the snapshot was there did not see it, but is seen here;
                # afterwards it is the other way round.
                is_ours = rbd_images.id_of(self._pool, self.key) == self.image_id
        except DataNotFound:
            is_ours = False
        if not is_ours:
            raise StoreUnavailable(self._store, "the partial object was cleaned away, or begun anew, by somebody else")

    def close(self, *, keep: bool) -> None:
        """Let go of the image; unless `keep`, remove it, whole or not. Never harms another writer's image.

        Raises nothing: what could not be removed is logged, and left to the next writer or to discard.
        """
        pool, opened, self._pool, self._opened = self._pool, self._opened, None, None
        if pool is None:
            return
        try:
            with self._cluster.watched(pool):
                if opened is not None:
                    opened.settle()
                    opened.image.close()
                if not keep:
                    self._remove(pool)
        except StoreError as error:
            _log.warning("store %s: cannot clean up behind object %s: %s", self._store, self.key, error)
        finally:
            self._cluster.release(pool)

    @property
    def _image(self) -> Any:
        assert self._opened is not None
        return self._opened.image

    def _remove(self, pool: Pool) -> None:
        if self.image_id is not None:
            rbd_images.remove_own(pool, self.key, self.image_id)
        elif self._may_be_there:
            # Ceph did not answer in time, or only later. Another writer's image would be open, or whole.
            rbd_images.remove_unfinished(pool, self.key)

    def _make(self, pool: Pool, make: Callable[[], None]) -> bool:
        """Create the image by `make`, in the place of one that is not whole. False: a whole one has its name."""
        self._may_be_there = True
        try:
            make()
        except pool.bindings.rbd.ImageExists:
            self._may_be_there = False
            if not rbd_images.displace(pool, self.key):
                return False
            rbd_images.purge(pool, self.key)
            self._may_be_there = True
            make()
        self._opened = rbd_images.open_to_write(pool, self.key)
        self.image_id = str(self._image.id())
        return True

    def _finish(self) -> None:
        self._send_piece()
        self._writes.wait_for_all()
        if self._room_bytes != self._size_bytes:
            self._image.resize(self._size_bytes)
        self._image.flush()
        rbd_images.publish(self._image)

    def _send_piece(self) -> None:
        """Send what has gathered, and begin a new piece."""
        # Not copied: the bytes are the buffer itself, which nobody changes any more.
        data = self._piece.getvalue()
        self._piece = io.BytesIO()
        offset_bytes = self._size_bytes
        self._size_bytes += len(data)
        self._make_room()
        if not self._options.thin_provisioning:
            self._writes.start(self._image, data, offset_bytes)
            return
        for begin, end in data_runs(data):
            whole = begin == 0 and end == len(data)
            self._writes.start(self._image, data if whole else data[begin:end], offset_bytes + begin)

    def _make_room(self) -> None:
        while self._room_bytes < self._size_bytes:
            self._room_bytes += self._step_bytes
            self._step_bytes = min(2 * self._step_bytes, _LARGEST_STEP_BYTES)
            if self._room_bytes >= self._size_bytes:
                self._image.resize(self._room_bytes)


def data_runs(data: bytes) -> list[tuple[int, int]]:
    """The parts of `data`, from and to, that are not blocks of zeros; neighbours come as one."""
    runs: list[tuple[int, int]] = []
    with memoryview(data) as view:
        for begin in range(0, len(data), HOLE_BYTES):
            end = min(begin + HOLE_BYTES, len(data))
            # startswith compares without copying, and stops at the first byte that differs.
            if _ZEROS.startswith(view[begin:end]):
                continue
            if runs and runs[-1][1] == begin:
                runs[-1] = (runs[-1][0], end)
            else:
                runs.append((begin, end))
    return runs


class _WritesUnderWay:
    """At most PIECES_UNDER_WAY writes that the library works off. After one has failed all waiting fails."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0
        self._failure = 0
        self.is_interrupted = False

    def start(self, image: Any, data: bytes, offset_bytes: int) -> None:
        """Begin one, as soon as there is a place. The library holds `data` until it is done."""
        if not data:
            return
        self._wait(PIECES_UNDER_WAY - 1)
        with self._changed:
            self._count += 1
        try:
            image.aio_write(data, offset_bytes, self._done)
        except BaseException:
            self._one_less(0)
            raise

    def wait_for_all(self) -> None:
        """Until everything is written. Raises CephError for the first that failed."""
        self._wait(0)

    def interrupt(self) -> None:
        """Let whoever waits, or will, fail at once."""
        with self._changed:
            self.is_interrupted = True
            self._changed.notify_all()

    def _wait(self, most: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._count <= most or self._failure or self.is_interrupted)
            if self._failure:
                raise CephError(self._failure)
            if self.is_interrupted:
                raise InterruptedError

    def _done(self, completion: Any) -> None:
        """Called by the library, in a thread of its own."""
        self._one_less(-min(int(completion.get_return_value()), 0))

    def _one_less(self, failure: int) -> None:
        with self._changed:
            self._count -= 1
            self._failure = self._failure or failure
            self._changed.notify_all()
