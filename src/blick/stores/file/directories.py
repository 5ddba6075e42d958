"""The directories of one file store: which one takes a new object, which file a URI means. All of it may block.

A directory is opened before anything is done in it, and looked at as it was opened. So nothing lands below a mount
point whose mount has gone, and a missing directory is never taken for a missing file: its disk may come back.
"""

import errno
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from blick.model.errors import StoreDenied, StoreError, StoreFull, StoreReadOnly, StoreUnavailable
from blick.stores.file.errors import as_store_errors
from blick.stores.file.mount import is_mount_point
from blick.stores.file.setup import DataDirectory

_log = logging.getLogger(__name__)

_SCHEMES = ("file://", "filesystem://")


@dataclass(frozen=True, slots=True)
class Folder:
    """A directory of the store, open; the descriptor belongs to whoever opened it."""

    path: Path
    descriptor: int


class Directories:
    """The directories of the store `store`, at least one. `require_mount`: each has to be the top of a mount.

    `reserved_bytes` of each are not for new objects.
    """

    def __init__(
        self, store: str, directories: Sequence[DataDirectory], *, require_mount: bool = False, reserved_bytes: int = 0
    ) -> None:
        self._store = store
        self._directories = tuple(directories)
        self._require_mount = require_mount
        self._reserved_bytes = reserved_bytes

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them, as configured."""
        return tuple(directory.path for directory in self._directories)

    def file_of(self, uri: str) -> Path | None:
        """The file that `uri` means, None unless it lies directly under one of the directories.

        A directory counts under every name that leads to it, so that it may be moved behind a link; hidden names,
        which partial objects have, do not count at all. The file need not exist.
        """
        scheme = next((scheme for scheme in _SCHEMES if uri.startswith(scheme)), None)
        if scheme is None or "\0" in uri:
            return None
        folder, _, name = uri.removeprefix(scheme).rpartition("/")
        parent = Path(folder or "/")
        if not parent.is_absolute() or ".." in parent.parts or name == "" or name.startswith("."):
            return None
        if parent in self.paths:
            return parent / name
        resolved = os.path.realpath(parent)
        return next((path / name for path in self.paths if os.path.realpath(path) == resolved), None)

    def others(self, name: str, chosen: Path) -> tuple[Path, ...]:
        """The places of a file of that name outside the directory `chosen`."""
        return tuple(path / name for path in self.paths if path != chosen)

    def open(self, path: Path, unmounted: type[StoreError] = StoreUnavailable) -> int:
        """A descriptor of the directory `path`, which the caller closes.

        Raises StoreDenied, StoreUnavailable; `unmounted` if something has to be mounted there and is not.
        """
        with as_store_errors(self._store):
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                if self._require_mount and not is_mount_point(folder):
                    raise unmounted(self._store, "a data directory is not mounted")
            except BaseException:
                os.close(folder)
                raise
        return folder

    @contextmanager
    def opened(self, path: Path) -> Iterator[int]:
        """The open directory `path`. Raises StoreDenied, StoreUnavailable."""
        folder = self.open(path)
        try:
            yield folder
        finally:
            os.close(folder)

    def choose(self, size_bytes: int) -> Folder:
        """Where an object of that size goes: highest priority with room, then most room. The caller closes it.

        Raises StoreFull, StoreDenied, StoreUnavailable; StoreReadOnly if nothing is mounted where it has to be.
        """
        with ExitStack() as stack:
            room = self._room(stack, StoreReadOnly)
            fitting = [candidate for candidate in room if candidate[1] >= size_bytes]
            if not fitting:
                raise StoreFull(self._store, f"no room for {size_bytes} bytes")
            directory, _, folder = max(fitting, key=lambda candidate: (candidate[0].priority, candidate[1]))
            return Folder(directory.path, os.dup(folder))

    def beside(self, file: int) -> list[Folder]:
        """The directories on the file system of the open file `file`, in the order of `choose`, that are not down to
        what is reserved; perhaps none. The caller closes them. Raises as `choose` does, but for StoreFull.
        """
        with ExitStack() as stack:
            room = self._room(stack, StoreReadOnly)
            with as_store_errors(self._store):
                device = os.fstat(file).st_dev
                near = [found for found in room if os.fstat(found[2]).st_dev == device]
            fitting = [found for found in near if found[1] > 0 or not self._reserved_bytes]
            fitting.sort(key=lambda found: (found[0].priority, found[1]), reverse=True)
            return [Folder(directory.path, os.dup(folder)) for directory, _, folder in fitting]

    def free_bytes(self) -> int:
        """The room of the roomiest, since an object lies in one of them. Raises StoreDenied, StoreUnavailable."""
        with ExitStack() as stack:
            return max(free for _, free, _ in self._room(stack, StoreUnavailable))

    def remove(self, path: Path, require_wanted: Callable[[], None]) -> bool:
        """Remove the file `path` of one of the directories, durably. False if there is none.

        `require_wanted` is asked right before. Raises what it raises, StoreDenied, StoreUnavailable.
        """
        with self.opened(path.parent) as folder:
            return self._remove(folder, (path.name,), require_wanted)

    def remove_everywhere(self, names: Sequence[str], require_wanted: Callable[[], None]) -> None:
        """Remove files of these names from every directory, durably. Raises as `remove` does."""
        for path in self.paths:
            with self.opened(path) as folder:
                self._remove(folder, names, require_wanted)

    def remove_left_overs(self, name: str, chosen: Path, require_wanted: Callable[[], None]) -> None:
        """Remove files of that name outside the directory `chosen`, where that is possible now."""
        for path in self.paths:
            if path == chosen:
                continue
            try:
                with self.opened(path) as folder:
                    self._remove(folder, (name,), require_wanted)
            except StoreUnavailable as error:
                _log.warning("store %s: passing over %s: %s", self._store, path, error)

    def probe(self) -> None:
        """See that everything can be read and new files created, without doing it.

        Raises StoreUnavailable, StoreDenied; StoreReadOnly if only reading works.
        """
        for path in self.paths:
            with self.opened(path) as folder, as_store_errors(self._store):
                usable = os.access(".", os.R_OK | os.X_OK, dir_fd=folder, effective_ids=True)
                writable = os.access(".", os.W_OK, dir_fd=folder, effective_ids=True)
                mounted_read_only = os.fstatvfs(folder).f_flag & os.ST_RDONLY
            if not usable:
                raise StoreDenied(self._store, "a data directory may not be read")
            if mounted_read_only or not writable:
                raise StoreReadOnly(self._store, "a data directory cannot be written")

    def _room(self, stack: ExitStack, unmounted: type[StoreError]) -> list[tuple[DataDirectory, int, int]]:
        """Free bytes of each directory that answers, and it, open until `stack` ends; raises if none does."""
        room: list[tuple[DataDirectory, int, int]] = []
        last: StoreError | None = None
        for directory in self._directories:
            try:
                folder = self.open(directory.path, unmounted)
                stack.callback(os.close, folder)
                with as_store_errors(self._store):
                    numbers = os.fstatvfs(folder)
            except StoreError as error:
                _log.warning("store %s: passing over %s: %s", self._store, directory.path, error)
                last = error
            else:
                free_bytes = numbers.f_bavail * numbers.f_frsize - self._reserved_bytes
                room.append((directory, max(0, free_bytes), folder))
        if last is not None and not room:
            raise last
        return room

    def _remove(self, folder: int, names: Sequence[str], require_wanted: Callable[[], None]) -> bool:
        with as_store_errors(self._store):
            removed = [name for name in names if remove_file(name, folder, require_wanted)]
            if removed:
                os.fsync(folder)
        return bool(removed)


def remove_file(name: str, folder: int, require_wanted: Callable[[], None] = lambda: None) -> bool:
    """Remove the file `name` from the open directory `folder`; False if there is no file of that name.

    `require_wanted` is asked right before; it may raise.
    """
    require_wanted()
    try:
        os.unlink(name, dir_fd=folder)
    except (FileNotFoundError, IsADirectoryError):
        return False
    except OSError as error:
        # A read-only file system says so before it looks whether there is anything to remove.
        if error.errno == errno.EROFS and not exists(name, folder):
            return False
        raise
    return True


def exists(name: str, folder: int) -> bool:
    """Is there anything of the name `name` in the open directory `folder`?"""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
