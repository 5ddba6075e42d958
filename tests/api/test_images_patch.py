"""PATCH /v2/images/{image_id} (spec: images-api §8)."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from blick.conf.settings import QuotaSettings, Settings
from blick.db.tables import image_properties
from tests.support.databases import on_every_engine
from tests.support.service import PATCH_2_0, PATCH_2_1, Service

pytestmark = on_every_engine

FOUR_BYTES = "x\U0001f600"
SET_NAME = [{"op": "replace", "path": "/name", "value": "new"}]


async def patch(service: Service, image: dict[str, Any], *changes: Any, who: str = "owner") -> httpx.Response:
    return await service.call(who, "PATCH", f"/v2/images/{image['id']}", json=list(changes), headers=PATCH_2_1)


async def patch_old(service: Service, image: dict[str, Any], *changes: Any, who: str = "owner") -> httpx.Response:
    return await service.call(who, "PATCH", f"/v2/images/{image['id']}", json=list(changes), headers=PATCH_2_0)


def add(path: str, value: Any) -> dict[str, Any]:
    return {"op": "add", "path": path, "value": value}


def put(path: str, value: Any) -> dict[str, Any]:
    return {"op": "replace", "path": path, "value": value}


def drop(path: str) -> dict[str, Any]:
    return {"op": "remove", "path": path}


async def test_media_types(service: Service) -> None:
    image = await service.create()
    path = f"/v2/images/{image['id']}"
    both = "application/openstack-images-v2.0-json-patch, application/openstack-images-v2.1-json-patch"
    for wrong in ("application/json", "application/json-patch+json", "", PATCH_2_1["content-type"].upper()):
        response = await service.call("owner", "PATCH", path, content=b"nonsense", headers={"content-type": wrong})
        assert response.status_code == 415
        assert response.headers["accept-patch"] == both
    unsaid = await service.call("owner", "PATCH", path, content=b"[]")
    assert unsaid.status_code == 415
    with_parameter = {"content-type": f"{PATCH_2_1['content-type']}; charset=utf-8"}
    assert (await service.call("owner", "PATCH", path, json=SET_NAME, headers=with_parameter)).status_code == 200


async def test_both_notations_do_the_same(service: Service) -> None:
    image = await service.create(a="1", b="2")
    response = await patch(service, image, add("/c", "3"), put("/a", "x"), drop("/b"), put("/name", "n"))
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == await service.show(image["id"])
    old = await service.create(a="1", b="2")
    changes = [{"add": "/c", "value": "3"}, {"replace": "/a", "value": "x"}, {"remove": "/b"}]
    response_old = await patch_old(service, old, *changes, {"replace": "/name", "value": "n"})
    own = {"id", "self", "file", "created_at", "updated_at"}
    new_document, old_document = response.json(), response_old.json()
    assert {k: v for k, v in new_document.items() if k not in own} == {
        k: v for k, v in old_document.items() if k not in own
    }
    assert new_document["a"] == "x"
    assert new_document["c"] == "3"
    assert "b" not in new_document


async def test_nothing_to_do(service: Service) -> None:
    image = await service.create("admin", visibility="public", owner="p1")
    for who in ("owner", "reader", "other"):
        response = await patch(service, image, who=who)
        assert response.status_code == 200
        assert response.json() == image
    for who in ("roleless",):
        assert (await patch(service, image, who=who)).status_code == 404


INVALID: list[Any] = [
    {},
    ["x"],
    [[]],
    [1],
    [{}],
    [{"op": "move", "path": "/a", "from": "/b"}],
    [{"op": "test", "path": "/name", "value": "x"}],
    [{"op": ["add"], "path": "/name", "value": "x"}],
    [{"path": "/name", "value": "x"}],
    [{"op": "add", "value": "x"}],
    [{"op": "add", "path": 1, "value": "x"}],
    [{"op": "add", "path": "/name"}],
    [add("name", "x")],
    [add("", "x")],
    [add("//name", "x")],
    [add("/a//b", "x")],
    [add("/name/", "x")],
    [add("/a~2", "x")],
    [add("/a~", "x")],
    [add("/a/b", "x")],
    [add("/tags/0", "x")],
    [drop("/tags/0")],
    [add("/locations", {"url": "x", "metadata": {}})],
    [put("/locations/0", {"url": "x", "metadata": {}})],
    [drop("/locations/x")],
    [add("/name", 1)],
    [add("/name", "n" * 256)],
    [add("/name", FOUR_BYTES)],
    [add("/tags", "a")],
    [add("/tags", [FOUR_BYTES])],
    [add("/tags", ["t" * 256])],
    [add("/visibility", "secret")],
    [add("/protected", "true")],
    [add("/min_disk", -1)],
    [add("/min_ram", 2147483648)],
    [add("/disk_format", "floppy")],
    [add("/custom", 1)],
    [add("/custom", None)],
    [add("/custom", FOUR_BYTES)],
    [add(f"/{FOUR_BYTES}", "x")],
    [add("/" + "p" * 256, "x")],  # D9
    [add("/kernel_id", "x")],
    [*SET_NAME, add("/min_disk", -1)],
]


async def test_invalid(service: Service) -> None:
    """400 comes before the image is looked up, and nothing of the request is done."""
    image = await service.create()
    for document in INVALID:
        for image_id in (image["id"], "00000000-0000-4000-8000-000000000000"):
            path = f"/v2/images/{image_id}"
            response = await service.call("owner", "PATCH", path, json=document, headers=PATCH_2_1)
            assert response.status_code == 400, document
    assert await service.show(image["id"]) == image


async def test_invalid_in_the_old_notation(service: Service) -> None:
    image = await service.create()
    for change in (
        {"add": "/a", "replace": "/a", "value": "x"},
        {"op": "add", "path": "/a", "value": "x"},
        {"add": "/a"},
    ):
        assert (await patch_old(service, image, change)).status_code == 400, change


async def test_pointers(service: Service) -> None:
    image = await service.create()
    changes = [add("/a~1b", "slash"), add("/c~0d", "tilde"), add("/ e ", "trimmed"), add("/", "empty")]
    changed = (await patch(service, image, *changes)).json()
    assert [changed[name] for name in ("a/b", "c~d", "e", "")] == ["slash", "tilde", "trimmed", "empty"]
    assert (await patch(service, image, drop("/"), drop("/a~1b"))).status_code == 200
    assert not {"", "a/b"} & (await service.show(image["id"])).keys()


async def test_base_attributes(service: Service) -> None:
    image = await service.create()
    wanted = {
        "name": "new", "visibility": "community", "protected": True, "os_hidden": True, "min_disk": 3, "min_ram": 4,
        "disk_format": "qcow2", "container_format": "ovf", "tags": ["x", "y", "x"],
    }  # fmt: skip
    changed = (await patch(service, image, *[add(f"/{name}", value) for name, value in wanted.items()])).json()
    assert sorted(changed["tags"]) == ["x", "y"]
    assert {name: changed[name] for name in wanted if name != "tags"} == {
        name: value for name, value in wanted.items() if name != "tags"
    }
    changed = (await patch(service, image, put("/name", None), put("/tags", []), put("/disk_format", None))).json()
    assert (changed["name"], changed["tags"], changed["disk_format"]) == (None, [], None)


async def test_base_attributes_are_not_removed_nor_added_the_old_way(service: Service) -> None:
    image = await service.create(custom="1")
    for name in ("name", "visibility", "protected", "min_disk", "tags"):
        assert (await patch(service, image, drop(f"/{name}"))).status_code == 403, name
    assert (await patch_old(service, image, {"add": "/name", "value": "x"})).status_code == 409
    assert (await patch_old(service, image, {"add": "/custom", "value": "x"})).status_code == 409
    assert (await patch_old(service, image, {"add": "/other", "value": "x"})).status_code == 200


async def test_missing_properties(service: Service) -> None:
    image = await service.create()
    assert (await patch(service, image, put("/custom", "x"))).status_code == 409
    assert (await patch(service, image, drop("/custom"))).status_code == 409
    assert (await patch(service, image, add("/custom", "x"), put("/custom", "y"), drop("/custom"))).status_code == 200
    assert (await patch(service, image, put("/custom", "x"))).status_code == 409


async def test_all_or_nothing(service: Service) -> None:
    image = await service.create(a="1")
    for last in (put("/missing", "x"), drop("/name"), put("/owner", "p2")):
        changes = (put("/name", "x"), add("/b", "2"), drop("/a"), put("/tags", ["t"]), last)
        assert (await patch(service, image, *changes)).status_code in (403, 409)
        assert await service.show(image["id"]) == image


@pytest.mark.parametrize("who", ["owner", "admin"])
async def test_read_only(service: Service, who: str) -> None:
    image = await service.create()
    names = "created_at updated_at status checksum size virtual_size direct_url self file schema id os_hash_algo"
    reserved = "os_hash_value location deleted deleted_at os_glance os_glance_x stores"  # D6: stores
    for name in [*names.split(), *reserved.split()]:
        for change in (add(f"/{name}", "x"), put(f"/{name}", "x"), drop(f"/{name}")):
            assert (await patch(service, image, change, who=who)).status_code == 403, change
    assert await service.show(image["id"]) == image


async def test_internal_names_are_plain_properties(service: Service) -> None:  # D6
    image = await service.create()
    for name in ("image_id", "extra_properties", "base", "member"):
        assert (await patch(service, image, put(f"/{name}", "x"))).status_code == 409
        assert (await patch(service, image, add(f"/{name}", "x"))).json()[name] == "x"
        assert name not in (await patch(service, image, drop(f"/{name}"))).json()


async def test_owner_is_for_admins(service: Service) -> None:  # D8
    image = await service.create()
    for change in (add("/owner", "p2"), put("/owner", "p2"), put("/owner", "p1"), drop("/owner")):
        assert (await patch(service, image, change)).status_code == 403
        assert (await service.show(image["id"]))["owner"] == "p1"
    assert (await patch(service, image, put("/owner", "p2"), who="admin")).json()["owner"] == "p2"
    assert (await service.call("owner", "GET", f"/v2/images/{image['id']}")).status_code == 404
    assert (await patch(service, image, add("/owner", None), who="admin")).json()["owner"] is None


async def test_formats_are_settled_with_the_data(service: Service) -> None:
    image = await service.create_active(b"data")
    for name, value in (("disk_format", "raw"), ("container_format", "ovf")):
        assert (await patch(service, image, put(f"/{name}", value))).status_code == 403
        assert (await patch(service, image, put(f"/{name}", value), who="admin")).status_code == 403
    assert (await patch(service, image, put("/name", "still possible"))).status_code == 200


async def test_locations_need_an_option(service: Service) -> None:
    image = await service.create()
    place = {"url": "http://example.test/x", "metadata": {}}
    for change in (add("/locations/-", place), put("/locations", [place]), drop("/locations/0")):
        assert (await patch(service, image, change)).status_code == 403


@pytest.mark.parametrize("visibility", ["private", "shared", "community", "public"])
async def test_who_may(service: Service, visibility: str) -> None:
    image = await service.create("admin", visibility=visibility, owner="p1")
    hidden = 403 if visibility in ("community", "public") else 404
    expected = {"owner": 200, "admin": 200, "reader": 403, "other": hidden, "roleless": 404, "anonymous": 401}
    for who, status in expected.items():
        assert (await patch(service, image, *SET_NAME, who=who)).status_code == status, who
    # One who may not change the image does not learn from the answer what it has.
    assert (await patch(service, image, put("/missing", "x"), who="reader")).status_code == 403


async def test_members_do_not_change(service: Service) -> None:
    image = await service.create()
    await service.call("owner", "POST", f"/v2/images/{image['id']}/members", json={"member": "p2"})
    assert (await patch(service, image, *SET_NAME, who="other")).status_code == 403


async def test_visibility_rules(service: Service) -> None:
    image = await service.create()
    for who, visibility, status in (
        ("owner", "public", 403),
        ("owner", "community", 200),
        ("reader", "private", 403),
        ("owner", "private", 200),
        ("owner", "shared", 200),
        ("admin", "public", 200),
        ("owner", "private", 200),
    ):
        assert (await patch(service, image, put("/visibility", visibility), who=who)).status_code == status


async def test_unknown_image(service: Service) -> None:
    unknown = {"id": "00000000-0000-4000-8000-000000000000"}
    assert (await patch(service, unknown, *SET_NAME)).status_code == 404
    deleted = await service.create()
    await service.call("owner", "DELETE", f"/v2/images/{deleted['id']}")
    assert (await patch(service, deleted, *SET_NAME, who="admin")).status_code == 404


async def test_a_property_keeps_its_one_row(service: Service) -> None:
    image = await service.create(a="1")
    for change in (drop("/a"), add("/a", "2"), add("/a", "3"), drop("/a"), add("/a", "4")):
        assert (await patch(service, image, change)).status_code == 200
    with service.services.database.engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(image_properties)).scalar() == 1
    assert (await service.show(image["id"]))["a"] == "4"


async def test_racing_patches_all_survive(service: Service) -> None:  # D20
    image = await service.create()
    racing = [patch(service, image, add(f"/p{number}", "x")) for number in range(12)]
    racing += [patch(service, image, put("/name", "n")), patch(service, image, put("/min_ram", 5))]
    assert {response.status_code for response in await asyncio.gather(*racing)} == {200}
    shown = await service.show(image["id"])
    assert shown.keys() >= {f"p{number}" for number in range(12)}
    assert (shown["name"], shown["min_ram"]) == ("n", 5)


class TestRequiredProperties:  # D19
    @pytest.fixture
    def settings(self, settings: Settings, tmp_path: Path) -> Settings:
        file = tmp_path / "schema-image.json"
        declared = {"team": {"type": "string", "enum": ["a", "b"]}}
        file.write_text(json.dumps({"properties": declared, "required": ["team"]}))
        return replace(settings, api=replace(settings.api, schema_image_file=file))

    async def test_the_resulting_record_counts(self, service: Service) -> None:
        image = await service.create(team="a")
        assert (await patch(service, image, *SET_NAME)).status_code == 200
        assert (await patch(service, image, put("/team", "b"))).status_code == 200
        assert (await patch(service, image, put("/team", "c"))).status_code == 400
        assert (await patch(service, image, drop("/team"))).status_code == 400
        assert (await patch(service, image, drop("/team"), add("/team", "a"))).status_code == 200


class TestQuotas:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, quotas=QuotaSettings(image_property_quota=2, image_tag_quota=2))

    async def test_properties(self, service: Service) -> None:
        image = await service.create(a="1", b="2")
        assert (await patch(service, image, add("/c", "3"))).status_code == 413
        assert (await service.show(image["id"])) == image
        assert (await patch(service, image, add("/a", "x"), put("/b", "y"))).status_code == 200
        assert (await patch(service, image, drop("/a"), add("/c", "3"))).status_code == 200
        assert (await patch(service, image, add("/d", "1"), drop("/d"))).status_code == 200

    async def test_tags(self, service: Service) -> None:
        image = await service.create()
        assert (await patch(service, image, put("/tags", ["a", "a", "a"]))).status_code == 413
        assert (await patch(service, image, put("/tags", ["a", "b"]))).status_code == 200
