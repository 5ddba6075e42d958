"""The schema documents of metadata definitions, and bodies checked against them (spec: metadefs-api §4, §5).

One table per resource is both: what the documents show, and what bodies are checked against. The checks are closed
where the documents, which have the shape that clients have always got, are not: what cannot be kept is refused.
"""

from collections.abc import Mapping
from typing import Any, Final

from blick.model.errors import Forbidden, Invalid
from blick.model.json_schema import Check, compile_schema
from blick.model.metadef import VISIBILITIES
from blick.model.text import is_storable

Schema = Mapping[str, Any]

NAME_MAX_CHARACTERS: Final = 80
_DESCRIPTION_MAX_CHARACTERS: Final = 500
_OWNER_MAX_CHARACTERS: Final = 255

PROPERTY_TYPES: Final = ("array", "boolean", "integer", "number", "object", "string")


def _text(description: str | None = None, **more: Any) -> dict[str, Any]:
    return {"type": "string", **({} if description is None else {"description": description}), **more}


def _name(description: str) -> dict[str, Any]:
    return _text(description, maxLength=NAME_MAX_CHARACTERS)


def _moment(description: str) -> dict[str, Any]:
    return _text(description, format="date-time", readOnly=True)


def _defined(name: str) -> dict[str, str]:
    return {"$ref": f"#/definitions/{name}"}


# null cannot be: it is no string. It has always been shown.
_TYPE: Schema = {"type": "string", "enum": [*PROPERTY_TYPES, None]}
_FLAG: Schema = {"type": "boolean"}

_PROPERTY: Schema = {
    "name": _name("The property's name"),
    "title": _text("The property's name for people"),
    "description": _text("What the property is, for people"),
    "type": _TYPE,
    "operators": {"type": "array", "items": {"type": "string"}},
    "required": _defined("stringArray"),
    "minimum": {"type": "number"},
    "maximum": {"type": "number"},
    "maxLength": _defined("positiveInteger"),
    "minLength": _defined("positiveIntegerDefault0"),
    "pattern": {"type": "string", "format": "regex"},
    "enum": {"type": "array"},
    "readonly": _FLAG,
    "default": {},
    "items": {"type": "object", "properties": {"type": _TYPE, "enum": {"type": "array"}}},
    "maxItems": _defined("positiveInteger"),
    "minItems": _defined("positiveIntegerDefault0"),
    "uniqueItems": {"type": "boolean", "default": False},
    "additionalItems": _FLAG,
}
_PROPERTY_REQUIRED: Final = ("title", "type")

_STRING_ARRAY: Schema = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
_PROPERTY_MAP: Schema = {
    "type": "object",
    "additionalProperties": {"type": "object", "properties": _PROPERTY, "required": list(_PROPERTY_REQUIRED)},
}
_COUNTS: Schema = {
    "positiveInteger": {"type": "integer", "minimum": 0},
    "positiveIntegerDefault0": {"allOf": [_defined("positiveInteger"), {"default": 0}]},
}
_DEFINITIONS: Schema = {**_COUNTS, "stringArray": _STRING_ARRAY, "property": _PROPERTY_MAP}
# Of one property, the names that must be there are at least one.
_PROPERTY_DEFINITIONS: Schema = {**_COUNTS, "stringArray": {**_STRING_ARRAY, "minItems": 1}}

_OBJECT_ITEM: Schema = {
    "name": {"type": "string"},
    "description": {"type": "string"},
    "required": _defined("stringArray"),
    "properties": _defined("property"),
}

_NAMESPACE: Schema = {
    "namespace": _name("The namespace's name, unique in the service"),
    "display_name": _name("The namespace's name for people"),
    "description": _text("What the namespace is for", maxLength=_DESCRIPTION_MAX_CHARACTERS),
    "visibility": _text("Who may see the namespace", enum=list(VISIBILITIES)),
    "protected": {"type": "boolean", "description": "When true, nothing of the namespace can be deleted"},
    "owner": _text("Project that owns the namespace", maxLength=_OWNER_MAX_CHARACTERS),
    "created_at": _moment("When the namespace was made, UTC"),
    "updated_at": _moment("When the namespace last changed, UTC"),
    "self": _text("Address of this record", readOnly=True),
    "schema": _text("Address of this record's schema", readOnly=True),
    "resource_type_associations": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "prefix": {"type": "string"},
                "properties_target": {"type": "string"},
            },
        },
    },
    "properties": _defined("property"),
    "objects": {"type": "array", "items": {"type": "object", "properties": _OBJECT_ITEM}},
    "tags": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
}

