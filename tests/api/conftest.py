"""The whole service in this process: real SQLite, real file store, no sockets."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from blick import boot
from blick.conf.settings import (
    DatabaseSettings,
    IdentitySettings,
    PolicySettings,
    ServerSettings,
    Settings,
    StoreSettings,
    StoresSettings,
)
from tests.support.callers import HeaderIdentity
from tests.support.service import Service


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Override in a test module (with dataclasses.replace) to change options."""
    return Settings(
        stores=StoresSettings(
            default_store="file",
            stores=(StoreSettings("file", "file", {"filesystem_store_datadir": str(tmp_path / "images")}),),
        ),
        database=DatabaseSettings(connection=f"sqlite:///{tmp_path}/blick.sqlite3", sqlite_synchronous=False),
        policy=PolicySettings(policy_file=tmp_path / "policy.yaml", policy_dirs=(tmp_path / "policy.d",)),
        identity=IdentitySettings(kind="none"),
    )


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file as the first start leaves it; making it takes longer than most tests, so they copy it."""
    folder = tmp_path_factory.mktemp("fresh")
    file = folder / "blick.sqlite3"
    store = StoreSettings("file", "file", {"filesystem_store_datadir": str(folder / "images")})
    boot.prepare(
        Settings(
            stores=StoresSettings("file", (store,)),
            database=DatabaseSettings(connection=f"sqlite:///{file}", sqlite_synchronous=False),
            identity=IdentitySettings(kind="standalone"),
            server=ServerSettings(bind_host="127.0.0.1"),
        )
    )
    return file


@pytest.fixture
async def service(settings: Settings, fresh_database: Path) -> AsyncIterator[Service]:
    """The service, whose callers are named by headers of the tests (see tests.support.callers)."""
    shutil.copy(fresh_database, settings.database.connection.removeprefix("sqlite:///"))
    running = boot.start(settings)
    running.app.identity = HeaderIdentity()
    transport = httpx.ASGITransport(running.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://images.test") as client:
        yield Service(running.services, client, running.app)
    await running.aclose()
