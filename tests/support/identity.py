"""A small identity service to test against: a database file, a clock that stands still, and known passwords."""

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from blick.conf.settings import DatabaseSettings
from blick.db import identity_tables  # noqa: F401 - puts the tables into `metadata`
from blick.db.engine import Database, open_database
from blick.db.metadata import metadata
from blick.identity.embedded.bootstrap import FirstUsers, bootstrap
from blick.identity.embedded.routes import identity_app
from blick.identity.embedded.service import EmbeddedIdentity

TOKEN_TTL_S = 3600


class StoppedClock:
    """Seconds since 1970, moved by hand."""

    def __init__(self, now_s: float = 1_800_000_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@contextmanager
def identity_database(path: Path) -> Iterator[Database]:
    database = open_database(DatabaseSettings(connection=f"sqlite:///{path}", sqlite_synchronous=False))
    metadata.create_all(database.engine)
    try:
        yield database
    finally:
        database.close()


@dataclass(frozen=True, slots=True)
class Cloud:
    """One running identity with its first users."""

    database: Database
    identity: EmbeddedIdentity
    clock: StoppedClock
    first: FirstUsers
    client: httpx.AsyncClient
    app: Any

    def client_from(self, address: str) -> httpx.AsyncClient:
        """A client with another network address."""
        transport = httpx.ASGITransport(self.app, client=(address, 4711))
        return httpx.AsyncClient(transport=transport, base_url="http://cloud.test:9292/identity/v3")

    async def log_in(self, name: str, password: str, project: str | None = None) -> httpx.Response:
        return await self.client.post("/auth/tokens", json=password_body(name, password, project))

    async def token(self, name: str, password: str, project: str | None = None) -> str:
        response = await self.log_in(name, password, project)
        assert response.status_code == 201, response.text
        return response.headers["X-Subject-Token"]

    async def admin_token(self) -> str:
        return await self.token("admin", self.first.admin_password, "admin")

    async def demo_token(self) -> str:
        return await self.token("demo", self.first.demo_password, "demo")


@dataclass(frozen=True, slots=True)
class FilledDatabase:
    """A database file with its first users, to be copied."""

    file: Path
    first: FirstUsers


def fill_database(path: Path) -> FilledDatabase:
    with identity_database(path) as database:
        now_ms = int(StoppedClock()() * 1000)
        first = bootstrap(database, token_ttl_s=TOKEN_TTL_S, now_ms=now_ms, publish=lambda _: None)
        assert first is not None
    return FilledDatabase(path, first)


@asynccontextmanager
async def running_cloud(path: Path, filled: FilledDatabase, **options: Any) -> AsyncIterator[Cloud]:
    """An identity service on a copy of that database, in `path`."""
    clock, first = StoppedClock(), filled.first
    shutil.copyfile(filled.file, path)
    with identity_database(path) as database:
        identity = EmbeddedIdentity(database, token_ttl_s=TOKEN_TTL_S, clock=clock)
        app = identity_app(identity, **options)
        transport = httpx.ASGITransport(app, client=("192.0.2.1", 4711))
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://cloud.test:9292/identity/v3") as client:
                yield Cloud(database, identity, clock, first, client, app)
        finally:
            await identity.aclose()


def password_body(name: str, password: str, project: str | None = None) -> dict[str, Any]:
    """Body of POST auth/tokens."""
    domain = {"id": "default"}
    user = {"name": name, "domain": domain, "password": password}
    auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
    if project is not None:
        auth["scope"] = {"project": {"name": project, "domain": domain}}
    return {"auth": auth}
