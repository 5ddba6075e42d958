"""Metadata definitions out of files, into files, and all removed: for commands, and for a new standalone service.

Each namespace is one file and one transaction: whatever breaks off leaves whole namespaces. What is wrong with one
file is told, and keeps no other from being loaded (spec: metadefs-api §10).
"""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files as resources
from pathlib import Path
from typing import Final

import msgspec

from blick.db import metadef_files
from blick.db.engine import Database
from blick.db.metadef_files import Outcome
from blick.model.errors import Conflict, Invalid, NotFound
from blick.model.metadef_file import Mode, NamespaceFile, document_of, file_name, parse

_log = logging.getLogger(__name__)

SHIPPED: Final = Path(str(resources("blick") / "metadefs"))
"""The folder of the catalog that comes with Blick."""

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of one file: an outcome, or what was wrong with it."""

    file: Path
    namespace: str | None
    outcome: Outcome | None
    fault: str | None = None


def load(database: Database, source: Path, mode: Mode, now: Clock) -> Iterator[Loaded]:
    """Load the file `source`, or every *.json file in the folder `source`, by name. Blocks; one item for each file.

    Raises NotFound where there is no such file or folder, or nothing in it. What else goes wrong about a file is in its
    item.
    """
    for file in _files_of(source):
        yield _load_one(database, file, mode, now)


def _files_of(source: Path) -> Sequence[Path]:
    try:
        if not source.is_dir():
            if not source.exists():
                raise NotFound(f"{source}: no such file or folder.")
            return [source]
        found = sorted(file for file in source.iterdir() if file.suffix == ".json" and file.is_file())
    except OSError as error:
        raise NotFound(f"{source}: {error.strerror}.") from error
    if not found:
        raise NotFound(f"{source}: there are no files that end in .json.")
    return found


def _load_one(database: Database, file: Path, mode: Mode, now: Clock) -> Loaded:
    try:
        read = _read(file)
    except Invalid as error:
        return _faulty(file, None, str(error))
    name = read.namespace.name
    try:
        outcome = database.write_now(metadef_files.load, read, mode, now())
    except (Conflict, Invalid) as error:
        return _faulty(file, name, str(error))
    _log.info("metadata definition namespace %s of %s: %s", name, file, outcome.value)
    return Loaded(file, name, outcome)


def _faulty(file: Path, name: str | None, fault: str) -> Loaded:
    _log.error("%s is not loaded: %s", file, fault)
    return Loaded(file, name, None, fault)


def _read(file: Path) -> NamespaceFile:
    try:
        return parse(msgspec.json.decode(file.read_bytes()))
    except OSError as error:
        raise Invalid(f"It cannot be read: {error.strerror}.") from error
    except RecursionError as error:
        raise Invalid("It is nested too deeply.") from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Invalid(f"It is not JSON: {error}") from error


def load_shipped(database: Database, now: Clock) -> bool:
    """Load the shipped catalog into a database without metadata definitions, all of it or nothing. Blocks.

    False: there are some already, or somebody else is just loading them.
    """
    catalog = [_read(file) for file in _files_of(SHIPPED)]
    try:
        return database.write_now(metadef_files.load_first, catalog, now())
    except Conflict:
        return False


def unload(database: Database) -> int:
    """Remove all metadata definitions, protected ones too, and resource types. Blocks. How many namespaces went."""
    count = database.write_now(metadef_files.remove_everything)
    _log.info("metadata definitions removed: %d namespace(s) with all that lay in them, and all resource types", count)
    return count


def export(database: Database, folder: Path) -> Iterator[tuple[str, Path]]:
    """Write each namespace into a file in `folder`, which is made if need be; files that are there are replaced.

    Blocks; gives the name of each namespace and its file. Loading what was written gives the same namespaces. Raises
    OSError where something cannot be written; no file is ever there in part.
    """
    folder.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    # In an order that no loading changes: of two with one name for people, always the same one gets it as file name.
    for name in sorted(database.read_now(metadef_files.names)):
        # Held while it is read, so that what is written was there at one moment.
        whole = database.write_now(metadef_files.whole, name)
        if whole is None:
            continue
        file = folder / file_name(whole[0], taken)
        taken.add(file.name.lower())
        _write(file, json.dumps(document_of(*whole), indent=2, ensure_ascii=False) + "\n")
        _log.info("metadata definition namespace %s is written to %s", name, file)
        yield name, file


def _write(file: Path, text: str) -> None:
    unfinished = file.with_name(f".{file.name}.new")
    try:
        unfinished.write_text(text, "utf-8")
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
