"""An object made of a file that is there already, by one more name for it: no byte is copied.

Everything here blocks. An object of this module is used by one thread at a time, through a hop.
"""

import errno
import logging
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from blick.model.errors import DataExists, DataNotFound, StoreError
from blick.stores.file.directories import Directories, Folder, remove_file
from blick.stores.file.errors import as_store_errors
from blick.stores.file.partial import is_same_file, partial_name

_log = logging.getLogger(__name__)

# Answers to a hard link where there can be none: other file systems and mounts, file systems without links, files of
# other users; and where /proc is not there to name the open file.
_NO_LINK = frozenset(
    {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.ENOENT}
)


class Adoption:
    """The object `key` of the store `store`, from the open file `file`, which is ours from now on.

    Call link once, and close always, whatever happened.
    """

    def __init__(self, store: str, directories: Directories, key: str, file: int, file_mode: int | None) -> None:
        self._store = store
        self._directories = directories
        self._key = key
        self._file = file
        self._file_mode = file_mode
        self._linked: Path | None = None

    def link(self, require_wanted: Callable[[], None]) -> Path | None:
        """Give the file the name that the object has; where it is then. None: it has to be copied.

        `require_wanted` is asked before what earlier writers left is removed; it may raise. Raises DataExists,
        DataNotFound (the file has lost its last name), StoreFull, StoreDenied, StoreUnavailable, StoreReadOnly.
        """
        with ExitStack() as stack:
            folders = self._directories.beside(self._file)
            for folder in folders:
                stack.callback(os.close, folder.descriptor)
            if not folders:
                return None
            present = self._present()
            if present is not None:
                return present
            for path in self._directories.paths:
                self._directories.remove_left_overs(partial_name(self._key), path, require_wanted)
            return self._linked_into(folders)

    def close(self, *, keep: bool) -> None:
        """Let go of the file; unless `keep`, take back the name that it was given. Raises nothing: what could not be
        removed is logged, and left to discard.
        """
        try:
            if not keep and self._linked is not None:
                with self._directories.opened(self._linked.parent) as folder:
                    if is_same_file(self._linked.name, self._file, folder):
                        remove_file(self._linked.name, folder)
                        os.fsync(folder)
        except (OSError, StoreError) as error:
            _log.warning("store %s: cannot clean up behind object %s: %s", self._store, self._key, error)
        finally:
            os.close(self._file)

    def _present(self) -> Path | None:
        """Where an earlier call, which was cut off behind its effect, made the object of this very file; None: nowhere.

        Raises DataExists for another object of that key.
        """
        wanted = os.fstat(self._file)
        found: Path | None = None
        for path in self._directories.paths:
            try:
                named = os.lstat(path / self._key)
            except OSError:
                continue  # not there, or its directory is out of reach: then nobody can tell
            if not os.path.samestat(named, wanted):
                raise DataExists(self._store)
            found = path / self._key
        if found is not None:
            with self._directories.opened(found.parent) as folder, as_store_errors(self._store):
                os.fsync(folder)
        return found

    def _linked_into(self, folders: list[Folder]) -> Path | None:
        with as_store_errors(self._store):
            self._set_mode()
            os.fsync(self._file)  # whoever wrote it may not have done so
            for folder in folders:
                if self._try(folder):
                    os.fsync(folder.descriptor)
                    return folder.path / self._key
            if os.fstat(self._file).st_nlink == 0:
                raise DataNotFound(self._store)
        return None

    def _try(self, folder: Folder) -> bool:
        try:
            # The call follows the link in /proc only if it is given an open directory, too.
            os.link(f"/proc/self/fd/{self._file}", self._key, dst_dir_fd=folder.descriptor, follow_symlinks=True)
        except FileExistsError:
            raise DataExists(self._store) from None
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            return False
        self._linked = folder.path / self._key
        return True

    def _set_mode(self) -> None:
        if self._file_mode is None:
            return
        try:
            os.fchmod(self._file, self._file_mode)
        except OSError as error:
            _log.warning("store %s: cannot set the mode of object %s: %s", self._store, self._key, error)
