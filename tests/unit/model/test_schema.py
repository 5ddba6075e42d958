"""The schema documents, and the table behind them."""

import json
from typing import Any

import pytest

from blick.conf.settings import ImageFormatSettings
from blick.model.errors import Invalid, StartRefused
from blick.model.schema import ImageSchema, documents, image_schema

FORMATS = ImageFormatSettings()


def make(declaration: Any = None) -> ImageSchema:
    if declaration is None:
        return image_schema(FORMATS.disk_formats, FORMATS.container_formats)
    return image_schema(FORMATS.disk_formats, FORMATS.container_formats, declaration)


def test_the_documents_are_json() -> None:
    names = ["image", "images", "member", "members", "task", "tasks"]
    assert list(documents(make())) == names
    for document in documents(make()).values():
        assert json.loads(json.dumps(document)) == document


def test_image_properties_come_in_the_known_order() -> None:
    properties = documents(make())["image"]["properties"]
    assert list(properties) == [
        "id", "name", "status", "visibility", "protected", "os_hidden", "checksum", "os_hash_algo", "os_hash_value",
        "owner", "size", "virtual_size", "container_format", "disk_format", "created_at", "updated_at", "tags",
        "direct_url", "min_ram", "min_disk", "self", "file", "stores", "schema", "locations",
        "kernel_id", "ramdisk_id", "instance_uuid", "architecture", "os_distro", "os_version", "description",
        "cinder_encryption_key_id", "cinder_encryption_key_deletion_policy",
    ]  # fmt: skip
    assert {name for name, each in properties.items() if each.get("readOnly")} == {
        "status", "checksum", "os_hash_algo", "os_hash_value", "size", "virtual_size", "created_at", "updated_at",
        "direct_url", "self", "file", "stores", "schema",
    }  # fmt: skip
    assert {name for name, each in properties.items() if "null" in each["type"]} == {
        "name", "checksum", "os_hash_algo", "os_hash_value", "owner", "size", "virtual_size", "container_format",
        "disk_format", "kernel_id", "ramdisk_id",
    }  # fmt: skip
    assert all(each.get("is_base", True) is (name in make().base) for name, each in properties.items())


def test_image_document_details() -> None:
    document = documents(make())["image"]
    properties = document["properties"]
    assert properties["disk_format"]["enum"] == [None, *FORMATS.disk_formats]
    assert properties["container_format"]["enum"][0] is None
    assert properties["status"]["enum"] == [
        "queued", "saving", "active", "killed", "deleted", "uploading", "importing", "pending_delete", "deactivated",
    ]  # fmt: skip
    assert properties["visibility"]["enum"] == ["community", "public", "private", "shared"]
    assert "maximum" not in properties["min_ram"]
    assert document["additionalProperties"] == {"type": "string"}
    assert [link["rel"] for link in document["links"]] == ["self", "enclosure", "describedby"]
    assert "required" not in document


def test_collections() -> None:
    result = documents(make())
    assert result["images"]["properties"]["images"]["items"] == result["image"]
    assert [link["rel"] for link in result["images"]["links"]] == ["first", "next", "describedby"]
    for name in ("members", "tasks"):
        assert list(result[name]["properties"]) == [name, "schema"]
        assert result[name]["links"] == [{"rel": "describedby", "href": "{schema}"}]
    assert set(result["member"]) == {"name", "properties"}
    assert set(result["task"]) == {"name", "properties"}


def test_both_shapes_of_the_operators_file() -> None:
    definition = {"type": "string", "enum": ["a", "b"]}
    flat = make({"team": definition})
    wrapped = make({"properties": {"team": definition}, "required": ["team"]})
    assert dict(flat.declared) == dict(wrapped.declared) == {"team": definition}
    assert flat.required == ()
    assert wrapped.required == ("team",)
    assert documents(wrapped)["image"]["required"] == ["team"]
    assert documents(wrapped)["image"]["properties"]["team"] == {**definition, "is_base": False}
    with pytest.raises(Invalid, match="team"):
        flat.check("team", "c")
    with pytest.raises(Invalid, match="team is required"):
        wrapped.check_required(["name"])
    wrapped.check_required(["team"])
    assert dict(make({}).declared) == {}


@pytest.mark.parametrize(
    "declaration",
    [
        {"name": {"type": "string"}}, {"properties": {"size": {}}}, {"team": "string"}, {"team": {"type": "text"}}, [],
        {"properties": {}, "required": "team"}, {"properties": {}, "required": [1]},
    ],
)  # fmt: skip
def test_files_that_stop_the_start(declaration: Any) -> None:
    with pytest.raises(StartRefused):
        make(declaration)


def test_what_may_be_written() -> None:
    schema = make()
    assert schema.is_read_only("stores")
    assert not schema.is_read_only("name")
    assert not schema.is_read_only("custom")
    assert schema.is_base("id")
    assert not schema.is_base("kernel_id")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_disk", -1), ("min_disk", 2**31), ("min_ram", True), ("name", "x" * 256), ("tags", ["x" * 256]),
        ("tags", "x"), ("disk_format", "floppy"), ("visibility", None), ("custom", 1), ("custom", None),
        ("kernel_id", "5"), ("id", "0" * 36), ("protected", "true"), ("locations", [{"url": "x"}]),
        ("locations", [{"url": "x", "metadata": {}, "validation_data": {"os_hash_algo": "md5"}}]),
        ("cinder_encryption_key_deletion_policy", "never"),
    ],
)  # fmt: skip
def test_values_that_are_refused(name: str, value: Any) -> None:
    with pytest.raises(Invalid, match=f"schema 'image'.*'{name}'"):
        make().check(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_disk", 0), ("min_ram", 5.0), ("min_ram", 2**31 - 1), ("name", None), ("name", "ü" * 255), ("tags", []),
        ("disk_format", None), ("disk_format", "qcow2"), ("custom", ""), ("kernel_id", None),
        ("kernel_id", "0123abcd-0000-0000-0000-0123456789AB"), ("locations", [{"url": "x", "metadata": {}}]),
    ],
)  # fmt: skip
def test_values_that_are_fine(name: str, value: Any) -> None:
    make().check(name, value)
