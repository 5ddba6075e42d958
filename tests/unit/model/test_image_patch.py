"""The body of a patch, and what it means."""

from typing import Any

import pytest

from blick.conf.settings import ImageFormatSettings
from blick.model.errors import BlickError, Conflict, Forbidden, Invalid, UnsupportedMediaType
from blick.model.image_patch import (
    Change,
    LocationChange,
    PatchPlan,
    PatchSubject,
    PropertyEvent,
    parse,
    plan,
    version_of,
)  # fmt: skip
from blick.model.schema import ImageSchema, image_schema

FORMATS = ImageFormatSettings()
SCHEMA = image_schema(FORMATS.disk_formats, FORMATS.container_formats)
V20 = "application/openstack-images-v2.0-json-patch"
V21 = "application/openstack-images-v2.1-json-patch"


def add(path: str, value: Any) -> dict[str, Any]:
    return {"op": "add", "path": path, "value": value}


def replace(path: str, value: Any) -> dict[str, Any]:
    return {"op": "replace", "path": path, "value": value}


def remove(path: str) -> dict[str, Any]:
    return {"op": "remove", "path": path}


def planned(
    *entries: dict[str, Any],
    version: Any = "2.1",
    status: str = "active",
    is_admin: bool = False,
    schema: ImageSchema = SCHEMA,
    **properties: str | None,
) -> PatchPlan:
    changes = parse(version, list(entries), schema)
    return plan(changes, PatchSubject(status, properties), schema, is_admin=is_admin)


def fails(kind: type[BlickError], *entries: dict[str, Any], **more: Any) -> str:
    with pytest.raises(kind) as caught:
        planned(*entries, **more)
    assert type(caught.value) is kind
    return str(caught.value)


# Media types


def test_media_types() -> None:
    assert version_of(V21) == "2.1"
    assert version_of(f"{V20}; charset=utf-8") == "2.0"


@pytest.mark.parametrize("text", [None, "", "application/json", V21.upper(), "application/json-patch+json"])
def test_other_media_types_are_told_the_right_ones(text: str | None) -> None:
    with pytest.raises(UnsupportedMediaType) as caught:
        version_of(text)
    assert caught.value.accept_patch == (V20, V21)


# What is malformed


@pytest.mark.parametrize("document", [None, {}, "x", 5, [[]], ["x"], [None]])
def test_documents_that_are_none(document: Any) -> None:
    with pytest.raises(Invalid):
        parse("2.1", document, SCHEMA)


@pytest.mark.parametrize(
    "entry",
    [
        {"op": "test", "path": "/a", "value": "b"}, {"path": "/a", "value": "b"}, {"op": ["add"], "path": "/a"},
        {"op": "add", "value": "b"}, {"op": "add", "path": 5, "value": "b"}, {"op": "add", "path": "/a"},
        {"op": "replace", "path": "/a"}, add("a", "b"), add("", "b"), add("//a", "b"), add("/a/", "b"),
        add("/a//b", "b"), add("/a/b", "b"), add("/a~2", "b"), add("/a~", "b"), add("/tags/0", "b"),
        add("/tags/-", "b"),
        add("/" + "x" * 256, "b"), add("/\U0001f600", "b"), add("/a", "\U0001f600"), add("/a", 5), add("/a", None),
        replace("/name", 5), replace("/name", "x" * 256), replace("/tags", "a"), replace("/tags", ["\U0001f600"]),
        replace("/min_disk", -1), replace("/min_disk", True), replace("/visibility", "all"),
        replace("/protected", "no"), replace("/disk_format", "floppy"), replace("/owner", 5),
        add("/locations", {"url": "x", "metadata": {}}), add("/locations/x", {"url": "x", "metadata": {}}),
        add("/locations/-1", {"url": "x", "metadata": {}}), add("/locations/-", {"url": "x"}), add("/locations/-", []),
        add("/locations/0/url", "x"), replace("/locations/0", []), replace("/locations", {}),
        replace("/locations", [{"url": "x"}]), remove("/locations"), remove("/locations/-"), remove("/locations/x"),
    ],
)  # fmt: skip
def test_entries_that_are_malformed(entry: dict[str, Any]) -> None:
    fails(Invalid, entry, status="queued")


