"""Objects as files, directly under one or several directories, each named like its image.

A URI is `file://<data directory>/<image id>`; other services parse it, and mount the same directories. Nothing but
files directly under a configured directory is ever opened or removed, whatever a URI says.
"""

import os
import re
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from blick.model.blob import ByteRange, Location
from blick.model.errors import DataNotFound, Invalid, RangeInvalid, StoreDenied, WriterClosed
from blick.stores.base import Writer
from blick.stores.file_directories import Directories
from blick.stores.file_errors import as_store_errors
from blick.stores.file_partial import PartialFile, partial_name
from blick.stores.file_setup import Mount, prepare_directory, read_options
from blick.stream.hop import hop

# One hop costs about 0.1 ms, reading 1 MiB from the page cache about as much: larger pieces gain little, and every
# download that the kernel does not send itself holds one.
READ_BYTES = 1 << 20
# Each may sit in a slow disk for a while; with more than this at once a disk gains nothing.
_THREADS = 16

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


class FileStore:
    """Keeps objects as files. Also HasLocalPath, HasLocalFile, HasFreeSpace, HasProperties, OwnsUri.

    Creates its directories at once; raises StartRefused for options that make no sense and for directories that
    cannot be used. Has threads of its own, until `aclose`.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self._name = name
        self._options = read_options(name, options)
        for directory in self._options.directories:
            prepare_directory(name, directory.path, self._options.file_mode)
        self._directories = Directories(name, self._options.directories)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"store-{name}")

    @property
    def name(self) -> str:
        """The store's id."""
        return self._name

    async def properties(self) -> Mapping[str, Any]:
        """See HasProperties. Several directories are a list."""
        folders = [str(directory.path) for directory in self._options.directories]
        return {
            "data_dir": folders[0] if len(folders) == 1 else folders,
            "chunk_size": self._options.chunk_size_bytes,
            "thin_provisioning": self._options.thin_provisioning,
        }

    @asynccontextmanager
    async def writer(self, key: str, size_bytes: int | None) -> AsyncIterator[Writer]:
        """See Store.writer. Raises Invalid for a key that is not a plain file name."""
        _require_plain(key)
        partial = PartialFile(self._name, key, self._options.file_mode, self._options.thin_provisioning)
        writer = _FileWriter(self._name, partial, self._threads, self._publish)
        try:
            await hop(self._threads, self._begin, partial, size_bytes or 0)
            yield writer
        finally:
            writer.usable = False
            await hop(self._threads, partial.close, keep=writer.committed)

    async def read(self, location: Location, wanted: ByteRange | None = None) -> AsyncGenerator[memoryview, None]:
        """See Store.read."""
        opened = _OpenedFile(self._name, self.local_path(location))
        try:
            await hop(self._threads, opened.open)
            part = wanted or ByteRange(0, opened.size_bytes)
            if part.end_bytes > opened.size_bytes:
                raise RangeInvalid(self._name)
            buffer = memoryview(bytearray(min(READ_BYTES, part.length_bytes)))
            offset = part.offset_bytes
            while offset < part.end_bytes:
                count = await hop(self._threads, opened.read_into, buffer[: part.end_bytes - offset], offset)
                yield buffer[:count]
                offset += count
        finally:
            opened.close()

    async def open_file(self, location: Location) -> int:
        """See HasLocalFile."""
        opened = _OpenedFile(self._name, self.local_path(location))
        try:
            await hop(self._threads, opened.open)
            return opened.release()
        finally:
            opened.close()

    async def size_bytes(self, location: Location) -> int:
        """See Store.size_bytes."""
        opened = _OpenedFile(self._name, self.local_path(location))
        try:
            await hop(self._threads, opened.open)
            return opened.size_bytes
        finally:
            opened.close()

    async def delete(self, location: Location) -> None:
        """See Store.delete. What lies outside the directories is not ours to remove: DataNotFound."""
        path = self._directories.file_of(location.uri)
        if path is None or not await hop(self._threads, self._directories.remove, path):
            raise DataNotFound(self._name)

    async def discard(self, key: str) -> None:
        """See Store.discard. Raises Invalid for a key that is not a plain file name."""
        _require_plain(key)
        await hop(self._threads, self._directories.remove_everywhere, (partial_name(key), key))

    async def free_bytes(self) -> int:
        """See HasFreeSpace. Raises StoreDenied, StoreUnavailable."""
        return await hop(self._threads, self._directories.free_bytes)

    def local_path(self, location: Location) -> Path:
        """See HasLocalPath."""
        path = self._directories.file_of(location.uri)
        if path is None:
            raise StoreDenied(self._name, "the location is outside this store's directories")
        return path

    def owns(self, uri: str) -> bool:
        """See OwnsUri."""
        return self._directories.file_of(uri) is not None

    async def aclose(self) -> None:
        """Wait for running calls and end the threads."""
        await hop(None, self._threads.shutdown)

    def _begin(self, partial: PartialFile, size_bytes: int) -> None:
        directory = self._directories.choose(size_bytes)
        with as_store_errors(self._name):
            for left_over in self._directories.others(partial_name(partial.key), directory):
                left_over.unlink(missing_ok=True)
        partial.begin(directory)

    def _publish(self, partial: PartialFile) -> Location:
        path = partial.path
        partial.publish(self._directories.others(path.name, path.parent))
        mounts = [mount for mount in self._options.mounts if path.is_relative_to(mount.path)]
        closest: Mount | None = max(mounts, key=lambda mount: len(mount.path.parts), default=None)
        return Location(self._name, f"file://{path}", closest.metadata if closest else {})


class _FileWriter:
    """Closed for good by anything that goes wrong: after a failed or cancelled write nobody knows what is there."""

    def __init__(
        self, store: str, partial: PartialFile, threads: Executor, publish: Callable[[PartialFile], Location]
    ) -> None:
        self.committed = False
        self._store = store
        self._partial = partial
        self._threads = threads
        self._publish = publish
        self.usable = True

    async def write(self, buffer: memoryview) -> None:
        self._take()
        await hop(self._threads, self._partial.append, buffer)
        self.usable = True

    async def commit(self) -> Location:
        self._take()
        location = await hop(self._threads, self._publish, self._partial)
        # Only now: if the await is cancelled, nobody learns of the object, and leaving the context removes it.
        self.committed = True
        return location

    def _take(self) -> None:
        if not self.usable:
            raise WriterClosed(self._store)
        self.usable = False


class _OpenedFile:
    """One file, open for reading. Safe to close at any point, also where opening was cancelled half-way."""

    def __init__(self, store: str, path: Path) -> None:
        self.size_bytes = 0
        self._store = store
        self._path = path
        self._file: int | None = None

    def open(self) -> None:
        """Blocks. Raises DataNotFound, StoreDenied, StoreUnavailable."""
        # Not following a link keeps us inside the directory; not blocking keeps a pipe from holding the thread.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        with as_store_errors(self._store):
            try:
                self._file = os.open(self._path, flags)
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


def _require_plain(key: str) -> None:
    if not _KEY.fullmatch(key):
        raise Invalid("An object's name must be letters, digits, dots, dashes and underscores only.")
