"""What a server keeps in its data folder, seen past the server: to tell whether anything was left behind."""

import sqlite3
from contextlib import closing
from pathlib import Path

STORE = "images"
STAGING = "staging"
DATABASE = "blick.sqlite3"


def stored_files(data_dir: Path) -> list[str]:
    """The names of everything in the store's folder, hidden partial files too."""
    return sorted(entry.name for entry in (data_dir / STORE).iterdir())


def staged_files(data_dir: Path) -> list[str]:
    """The names of everything in the folder of staged data, hidden partial files too."""
    folder = data_dir / STAGING
    return sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []


def rows(data_dir: Path, table: str, where: str = "1 = 1") -> int:
    """How many rows a table of the service's database has, of those that are as `where` says."""
    with closing(sqlite3.connect(f"file:{data_dir / DATABASE}?mode=ro", uri=True, timeout=30)) as connection:
        (count,) = connection.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()
    return int(count)


def open_jobs(data_dir: Path) -> int:
    """How many jobs are not over."""
    return rows(data_dir, "blick_jobs", "outcome = ''")


def leases(data_dir: Path) -> int:
    """How many uploads are under way, or waiting to be cleaned up."""
    return rows(data_dir, "blick_leases")


def deletes(data_dir: Path) -> int:
    """How many locations' bytes are still to be removed."""
    return rows(data_dir, "blick_location_deletes")
