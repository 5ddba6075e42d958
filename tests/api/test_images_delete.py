"""DELETE /v2/images/{image_id} (spec: images-api §9, image-model §10)."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row, func, select, update

from blick.conf.settings import Settings, StoreSettings
from blick.db.tables import image_locations, image_members, image_properties, image_tags, images, location_deletes
from blick.ops import cleanup
from tests.support.databases import on_every_engine
from tests.support.service import PATCH_2_1, Service

pytestmark = on_every_engine


async def delete(service: Service, image_id: str, who: str = "owner") -> int:
    response = await service.call(who, "DELETE", f"/v2/images/{image_id}")
    if response.status_code == 204:
        assert response.headers["content-type"] == "text/html; charset=UTF-8"
        assert response.headers["content-length"] == "0"
        assert response.content == b""
    return response.status_code


def outbox(service: Service) -> int:
    with service.services.database.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(location_deletes)).scalar_one()


async def test_record_and_bytes_go(service: Service) -> None:
    image = await service.create_active(b"data", tags=["t"], custom="x")
    await service.call("owner", "POST", f"/v2/images/{image['id']}/members", json={"member": "p2"})
    assert service.stored_files == [image["id"]]
    assert await delete(service, image["id"]) == 204
    assert service.stored_files == []
    assert outbox(service) == 0
    with service.services.database.engine.connect() as connection:
        row = connection.execute(select(images.c.status, images.c.deleted, images.c.deleted_at)).one()
        assert (row.status, row.deleted, row.deleted_at is not None) == ("deleted", True, True)
        for table in (image_properties, image_tags, image_members, image_locations):
            assert connection.execute(select(table.c.deleted, table.c.deleted_at.is_not(None))).all() == [(True, True)]
        assert connection.execute(select(image_locations.c.status)).scalar() == "deleted"
    assert await delete(service, image["id"]) == 404
    assert await delete(service, image["id"], "admin") == 404


@pytest.mark.parametrize("visibility", ["private", "shared", "community", "public"])
async def test_who_may(service: Service, visibility: str) -> None:
    hidden = 403 if visibility in ("community", "public") else 404
    image = await service.create("admin", visibility=visibility, owner="p1")
    for who, status in (("reader", 403), ("other", hidden), ("roleless", 404), ("anonymous", 401), ("owner", 204)):
        assert await delete(service, image["id"], who) == status, who
    image = await service.create("admin", visibility=visibility, owner="p1")
    assert await delete(service, image["id"], "admin") == 204


async def test_members_and_owner_less(service: Service) -> None:
    image = await service.create()
    await service.call("owner", "POST", f"/v2/images/{image['id']}/members", json={"member": "p2"})
    assert await delete(service, image["id"], "other") == 403
    nobodys = await service.create("admin", owner=None)
    assert await delete(service, nobodys["id"], "owner") == 403
    assert await delete(service, nobodys["id"], "admin") == 204


async def test_protected(service: Service) -> None:
    image = await service.create(protected=True)
    assert await delete(service, image["id"]) == 403
    assert await delete(service, image["id"], "admin") == 403
    assert await delete(service, image["id"], "reader") == 403
    change = [{"op": "replace", "path": "/protected", "value": False}]
    await service.call("owner", "PATCH", f"/v2/images/{image['id']}", json=change, headers=PATCH_2_1)
    assert await delete(service, image["id"]) == 204


async def test_missing_bytes_are_no_error(service: Service) -> None:
    image = await service.create_active(b"data")
    _store(service).joinpath(image["id"]).unlink()
    assert await delete(service, image["id"]) == 204
    assert outbox(service) == 0


async def test_unknown(service: Service) -> None:
    assert await delete(service, "00000000-0000-4000-8000-000000000000") == 404


async def test_racing_deletes(service: Service) -> None:
    image = await service.create_active(b"data")
    outcomes = await asyncio.gather(*[delete(service, image["id"]) for _ in range(6)])
    assert sorted(outcomes) == [204, *[404] * 5]
    assert service.stored_files == []


def _store(service: Service) -> Path:
    return Path(service.services.settings.stores.stores[0].options["filesystem_store_datadir"])


class TestStoreOutOfReach:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        lost = StoreSettings("lost", "type-without-a-driver", {})
        stores = replace(settings.stores, stores=(*settings.stores.stores, lost), multi_store=True)
        return replace(settings, stores=stores)

    async def test_bytes_that_cannot_be_removed_now_are_tried_again(self, service: Service) -> None:
        image = await service.create_active(b"data")
        with service.services.database.engine.begin() as connection:
            connection.execute(update(image_locations).values(meta_data='{"store": "lost"}'))
        assert await delete(service, image["id"]) == 204
        [waiting] = _waiting(service)
        assert (waiting.image_id, waiting.attempts) == (image["id"], 1)
        assert "could not be opened" in waiting.last_error
        assert await cleanup.work_off_deletes(service.services) == 0  # not yet its time
        assert _waiting(service)[0].attempts == 1
        with service.services.database.engine.begin() as connection:
            connection.execute(update(location_deletes).values(not_before_ms=0, meta_data='{"store": "file"}'))
        assert await cleanup.work_off_deletes(service.services) == 1
        assert _waiting(service) == []
        assert service.stored_files == []


def _waiting(service: Service) -> Sequence[Row[Any]]:
    with service.services.database.engine.connect() as connection:
        return connection.execute(select(location_deletes)).all()
