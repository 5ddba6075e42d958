"""POST /v2/images (spec: images-api §6)."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from blick.conf.settings import QuotaSettings, Settings
from tests.support.databases import on_every_engine
from tests.support.service import Service

pytestmark = on_every_engine

ID = "9f1f4d5e-9c4b-4d42-8a5f-2c4f9d3b7a10"
KEYS = [
    "name", "disk_format", "container_format", "visibility", "size", "virtual_size", "status", "checksum",
    "protected", "min_ram", "min_disk", "owner", "os_hidden", "os_hash_algo", "os_hash_value", "id", "created_at",
    "updated_at", "tags", "self", "file", "schema",
]  # fmt: skip
FOUR_BYTES = "x\U0001f600"


async def test_nothing_need_be_said(service: Service) -> None:
    response = await service.call("owner", "POST", "/v2/images", json={})
    assert response.status_code == 201
    image = response.json()
    assert list(image) == KEYS
    assert response.headers["location"] == f"http://images.test/v2/images/{image['id']}"
    assert response.headers["content-type"] == "application/json"
    assert "openstack-image-store-ids" not in response.headers
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", image["id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", image["created_at"])
    assert image == {
        "name": None, "disk_format": None, "container_format": None, "visibility": "shared", "size": None,
        "virtual_size": None, "status": "queued", "checksum": None, "protected": False, "min_ram": 0, "min_disk": 0,
        "owner": "p1", "os_hidden": False, "os_hash_algo": None, "os_hash_value": None, "id": image["id"],
        "created_at": image["created_at"], "updated_at": image["created_at"], "tags": [],
        "self": f"/v2/images/{image['id']}", "file": f"/v2/images/{image['id']}/file", "schema": "/v2/schemas/image",
    }  # fmt: skip
    assert await service.show(image["id"]) == image


async def test_everything_can_be_said(service: Service) -> None:
    given = {
        "zeta": "last", "alpha": "first", "id": ID.upper(), "name": "n" * 255, "disk_format": "qcow2",
        "container_format": "bare", "visibility": "community", "protected": True, "os_hidden": True, "min_disk": 5.0,
        "min_ram": 2147483647, "owner": "p1", "tags": ["b", "a", "b"], "kernel_id": None, "ramdisk_id": ID,
        "x" * 255: "", "größe": "Ж" * 30_000,
    }  # fmt: skip
    image = (await service.call("owner", "POST", "/v2/images", json=given)).json()
    custom = ["zeta", "alpha", "kernel_id", "ramdisk_id", "x" * 255, "größe"]
    assert list(image) == [*custom, *KEYS]
    shown = await service.show(ID.upper())
    assert list(shown)[len(custom) :] == KEYS
    assert set(shown.pop("tags")) == set(image.pop("tags")) == {"a", "b"}
    assert shown == image
    expected = {**given, "min_disk": 5}
    del expected["tags"]
    assert {name: image[name] for name in expected} == expected
    assert isinstance(image["min_disk"], int)


INVALID: list[dict[str, Any]] = [
    {"id": "x"},
    {"id": None},
    {"id": ID + "0"},
    {"id": f"{ID}\n"},
    {"name": 1},
    {"name": "n" * 256},
    {"name": FOUR_BYTES},
    {"name": "a\x00b"},
    {"tags": "a"},
    {"tags": None},
    {"tags": [1]},
    {"tags": ["t" * 256]},
    {"tags": [FOUR_BYTES]},  # D17
    {"owner": 1},
    {"visibility": "secret"},
    {"visibility": None},
    {"disk_format": "floppy"},
    {"container_format": "box"},
    {"disk_format": ""},
    {"min_disk": -1},
    {"min_disk": True},
    {"min_disk": "1"},
    {"min_disk": None},
    {"min_ram": 2147483648},
    {"min_ram": 1.5},
    {"min_ram": 10**30},
    {"protected": 1},
    {"protected": "true"},
    {"os_hidden": 0},
    {"custom": 1},
    {"custom": None},
    {"custom": ["a"]},
    {"custom": {"a": "b"}},
    {"custom": FOUR_BYTES},
    {FOUR_BYTES: "a"},
    {"p" * 256: "a"},
    {"kernel_id": "not a uuid"},
    {"cinder_encryption_key_deletion_policy": "shred"},
]


async def test_invalid_bodies(service: Service) -> None:
    for body in INVALID:
        response = await service.call("owner", "POST", "/v2/images", json=body)
        assert response.status_code == 400, body
    for raw in (b"[]", b"[{}]", b'{"name": "\\ud800"}'):  # D7, and text that is none
        assert (await service.call("owner", "POST", "/v2/images", content=raw)).status_code == 400, raw
    assert (await service.call("admin", "GET", "/v2/images?visibility=all")).json()["images"] == []


@pytest.mark.parametrize("who", ["owner", "admin"])
async def test_names_that_are_not_the_callers(service: Service, who: str) -> None:
    values: dict[str, Any] = {
        "created_at": "2026-01-01T00:00:00Z", "updated_at": "x", "status": "active", "checksum": "a" * 32,
        "size": 1, "virtual_size": 1, "direct_url": "file:///etc/passwd", "self": "x", "file": "x", "schema": "x",
        "stores": "a", "location": "x", "locations": [], "deleted": "x", "deleted_at": "x", "os_glance_x": "x",
        "os_glance": "x", "os_glancefoo": "x",
        "os_hash_algo": "sha512", "os_hash_value": "a" * 128,  # D6
    }  # fmt: skip
    for name, value in values.items():
        response = await service.call(who, "POST", "/v2/images", json={name: value})
        assert response.status_code == 403, name
    assert (await service.call("admin", "GET", "/v2/images")).json()["images"] == []


async def test_internal_names_are_plain_properties(service: Service) -> None:  # D6
    names = {"image_id": "a", "extra_properties": "b", "base": "c", "member": "d", "properties": "e", "members": "f"}
    image = await service.create(**names)
    shown = await service.show(image["id"])
    assert {name: shown[name] for name in names} == names


async def test_id_is_unique_for_ever(service: Service) -> None:
    await service.create(id=ID)
    assert (await service.call("owner", "POST", "/v2/images", json={"id": ID})).status_code == 409
    assert (await service.call("other", "POST", "/v2/images", json={"id": ID})).status_code == 409
    assert (await service.call("owner", "DELETE", f"/v2/images/{ID}")).status_code == 204
    assert (await service.call("admin", "POST", "/v2/images", json={"id": ID})).status_code == 409
    # MariaDB takes both for the same id.
    again = 409 if service.services.database.dialect == "mysql" else 201
    assert (await service.call("owner", "POST", "/v2/images", json={"id": ID.upper()})).status_code == again


async def test_a_value_that_only_some_databases_hold(service: Service) -> None:
    """A text of MariaDB has 64 KiB at most; nothing of the image is kept."""
    response = await service.call("owner", "POST", "/v2/images", json={"long": "x" * 65_536})
    if service.services.database.dialect == "mysql":
        assert response.status_code == 400
        assert "no place for" in response.text
        assert (await service.call("owner", "GET", "/v2/images")).json()["images"] == []
    else:
        assert response.status_code == 201
        assert (await service.show(response.json()["id"]))["long"] == "x" * 65_536


async def test_properties_that_differ_by_case_only(service: Service) -> None:
    """MariaDB takes their names for the same; then the second is refused and the first stays as it is."""
    body = {"Colour": "red", "colour": "blue"}
    response = await service.call("owner", "POST", "/v2/images", json=body)
    if service.services.database.dialect == "mysql":
        assert response.status_code == 409
        assert "case" in response.text
    else:
        assert response.json().items() >= body.items()


@pytest.mark.parametrize(
    ("who", "body", "status"),
    [
        ("owner", {}, 201),
        ("owner", {"owner": "p1"}, 201),
        ("owner", {"owner": "p2"}, 403),
        ("owner", {"owner": None}, 403),
        ("owner", {"owner": ""}, 403),
        ("owner", {"visibility": "community"}, 201),
        ("owner", {"visibility": "private"}, 201),
        ("owner", {"visibility": "public"}, 403),
        ("reader", {}, 403),
        ("roleless", {}, 403),
        ("anonymous", {}, 401),
        ("admin", {"visibility": "public"}, 201),
        ("admin", {"visibility": "community", "owner": "p2"}, 201),
    ],
)
async def test_who_may(service: Service, who: str, body: dict[str, Any], status: int) -> None:
    response = await service.call(who, "POST", "/v2/images", json=body)
    assert response.status_code == status
    listed = (await service.call("admin", "GET", "/v2/images?visibility=all")).json()["images"]
    assert len(listed) == (status == 201)


@pytest.mark.parametrize(("owner", "echoed"), [("p2", "p2"), (None, None), ("", "")])
async def test_admin_names_the_owner(service: Service, owner: str | None, echoed: str | None) -> None:
    image = await service.create("admin", owner=owner)
    assert image["owner"] == echoed
    assert (await service.show(image["id"], "admin"))["owner"] == (owner or None)


async def test_store_header_is_ignored(service: Service) -> None:
    response = await service.call("owner", "POST", "/v2/images", json={}, headers={"x-image-meta-store": "nowhere"})
    assert response.status_code == 201


class TestQuotas:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, quotas=QuotaSettings(image_property_quota=2, image_tag_quota=2))

    async def test_properties_and_tags(self, service: Service) -> None:
        for status, body in (
            (201, {"a": "1", "b": "2"}),
            (413, {"a": "1", "b": "2", "c": "3"}),
            (201, {"tags": ["a", "b"]}),
            (413, {"tags": ["a", "b", "c"]}),
            (413, {"tags": ["a", "a", "a"]}),  # counted as sent
        ):
            assert (await service.call("owner", "POST", "/v2/images", json=body)).status_code == status, body


class TestNoQuotas:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, quotas=QuotaSettings(image_property_quota=-1, image_tag_quota=-1))

    async def test_negative_is_no_limit(self, service: Service) -> None:
        many = {f"p{number}": "x" for number in range(300)}
        image = await service.create(tags=[f"t{number}" for number in range(300)], **many)
        assert len(image["tags"]) == 300
        assert len((await service.show(image["id"])).keys() & many.keys()) == 300


class TestDeclaredProperties:
    @pytest.fixture
    def settings(self, settings: Settings, tmp_path: Any) -> Settings:
        file = tmp_path / "schema-image.json"
        declared = {"team": {"type": "string", "enum": ["a", "b"]}, "note": {"type": ["null", "string"]}}
        file.write_text(json.dumps({"properties": declared, "required": ["team"]}))
        return replace(settings, api=replace(settings.api, schema_image_file=file))

    async def test_they_are_checked_and_required(self, service: Service) -> None:
        for status, body in ((400, {}), (400, {"team": "c"}), (201, {"team": "a"}), (400, {"team": "a", "note": 1})):
            assert (await service.call("owner", "POST", "/v2/images", json=body)).status_code == status, body
        image = (await service.call("owner", "POST", "/v2/images", json={"team": "b", "note": None})).json()
        assert image["note"] is None
        assert (await service.show(image["id"]))["note"] is None
