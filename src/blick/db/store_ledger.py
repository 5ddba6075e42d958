"""What a check of stores notes while it compares: in a temporary SQLite file, so that memory does not grow with stores.

A million objects take about 280 MB of disk. Everything here blocks.
"""

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from blick.model.blob import StoredObject

MISSING: Final = "missing"
WRONG_SIZE: Final = "wrong size"
WRONG_DATA: Final = "wrong data"
ORPHANED: Final = "orphaned"
FOREIGN: Final = "foreign"
UNREADABLE: Final = "unreadable"
HOMELESS: Final = "in no store"

MISMATCHED: Final = (WRONG_SIZE, WRONG_DATA)
DAMAGES: Final = (MISSING, *MISMATCHED)
"""What is wrong with a recorded copy."""

REPAIRED: Final = "repaired"
"""An outcome; every other one is the reason why the finding was left."""

_SCHEMA = """
CREATE TABLE objects (
    id INTEGER PRIMARY KEY, store TEXT NOT NULL, key TEXT NOT NULL, uri TEXT, size_bytes INTEGER, modified_at_s REAL,
    named INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX objects_uri ON objects (store, uri);
CREATE INDEX objects_key ON objects (store, key);
CREATE TABLE findings (
    id INTEGER PRIMARY KEY, store TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, uri TEXT, detail TEXT NOT NULL,
    location_id INTEGER, outcome TEXT, is_confirmed INTEGER NOT NULL DEFAULT 0
);
"""


