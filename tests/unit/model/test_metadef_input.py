"""Bodies about metadata definitions as records."""

import pytest

from blick.model import metadef_input
from blick.model.errors import Invalid
from blick.model.metadef import Association, MetadefObject, MetadefProperty, MetadefTag, NewNamespace

P = {"title": "t", "type": "string"}


def test_a_namespace_alone() -> None:
    asked = metadef_input.parse_namespace({"namespace": "n"})
    assert asked.namespace == NewNamespace("n", None, None, "private", False, None)
    assert [*asked.children.associations, *asked.children.properties, *asked.children.objects] == []


def test_a_namespace_with_everything() -> None:
    asked = metadef_input.parse_namespace(
        {
            "namespace": "n",
            "display_name": "N",
            "description": "d",
            "visibility": "public",
            "protected": True,
            "owner": "p1",
            "resource_type_associations": [{"name": "r", "prefix": "x", "properties_target": "y"}, {"name": "s"}],
            "properties": {"p": P},
            "objects": [{"name": "o"}, {"name": "q", "required": [], "properties": {"a": {**P, "default": 1}}}],
            "tags": [{"name": "t"}],
        }
    )
    assert asked.namespace == NewNamespace("n", "N", "d", "public", True, "p1")
    assert asked.children.associations == [Association("r", "x", "y"), Association("s")]
    assert asked.children.properties == [MetadefProperty("p", P)]
    assert asked.children.objects == [
        MetadefObject("o"),
        MetadefObject("q", None, [], {"a": {**P, "default": "1"}}),
    ]
    assert asked.children.tags == [MetadefTag("t")]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"default": 5}, {"default": "5"}),
        ({"default": 1.5}, {"default": "1.5"}),
        ({"default": True}, {"default": "True"}),
        ({"default": "text"}, {"default": "text"}),
        ({"default": [1]}, {"default": None}),
        ({"default": {}}, {"default": None}),
        ({"default": None}, {"default": None}),
        ({"minimum": 1.9, "maximum": -1.9}, {"minimum": 1, "maximum": -1}),
        ({"maximum": 1e300}, {"maximum": int(1e300)}),
        ({"minLength": 5.0}, {"minLength": 5}),
        ({"enum": ["a"], "readonly": False}, {"enum": ["a"], "readonly": False}),
    ],
)
def test_what_is_kept_of_a_property(given: dict[str, object], kept: dict[str, object]) -> None:
    found = metadef_input.parse_property({**P, "name": "p", **given})
    assert found == MetadefProperty("p", {**P, "name": "p", **kept})
    assert [type(value) for value in found.schema.values()][3:] == [type(value) for value in kept.values()]


def test_the_others() -> None:
    assert metadef_input.parse_object({"name": "o", "description": ""}) == MetadefObject("o", "")
    assert metadef_input.parse_tag({"name": "t"}) == MetadefTag("t")
    assert metadef_input.tag_of_path("t") == MetadefTag("t")
    assert metadef_input.parse_tags({"tags": [{"name": "a"}, {"name": "b"}]}) == [MetadefTag("a"), MetadefTag("b")]
    assert metadef_input.parse_association({"name": "r", "prefix": ""}) == Association("r", "")
    for parse in (metadef_input.parse_object, metadef_input.parse_tag, metadef_input.parse_tags):
        with pytest.raises(Invalid):
            parse({})
