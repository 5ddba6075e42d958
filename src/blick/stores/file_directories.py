"""The directories of one file store: which one takes a new object, which file a URI means. All of it may block."""

import errno
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from blick.model.errors import StoreFull
from blick.stores.file_errors import as_store_errors, store_error
from blick.stores.file_setup import DataDirectory

_log = logging.getLogger(__name__)

_SCHEMES = ("file://", "filesystem://")


class Directories:
    """The directories of the store `store`, at least one."""

    def __init__(self, store: str, directories: Sequence[DataDirectory]) -> None:
        self._store = store
        self._directories = tuple(directories)

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

    def choose(self, size_bytes: int) -> Path:
        """Where an object of that size goes: highest priority with room, then most room.

        Raises StoreFull, StoreDenied, StoreUnavailable.
        """
        fitting = [(directory.priority, free, directory) for directory, free in self._room() if free >= size_bytes]
        if not fitting:
            raise StoreFull(self._store, f"no room for {size_bytes} bytes")
        return max(fitting, key=lambda candidate: candidate[:2])[2].path

    def free_bytes(self) -> int:
        """The room of the roomiest, since an object lies in one of them. Raises StoreDenied, StoreUnavailable."""
        return max(free for _, free in self._room())

    def remove(self, path: Path) -> bool:
        """Remove the file `path` of one of the directories, durably. False if there is none."""
        return self._remove(path.parent, (path.name,))

    def remove_everywhere(self, names: Sequence[str]) -> None:
        """Remove files of these names from every directory, durably."""
        for path in self.paths:
            self._remove(path, names)

    def _room(self) -> list[tuple[DataDirectory, int]]:
        """Free bytes of each directory that answers; raises if none does."""
        room: list[tuple[DataDirectory, int]] = []
        last: OSError | None = None
        for directory in self._directories:
            try:
                numbers = os.statvfs(directory.path)
            except OSError as error:
                _log.warning("store %s: passing over %s: %s", self._store, directory.path, error)
                last = error
            else:
                room.append((directory, numbers.f_bavail * numbers.f_frsize))
        if last is not None and not room:
            raise store_error(self._store, last) from last
        return room

    def _remove(self, path: Path, names: Sequence[str]) -> bool:
        # A directory that is missing, unlike a missing file, is an error: its disk may come back with the data.
        with as_store_errors(self._store):
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                removed = [name for name in names if remove_file(name, folder)]
                if removed:
                    os.fsync(folder)
            finally:
                os.close(folder)
        return bool(removed)


def remove_file(name: str, folder: int) -> bool:
    """Remove the file `name` from the open directory `folder`; False if there is no file of that name."""
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
