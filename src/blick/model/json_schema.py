"""A small validator for the part of JSON Schema that property definitions use.

It exists beside the well-known library because a check here takes microseconds, needs nothing but the
standard library, and words its complaints for the people who call the API. A definition is compiled once,
at start; a keyword that would constrain values but is not known here stops the start instead of being
silently ignored.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from blick.model.errors import StartRefused

Check = Callable[[object], str | None]
"""Takes a JSON value; gives what is wrong with it, in words, or None."""

_ANNOTATIONS = frozenset(
    {
        "$comment", "$id", "$schema", "default", "definitions", "deprecated", "description", "examples", "format",
        "id", "is_base", "name", "operators", "readOnly", "title", "writeOnly",
    }
)  # fmt: skip
_SHOWN_CHARACTERS = 80


def is_integer(value: object) -> bool:
    """True for a whole number, also when written as 5.0; false for booleans."""
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


_TYPES: Mapping[str, Callable[[object], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "integer": is_integer,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


@dataclass(frozen=True, slots=True)
class _Part:
    """One keyword's argument, the definition around it, and that definition's name."""

    argument: Any
    schema: Mapping[str, Any]
    where: str


_Builder = Callable[[_Part], Check]


def compile_schema(schema: Mapping[str, Any], where: str) -> Check:
    """Turn a definition into a check. Pure; the check may be called from any thread.

    `where` names the definition in errors. Raises `StartRefused` for a definition that is malformed or uses
    a keyword not known here.
    """
    checks = [
        _build(keyword, _Part(argument, schema, where))
        for keyword, argument in schema.items()
        if keyword not in _ANNOTATIONS
    ]

    def check(value: object) -> str | None:
        return _first(each(value) for each in checks)

    return check


def _build(keyword: str, part: _Part) -> Check:
    builder = _BUILDERS.get(keyword)
    if builder is None:
        raise StartRefused(f"The definition of {part.where} uses the keyword {keyword!r}, which is not supported.")
    try:
        return builder(part)
    except (TypeError, ValueError, AttributeError, re.error) as error:
        raise StartRefused(f"The definition of {part.where} has a malformed {keyword!r}: {error}") from error


def shown(value: object) -> str:
    """The value as it may appear in an error text: short."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _nothing_wrong(_: object) -> str | None:
    return None


def _first(complaints: Iterable[str | None]) -> str | None:
    return next((complaint for complaint in complaints if complaint is not None), None)


def _same(left: object, right: object) -> bool:
    """Equality as JSON knows it: true is not 1."""
    return isinstance(left, bool) == isinstance(right, bool) and left == right


def _type(part: _Part) -> Check:
    names = [part.argument] if isinstance(part.argument, str) else list(part.argument)
    unknown = [name for name in names if name not in _TYPES]
    if unknown or not names:
        raise ValueError(f"unknown type {unknown!r}")
    tests = [_TYPES[name] for name in names]
    expected = " or ".join(names)

    def check(value: object) -> str | None:
        if any(test(value) for test in tests):
            return None
        return f"{shown(value)} is not of type {expected}"

    return check


def _enum(part: _Part) -> Check:
    allowed = list(part.argument)
    listing = ", ".join("null" if each is None else str(each) for each in allowed)

    def check(value: object) -> str | None:
        if any(_same(value, each) for each in allowed):
            return None
        return f"{shown(value)} is not one of {listing}"

    return check


def _const(part: _Part) -> Check:
    return _enum(replace(part, argument=[part.argument]))


def _pattern(part: _Part) -> Check:
    # Python's $ also matches before a final line break; in JSON Schema it does not.
    anchored = part.argument.endswith("$") and not part.argument.endswith("\\$")
    expression = re.compile(part.argument[:-1] + r"\Z" if anchored else part.argument)

    def check(value: object) -> str | None:
        if isinstance(value, str) and expression.search(value) is None:
            return f"{shown(value)} does not match the pattern {part.argument}"
        return None

    return check


def _size(kind: type, noun: str, *, at_most: bool) -> _Builder:
    def build(part: _Part) -> Check:
        bound = int(part.argument)

        def check(value: object) -> str | None:
            if not isinstance(value, kind):
                return None
            size = len(value)  # type: ignore[arg-type]  # kind is str, list or dict
            if (size > bound) if at_most else (size < bound):
                return f"{shown(value)} has {size} {noun}, {'at most' if at_most else 'at least'} {bound} wanted"
            return None

        return check

    return build


