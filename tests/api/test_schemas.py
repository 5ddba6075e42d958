"""The schema documents (spec: images-api §19, metadefs-api §4)."""

import json
from typing import Any

import pytest

from blick.model.metadef_schema import DOCUMENTS
from tests.support.service import Service

NAMES = ("image", "images", "member", "members", "task", "tasks")
IMAGE = [
    "id", "name", "status", "visibility", "protected", "os_hidden", "checksum", "os_hash_algo", "os_hash_value",
    "owner", "size", "virtual_size", "container_format", "disk_format", "created_at", "updated_at", "tags",
    "direct_url", "min_ram", "min_disk", "self", "file", "stores", "schema", "locations",
]  # fmt: skip
SHIPPED = [
    "kernel_id", "ramdisk_id", "instance_uuid", "architecture", "os_distro", "os_version", "description",
    "cinder_encryption_key_id", "cinder_encryption_key_deletion_policy",
]  # fmt: skip


async def schema(service: Service, name: str) -> dict[str, Any]:
    response = await service.call("roleless", "GET", f"/v2/schemas/{name}")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    document: dict[str, Any] = response.json()
    assert document["name"] == name
    return document


async def test_image(service: Service) -> None:
    document = await schema(service, "image")
    assert list(document) == ["name", "properties", "additionalProperties", "links"]
    assert document["additionalProperties"] == {"type": "string"}
    properties = document["properties"]
    by_order = [*(name for name in properties if name in IMAGE), *(name for name in properties if name in SHIPPED)]
    assert list(properties) == by_order
    assert set(properties) == {*IMAGE, *SHIPPED}
    read_only = {name for name, definition in properties.items() if definition.get("readOnly")}
    assert read_only == {
        "status", "checksum", "os_hash_algo", "os_hash_value", "size", "virtual_size", "created_at", "updated_at",
        "direct_url", "self", "file", "stores", "schema",
    }  # fmt: skip
    nullable = {name for name in IMAGE if isinstance(properties[name].get("type"), list)}
    assert nullable == {
        "name", "checksum", "os_hash_algo", "os_hash_value", "owner", "size", "virtual_size", "container_format",
        "disk_format",
    }  # fmt: skip
    assert {name for name in properties if properties[name].get("is_base") is False} == set(SHIPPED)
    assert properties["disk_format"]["enum"][0] is None
    assert "qcow2" in properties["disk_format"]["enum"]
    assert properties["visibility"]["enum"] == ["community", "public", "private", "shared"]
    assert [link["rel"] for link in document["links"]] == ["self", "enclosure", "describedby"]
    assert [link["href"] for link in document["links"]] == ["{self}", "{file}", "{schema}"]
    assert properties["tags"]["items"] == {"type": "string", "maxLength": 255}
    assert properties["locations"]["items"]["required"] == ["url", "metadata"]


@pytest.mark.parametrize("name", ["images", "members", "tasks"])
async def test_collections(service: Service, name: str) -> None:
    document = await schema(service, name)
    item = document["properties"][name]["items"]
    whole = await schema(service, name.removesuffix("s"))
    if name == "tasks":  # what a task was given, and what came of it, only the task itself shows
        for hidden in ("input", "result", "message"):
            del whole["properties"][hidden]
    assert item == whole
    relations = [link["rel"] for link in document["links"]]
    assert relations == (["first", "next", "describedby"] if name == "images" else ["describedby"])
    assert ("first" in document["properties"]) == (name == "images")


async def test_answers_fit_their_schemas(service: Service) -> None:
    image = await service.create_active(b"data", custom="x")
    declared = (await schema(service, "image"))["properties"]
    assert image.keys() - declared.keys() == {"custom"}
    response = await service.call("owner", "POST", f"/v2/images/{image['id']}/members", json={"member": "p2"})
    assert response.json().keys() == (await schema(service, "member"))["properties"].keys()


async def test_stable_and_for_authenticated_callers_only(service: Service) -> None:
    for name in NAMES:
        assert (await service.call("anonymous", "GET", f"/v2/schemas/{name}")).status_code == 401
        first = (await service.call("owner", "GET", f"/v2/schemas/{name}")).content
        assert (await service.call("admin", "GET", f"/v2/schemas/{name}")).content == first
        assert json.loads(first)["name"] == name


@pytest.mark.parametrize("name", DOCUMENTS)
async def test_metadata_definitions(service: Service, name: str) -> None:
    """Whoever is known may read them."""
    answer = await service.call("roleless", "GET", f"/v2/schemas/metadefs/{name}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == DOCUMENTS[name]
    refused = await service.call("admin", "POST", f"/v2/schemas/metadefs/{name}")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET")
