"""Files that grow over many requests and outlive the process that writes them: the bytes of uploads under way.

Unlike an object of a store such a file is there before it is whole, and how long it is tells how far its upload has
come. Whoever has it open has it alone, by a lock that ends with his process; so one that was stopped for long and wakes
up again cannot cut off what another has written since.
"""

import errno
import fcntl
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from blick.model.errors import Invalid, StoreUnavailable
from blick.stores.file.errors import as_store_errors
from blick.stream.hop import hop

P = ParamSpec("P")
T = TypeVar("T")

# Each may sit in a slow disk for a while; with more than this at once a disk gains nothing.
_THREADS = 16
# How much is written before the kernel is asked to begin bringing it to the disk (see stores/file/partial.py).
_WRITE_BACK_BYTES = 32 << 20
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})


class Spool:
    """The files of one folder. Has threads of its own, until `aclose`; errors are those of the store called `name`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="spool")

    async def open(self, file_name: str) -> "SpoolFile":
        """The file, made if it is not there; the caller closes it. Raises StoreDenied, StoreFull, StoreUnavailable,
        the latter also while somebody else has it open; Invalid for what is no plain name, as all of these do.
        """
        file = SpoolFile(self, self._path(file_name))
        try:
            await self.run(file.open)
        except BaseException:
            file.close()
            raise
        return file

    async def size_bytes(self, file_name: str) -> int:
        """How long the file is, made durable; 0 if it is not there. Raises StoreDenied, StoreUnavailable."""
        return await self.run(self._durable_size, self._path(file_name))

    async def remove(self, file_name: str) -> None:
        """Remove it; one that is not there is fine. Raises StoreDenied, StoreUnavailable."""
        await self.run(self._remove, self._path(file_name))

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """One blocking call, in a thread."""
        return await hop(self._threads, call, *args, **kwargs)

    def close(self) -> None:
        """End the threads. Every file has to be closed."""
        self._threads.shutdown(wait=True)

    def _path(self, file_name: str) -> Path:
        if "/" in file_name or "\0" in file_name or file_name.startswith("."):
            raise Invalid("The id of the image is no name for a file.")
        return self.folder / file_name

    def _durable_size(self, path: Path) -> int:
        with as_store_errors(self.name):
            try:
                file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                return 0
            try:
                # Not after: what comes meanwhile is not durable yet.
                size_bytes = os.fstat(file).st_size
                os.fdatasync(file)
            finally:
                os.close(file)
        return size_bytes

    def _remove(self, path: Path) -> None:
        with as_store_errors(self.name):
            try:
                path.unlink()
            except FileNotFoundError:
                return
            _sync_folder(path.parent)


class SpoolFile:
    """One file, open and ours alone. Made by `Spool.open`; use it in a `with`, or close it. One call at a time."""

    def __init__(self, spool: Spool, path: Path) -> None:
        self._spool = spool
        self._path = path
        self._file: int | None = None
        self._written_back_bytes = 0
        self.size_bytes = 0
        """How long it is."""

    def open(self) -> None:
        """Blocks. See Spool.open."""
        with as_store_errors(self._spool.name):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.open(self._path, flags, 0o666)
            self._lock(self._file)
            self.size_bytes = self._written_back_bytes = os.fstat(self._file).st_size
            if self.size_bytes == 0:
                _sync_folder(self._path.parent)

    async def append(self, buffer: memoryview) -> None:
        """Write `buffer` behind what is there; what was written when this raises or is cancelled tells `size_bytes`.

        Raises StoreFull, StoreDenied, StoreUnavailable.
        """
        await self._spool.run(self._append, buffer)

    async def cut(self, size_bytes: int) -> None:
        """Drop what lies behind `size_bytes`, which is not more than there is. Raises StoreDenied, StoreUnavailable."""
        await self._spool.run(self._cut, size_bytes)

    async def sync(self) -> None:
        """Make durable what is there. Raises StoreFull, StoreDenied, StoreUnavailable."""
        await self._spool.run(self._sync)

    def close(self) -> None:
        """Let go of it; nothing is lost. Once only counts."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _lock(self, file: int) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreUnavailable(self._spool.name, "the file is being written by another process") from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        if os.fstat(file).st_nlink == 0:
            raise StoreUnavailable(self._spool.name, "the file was removed by another process")

    def _append(self, buffer: memoryview) -> None:
        assert self._file is not None
        with as_store_errors(self._spool.name):
            while buffer:
                count = os.pwrite(self._file, buffer, self.size_bytes)
                self.size_bytes += count
                buffer = buffer[count:]
            fresh_bytes = self.size_bytes - self._written_back_bytes
            if fresh_bytes >= _WRITE_BACK_BYTES:
                os.posix_fadvise(self._file, self._written_back_bytes, fresh_bytes, os.POSIX_FADV_DONTNEED)
                self._written_back_bytes = self.size_bytes

    def _cut(self, size_bytes: int) -> None:
        assert self._file is not None
        with as_store_errors(self._spool.name):
            os.ftruncate(self._file, size_bytes)
        self.size_bytes = size_bytes
        self._written_back_bytes = min(self._written_back_bytes, size_bytes)

    def _sync(self) -> None:
        assert self._file is not None
        with as_store_errors(self._spool.name):
            os.fdatasync(self._file)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