def _bound(*, at_most: bool, exclusive: bool = False) -> _Builder:
    def build(part: _Part) -> Check:
        if isinstance(part.argument, bool):  # draft 4: a flag beside "maximum" or "minimum"
            beside = part.schema.get("maximum" if at_most else "minimum")
            return build(replace(part, argument=beside)) if part.argument and beside is not None else _nothing_wrong
        bound = part.argument + 0  # a number, or TypeError

        def check(value: object) -> str | None:
            if isinstance(value, bool) or not isinstance(value, int | float):
                return None
            beyond = value > bound if at_most else value < bound
            if beyond or (exclusive and value == bound):
                return f"{shown(value)} is {'greater' if at_most else 'less'} than allowed (limit {bound})"
            return None

        return check

    return build


def _items(part: _Part) -> Check:
    inner = compile_schema(part.argument, f"{part.where}[]")

    def check(value: object) -> str | None:
        return _first(inner(each) for each in value) if isinstance(value, list) else None

    return check


def _unique_items(part: _Part) -> Check:
    def check(value: object) -> str | None:
        if not part.argument or not isinstance(value, list):
            return None
        seen: list[object] = []
        for each in value:
            if any(_same(each, earlier) for earlier in seen):
                return f"{shown(each)} occurs twice"
            seen.append(each)
        return None

    return check


def _properties(part: _Part) -> Check:
    inner = {name: compile_schema(each, f"{part.where}.{name}") for name, each in part.argument.items()}

    def check(value: object) -> str | None:
        if not isinstance(value, dict):
            return None
        return _first(inner[name](each) for name, each in value.items() if name in inner)

    return check


def _additional_properties(part: _Part) -> Check:
    known = frozenset(part.schema.get("properties", ()))
    inner = None if isinstance(part.argument, bool) else compile_schema(part.argument, f"{part.where}.*")

    def one(name: str, value: object) -> str | None:
        if inner is not None:
            return inner(value)
        return None if part.argument else f"{shown(name)} is not known here"

    def check(value: object) -> str | None:
        if not isinstance(value, dict):
            return None
        return _first(one(name, each) for name, each in value.items() if name not in known)

    return check


def _required(part: _Part) -> Check:
    if isinstance(part.argument, bool):  # an old way of writing, of no effect on one value
        return _nothing_wrong
    names = list(part.argument)

    def check(value: object) -> str | None:
        if not isinstance(value, dict):
            return None
        return _first(f"{name!r} is missing" for name in names if name not in value)

    return check


def _combination(fits: Callable[[int, int], bool], words: str) -> _Builder:
    """`fits` takes how many alternatives accept the value, and how many there are."""

    def build(part: _Part) -> Check:
        inner = [compile_schema(each, part.where) for each in part.argument]

        def check(value: object) -> str | None:
            accepting = sum(each(value) is None for each in inner)
            return None if fits(accepting, len(inner)) else f"{shown(value)} does not fit {words}"

        return check

    return build


def _not(part: _Part) -> Check:
    inner = compile_schema(part.argument, part.where)
    return lambda value: f"{shown(value)} is not allowed" if inner(value) is None else None


_BUILDERS: Mapping[str, _Builder] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "pattern": _pattern,
    "maxLength": _size(str, "characters", at_most=True),
    "minLength": _size(str, "characters", at_most=False),
    "maxItems": _size(list, "items", at_most=True),
    "minItems": _size(list, "items", at_most=False),
    "maxProperties": _size(dict, "members", at_most=True),
    "minProperties": _size(dict, "members", at_most=False),
    "maximum": _bound(at_most=True),
    "minimum": _bound(at_most=False),
    "exclusiveMaximum": _bound(at_most=True, exclusive=True),
    "exclusiveMinimum": _bound(at_most=False, exclusive=True),
    "items": _items,
    "uniqueItems": _unique_items,
    "properties": _properties,
    "additionalProperties": _additional_properties,
    "required": _required,
    "anyOf": _combination(lambda accepting, _: accepting > 0, "any of the alternatives"),
    "oneOf": _combination(lambda accepting, _: accepting == 1, "exactly one of the alternatives"),
    "allOf": _combination(lambda accepting, total: accepting == total, "all that is asked"),
    "not": _not,
}
