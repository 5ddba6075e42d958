"""A migrated database for each test, on every engine."""

from collections.abc import Iterator

import pytest

from blick.conf.settings import DatabaseSettings
from blick.db.engine import Database, open_database
from tests.support.databases import ENGINES


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """In this tier everything runs on all of them."""
    return str(request.param)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database at our revision, without rows."""
    opened = open_database(DatabaseSettings(connection=database_url, sqlite_synchronous=False))
    yield opened
    opened.close()
