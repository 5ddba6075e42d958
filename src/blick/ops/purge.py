"""Removing for good what was deleted long ago, while the service goes on (spec: commands, `db purge`).

Each batch is a transaction of its own: nobody waits for more than one of them, memory does not grow with the number of
rows, and what is killed goes on where it was when it is run again.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from blick.db.engine import Database
from blick.db.purge import IMAGES, TABLES, Purge, Removed

ALL_BUT_IMAGES = tuple(TABLES.values())
ONLY_IMAGES = (IMAGES,)

# Some 50 ms of work for a database.
BATCH_ROWS = 1000
_LONGEST_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was deleted before that time (naive, UTC), at most so many rows of each table; None: all."""

    before: datetime
    limit: int | None


def purge(database: Database, targets: Sequence[Purge], wanted: Wanted) -> Iterator[tuple[str, Removed]]:
    """Purge `targets` in turn; gives after each batch the table and what became of the batch. Blocks meanwhile.

    Raises ServiceUnavailable; Conflict where somebody was in the way. What was given before stays removed.
    """
    for target in targets:
        for removed in _purge_table(database, target, wanted):
            yield target.table, removed


def _purge_table(database: Database, target: Purge, wanted: Wanted) -> Iterator[Removed]:
    left, after = wanted.limit, None
    while left is None or left > 0:
        rows = BATCH_ROWS if left is None else min(BATCH_ROWS, left)
        found = database.read_now(target.find, wanted.before, after, rows)
        if found.keys:
            began = time.monotonic()
            removed = database.write_now(target.remove, wanted.before, found.keys)
            took_s = time.monotonic() - began
            left = None if left is None else left - removed.rows[target.table]
            yield removed
            _let_others_write(database, took_s)
        if found.last is None:
            return
        after = found.last


def _let_others_write(database: Database, took_s: float) -> None:
    """SQLite has one lock for all writers, and no queue before it: leave it alone for as long as it was held."""
    if database.dialect == "sqlite":
        time.sleep(min(took_s, _LONGEST_PAUSE_S))
