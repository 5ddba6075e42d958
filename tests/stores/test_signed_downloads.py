"""Downloads that a store gives out itself, at URLs that it signs: where the operator asked for it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from blick.conf.settings import (
    DatabaseSettings,
    IdentitySettings,
    PolicySettings,
    Settings,
    StoreSettings,
    StoresSettings,
)
from tests.support import s3
from tests.support.service import Service, running_service
from tests.support.swift import Swift

pytestmark = pytest.mark.needs("swift")

DATA = bytes(range(256)) * 1000


@pytest.fixture
async def service(
    request: pytest.FixtureRequest, swift: Swift, tmp_path: Path, database_url: str
) -> AsyncIterator[Service]:
    options = s3.options(swift, s3.new_bucket(swift), s3_store_signed_url_ttl=request.param)
    settings = Settings(
        stores=StoresSettings("only", (StoreSettings("only", "s3", options),)),
        database=DatabaseSettings(connection=database_url, sqlite_synchronous=False),
        policy=PolicySettings(policy_file=tmp_path / "policy.yaml", policy_dirs=(tmp_path / "policy.d",)),
        identity=IdentitySettings(kind="none"),
    )
    async with running_service(settings) as running:
        yield running


@pytest.mark.parametrize("service", [60], indirect=True)
async def test_a_download_is_sent_to_the_store(service: Service) -> None:
    image = await service.create_active(DATA)
    answer = await service.call("owner", "GET", f"/v2/images/{image['id']}/file")
    assert answer.status_code == 307
    assert answer.headers["content-md5"] == image["checksum"]
    url = answer.headers["location"]
    async with httpx.AsyncClient() as anybody:
        assert (await anybody.get(url)).content == DATA
        part = await anybody.get(url, headers={"range": "bytes=1000-1999"})
        assert (part.status_code, part.content) == (206, DATA[1000:2000])
        assert (await anybody.get(url.partition("?")[0])).status_code >= 400


@pytest.mark.parametrize("service", [60], indirect=True)
async def test_nobody_is_sent_there_who_may_not_download(service: Service) -> None:
    image = await service.create_active(DATA)
    path = f"/v2/images/{image['id']}/file"
    assert (await service.call("stranger", "GET", path)).status_code == 404
    assert (await service.call("reader", "GET", path)).status_code in (403, 404)
    deactivated = await service.call("owner", "POST", f"/v2/images/{image['id']}/actions/deactivate")
    assert deactivated.status_code == 204
    assert (await service.call("owner", "GET", path)).status_code == 403


@pytest.mark.parametrize("service", [0], indirect=True)
async def test_it_is_off_unless_asked_for(service: Service) -> None:
    image = await service.create_active(DATA)
    answer = await service.call("owner", "GET", f"/v2/images/{image['id']}/file")
    assert (answer.status_code, answer.content) == (200, DATA)