@pytest.mark.parametrize(
    "entry",
    [
        {"add": "/a", "replace": "/a", "value": "b"},
        {"value": "b"},
        {"op": "add", "path": "/a", "value": "b"},
        {"add": "/a"},
    ],
)
def test_entries_that_are_malformed_in_the_older_notation(entry: dict[str, Any]) -> None:
    fails(Invalid, entry, version="2.0")


@pytest.mark.parametrize(
    ("pointer", "name"),
    [("/a", "a"), (" / a ", "a"), ("/", ""), ("/a~1b", "a/b"), ("/a~0b", "a~b"), ("/a~01", "a~1"), ("/ä", "ä")],
)
def test_pointers(pointer: str, name: str) -> None:
    assert parse("2.1", [add(pointer, "v")], SCHEMA) == (Change("add", name, "v"),)
    assert parse("2.0", [{"add": pointer, "value": "v"}], SCHEMA) == (Change("add", name, "v", must_be_new=True),)


# What nobody may write


@pytest.mark.parametrize(
    "name",
    [
        "created_at", "updated_at", "status", "checksum", "size", "virtual_size", "direct_url", "self", "file",
        "schema", "id", "os_hash_algo", "os_hash_value", "stores", "location", "deleted", "deleted_at", "os_glance_x",
        "os_glance",
    ],
)  # fmt: skip
@pytest.mark.parametrize("operation", ["add", "replace", "remove"])
def test_names_that_nobody_writes(name: str, operation: str) -> None:
    entry = {"op": operation, "path": f"/{name}", "value": "x"}
    assert name in fails(Forbidden, entry, is_admin=True)
    with pytest.raises(Forbidden):
        parse("2.0", [{operation: f"/{name}", "value": "x"}], SCHEMA)


@pytest.mark.parametrize("name", ["image_id", "extra_properties", "base", "member"])
def test_names_of_the_programs_inside_are_plain_properties(name: str) -> None:
    assert planned(add(f"/{name}", "x")).set_properties == {name: "x"}


# Base attributes


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("name", None, None), ("name", "n", "n"), ("visibility", "public", "public"), ("protected", True, True),
        ("os_hidden", False, False), ("min_disk", 5.0, 5), ("min_ram", 7, 7),
    ],
)  # fmt: skip
@pytest.mark.parametrize("operation", ["add", "replace"])
def test_base_attributes_are_set(name: str, value: Any, kept: Any, operation: str) -> None:
    result = planned({"op": operation, "path": f"/{name}", "value": value}, other="x")
    assert result == PatchPlan(base={name: kept}, resulting_properties={"other": "x"})


@pytest.mark.parametrize("name", ["name", "visibility", "tags", "min_ram", "disk_format", "owner"])
def test_base_attributes_stay(name: str) -> None:
    fails(Forbidden, remove(f"/{name}"), is_admin=True, status="queued")


def test_in_the_older_notation_base_attributes_exist_already() -> None:
    fails(Conflict, {"add": "/name", "value": "x"}, version="2.0")
    assert planned({"replace": "/name", "value": "x"}, version="2.0").base == {"name": "x"}


def test_tags_are_replaced_as_a_whole() -> None:
    assert planned(replace("/tags", ["b", "a", "b"])).tags == ("b", "a", "b")
    assert planned(add("/tags", [])).tags == ()
    assert planned(replace("/name", "x")).tags is None


@pytest.mark.parametrize("operation", ["add", "replace"])
def test_only_an_administrator_gives_an_image_away(operation: str) -> None:
    entry = {"op": operation, "path": "/owner", "value": "other"}
    fails(Forbidden, entry)
    fails(Forbidden, remove("/owner"))
    assert planned(entry, is_admin=True).base == {"owner": "other"}
    assert planned({**entry, "value": ""}, is_admin=True).base == {"owner": None}


