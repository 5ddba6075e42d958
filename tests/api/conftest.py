"""The whole service in this process: real SQLite, real file store, no sockets."""

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from blick.conf.settings import (
    DatabaseSettings,
    IdentitySettings,
    ImportSettings,
    PolicySettings,
    ServerSettings,
    Settings,
    StoreSettings,
    StoresSettings,
)
from tests.support.service import Service, running_service, working


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Commands that run in this process set up logging, to a stderr that is closed when the test has ended."""
    before, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.setLevel(level)
    for handler in logging.root.handlers[:]:
        if handler not in before and not type(handler).__module__.startswith("_pytest"):
            logging.root.removeHandler(handler)
            handler.close()


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """Override in a test module (with dataclasses.replace) to change options."""
    return Settings(
        stores=StoresSettings(
            default_store="file",
            stores=(StoreSettings("file", "file", {"filesystem_store_datadir": str(tmp_path / "images")}),),
        ),
        database=DatabaseSettings(connection=database_url, sqlite_synchronous=False),
        policy=PolicySettings(policy_file=tmp_path / "policy.yaml", policy_dirs=(tmp_path / "policy.d",)),
        imports=ImportSettings(staging_dir=tmp_path / "staging", work_dir=tmp_path / "work"),
        identity=IdentitySettings(kind="none"),
        server=ServerSettings(bind_host="127.0.0.1"),
    )


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Service]:
    """The service, whose callers are named by headers of the tests (see tests.support.callers)."""
    async with running_service(settings) as running:
        yield running


@pytest.fixture
async def worker(service: Service) -> AsyncIterator[None]:
    """Somebody who does the service's jobs; for `usefixtures`."""
    async with working(service):
        yield


@pytest.fixture(params=["folder", "store"])
def staging_place(request: pytest.FixtureRequest) -> str:
    """Staged data lies in a folder of the node's, or in the store that has the images; for `staging_at`
    (tests.support.staged) in a test module's `settings`.
    """
    return str(request.param)


@pytest.fixture
def in_folder(staging_place: str) -> None:
    """For tests of what is true of a folder only."""
    if staging_place != "folder":
        pytest.skip("only where data is staged in a folder")


@pytest.fixture
def in_store(staging_place: str) -> None:
    """For tests of what is true of a store only."""
    if staging_place != "store":
        pytest.skip("only where data is staged in a store")
