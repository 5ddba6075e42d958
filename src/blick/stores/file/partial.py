"""One object on its way into a directory: hidden until published, gone if not.

Everything here blocks. An object of this module is used by one thread at a time, through a hop.
"""

import errno
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from blick.model.errors import DataExists, RangeInvalid, StoreFull, StoreUnavailable
from blick.stores.file import copy as file_copy
from blick.stores.file.directories import Folder, exists, remove_file
from blick.stores.file.errors import as_store_errors
from blick.stream.holes import data_pieces

_log = logging.getLogger(__name__)

# How much is written before the kernel is asked to begin bringing it to the disk. Without that, 1 GiB written at
# hashing speed left 0.3 s for the final fsync on a fast disk (seconds on a slow one), with it 0.01 s. Smaller pieces
# gained nothing, fdatasync cost the writing thread 30 ms per GiB and flushes everybody's data.
WRITE_BACK_BYTES = 32 << 20

# Answers to a hard link where the file system has none, or where /proc is not there to name the open file.
_NO_LINKS = frozenset(
    {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK, errno.ENOENT}
)


# What is copied by one call: so long that calls cost nothing, so short that a cancellation is soon heard.
COPY_BYTES = 32 << 20

_PREFIX, _SUFFIX = ".blick-", ".part"


def partial_name(key: str) -> str:
    """The hidden name under which the object `key` grows."""
    return f"{_PREFIX}{key}{_SUFFIX}"


def key_of_partial(name: str) -> str | None:
    """The key of the object that grows under that name; None for any other name."""
    if name.startswith(_PREFIX) and name.endswith(_SUFFIX):
        return name[len(_PREFIX) : -len(_SUFFIX)]
    return None


