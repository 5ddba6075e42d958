"""The file driver's options, read and checked, and its directories, made ready. All of it runs once, at start."""

import json
import logging
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blick.model.errors import StartRefused
from blick.stores.file.mount import is_mount_point

_log = logging.getLogger(__name__)

DEFAULT_DATADIR = "/var/lib/glance/images"


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """A folder that holds image files directly. Of several, the highest priority with room takes a new one."""

    path: Path
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount point that compute nodes may share; `metadata` is what they recognise it by."""

    path: Path
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FileOptions:
    """What the operator said. `file_mode` None: new files get what the process's umask leaves.

    `require_mount`: the directories have to be mount points. `reserved_bytes` are not to be taken by new objects.
    `timeout_s` 0: calls may take as long as they want; else they are made in so many threads, and it is worth a
    warning when so many percent of these are busy.
    """

    directories: tuple[DataDirectory, ...]
    file_mode: int | None = None
    mounts: tuple[Mount, ...] = ()
    thin_provisioning: bool = False
    chunk_size_bytes: int = 65536
    require_mount: bool = False
    reserved_bytes: int = 0
    timeout_s: int = 0
    threads: int = 10
    busy_percent: int = 75


def read_options(store: str, options: Mapping[str, Any]) -> FileOptions:
    """The options `filesystem_*` of one store. Raises StartRefused, naming the option and what is wrong with it."""
    metadata_file = options.get("filesystem_store_metadata_file")
    return FileOptions(
        directories=_directories(store, options),
        file_mode=_file_mode(store, int(options.get("filesystem_store_file_perm") or 0)),
        mounts=_mounts(store, Path(metadata_file)) if metadata_file else (),
        thin_provisioning=bool(options.get("filesystem_thin_provisioning")),
        chunk_size_bytes=int(options.get("filesystem_store_chunk_size") or 65536),
        require_mount=bool(options.get("filesystem_store_require_mount")),
        reserved_bytes=int(options.get("filesystem_store_reserved_space") or 0) << 20,
        timeout_s=int(options.get("filesystem_store_timeout") or 0),
        threads=int(options.get("filesystem_store_thread_pool_size") or 10),
        busy_percent=int(options.get("filesystem_store_threadpool_threshold", 75)),
    )


def prepare_directory(store: str, path: Path, file_mode: int | None, *, require_mount: bool = False) -> None:
    """See that files can be created in `path`. Where it is missing it is created, unless it has to be a mount point.

    Raises StartRefused. Directories that cannot be opened up to the readers named by `file_mode` are only warned of.
    """
    if path.exists() and not path.is_dir():
        raise StartRefused(f"Store {store}: {path} is not a directory.")
    try:
        if not require_mount:
            path.mkdir(parents=True, exist_ok=True)
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if require_mount and not is_mount_point(folder):
                raise StartRefused(f"Store {store}: nothing is mounted on {path}.")
            # Asking for permission bits is not enough: root and network file systems have their own ideas of them.
            # By the descriptor, so that the file lands where we looked.
            with tempfile.TemporaryFile(dir=f"/proc/self/fd/{folder}" if require_mount else path):
                pass
        finally:
            os.close(folder)
    except OSError as error:
        raise StartRefused(f"Store {store}: cannot create files in {path}: {os.strerror(error.errno or 0)}.") from error
    _let_readers_in(path, file_mode or 0)


def _directories(store: str, options: Mapping[str, Any]) -> tuple[DataDirectory, ...]:
    one = options.get("filesystem_store_datadir")
    several = [entry for entry in options.get("filesystem_store_datadirs") or () if entry]
    if not several:
        return (DataDirectory(_absolute(one or DEFAULT_DATADIR)),)
    # The default may have been filled in by whoever read the configuration; only another value contradicts.
    if one and str(one) != DEFAULT_DATADIR:
        raise StartRefused(f"Store {store}: filesystem_store_datadir and filesystem_store_datadirs exclude each other.")
    return _without_repeats(store, [_directory(store, str(entry)) for entry in several])


def _directory(store: str, entry: str) -> DataDirectory:
    path, colon, priority = entry.strip().rpartition(":")
    if not colon:
        return DataDirectory(_absolute(entry.strip()))
    if not path:
        raise StartRefused(f"Store {store}: filesystem_store_datadirs: no directory in {entry!r}.")
    try:
        return DataDirectory(_absolute(path.strip()), int(priority))
    except ValueError:
        raise StartRefused(
            f"Store {store}: filesystem_store_datadirs: the priority in {entry!r} is not a whole number."
        ) from None


def _without_repeats(store: str, directories: Iterable[DataDirectory]) -> tuple[DataDirectory, ...]:
    kept: dict[Path, DataDirectory] = {}
    for directory in directories:
        known = kept.setdefault(directory.path, directory)
        if known is directory:
            continue
        if known.priority != directory.priority:
            raise StartRefused(
                f"Store {store}: filesystem_store_datadirs: {directory.path} has two different priorities."
            )
        _log.warning("store %s: filesystem_store_datadirs names %s twice", store, directory.path)
    return tuple(kept.values())


def _absolute(path: str | Path) -> Path:
    # Not resolved: the name as configured goes into the location, and a link there may be moved on purpose.
    return Path(os.path.normpath(Path(path).absolute()))


def _file_mode(store: str, digits: int) -> int | None:
    """The digits of the option, written in decimal, are meant as octal: 640 is rw-r-----. 0 is: leave it."""
    if digits == 0:
        return None
    try:
        mode = int(str(digits), 8)
    except ValueError:
        mode = -1
    if not 0 < mode <= 0o777:
        raise StartRefused(f"Store {store}: filesystem_store_file_perm: {digits} are not octal permission bits.")
    if not mode & 0o400:
        raise StartRefused(f"Store {store}: filesystem_store_file_perm: with {digits} Blick could not read its files.")
    return mode


def _let_readers_in(path: Path, file_mode: int) -> None:
    """Whoever may read the files must be able to pass the directory."""
    wanted = (0o010 if file_mode & 0o070 else 0) | (0o001 if file_mode & 0o007 else 0)
    try:
        present = path.stat().st_mode & 0o7777
        if present | wanted != present:
            path.chmod(present | wanted)
    except OSError as error:
        _log.warning("cannot let the readers of filesystem_store_file_perm into %s: %s", path, error)


def _mounts(store: str, path: Path) -> tuple[Mount, ...]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StartRefused(f"Store {store}: filesystem_store_metadata_file: cannot read {path}: {error}.") from error
    entries = document if isinstance(document, list) else [document]
    for entry in entries:
        if not (isinstance(entry, dict) and _is_text(entry.get("id")) and _is_text(entry.get("mountpoint"))):
            raise StartRefused(
                f"Store {store}: filesystem_store_metadata_file: {path} must hold one object or a list of objects, "
                "each with the texts id and mountpoint."
            )
        if not _is_storable(entry):
            raise StartRefused(
                f"Store {store}: filesystem_store_metadata_file: {path} may hold texts, lists and objects only."
            )
    return tuple(Mount(_absolute(entry["mountpoint"]), entry) for entry in entries)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_storable(value: object) -> bool:
    """Texts, lists and objects all the way down: what the database keeps beside a location."""
    if isinstance(value, dict):
        return all(_is_storable(inner) for inner in value.values())
    if isinstance(value, list):
        return all(_is_storable(inner) for inner in value)
    return isinstance(value, str)
