"""What an in-process test holds in its hands."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Executable, FromClause, event, func, select
from starlette.types import ASGIApp

from blick import boot
from blick.conf.settings import Settings
from blick.ops.services import Services
from blick.worker import job_worker
from tests.support.callers import HEADERS, HeaderIdentity
from tests.support.jobs import at_work

OCTETS = {"content-type": "application/octet-stream"}
PATCH_2_1 = {"content-type": "application/openstack-images-v2.1-json-patch"}
PATCH_2_0 = {"content-type": "application/openstack-images-v2.0-json-patch"}


@dataclass(frozen=True)
class Service:
    """A running service and a client for it."""

    services: Services
    client: httpx.AsyncClient
    app: ASGIApp

    async def call(self, who: str, method: str, path: str, **options: Any) -> httpx.Response:
        """One request as one of the callers."""
        headers = {**HEADERS[who], **options.pop("headers", {})}
        return await self.client.request(method, path, headers=headers, **options)

    async def create(self, who: str = "owner", **body: Any) -> dict[str, Any]:
        """Register an image; formats raw and bare unless given."""
        document = {"disk_format": "raw", "container_format": "bare", **body}
        response = await self.call(who, "POST", "/v2/images", json=document)
        assert response.status_code == 201, response.text
        created: dict[str, Any] = response.json()
        return created

    async def create_active(self, data: bytes = b"data", who: str = "owner", **body: Any) -> dict[str, Any]:
        """Register an image and upload its data."""
        image = await self.create(who, **body)
        response = await self.call(who, "PUT", f"/v2/images/{image['id']}/file", content=data, headers=OCTETS)
        assert response.status_code == 204, response.text
        return await self.show(image["id"], who)

    async def show(self, image_id: str, who: str = "owner") -> dict[str, Any]:
        """The image as it is now."""
        response = await self.call(who, "GET", f"/v2/images/{image_id}")
        assert response.status_code == 200, response.text
        shown: dict[str, Any] = response.json()
        return shown

    @property
    def stored_files(self) -> list[str]:
        """Names of everything in the store's folder, hidden files too."""
        folder = self.services.settings.stores.stores[0].options["filesystem_store_datadir"]
        return sorted(entry.name for entry in Path(folder).iterdir())

    @property
    def dead_holder(self) -> str:
        """The name of a process of this machine that ran once."""
        return self.services.holder.rpartition("/")[0] + "/1"

    def count(self, table: FromClause) -> int:
        """How many rows the table has."""
        with self.services.database.engine.connect() as connection:
            return connection.execute(select(func.count()).select_from(table)).scalar_one()

    async def execute(self, statement: Executable) -> None:
        """Change the database behind the service's back."""
        await self.services.database.write(lambda connection: connection.execute(statement).rowcount)

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """Every SQL statement that runs inside."""
        seen: list[str] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            seen.append(statement)

        engines = self.services.database.engines
        for engine in {engines.writing, engines.reading}:
            event.listen(engine, "before_cursor_execute", note)
        try:
            yield seen
        finally:
            for engine in {engines.writing, engines.reading}:
                event.remove(engine, "before_cursor_execute", note)


@asynccontextmanager
async def running_service(settings: Settings) -> AsyncIterator[Service]:
    """The whole service in this process, without sockets; its callers are named by headers (tests.support.callers)."""
    running = boot.start(settings)
    running.app.identity = HeaderIdentity()
    transport = httpx.ASGITransport(running.app)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://images.test") as client:
            yield Service(running.services, client, running.app)
    finally:
        await running.aclose()


@asynccontextmanager
async def working(service: Service) -> AsyncIterator[None]:
    """Inside, somebody does the service's jobs."""
    async with at_work(job_worker(service.services)):
        yield