_OBJECT: Schema = {
    "name": _name("The object's name, unique in its namespace"),
    "description": _text("What the object is, for people"),
    "required": _defined("stringArray"),
    "properties": _defined("property"),
    "self": _text("Address of this record", readOnly=True),
    "schema": _text("Address of this record's schema", readOnly=True),
    "created_at": _moment("When the object was made, UTC"),
    "updated_at": _moment("When the object last changed, UTC"),
}

_RESOURCE_TYPE: Schema = {
    "name": _name("The resource type's name, as in the resource catalog of an orchestration service"),
    "prefix": _name("What properties' names begin with on resources of this type"),
    "properties_target": _name("Which of several sets of properties of such a resource is meant"),
    "created_at": _moment("When the association was made, UTC"),
    "updated_at": _moment("When the association last changed, UTC"),
}

_TAG: Schema = {
    "name": _name("The tag, unique in its namespace"),
    "created_at": _moment("When the tag was made, UTC"),
    "updated_at": _moment("When the tag last changed, UTC"),
}


def _item(name: str, properties: Schema, *required: str, definitions: Schema | None = None) -> dict[str, Any]:
    document: dict[str, Any] = {"name": name, "properties": properties, "additionalProperties": False}
    if definitions is not None:
        document["definitions"] = definitions
    return {**document, "required": list(required)}


_NAMESPACE_DOCUMENT = _item("namespace", _NAMESPACE, "namespace", definitions=_DEFINITIONS)
_OBJECT_DOCUMENT = _item("object", _OBJECT, "name", definitions=_DEFINITIONS)
_PROPERTY_DOCUMENT = _item("property", _PROPERTY, "type", "title", "name", definitions=_PROPERTY_DEFINITIONS)
_RESOURCE_TYPE_DOCUMENT = _item("resource_type_association", _RESOURCE_TYPE, "name")
_TAG_DOCUMENT = _item("tag", _TAG, "name")

_LINKS = [
    {"rel": "first", "href": "{first}"},
    {"rel": "next", "href": "{next}"},
    {"rel": "describedby", "href": "{schema}"},
]


def _collection(name: str, item: Schema) -> dict[str, Any]:
    shown = {key: value for key, value in item.items() if key != "definitions"}
    members = {"type": "array", "items": shown}
    return _paged(name, members, item.get("definitions"))


def _paged(name: str, members: Schema, definitions: Schema | None) -> dict[str, Any]:
    text = {"type": "string"}
    document: dict[str, Any] = {
        "name": name,
        "properties": {name: members, "first": text, "next": text, "schema": text},
        "links": _LINKS,
    }
    return document if definitions is None else {**document, "definitions": definitions}


def _properties_document() -> dict[str, Any]:
    one = {key: value for key, value in _PROPERTY_DOCUMENT.items() if key != "definitions"}
    by_name = {"type": "object", "additionalProperties": {**one, "required": ["type", "title"]}}
    return _paged("properties", by_name, _PROPERTY_DEFINITIONS)


DOCUMENTS: Final[Mapping[str, Schema]] = {
    "namespace": _NAMESPACE_DOCUMENT,
    "namespaces": _collection("namespaces", _NAMESPACE_DOCUMENT),
    "object": _OBJECT_DOCUMENT,
    "objects": _collection("objects", _OBJECT_DOCUMENT),
    "property": _PROPERTY_DOCUMENT,
    "properties": _properties_document(),
    "resource_type": _RESOURCE_TYPE_DOCUMENT,
    "resource_types": _collection("resource_type_associations", _RESOURCE_TYPE_DOCUMENT),
    "tag": _TAG_DOCUMENT,
    "tags": _collection("tags", _TAG_DOCUMENT),
}
"""The ten documents, by the last part of their address."""


# What is checked beyond the documents. A name is a column; the rest has no place in what is kept.