@pytest.mark.parametrize("name", ["disk_format", "container_format"])
def test_formats_are_settled_once_there_is_data(name: str) -> None:
    for status in ("queued", "importing"):
        assert planned(replace(f"/{name}", "ami"), status=status).base == {name: "ami"}
    for status in ("saving", "uploading", "active", "deactivated"):
        assert name in fails(Forbidden, replace(f"/{name}", "ami"), status=status)


# Custom properties


def test_properties() -> None:
    result = planned(add("/new", "1"), replace("/old", "2"), remove("/gone"), old="1", gone="x", other="y")
    assert result == PatchPlan(
        set_properties={"old": "2", "new": "1"},
        remove_properties=frozenset({"gone"}),
        created=frozenset({"new"}),
        events=(
            PropertyEvent("new", "create"), PropertyEvent("old", "update"), PropertyEvent("gone", "delete"),
        ),
        resulting_properties={"old": "2", "other": "y", "new": "1"},
    )  # fmt: skip
    assert not result.is_empty


def test_adding_overwrites_in_the_newer_notation_only() -> None:
    assert planned(add("/old", "2"), old="1").events == (PropertyEvent("old", "update"),)
    assert "already" in fails(Conflict, {"add": "/old", "value": "2"}, version="2.0", old="1")


@pytest.mark.parametrize("entry", [replace("/a", "x"), remove("/a"), replace("/kernel_id", None), remove("/kernel_id")])
def test_what_is_missing_cannot_be_changed(entry: dict[str, Any]) -> None:
    assert "does not exist" in fails(Conflict, entry)


def test_changes_are_applied_in_their_order() -> None:
    assert planned(add("/a", "1"), replace("/a", "2"), remove("/a")) == PatchPlan(
        events=(PropertyEvent("a", "create"), PropertyEvent("a", "update"), PropertyEvent("a", "delete")),
    )
    again = planned(remove("/a"), add("/a", "2"), a="1")
    assert (again.set_properties, again.remove_properties, again.created) == ({"a": "2"}, frozenset(), frozenset())
    fails(Conflict, remove("/a"), replace("/a", "2"), a="1")
    assert planned(replace("/name", "1"), replace("/name", "2")).base == {"name": "2"}


def test_declared_properties_follow_their_own_type() -> None:
    assert planned(add("/kernel_id", None)).set_properties == {"kernel_id": None}
    fails(Invalid, add("/kernel_id", "short"))


def test_required_properties_must_be_there_afterwards() -> None:
    schema = image_schema((), (), {"properties": {"team": {"type": "string"}}, "required": ["team", "name"]})
    assert "team is required" in fails(Invalid, remove("/team"), schema=schema, team="a")
    assert "team is required" in fails(Invalid, replace("/name", "x"), schema=schema)
    assert planned(replace("/name", "x"), schema=schema, team="a").base == {"name": "x"}
    assert planned(add("/team", "b"), schema=schema).set_properties == {"team": "b"}
    assert planned(schema=schema).is_empty


def test_no_changes() -> None:
    assert planned(a="1").is_empty


# Locations


def test_locations() -> None:
    place = {
        "url": "file:///x",
        "metadata": {"store": "a"},
        "validation_data": {"os_hash_algo": "md5", "os_hash_value": "0"},
    }
    result = planned(
        add("/locations/-", place), add("/locations/3", place), remove("/locations/0"), replace("/locations", [place])
    )
    assert result.locations == (
        LocationChange("add", None, place), LocationChange("add", 3, place),
        LocationChange("remove", 0), LocationChange("replace", None, [place]),
    )  # fmt: skip
    assert not result.is_empty
    assert planned({"add": "/locations/-", "value": place}, version="2.0").locations == (
        LocationChange("add", None, place),
    )
