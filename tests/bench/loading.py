"""Many rows into Glance's tables, the quick way of each engine: COPY, LOAD DATA, or one prepared statement."""

import sqlite3
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TextIO

import psycopg
import pymysql
from sqlalchemy import URL, make_url

Row = tuple[object, ...]
Columns = Mapping[str, tuple[str, ...]]

_STAMP = ("created_at", "updated_at", "deleted_at", "deleted")
COLUMNS: Columns = {
    "images": (
        "id", "name", "disk_format", "container_format", "size", "virtual_size", "status", "visibility",
        "checksum", "os_hash_algo", "os_hash_value", "min_disk", "min_ram", "owner", "protected", "os_hidden", *_STAMP,
    ),
    "image_properties": ("image_id", "name", "value", *_STAMP),
    "image_tags": ("image_id", "value", *_STAMP),
    "image_locations": ("image_id", "value", "meta_data", "status", *_STAMP),
    "image_members": ("image_id", "member", "can_share", "status", *_STAMP),
}  # fmt: skip
_PIECE_BYTES = 1024 * 1024
_LOCK_TIMEOUT_S = 60


def load(url: str, rows: Iterable[tuple[str, Sequence[Row]]], columns: Columns = COLUMNS) -> None:
    """Replace what is in the tables by `rows`, (table, rows of it) in any mixture; brings statistics up to date.

    `url` is SQLAlchemy's, as services have it. `columns` names the tables, those that others refer to first, and what a
    row of them holds. No text may hold a tab, a line break or a backslash.
    """
    parsed = make_url(url)
    backend = parsed.get_backend_name()
    with tempfile.TemporaryDirectory() as folder:
        if backend == "sqlite":
            _into_sqlite(str(parsed.database), rows, columns)
        else:
            files = _written(Path(folder), rows, columns)
            into = _into_postgresql if backend == "postgresql" else _into_mysql
            into(parsed, files, columns)


def _written(folder: Path, rows: Iterable[tuple[str, Sequence[Row]]], columns: Columns) -> dict[str, Path]:
    """A file per table, in the format that COPY and LOAD DATA share."""
    files = {table: folder / table for table in columns}
    opened: dict[str, TextIO] = {table: path.open("w") for table, path in files.items()}
    for table, several in rows:
        for row in several:
            opened[table].write("\t".join([r"\N" if value is None else str(value) for value in row]) + "\n")
    for file in opened.values():
        file.close()
    return files


def _into_sqlite(database: str, rows: Iterable[tuple[str, Sequence[Row]]], columns: Columns) -> None:
    with closing(sqlite3.connect(database, timeout=_LOCK_TIMEOUT_S)) as connection:
        with connection:
            for table in reversed(tuple(columns)):
                connection.execute(f"DELETE FROM {table}")
            for table, several in rows:
                names = columns[table]
                marks = ", ".join("?" * len(names))
                connection.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", several)
        connection.execute("ANALYZE")


def _into_postgresql(url: URL, files: Mapping[str, Path], columns: Columns) -> None:
    place: dict[str, Any] = {"host": url.host, "port": url.port, "user": url.username, "password": url.password}
    with psycopg.connect(dbname=url.database, **place, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {', '.join(columns)}")
        for table, file in files.items():
            statement = f"COPY {table} ({', '.join(columns[table])}) FROM STDIN"
            with file.open("rb") as source, connection.cursor().copy(statement) as copy:
                while piece := source.read(_PIECE_BYTES):
                    copy.write(piece)
        connection.execute(f"VACUUM ANALYZE {', '.join(columns)}")


def _into_mysql(url: URL, files: Mapping[str, Path], columns: Columns) -> None:
    place: dict[str, Any] = {"host": url.host, "port": url.port, "user": url.username, "password": url.password}
    connection = pymysql.connect(database=url.database, **place, local_infile=True, charset="utf8mb4", autocommit=True)
    with closing(connection), connection.cursor() as cursor:
        cursor.execute("SET foreign_key_checks = 0, unique_checks = 0")
        for table, file in files.items():
            cursor.execute(f"TRUNCATE {table}")
            cursor.execute(f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE {table} ({', '.join(columns[table])})")
        cursor.execute(f"ANALYZE TABLE {', '.join(columns)}")