_STRICT_NAME: Schema = {"type": "string", "maxLength": NAME_MAX_CHARACTERS}
_STRICT_PROPERTY: Schema = {
    **_PROPERTY,
    "required": {**_STRING_ARRAY, "minItems": 1},
    "minLength": _COUNTS["positiveInteger"],
    "maxLength": _COUNTS["positiveInteger"],
    "minItems": _COUNTS["positiveInteger"],
    "maxItems": _COUNTS["positiveInteger"],
    "enum": {"type": "array", "items": {"type": "string"}},
    "items": {
        "type": "object",
        "properties": {"type": _TYPE, "enum": {"type": "array", "items": {"type": "string"}}},
        "required": ["type"],
        "additionalProperties": False,
    },
}
_STRICT_MAP: Schema = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "properties": _STRICT_PROPERTY,
        "required": list(_PROPERTY_REQUIRED),
        "additionalProperties": False,
    },
}


def _body(properties: Schema, *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def _list_of(item: Schema) -> Schema:
    return {"type": "array", "items": item}


_STRICT_OBJECT: Schema = {
    "name": _STRICT_NAME,
    "description": {"type": "string"},
    "required": _STRING_ARRAY,
    "properties": _STRICT_MAP,
}
_STRICT_ASSOCIATION = _body(
    {"name": _STRICT_NAME, "prefix": _STRICT_NAME, "properties_target": _STRICT_NAME},
    "name",
)
_STRICT_TAG = _body({"name": _STRICT_NAME}, "name")
_STRICT_NAMESPACE: Schema = {
    **_NAMESPACE,
    "namespace": {**_NAMESPACE["namespace"], "minLength": 1, "pattern": "^[^/]*$"},
    "resource_type_associations": _list_of(_STRICT_ASSOCIATION),
    "properties": _STRICT_MAP,
    "objects": _list_of(_body(_STRICT_OBJECT, "name")),
    "tags": _list_of(_STRICT_TAG),
}

_CHECKS: Final[Mapping[str, Check]] = {
    name: compile_schema(schema, f"metadata definitions, {name}")
    for name, schema in {
        "namespace": _body(_STRICT_NAMESPACE, "namespace"),
        "object": _body(_STRICT_OBJECT, "name"),
        "property": _body(_STRICT_PROPERTY, *_PROPERTY_REQUIRED, "name"),
        "resource_type_association": _STRICT_ASSOCIATION,
        "tag": _STRICT_TAG,
        "tags": _body({"tags": _list_of(_STRICT_TAG)}, "tags"),
    }.items()
}

_TIMES: Final = ("created_at", "updated_at")
_LINKED: Final = ("self", "schema", *_TIMES)
_READ_ONLY: Final[Mapping[str, tuple[str, ...]]] = {
    "namespace": _LINKED,
    "object": _LINKED,
    "property": _TIMES,
    "resource_type_association": _TIMES,
    "tag": _TIMES,
    "tags": (),
}


def check_body(body: object, schema_name: str) -> dict[str, Any]:
    """The decoded body of a request, which is what the schema of that name asks for and can be kept.

    `schema_name`: namespace, object, property, resource_type_association, tag, or tags (of many at once).
    Raises Forbidden for a member that only the service sets, Invalid for everything else.
    """
    if isinstance(body, dict):
        _refuse_read_only(body, _READ_ONLY[schema_name])
        _refuse_unstorable(body, schema_name)
    complaint = _CHECKS[schema_name](body)
    if complaint is not None or not isinstance(body, dict):
        raise Invalid(f"Provided object does not match schema '{schema_name}': {complaint}")
    if schema_name == "namespace":
        for name in body.get("properties", ()):
            require_name(name, schema_name)
    return body


def require_name(name: str, schema_name: str) -> None:
    """Raises Invalid for a name, from a path or a key of a map, that is too long to be kept."""
    complaint = _name_check(name)
    if complaint is not None:
        raise Invalid(f"Provided object does not match schema '{schema_name}': {complaint}")
    _refuse_unstorable(name, schema_name)


_name_check = compile_schema(_STRICT_NAME, "a metadata definition's name")


def _refuse_read_only(body: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        if name in body:
            raise Forbidden(f"Attribute '{name}' is read-only.")


def _refuse_unstorable(body: object, schema_name: str) -> None:
    """Four-byte characters of associations are let through, as ever: a database that lacks them refuses them itself."""
    waiting = [body]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting.extend(item.keys())
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, str) and not is_storable(item):
            _refuse_text(item, schema_name)


def _refuse_text(text: str, schema_name: str) -> None:
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise Invalid(f"The {schema_name} contains the character NUL, or what is no text.")
    if schema_name != "resource_type_association":
        raise Invalid(f"The {schema_name} can't contain 4 byte unicode characters.")
