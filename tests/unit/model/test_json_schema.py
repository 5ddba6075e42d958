"""The validator for property definitions."""

from typing import Any

import pytest

from blick.model.errors import StartRefused
from blick.model.json_schema import compile_schema, is_integer

CASES: list[tuple[dict[str, Any], list[Any], list[Any]]] = [
    ({}, [None, 1, "a", [], {}], []),
    ({"type": "string"}, ["", "x"], [None, 1, True, []]),
    ({"type": ["null", "string"]}, [None, "x"], [1, False]),
    ({"type": "integer"}, [0, 5.0, -3], [True, 5.5, "5", None, float("inf"), float("nan")]),
    ({"type": "number"}, [0, 5.5], [True, "5"]),
    ({"type": "boolean"}, [True, False], [0, 1, "true"]),
    ({"type": "object"}, [{}], [[], None]),
    ({"enum": ["a", None, 1]}, ["a", None, 1], ["b", True, 0]),
    ({"const": "a"}, ["a"], ["b"]),
    ({"pattern": "^a+$"}, ["a", "aaa", 5], ["b", "ab", "aa\n"]),
    ({"pattern": "b"}, ["abc"], ["ac"]),
    ({"maxLength": 3}, ["abc", "äöü", [1, 2, 3, 4]], ["abcd"]),
    ({"minLength": 2}, ["ab"], ["a"]),
    ({"minimum": 1, "maximum": 3}, [1, 2.5, 3, "x", False], [0, 3.1, 4]),
    ({"exclusiveMinimum": 1, "exclusiveMaximum": 3}, [2], [1, 3]),
    ({"minimum": 1, "exclusiveMinimum": True}, [2], [1, 0]),
    ({"minimum": 1, "exclusiveMinimum": False}, [1], [0]),
    ({"type": "array", "items": {"type": "string", "maxLength": 1}}, [[], ["a"]], [["ab"], [1], "a"]),
    ({"minItems": 1, "maxItems": 2}, [[1], [1, 2]], [[], [1, 2, 3]]),
    ({"uniqueItems": True}, [[1, True, 2]], [[1, 1], ["a", "b", "a"]]),
    ({"uniqueItems": False}, [[1, 1]], []),
    ({"properties": {"a": {"type": "string"}}, "required": ["a"]}, [{"a": ""}, {"a": "", "b": 1}], [{}, {"a": 1}]),
    ({"properties": {"a": {}}, "additionalProperties": False}, [{}, {"a": 1}], [{"b": 1}]),
    ({"additionalProperties": {"type": "string"}}, [{"b": ""}], [{"b": 1}]),
    ({"required": True}, ["x", {}], []),
    ({"minProperties": 1, "maxProperties": 1}, [{"a": 1}], [{}, {"a": 1, "b": 2}]),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, ["", None], [1]),
    ({"oneOf": [{"minimum": 1}, {"maximum": 3}]}, [0, 4], [2]),
    ({"allOf": [{"minimum": 1}, {"maximum": 3}]}, [2], [0, 4]),
    ({"not": {"enum": ["bad"]}}, ["good"], ["bad"]),
    ({"description": "x", "readOnly": True, "is_base": False, "format": "uuid"}, [1], []),
]


@pytest.mark.parametrize(("schema", "good", "bad"), CASES)
def test_keywords(schema: dict[str, Any], good: list[Any], bad: list[Any]) -> None:
    check = compile_schema(schema, "it")
    assert [value for value in good if check(value) is not None] == []
    assert [value for value in bad if not check(value)] == []


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/x"}, {"patternProperties": {}}, {"type": "text"}, {"type": []}, {"pattern": "("}, {"pattern": 1},
        {"maxLength": "long"}, {"items": 5}, {"minimum": "a"}, {"enum": 5}, {"anyOf": [{"if": {}}]},
    ],
)  # fmt: skip
def test_definitions_that_cannot_be_kept_stop_the_start(schema: dict[str, Any]) -> None:
    with pytest.raises(StartRefused, match="definition of it"):
        compile_schema(schema, "it")


def test_complaints_are_short_and_in_the_words_of_json() -> None:
    check = compile_schema({"type": "string", "maxLength": 5}, "it")
    assert check(None) == "null is not of type string"
    assert check(True) == "true is not of type string"
    assert len(check("x" * 5000) or "") < 200


def test_is_integer() -> None:
    assert [is_integer(value) for value in (1, 1.0, 1.5, True, "1", None)] == [True, True, False, False, False, False]
