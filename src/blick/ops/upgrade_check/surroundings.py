"""What the configuration leads to: the database, the stores, their mounts, the folder for staged data."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blick.conf.settings import DatabaseSettings, Settings, StoreSettings
from blick.db.engine import open_database
from blick.db.location_check import require_readable
from blick.db.upgrade import is_current
from blick.model.errors import StartRefused
from blick.ops.upgrade_check.outcome import Outcome, Result, outcome
from blick.stores.file.mount import is_mount_point
from blick.stores.file.setup import read_options
from blick.stores.registry import open_store, trouble_of
from blick.stream.hop import hop, to_the_end

# How long a store may take to give a sign of life.
_PATIENCE_S = 10.0


def database(settings: DatabaseSettings) -> Outcome:
    """Can it be reached, is it at our revision, and can its locations be read? Blocks."""
    name = "Database"
    if (file := _missing_file(settings)) is not None:
        return Outcome(name, Result.WARNING, f"There is no database at {file} yet; the first start makes it.")
    try:
        opened = open_database(settings)
        try:
            if not is_current(opened):
                text = "It is not at this release's revision. `glance-manage db sync` upgrades it, and so does a start."
                return Outcome(name, Result.WARNING, text)
            require_readable(opened)
        finally:
            opened.close()
    except StartRefused as error:
        return Outcome(name, Result.FAILURE, str(error))
    return Outcome(name, Result.SUCCESS)


async def stores(settings: Settings) -> Outcome:
    """Can each be opened, and does it answer? The service does without any but the default one."""
    found = await asyncio.gather(*[_trouble(store) for store in settings.stores.stores])
    lines, result = [], Result.WARNING
    for store, trouble in zip(settings.stores.stores, found, strict=True):
        if trouble is not None:
            lines.append(f"{store.id}: {trouble.text}")
            if trouble.stops_a_start and store.id == settings.stores.default_store:
                result = Result.FAILURE
    return outcome("Stores", result, lines)


def mounts(settings: Settings, fstab: Path = Path("/etc/fstab")) -> Outcome:
    """Where a share of file systems is mounted, an unmounted one must not pass for an empty store."""
    lines = []
    mount_points = frozenset(_mount_points(fstab))
    for store in settings.stores.stores:
        for folder in _unguarded_folders(store):
            if _is_mounted(folder):
                lines.append(
                    f"The folder {folder} of the store {store.id} is a mount point. Set filesystem_store_require_mount "
                    "there: while nothing is mounted, images would seem to be lost, and new ones go beneath."
                )
            elif folder in mount_points:
                lines.append(
                    f"{fstab} names the folder {folder} of the store {store.id}, and nothing is mounted there."
                )
    return outcome("Mount Guard", Result.WARNING, lines)


def staging(settings: Settings) -> Outcome:
    """Is there a place for data that is being imported?"""
    folder, lines = settings.imports.staging_dir, []
    if settings.api.enabled_import_methods and settings.imports.staging_store is None:
        if not folder.is_dir():
            lines.append(f"The folder for staged data, {folder}, is not there. Make it, for the service's user.")
        elif not os.access(folder, os.W_OK | os.X_OK):
            lines.append(f"The folder for staged data, {folder}, cannot be written by this user.")
    return outcome("Staging", Result.WARNING, lines)


def _missing_file(settings: DatabaseSettings) -> Path | None:
    """A database's file that is not there. Looking into it would make it, with an owner that may be the wrong one."""
    dialect, _, rest = settings.connection.partition("://")
    path = Path(rest.removeprefix("/").partition("?")[0])
    if dialect.partition("+")[0] != "sqlite" or not path.name or path.exists():
        return None
    return path


@dataclass(frozen=True, slots=True)
class _Trouble:
    text: str
    stops_a_start: bool = True


async def _trouble(store: StoreSettings) -> _Trouble | None:
    """What keeps a store from serving, None if nothing does."""
    try:
        if missing := [str(folder) for folder in _folders(store) if not folder.exists()]:
            # Opening it would make them, with an owner that may be the wrong one.
            is_made = not store.options.get("filesystem_store_require_mount")
            return _Trouble(f"there is no folder {', '.join(missing)}.", stops_a_start=not is_made)
        opened = await hop(None, open_store, store)
    except StartRefused as error:
        return _Trouble(str(error))
    try:
        text = await trouble_of(opened, _PATIENCE_S)
        return None if text is None else _Trouble(text)
    finally:
        await to_the_end(opened.aclose())


def _folders(store: StoreSettings) -> list[Path]:
    """The folders of a file store, none of any other. Raises StartRefused."""
    if store.type != "file":
        return []
    return [directory.path for directory in read_options(store.id, store.options).directories]


def _unguarded_folders(store: StoreSettings) -> list[Path]:
    if store.options.get("filesystem_store_require_mount"):
        return []
    try:
        return _folders(store)
    except StartRefused:
        return []  # which the check of stores tells


def _is_mounted(folder: Path) -> bool:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return is_mount_point(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _mount_points(fstab: Path) -> Iterator[Path]:
    try:
        text = fstab.read_text("utf-8", "replace")
    except OSError:
        return
    for line in text.splitlines():
        fields = line.split()
        if len(fields) > 1 and not fields[0].startswith("#") and fields[1].startswith("/"):
            yield Path(fields[1].replace("\\040", " "))
