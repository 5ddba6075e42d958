"""One file of a file store, open for reading."""

import os
import stat
from pathlib import Path

from blick.model.errors import DataNotFound, RangeInvalid
from blick.stores.file.directories import Directories
from blick.stores.file.errors import as_store_errors


class OpenedFile:
    """Nothing is open yet. Safe to close at any point, also where opening was cancelled half-way."""

    def __init__(self, store: str, directories: Directories, path: Path) -> None:
        self.size_bytes = 0
        self._store = store
        self._directories = directories
        self._path = path
        self._file: int | None = None

    def open(self) -> None:
        """Blocks. Raises DataNotFound, StoreDenied, StoreUnavailable (the directory is not there, too)."""
        # Not following a link keeps us inside the directory; not blocking keeps a pipe from holding the thread.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        with self._directories.opened(self._path.parent) as folder, as_store_errors(self._store):
            try:
                self._file = os.open(self._path.name, flags, dir_fd=folder)
            except FileNotFoundError:
                raise DataNotFound(self._store) from None
            status = os.fstat(self._file)
        if not stat.S_ISREG(status.st_mode):
            raise DataNotFound(self._store)
        self.size_bytes = status.st_size

    def read_into(self, buffer: memoryview, offset_bytes: int) -> int:
        """Fill `buffer`, or as much of it as comes at once; blocks. Raises RangeInvalid at the end of the file."""
        assert self._file is not None
        with as_store_errors(self._store):
            count = os.preadv(self._file, [buffer], offset_bytes)
        if count == 0:
            raise RangeInvalid(self._store, "the stored data ended early")
        return count

    def release(self) -> int:
        """Hand the open file to the caller, who closes it."""
        file, self._file = self._file, None
        assert file is not None
        return file

    def close(self) -> None:
        """Close what is still ours. Not worth a hop: nothing was written, so nothing is waited for."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)
