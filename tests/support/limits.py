"""Limits as Keystone would tell them, without one: for tests of what is done about them."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx

from blick.http.app import App
from blick.model.errors import ServiceUnavailable
from tests.support.callers import HeaderIdentity
from tests.support.service import Service


class FixedLimits:
    """Says what a test set, for every project alike; what was not set is not registered. Remembers who asked."""

    def __init__(self, **most: int) -> None:
        self.most = dict(most)
        self.asked: list[tuple[str | None, frozenset[str]]] = []
        self.down = False

    async def of_project(self, project_id: str | None, names: Collection[str]) -> Mapping[str, int]:
        self.asked.append((project_id, frozenset(names)))
        if self.down:
            raise ServiceUnavailable("The limits of this project cannot be read now. Try again later.")
        return {name: self.most.get(name, 0) for name in names}

    def close(self) -> None:
        """Nothing is held."""


@asynccontextmanager
async def limited_service(service: Service, limits: FixedLimits) -> AsyncIterator[Service]:
    """The service with unified limits in place of its storage quota."""
    quotas = replace(service.services.settings.quotas, use_keystone_limits=True)
    services = replace(service.services, limits=limits, settings=replace(service.services.settings, quotas=quotas))
    app = App(services, HeaderIdentity(), {})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://images.test") as client:
        yield Service(services, client, app)
