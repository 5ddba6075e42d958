"""Which import methods clients are told of (spec: images-api §6, §16)."""

from dataclasses import replace
from pathlib import Path

import pytest

from blick.conf.settings import ApiSettings, Settings, StoreSettings, StoresSettings
from tests.support.service import Service, running_service

ALL = ("web-download", "glance-direct", "copy-image", "glance-download")


async def told(settings: Settings) -> tuple[list[str], str | None]:
    """The methods in /v2/info/import, and the header of an image that was just made."""
    async with running_service(settings) as service:
        info = await service.call("reader", "GET", "/v2/info/import")
        assert info.status_code == 200
        document = info.json()["import-methods"]
        assert document == {"description": "Import methods available.", "type": "array", "value": document["value"]}
        created = await service.call("owner", "POST", "/v2/images", json={})
        return document["value"], created.headers.get("openstack-image-import-methods")


@pytest.fixture
def several_stores(settings: Settings, tmp_path: Path) -> Settings:
    stores = tuple(
        StoreSettings(name, "file", {"filesystem_store_datadir": str(tmp_path / name)}) for name in ("fast", "slow")
    )
    return replace(settings, stores=StoresSettings("fast", stores, multi_store=True))


def with_methods(settings: Settings, *methods: str) -> Settings:
    return replace(settings, api=replace(settings.api, enabled_import_methods=methods))


async def test_usually(settings: Settings, several_stores: Settings) -> None:
    assert settings.api == ApiSettings()
    usual = ["glance-direct", "web-download", "copy-image"]
    assert await told(settings) == (usual, ",".join(usual)), "the reference names all of them at such a site, too"
    assert await told(several_stores) == (usual, ",".join(usual))


async def test_what_the_operator_enabled(several_stores: Settings) -> None:
    assert await told(with_methods(several_stores, *ALL)) == (list(ALL), ",".join(ALL))


async def test_none(several_stores: Settings) -> None:
    assert await told(with_methods(several_stores)) == ([], None)


async def test_a_name_that_nobody_knows_is_not_told(several_stores: Settings) -> None:
    assert await told(with_methods(several_stores, "carrier-pigeon", "web-download")) == (
        ["web-download"],
        "web-download",
    )


async def test_store_ids_are_told_where_there_are_several(settings: Settings, several_stores: Settings) -> None:
    for site, ids in ((settings, None), (several_stores, "fast,slow")):
        async with running_service(site) as service:
            created = await service.call("owner", "POST", "/v2/images", json={})
            assert created.headers.get("openstack-image-store-ids") == ids


async def test_nobody_is_told_without_a_token(service: Service) -> None:
    assert (await service.call("anonymous", "GET", "/v2/info/import")).status_code == 401
