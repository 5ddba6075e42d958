"""What lies in the directories of a file store. Everything here blocks."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from blick.stores.file.directories import Directories
from blick.stores.file.errors import as_store_errors
from blick.stores.file.partial import key_of_partial

# Named in one call: so many that calls cost little, so few that they fit in little memory.
_BATCH = 500


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that is an object, or is about to become one: then `is_partial`."""

    path: Path
    key: str
    is_partial: bool
    size_bytes: int
    modified_at_s: float


class Listing:
    """The files of the directory `path` of `store`, in batches, until it is closed.

    `is_key`: may an object have that name?
    """

    def __init__(self, store: str, directories: Directories, path: Path, is_key: Callable[[str], bool]) -> None:
        self._store = store
        self._directories = directories
        self._path = path
        self._is_key = is_key
        self._open = ExitStack()
        self._entries: Iterator[os.DirEntry[str]] = iter(())

    def begin(self) -> None:
        """Open the directory. Raises StoreDenied, StoreUnavailable."""
        folder = self._directories.open(self._path)
        # Open to the end: the entries are looked up in it.
        self._open.callback(os.close, folder)
        with as_store_errors(self._store):
            self._entries = self._open.enter_context(os.scandir(folder))

    def more(self) -> list[FoundFile] | None:
        """The next ones, perhaps none of all that were looked at; None at the end. Raises StoreUnavailable."""
        with as_store_errors(self._store):
            batch = list(islice(self._entries, _BATCH))
            found = [self._found(entry) for entry in batch]
        return [file for file in found if file is not None] if batch else None

    def close(self) -> None:
        """Close the directory, if it is open."""
        self._open.close()

    def _found(self, entry: os.DirEntry[str]) -> FoundFile | None:
        unfinished = key_of_partial(entry.name)
        key = unfinished or entry.name
        if not self._is_key(key) or not entry.is_file(follow_symlinks=False):
            return None
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return None  # it vanished meanwhile
        return FoundFile(self._path / entry.name, key, unfinished is not None, status.st_size, status.st_mtime)
