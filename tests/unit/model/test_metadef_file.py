"""Files of metadata definitions: what may stand in one, and their names."""

from typing import Any

import pytest

from blick.model.errors import Invalid
from blick.model.metadef import Association, Children, MetadefNamespace, MetadefObject, MetadefProperty, MetadefTag
from blick.model.metadef_file import Mode, document_of, file_name, mode_of, parse
from tests.support.records import NOW

SIZE = {"type": "integer", "title": "Size"}
WHOLE: dict[str, Any] = {
    "namespace": "OS::Test",
    "display_name": "Test",
    "description": "For tests",
    "visibility": "public",
    "protected": True,
    "owner": "p1",
    "resource_type_associations": [{"name": "OS::Nova::Flavor", "properties_target": "image", "prefix": "hw:"}],
    "properties": {"size": {**SIZE, "confidential": True, "default": 5, "unknown": [None]}},
    "objects": [{"name": "Disk", "description": "A disk", "required": ["size"], "properties": {"size": SIZE}}],
    "tags": [{"name": "new"}, {"name": "old"}],
}


def test_everything() -> None:
    file = parse(WHOLE)
    assert (file.namespace.name, file.namespace.visibility, file.namespace.protected) == ("OS::Test", "public", True)
    assert (file.namespace.display_name, file.namespace.description, file.owner) == ("Test", "For tests", "p1")
    assert file.children == Children(
        associations=[Association("OS::Nova::Flavor", "hw:", "image")],
        properties=[MetadefProperty("size", WHOLE["properties"]["size"])],
        objects=[MetadefObject("Disk", "A disk", ["size"], {"size": SIZE})],
        tags=[MetadefTag("new"), MetadefTag("old")],
    )


def test_nothing_but_a_name() -> None:
    nulls = dict.fromkeys(WHOLE, None)
    for document in ({"namespace": "x"}, {**nulls, "namespace": "x"}, {"namespace": "x", "self": "y", "other": 1}):
        file = parse(document)
        assert (file.namespace.visibility, file.namespace.protected, file.owner) == ("private", False, "admin")
        assert (file.namespace.display_name, file.namespace.description) == (None, None)
        assert not any((file.children.objects, file.children.properties, file.children.tags))
        assert not file.children.associations
    bare = parse({"namespace": "x", "objects": [{"name": "o"}, {"name": "p", "properties": None, "required": None}]})
    assert [(each.name, each.properties) for each in bare.children.objects] == [("o", {}), ("p", {})]


def test_names_that_only_the_namespace_may_not_have() -> None:
    """The API takes them, though none of its paths can name them: they are not lost on the way."""
    file = parse({"namespace": "a/b", "properties": {"": SIZE}, "objects": [{"name": ""}], "tags": [{"name": ""}]})
    assert [each.name for each in (*file.children.properties, *file.children.objects, *file.children.tags)] == [""] * 3


def test_what_is_written_is_read_again() -> None:
    file = parse(WHOLE)
    namespace = MetadefNamespace(
        1, "OS::Test", "Test", "For tests", visibility="public", protected=True, owner="p1", created_at=NOW,
        updated_at=None,
    )  # fmt: skip
    newest_first = Children(
        associations=file.children.associations,
        properties=file.children.properties,
        objects=file.children.objects,
        tags=list(reversed(file.children.tags)),
    )
    assert document_of(namespace, newest_first) == WHOLE
    assert list(document_of(namespace, newest_first)) == list(WHOLE)


