"""A migrated database for each test: SQLite, and whatever else BLICK_TEST_PG and BLICK_TEST_MYSQL name.

Those two are SQLAlchemy URLs of databases that the tests may empty.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import MetaData

from blick.conf.settings import DatabaseSettings
from blick.db.engine import Database, open_database
from blick.db.upgrade import ensure_current

URLS = {"postgresql": os.environ.get("BLICK_TEST_PG"), "mysql": os.environ.get("BLICK_TEST_MYSQL")}
ENGINES = ("sqlite", *(name for name, url in URLS.items() if url))


@pytest.fixture(scope="session")
def fresh_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to be copied: migrating takes longer than most tests."""
    file = tmp_path_factory.mktemp("fresh") / "blick.sqlite3"
    database = open_database(DatabaseSettings(connection=f"sqlite:///{file}", sqlite_synchronous=False))
    ensure_current(database)
    database.close()
    return file


@pytest.fixture(params=ENGINES)
def database(request: pytest.FixtureRequest, tmp_path: Path, fresh_sqlite: Path) -> Iterator[Database]:
    """A database at our revision, without rows."""
    url = URLS.get(request.param)
    if url is None:
        file = tmp_path / "blick.sqlite3"
        shutil.copy(fresh_sqlite, file)
        url = f"sqlite:///{file}"
    opened = open_database(DatabaseSettings(connection=url, sqlite_synchronous=False))
    if request.param != "sqlite":
        _empty(opened)
        ensure_current(opened)
    yield opened
    opened.close()


def _empty(database: Database) -> None:
    found = MetaData()
    found.reflect(database.engine)
    found.drop_all(database.engine)