class PartialFile:
    """The file of the object `key` of the store `store`. Creating this object touches nothing yet.

    Call begin, append …, publish in this order, and close always, whatever happened. All raise StoreFull, StoreDenied
    or StoreUnavailable, except close. It stops growing where only `reserved_bytes` of its file system are left.
    """

    def __init__(
        self, store: str, key: str, file_mode: int | None, *, leave_holes: bool, reserved_bytes: int = 0
    ) -> None:
        self.key = key
        self.size_bytes = 0
        self._store = store
        self._directory: Path | None = None
        self._file_mode = file_mode
        self._leave_holes = leave_holes
        self._reserved_bytes = reserved_bytes
        self._source: int | None = None
        self._folder: int | None = None
        self._file: int | None = None
        self._written_back_bytes = 0
        self._data_end_bytes = 0
        self._published = False

    @property
    def path(self) -> Path:
        """Where the object will be once published. Not before begin."""
        assert self._directory is not None
        return self._directory / self.key

    def begin(self, directory: Folder, require_wanted: Callable[[], None] = lambda: None) -> None:
        """Create the hidden file in `directory`, which is ours from now on, in the place of what an earlier writer
        left. `require_wanted` is asked before that is removed; it may raise.
        """
        self._directory = directory.path
        # Held until close, so that everything happens in one directory even if another is mounted over it.
        self._folder = directory.descriptor
        with as_store_errors(self._store):
            name = partial_name(self.key)
            remove_file(name, self._folder, require_wanted)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.open(name, flags, 0o666, dir_fd=self._folder)
        self._set_mode(self._file)

    def append(self, buffer: memoryview) -> None:
        """Write `buffer` behind what is there."""
        file, _ = self._descriptors()
        with as_store_errors(self._store):
            for offset, piece in self._pieces(buffer):
                _write_whole(file, piece, offset)
                self._data_end_bytes = offset + len(piece)
            self.size_bytes += len(buffer)
            self._keep_up(file)

    def take_over(self, source: int) -> None:
        """The bytes are to come from the open file `source`, which is ours from now on. Does not block."""
        self._source = source

    def clone_source(self) -> bool:
        """Share the blocks of the whole source. False where the file system cannot; then nothing was done."""
        assert self._source is not None
        file, _ = self._descriptors()
        with as_store_errors(self._store):
            if not file_copy.clone(self._source, file):
                return False
            self.size_bytes = self._data_end_bytes = os.fstat(file).st_size
        return True

    def append_from_source(self) -> bool:
        """Copy what comes next in the source, holes as holes. False when that was the end of it.

        Raises RangeInvalid if the source has become shorter.
        """
        assert self._source is not None
        file, _ = self._descriptors()
        with as_store_errors(self._store):
            whole_bytes = os.fstat(self._source).st_size
            begin, end = file_copy.data_from(self._source, self.size_bytes, whole_bytes)
            end = min(end, begin + COPY_BYTES)
            if file_copy.copy(self._source, file, begin, end - begin) < end - begin:
                raise RangeInvalid(self._store, "the source ended early")
            self.size_bytes = end
            self._data_end_bytes = end if begin < end else self._data_end_bytes
            self._keep_up(file)
        return end < whole_bytes

    def publish(self, elsewhere: Sequence[Path] = ()) -> None:
        """Make the object durable and visible under its key.

        `elsewhere`: other places where an object of this key might be. Raises DataExists if there is one, there or
        here, and leaves it alone.
        """
        file, folder = self._descriptors()
        with as_store_errors(self._store):
            if self._data_end_bytes < self.size_bytes:
                os.ftruncate(file, self.size_bytes)
            os.fsync(file)
            if any(os.path.lexists(path) for path in elsewhere):
                raise DataExists(self._store)
            self._give_final_name(file, folder)
            self._published = True
            _remove_if_same(partial_name(self.key), file, folder)
            os.fsync(folder)

    def close(self, *, keep: bool) -> None:
        """Let go of the file; unless `keep`, remove it, published or not. Never harms another writer's file.

        Raises nothing: what could not be removed is logged, and left to the next writer or to discard.
        """
        try:
            if not keep and self._file is not None:
                self._remove()
        except OSError as error:
            _log.warning("store %s: cannot clean up behind object %s: %s", self._store, self.key, error)
        finally:
            self._close_descriptors()

    def publish_by_renaming(self) -> None:
        """For file systems without hard links: give the final name by renaming, after looking that it is free.

        Between the look and the renaming another object could take the name. Two writers of one key at once have to
        be kept apart by their leases there.
        """
        file, folder = self._descriptors()
        name = partial_name(self.key)
        if not is_same_file(name, file, folder):
            raise self._superseded()
        if exists(self.key, folder):
            raise DataExists(self._store)
        os.rename(name, self.key, src_dir_fd=folder, dst_dir_fd=folder)

    def _descriptors(self) -> tuple[int, int]:
        """The open file and the open directory."""
        assert self._file is not None
        assert self._folder is not None
        return self._file, self._folder

    def _give_final_name(self, file: int, folder: int) -> None:
        """By a link to the open file itself: it cannot be another writer's file, and never replaces anything."""
        if os.fstat(file).st_nlink == 0:
            raise self._superseded()
        try:
            # The call follows the link in /proc only if it is given an open directory, too.
            os.link(f"/proc/self/fd/{file}", self.key, dst_dir_fd=folder, follow_symlinks=True)
        except FileExistsError:
            raise DataExists(self._store) from None
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            self.publish_by_renaming()

    def _keep_up(self, file: int) -> None:
        """Now and then: begin bringing to the disk what is new, and look whether there is still room."""
        fresh_bytes = self.size_bytes - self._written_back_bytes
        if fresh_bytes < WRITE_BACK_BYTES:
            return
        # "Not needed" starts writing dirty pages out and returns. It drops only pages that are clean already: 98 to
        # 100 % of a fresh image stayed in the cache for its first reader.
        os.posix_fadvise(file, self._written_back_bytes, fresh_bytes, os.POSIX_FADV_DONTNEED)
        self._written_back_bytes = self.size_bytes
        if self._reserved_bytes:
            numbers = os.fstatvfs(file)
            if numbers.f_bavail * numbers.f_frsize < self._reserved_bytes:
                raise StoreFull(self._store, "what is left of its room is reserved")

    def _superseded(self) -> StoreUnavailable:
        return StoreUnavailable(self._store, "the partial object was cleaned away, or begun anew, by somebody else")

    def _set_mode(self, file: int) -> None:
        if self._file_mode is None:
            return
        try:
            os.fchmod(file, self._file_mode)
        except OSError as error:
            _log.warning("store %s: cannot set the mode of object %s: %s", self._store, self.key, error)

    def _pieces(self, buffer: memoryview) -> Iterator[tuple[int, memoryview]]:
        """What of `buffer` has to be written, and where."""
        if self._leave_holes:
            return data_pieces(buffer, self.size_bytes)
        return iter([(self.size_bytes, buffer)])

    def _remove(self) -> None:
        file, folder = self._descriptors()
        _remove_if_same(partial_name(self.key), file, folder)
        if self._published:
            _remove_if_same(self.key, file, folder)
            os.fsync(folder)

    def _close_descriptors(self) -> None:
        for descriptor in (self._file, self._folder, self._source):
            if descriptor is None:
                continue
            try:
                os.close(descriptor)
            except OSError as error:
                _log.warning("store %s: closing object %s: %s", self._store, self.key, error)
        self._file = self._folder = self._source = None


def _write_whole(file: int, piece: memoryview, offset_bytes: int) -> None:
    while piece:
        count = os.pwrite(file, piece, offset_bytes)
        piece, offset_bytes = piece[count:], offset_bytes + count


def _remove_if_same(name: str, file: int, folder: int) -> None:
    if is_same_file(name, file, folder):
        remove_file(name, folder)


def is_same_file(name: str, file: int, folder: int) -> bool:
    """Is the open file `file` what has the name `name` in the open directory `folder`?"""
    try:
        named = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(file))