def test_rows_of_others_are_written_with_what_nulls_mean() -> None:
    namespace = MetadefNamespace(
        1, "x", None, None, visibility=None, protected=None, owner="p1", created_at=NOW, updated_at=None
    )
    assert document_of(namespace, Children()) == {
        "namespace": "x",
        "visibility": "private",
        "protected": False,
        "owner": "p1",
        "resource_type_associations": [],
        "properties": {},
        "objects": [],
        "tags": [],
    }


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ([], "The file is not a JSON object."),
        ({}, "The file has no namespace."),
        ({"namespace": 5}, "The file has no namespace."),
        ({"namespace": ""}, "The file has no namespace."),
        ({"namespace": "x" * 81}, "longer than 80 characters"),
        ({"namespace": "\U0001f600"}, "four bytes"),
        ({**WHOLE, "display_name": "x" * 81}, "display_name is longer than 80"),
        ({**WHOLE, "description": 5}, "description is not a text"),
        ({**WHOLE, "description": "a\x00"}, "NUL"),
        ({**WHOLE, "visibility": "shared"}, "visibility is none of public, private"),
        ({**WHOLE, "visibility": ["public"]}, "visibility is none of public, private"),
        ({**WHOLE, "protected": "yes"}, "protected is neither true nor false"),
        ({**WHOLE, "owner": "x" * 256}, "owner is longer than 255"),
        ({**WHOLE, "resource_type_associations": {}}, "resource_type_associations is not a list"),
        ({**WHOLE, "resource_type_associations": [{"prefix": "x"}]}, "A resource type association has no name"),
        ({**WHOLE, "resource_type_associations": [{"name": "x", "prefix": 1}]}, "prefix is not a text"),
        ({**WHOLE, "properties": []}, "properties is not a JSON object"),
        ({**WHOLE, "properties": {"x" * 81: SIZE}}, "longer than 80 characters"),
        ({**WHOLE, "properties": {"a": None}}, "The property 'a' is not a JSON object"),
        ({**WHOLE, "properties": {"a": {"title": 5}}}, "The property 'a': title is not a text"),
        ({**WHOLE, "properties": {"a": {**SIZE, "enum": [1]}}}, "The property 'a': enum is not a list of texts"),
        ({**WHOLE, "properties": {"a": {**SIZE, "operators": "<in>"}}}, "operators is not a list of texts"),
        ({**WHOLE, "properties": {"a": {**SIZE, "items": {}}}}, "The property 'a': items has no type"),
        ({**WHOLE, "properties": {"a": {**SIZE, "items": {"type": "string", "enum": [1]}}}}, "items: enum is not"),
        ({**WHOLE, "objects": [{"description": "x"}]}, "An object has no name"),
        ({**WHOLE, "objects": ["x"]}, "An object is not a JSON object"),
        ({**WHOLE, "objects": [{"name": "x", "required": "a"}]}, "The object 'x': required is not a list of texts"),
        ({**WHOLE, "objects": [{"name": "x", "properties": {"a": {"enum": [None]}}}]}, "The object 'x': the property"),
        ({**WHOLE, "tags": ["x"]}, "A tag is not a JSON object"),
        ({**WHOLE, "tags": [{}]}, "A tag has no name"),
    ],
)
def test_what_cannot_be_kept_is_refused(document: object, text: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(document)
    assert text in str(refused.value)


def test_modes() -> None:
    assert mode_of(merge=False, prefer_new=False, overwrite=False) is Mode.SKIP
    assert mode_of(merge=True, prefer_new=False, overwrite=False) is Mode.MERGE
    assert mode_of(merge=True, prefer_new=True, overwrite=False) is Mode.PREFER_NEW
    assert mode_of(merge=True, prefer_new=False, overwrite=True) is Mode.OVERWRITE
    for merge, prefer_new, overwrite in (
        (False, True, False), (False, False, True), (False, True, True), (True, True, True),
    ):  # fmt: skip
        with pytest.raises(Invalid):
            mode_of(merge=merge, prefer_new=prefer_new, overwrite=overwrite)


@pytest.mark.parametrize(
    ("display_name", "name", "taken", "file"),
    [
        ("CPU Pinning_(v2)", "OS::X", (), "CPUPinningv2.json"),
        ("Müller", "OS::X", (), "Müller.json"),
        (None, "OS::Compute::CPU", (), "OSComputeCPU.json"),
        ("::", "OS::X", (), "OSX.json"),
        ("Cpu", "OS::X", ("cpu.json",), "OSX.json"),
        ("Cpu", "OS::X", ("cpu.json", "osx.json"), "OSX-2.json"),
        ("Cpu", "OS::X", ("cpu.json", "osx.json", "osx-2.json"), "OSX-3.json"),
        ("..", "_", (), "namespace.json"),
        ("../etc", "_", ("etc.json", "namespace.json"), "namespace-2.json"),
    ],
)
def test_file_names(display_name: str | None, name: str, taken: tuple[str, ...], file: str) -> None:
    namespace = MetadefNamespace(
        1, name, display_name, None, visibility=None, protected=None, owner="p1", created_at=NOW, updated_at=None
    )
    assert file_name(namespace, taken) == file
