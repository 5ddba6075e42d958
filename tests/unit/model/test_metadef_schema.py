"""The ten schema documents, and what of a body is let through."""

import json
from typing import Any

import jsonschema
import pytest

from blick.model.errors import Forbidden, Invalid
from blick.model.metadef_schema import DOCUMENTS, check_body, require_name

P = {"title": "t", "type": "string"}
NAMES = {
    "namespace": "namespace",
    "namespaces": "namespaces",
    "object": "object",
    "objects": "objects",
    "property": "property",
    "properties": "properties",
    "resource_type": "resource_type_association",
    "resource_types": "resource_type_associations",
    "tag": "tag",
    "tags": "tags",
}


def test_documents() -> None:
    assert {name: document["name"] for name, document in DOCUMENTS.items()} == NAMES
    for document in DOCUMENTS.values():
        jsonschema.Draft4Validator.check_schema(document)
        json.dumps(document)


@pytest.mark.parametrize(
    ("name", "members", "required"),
    [
        (
            "namespace",
            "namespace display_name description visibility protected owner created_at updated_at self schema "
            "resource_type_associations properties objects tags",
            ["namespace"],
        ),
        ("object", "name description required properties self schema created_at updated_at", ["name"]),
        (
            "property",
            "name title description type operators required minimum maximum maxLength minLength pattern enum readonly "
            "default items maxItems minItems uniqueItems additionalItems",
            ["type", "title", "name"],
        ),
        ("resource_type", "name prefix properties_target created_at updated_at", ["name"]),
        ("tag", "name created_at updated_at", ["name"]),
    ],
)
def test_items(name: str, members: str, required: list[str]) -> None:
    document = DOCUMENTS[name]
    assert set(document["properties"]) == set(members.split())
    assert (document["required"], document["additionalProperties"]) == (required, False)
    has_definitions = name in ("namespace", "object", "property")
    assert ("definitions" in document) is has_definitions
    plural = DOCUMENTS["properties" if name == "property" else f"{name}s"]
    assert ("definitions" in plural) is has_definitions
    assert [each["rel"] for each in plural["links"]] == ["first", "next", "describedby"]
    assert set(plural["properties"]) == {plural["name"], "first", "next", "schema"}


def test_properties_come_by_name() -> None:
    by_name = DOCUMENTS["properties"]["properties"]["properties"]
    assert by_name["type"] == "object"
    assert by_name["additionalProperties"]["required"] == ["type", "title"]


BODIES: list[tuple[str, dict[str, Any]]] = [
    ("namespace", {"namespace": "n"}),
    (
        "namespace",
        {
            "namespace": "OS::Compute::X",
            "display_name": "",
            "description": "d" * 500,
            "visibility": "public",
            "protected": True,
            "owner": "",
            "resource_type_associations": [{"name": "r", "prefix": "", "properties_target": "image"}],
            "properties": {"p": {**P, "default": {"any": ["thing"]}, "pattern": "("}},
            "objects": [{"name": "o", "description": "d" * 5000, "required": [], "properties": {}}],
            "tags": [{"name": "t"}],
        },
    ),
    ("object", {"name": "o", "required": ["a"], "properties": {"p": {**P, "items": {"type": "array", "enum": []}}}}),
    ("property", {**P, "name": "p", "minimum": -1.5, "maxItems": 0, "operators": ["<or>"], "enum": ["a", "a"]}),
    ("resource_type_association", {"name": ""}),
    ("tag", {"name": "t"}),
    ("tags", {"tags": [{"name": "t"}, {"name": "t"}]}),
    ("tags", {"tags": []}),
]


@pytest.mark.parametrize(("schema", "body"), BODIES)
def test_bodies_that_are_let_through(schema: str, body: dict[str, Any]) -> None:
    assert check_body(body, schema) is body
    document = {"resource_type_association": "resource_type"}.get(schema, schema)
    if document != "tags":  # this one is of the list that is shown
        jsonschema.validate(body, DOCUMENTS[document], cls=jsonschema.Draft4Validator)


@pytest.mark.parametrize("schema", ["namespace", "object", "property", "resource_type_association", "tag", "tags"])
@pytest.mark.parametrize("body", [[], "text", 5, None, True, {}, {"unknown": 1}])
def test_bodies_that_are_not(schema: str, body: object) -> None:
    with pytest.raises(Invalid, match=f"^Provided object does not match schema '{schema}': "):
        check_body(body, schema)


@pytest.mark.parametrize(
    ("schema", "names"),
    [
        ("namespace", ("self", "schema", "created_at", "updated_at")),
        ("object", ("self", "schema", "created_at", "updated_at")),
        ("property", ("created_at", "updated_at")),
        ("resource_type_association", ("created_at", "updated_at")),
        ("tag", ("created_at", "updated_at")),
    ],
)
def test_what_only_the_service_sets(schema: str, names: tuple[str, ...]) -> None:
    for name in names:
        with pytest.raises(Forbidden) as refusal:
            check_body({name: None}, schema)
        assert str(refusal.value) == f"Attribute '{name}' is read-only."


@pytest.mark.parametrize("schema", ["namespace", "object", "property", "tag", "tags"])
def test_characters_that_take_four_bytes(schema: str) -> None:
    with pytest.raises(Invalid, match=r"can't contain 4 byte unicode characters\.$"):
        check_body({"name": {"anywhere": ["\U0001f600"]}}, schema)
    check_body({"name": "\U0001f600"}, "resource_type_association")


@pytest.mark.parametrize("text", ["a\x00", "\ud800", "\U0001f600\x00"])
def test_what_no_database_keeps(text: str) -> None:
    for schema in ("tag", "resource_type_association"):
        with pytest.raises(Invalid, match="what is no text"):
            check_body({"name": text}, schema)


def test_names_of_paths() -> None:
    require_name("x" * 80, "tag")
    for name in ("x" * 81, "\U0001f600"):
        with pytest.raises(Invalid):
            require_name(name, "tag")
