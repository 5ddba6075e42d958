"""GET /v2/images/{image_id}: who may know of it, and what it looks like (spec: images-api §7, image-model §2, §4)."""

from dataclasses import replace

import pytest
from sqlalchemy import insert, update

from blick.conf.settings import Settings
from blick.db.tables import image_properties, images
from tests.support.databases import on_every_engine
from tests.support.service import Service

pytestmark = on_every_engine

EVERYONE = ("admin", "owner", "reader", "other", "stranger", "roleless", "anonymous")


async def statuses(service: Service, image_id: str) -> dict[str, int]:
    path = f"/v2/images/{image_id}"
    return {who: (await service.call(who, "GET", path)).status_code for who in EVERYONE}


HIDDEN = {"roleless": 404, "anonymous": 401}
OWN = {"admin": 200, "owner": 200, "reader": 200}


@pytest.mark.parametrize(
    ("visibility", "others"), [("private", 404), ("shared", 404), ("community", 200), ("public", 200)]
)
async def test_visibility(service: Service, visibility: str, others: int) -> None:
    image = await service.create("admin", visibility=visibility, owner="p1")
    assert await statuses(service, image["id"]) == {**HIDDEN, **OWN, "other": others, "stranger": others}


async def test_shared_with_a_member_of_any_status(service: Service) -> None:
    image = await service.create()
    path = f"/v2/images/{image['id']}/members"
    assert (await service.call("owner", "POST", path, json={"member": "p2"})).status_code == 200
    expected = {**HIDDEN, **OWN, "other": 200, "stranger": 404}
    assert await statuses(service, image["id"]) == expected
    for status in ("accepted", "rejected", "pending"):
        await service.call("other", "PUT", f"{path}/p2", json={"status": status})
        assert await statuses(service, image["id"]) == expected
    await service.call("owner", "DELETE", f"{path}/p2")
    assert (await statuses(service, image["id"]))["other"] == 404


async def test_members_count_only_while_shared(service: Service) -> None:
    image = await service.create()
    path = f"/v2/images/{image['id']}"
    await service.call("owner", "POST", f"{path}/members", json={"member": "p2"})
    patch = {"content-type": "application/openstack-images-v2.1-json-patch"}
    for visibility, status in (("private", 404), ("shared", 200)):
        change = [{"op": "replace", "path": "/visibility", "value": visibility}]
        assert (await service.call("owner", "PATCH", path, json=change, headers=patch)).status_code == 200
        assert (await service.call("other", "GET", path)).status_code == status


async def test_without_owner_everyone_sees_it(service: Service) -> None:
    """…as far as policy goes, which by default asks for more."""
    image = await service.create("admin", owner=None, visibility="shared")
    assert await statuses(service, image["id"]) == {**HIDDEN, **OWN, "other": 200, "stranger": 200}


async def test_deleted_is_gone_for_everyone(service: Service) -> None:
    image = await service.create(visibility="community")
    assert (await service.call("owner", "DELETE", f"/v2/images/{image['id']}")).status_code == 204
    assert set((await statuses(service, image["id"])).values()) == {404, 401}


async def test_rows_that_glance_left(service: Service) -> None:
    """Internal properties stay hidden or shown, null becomes text, a missing time is filled in."""
    image = await service.create()
    stamp = {"image_id": image["id"], "created_at": service.services.now(), "deleted": False}
    rows = [("os_glance_stage_host", "http://x"), ("os_glance_hash_op_host", "y"), ("os_glance_failed_import", "")]
    rows += [("nothing", None), ("description", None)]
    with service.services.database.engine.begin() as connection:
        connection.execute(insert(image_properties), [stamp | {"name": name, "value": value} for name, value in rows])
        connection.execute(update(images).values(updated_at=None))
    shown = await service.show(image["id"])
    assert shown["os_glance_failed_import"] == ""
    assert shown["nothing"] == ""
    assert shown["description"] is None
    assert shown["updated_at"] == shown["created_at"]
    assert not {"os_glance_stage_host", "os_glance_hash_op_host"} & shown.keys()


class TestLocationsShown:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        api = replace(settings.api, show_multiple_locations=True, show_image_direct_url=True)
        return replace(settings, api=api, stores=replace(settings.stores, multi_store=True))

    async def test_where_the_data_lies(self, service: Service) -> None:
        queued = await service.create()
        assert queued["locations"] == []
        assert not {"direct_url", "stores"} & queued.keys()
        image = await service.create_active(b"data")
        [place] = image["locations"]
        assert place["url"].startswith("file:///")
        assert place["url"].endswith(f"/{image['id']}")
        assert place["metadata"] == {"store": "file"}
        assert image["direct_url"] == place["url"]
        assert image["stores"] == "file"
        keys = list(image)
        assert keys[keys.index("updated_at") + 1 :] == [
            "locations", "direct_url", "tags", "self", "file", "schema", "stores",
        ]  # fmt: skip

    async def test_not_while_deactivated(self, service: Service) -> None:
        image = await service.create_active(b"data")
        await service.call("owner", "POST", f"/v2/images/{image['id']}/actions/deactivate")
        shown = await service.show(image["id"])
        assert shown["locations"] == []
        assert not {"direct_url", "stores"} & shown.keys()
        assert (await service.show(image["id"], "admin"))["stores"] == "file"
