"""Empty databases at our revision, one after the other and cheaply, on each kind of server that Blick works with."""

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, inspect, make_url, text
from sqlalchemy.exc import OperationalError

from blick.conf.settings import DatabaseSettings
from blick.db.engine import open_database
from blick.db.upgrade import ensure_current

SERVERS = tuple(
    pytest.param(name, marks=[pytest.mark.needs(name), pytest.mark.database_server])
    for name in ("mariadb", "postgresql")
)
"""The engines that are servers, as values of a fixture."""

ENGINES = (pytest.param("sqlite"), *SERVERS)
"""Values of the fixture `engine`."""

on_every_engine = pytest.mark.parametrize("engine", ENGINES, indirect=True)
"""For a test, or a module's `pytestmark`: run it on SQLite, MariaDB and PostgreSQL."""

on_every_server = pytest.mark.parametrize("engine", SERVERS, indirect=True)
"""The same without SQLite, which has no server that could be gone or busy."""


class Databases:
    """Hands out one database of each kind: a fresh file, or a server's database with all rows removed."""

    def __init__(self, folder: Path, create: Callable[[str, str], str]) -> None:
        """`create(engine, name)` makes a database on a server and gives its URL."""
        self._create = create
        self._file = folder / "fresh.sqlite3"
        self._urls: dict[str, str] = {}
        self._numbers = 0

    def fresh(self, engine: str, folder: Path) -> str:
        """The URL of a database at our revision, without rows. Whoever had the last one on that server loses it."""
        if engine == "sqlite":
            if not self._file.exists():
                _migrate(f"sqlite:///{self._file}")
            return f"sqlite:///{shutil.copy(self._file, folder / 'blick.sqlite3')}"
        url = self._urls.get(engine)
        if url is None:
            url = self._urls[engine] = self._create(engine, "blick")
            _migrate(url)
        else:
            empty(url)
        return url

    def untouched(self, engine: str, folder: Path) -> str:
        """The URL of a database in which nothing was ever made."""
        self._numbers += 1
        name = f"untouched_{self._numbers}"
        return f"sqlite:///{folder}/{name}.sqlite3" if engine == "sqlite" else self._create(engine, name)


def _migrate(url: str) -> None:
    database = open_database(DatabaseSettings(connection=url, sqlite_synchronous=False))
    try:
        ensure_current(database)
    finally:
        database.close()


def empty(url: str) -> None:
    """Remove every row but the revisions; who hangs in a transaction there is thrown out first."""
    engine = create_engine(make_url(url))
    with engine.begin() as connection:
        _throw_others_out(connection)
        revisions = ("blick_alembic_version", "alembic_version")
        tables = [name for name in inspect(connection).get_table_names() if name not in revisions]
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY"))
        else:
            connection.execute(text("SET FOREIGN_KEY_CHECKS = 0"))
            for name in tables:
                connection.execute(text(f"DELETE FROM {name}"))
    engine.dispose()


def _throw_others_out(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        # Not the server's own processes, which look after its tables.
        others = text(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user "
            "AND pid <> pg_backend_pid()"
        )
        end = "SELECT pg_terminate_backend({})"
    else:
        others = text("SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()")
        end = "KILL SOFT {}"
    for number in connection.execute(others).scalars().all():
        with contextlib.suppress(OperationalError):  # it ended by itself
            connection.execute(text(end.format(number)))