@dataclass(frozen=True, slots=True)
class NotedObject:
    """An object as a store has listed it. `uri` None: not a whole one, but what an upload has left."""

    id: int
    store: str
    key: str
    uri: str | None
    size_bytes: int | None
    modified_at_s: float | None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not agree. `key` is the image's id, or the object's name; `location_id` of a recorded copy.

    `outcome` None: nobody has tried to repair it.
    """

    store: str
    kind: str
    key: str
    uri: str | None
    detail: str
    location_id: int | None = None
    outcome: str | None = None
    id: int = 0


class Ledger:
    """One check's notes; gone when it is closed. Used by one thread at a time."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` is where the temporary file goes, None: where this machine has such files."""
        self._parent = folder
        self._folder: TemporaryDirectory[str] | None = None
        self._opened: sqlite3.Connection | None = None

    def open(self) -> None:
        """Make the file. Before anything else; `close` follows in any case. Raises OSError, sqlite3.Error."""
        self._folder = TemporaryDirectory(prefix="blick-check-", dir=self._parent, ignore_cleanup_errors=True)
        self._opened = sqlite3.connect(
            Path(self._folder.name) / "ledger.sqlite3", isolation_level=None, check_same_thread=False
        )
        # A ledger that is lost is made anew: nothing needs to be safe.
        self._opened.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {_SCHEMA}")

    def close(self) -> None:
        """Remove the file, as far as there is one."""
        if self._opened is not None:
            self._opened.close()
        if self._folder is not None:
            self._folder.cleanup()

    @property
    def _file(self) -> sqlite3.Connection:
        assert self._opened is not None, "open comes first"
        return self._opened

    def note_objects(self, store: str, objects: Iterable[StoredObject]) -> None:
        """What a store has listed."""
        self._file.execute("BEGIN")
        self._file.executemany(
            "INSERT INTO objects (store, key, uri, size_bytes, modified_at_s) VALUES (?, ?, ?, ?, ?)",
            (
                (store, each.key, each.location and each.location.uri, each.size_bytes, each.modified_at_s)
                for each in objects
            ),
        )
        self._file.execute("COMMIT")

    def name(self, places: Collection[tuple[str, str]]) -> dict[tuple[str, str], int | None]:
        """Note that locations (store, URI) name these objects; gives the sizes of those that were listed."""
        sizes: dict[tuple[str, str], int | None] = {}
        self._file.execute("BEGIN")
        for place in places:
            found = self._file.execute(
                "UPDATE objects SET named = named + 1 WHERE store = ? AND uri = ? RETURNING size_bytes", place
            ).fetchall()
            if found:
                sizes[place] = found[0][0]
        self._file.execute("COMMIT")
        return sizes

    def unnamed(self, after_id: int, limit: int) -> list[NotedObject]:
        """The next objects that no location names, behind the one of id `after_id`."""
        rows = self._file.execute(
            "SELECT id, store, key, uri, size_bytes, modified_at_s FROM objects WHERE named = 0 AND id > ? "
            "ORDER BY id LIMIT ?",
            (after_id, limit),
        )
        return [NotedObject(*row) for row in rows]

    def lies_elsewhere(self, store: str, key: str, uri: str) -> bool:
        """Was an object of this name listed, whole or in part, at another place than `uri`?"""
        found = "SELECT 1 FROM objects WHERE store = ? AND key = ? AND uri IS NOT ? LIMIT 1"
        return self._file.execute(found, (store, key, uri)).fetchone() is not None

    def times_named(self, store: str, uri: str) -> int:
        """How many locations name that object; 0 if it was not listed."""
        found = self._file.execute("SELECT named FROM objects WHERE store = ? AND uri = ?", (store, uri)).fetchone()
        return int(found[0]) if found else 0

    def count_named(self, store: str) -> int:
        """How many of the store's objects are named by locations."""
        found = self._file.execute("SELECT count(*) FROM objects WHERE store = ? AND named > 0", (store,)).fetchone()
        return int(found[0])

    def add(self, finding: Finding) -> None:
        """Note that something does not agree."""
        values = (finding.store, finding.kind, finding.key, finding.uri, finding.detail, finding.location_id)
        self._file.execute(
            "INSERT INTO findings (store, kind, key, uri, detail, location_id) VALUES (?, ?, ?, ?, ?, ?)", values
        )

    def settle(self, finding: Finding, outcome: str) -> None:
        """Note what came of repairing it."""
        self._file.execute("UPDATE findings SET outcome = ? WHERE id = ?", (outcome, finding.id))

    def withdraw(self, finding: Finding) -> None:
        """It has come right by itself, or is nobody's concern any more."""
        self._file.execute("DELETE FROM findings WHERE id = ?", (finding.id,))

    def findings(self, kinds: Sequence[str], after_id: int, limit: int) -> list[Finding]:
        """The next findings of these kinds behind the one of id `after_id`."""
        rows = self._file.execute(
            "SELECT store, kind, key, uri, detail, location_id, outcome, id FROM findings "
            "WHERE kind IN (SELECT value FROM json_each(?)) AND id > ? ORDER BY id LIMIT ?",
            (json.dumps(kinds), after_id, limit),
        )
        return [Finding(*row) for row in rows]

    def counts(self, store: str) -> dict[tuple[str, bool], int]:
        """How many findings of each kind the store has that are (true) and are not (false) repaired."""
        rows = self._file.execute(
            "SELECT kind, outcome IS ?, count(*) FROM findings WHERE store = ? GROUP BY 1, 2", (REPAIRED, store)
        )
        return {(kind, bool(repaired)): count for kind, repaired, count in rows}

    def has_orphaned_parts(self, store: str) -> bool:
        """Has the store anything orphaned that is no whole object?"""
        found = "SELECT 1 FROM findings WHERE store = ? AND kind = ? AND uri IS NULL LIMIT 1"
        return self._file.execute(found, (store, ORPHANED)).fetchone() is not None

    def confirm(self, store: str, keys: Collection[str]) -> None:
        """These objects, orphaned in part, have been listed once more."""
        self._file.execute(
            "UPDATE findings SET is_confirmed = 1 WHERE store = ? AND kind = ? AND uri IS NULL "
            "AND key IN (SELECT value FROM json_each(?))",
            (store, ORPHANED, json.dumps(list(keys))),
        )

    def withdraw_unconfirmed(self, store: str) -> None:
        """What was orphaned in part, and was not listed again, is gone."""
        self._file.execute(
            "DELETE FROM findings WHERE store = ? AND kind = ? AND uri IS NULL AND NOT is_confirmed", (store, ORPHANED)
        )
