"""The shapes of what goes over the wire about metadata definitions (JSON Schema 2020-12).

What all of them refuse besides is left out: NUL, and characters that take four bytes in UTF-8, in any text.
"""

from collections.abc import Mapping
from typing import Any, Final

from blick.model.metadef import VISIBILITIES
from blick.model.metadef_schema import NAME_MAX_CHARACTERS, PROPERTY_TYPES

Shape = Mapping[str, Any]

_TEXT: Shape = {"type": "string"}
_MOMENT: Shape = {"type": "string", "format": "date-time"}
_NAME: Shape = {"type": "string", "maxLength": NAME_MAX_CHARACTERS}
_TEXTS: Shape = {"type": "array", "items": _TEXT}
_NAMES: Shape = {**_TEXTS, "uniqueItems": True}
_TYPE: Shape = {"enum": list(PROPERTY_TYPES)}
_FLAG: Shape = {"type": "boolean"}
_COUNT: Shape = {"type": "integer", "minimum": 0}


def _object(properties: Mapping[str, Shape], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def _closed(properties: Mapping[str, Shape], *required: str) -> dict[str, Any]:
    return {**_object(properties, *required), "additionalProperties": False}


def _list(item: Shape) -> Shape:
    return {"type": "array", "items": item}


def _map(item: Shape) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": item}


def _component(name: str) -> Shape:
    return {"$ref": f"#/components/schemas/{name}"}


_DEFINITION: Mapping[str, Shape] = {
    "name": _NAME,
    "type": _TYPE,
    "title": _TEXT,
    "description": _TEXT,
    "operators": _TEXTS,
    "required": {**_NAMES, "minItems": 1},
    "default": {},
    "readonly": _FLAG,
    "minimum": {"type": "number"},
    "maximum": {"type": "number"},
    "enum": _TEXTS,
    "pattern": _TEXT,
    "minLength": _COUNT,
    "maxLength": _COUNT,
    "items": _closed({"type": _TYPE, "enum": _TEXTS}, "type"),
    "uniqueItems": _FLAG,
    "minItems": _COUNT,
    "maxItems": _COUNT,
    "additionalItems": _FLAG,
}
_SHOWN_DEFINITION: Shape = _object(
    {
        **dict.fromkeys(("name", "type", "title", "description", "pattern"), _TEXT),
        "default": {"type": ["string", "null"]},
        "operators": _list(_TEXT),
        "enum": _list(_TEXT),
        "readonly": _FLAG,
    }
)
_NEW_DEFINITIONS: Shape = {**_map(_component("new_metadef_definition")), "propertyNames": _NAME}
_NEW_TAG = _closed({"name": _NAME}, "name")

_ASSOCIATION: Mapping[str, Shape] = {"name": _NAME, "prefix": _NAME, "properties_target": _NAME}
_TIMES: Mapping[str, Shape] = {"created_at": _MOMENT, "updated_at": _MOMENT}
_SHOWN_ASSOCIATION: Mapping[str, Shape] = {**dict.fromkeys(_ASSOCIATION, _TEXT), **_TIMES}
_SHOWN_OBJECT: Mapping[str, Shape] = {
    "name": _TEXT,
    "description": _TEXT,
    "required": _list(_TEXT),
    "properties": _map(_component("metadef_definition")),
    **_TIMES,
    "self": _TEXT,
    "schema": _TEXT,
}

SHAPES: Final[Mapping[str, Shape]] = {
    "new_metadef_namespace": _closed(
        {
            # What a path can name.
            "namespace": {**_NAME, "pattern": "^[^/]+$"},
            "display_name": _NAME,
            "description": {"type": "string", "maxLength": 500},
            "visibility": {"enum": list(VISIBILITIES)},
            "protected": _FLAG,
            "owner": {"type": "string", "maxLength": 255},
            "resource_type_associations": _list(_closed(_ASSOCIATION, "name")),
            "properties": _NEW_DEFINITIONS,
            "objects": _list(_component("new_metadef_object")),
            "tags": _list(_NEW_TAG),
        },
        "namespace",
    ),
    "metadef_namespace": _object(
        {
            **dict.fromkeys(("namespace", "display_name", "description", "visibility", "owner"), _TEXT),
            "protected": _FLAG,
            **_TIMES,
            "resource_type_associations": _list(_object(_SHOWN_ASSOCIATION, "name")),
            "properties": _map(_component("metadef_definition")),
            "objects": _list(_object(_SHOWN_OBJECT, "name")),
            "tags": _list(_object({"name": _TEXT}, "name")),
            "self": _TEXT,
            "schema": _TEXT,
        },
        *("namespace", "created_at", "self", "schema"),
    ),
    "metadef_namespaces": _object(
        {"namespaces": _list(_component("metadef_namespace")), "next": _TEXT, "schema": _TEXT, "first": _TEXT},
        *("namespaces", "schema", "first"),
    ),
    "new_metadef_association": _closed(_ASSOCIATION, "name"),
    "metadef_association": _object(_SHOWN_ASSOCIATION, "name", "created_at"),
    "metadef_associations": _object(
        {"resource_type_associations": _list(_component("metadef_association"))}, "resource_type_associations"
    ),
    "metadef_resource_types": _object(
        {"resource_types": _list(_object({"name": _TEXT, **_TIMES}, "name", "created_at"))}, "resource_types"
    ),
    "new_metadef_definition": _closed(_DEFINITION, "type", "title"),
    "new_metadef_property": _closed(_DEFINITION, "type", "title", "name"),
    "metadef_definition": _SHOWN_DEFINITION,
    "metadef_property": {**_SHOWN_DEFINITION, "required": ["name"]},
    "metadef_properties": _object({"properties": _map(_component("metadef_definition"))}, "properties"),
    "new_metadef_object": _closed(
        {
            "name": _NAME,
            "description": _TEXT,
            "required": _NAMES,
            "properties": _map(_component("new_metadef_definition")),
        },
        "name",
    ),
    "metadef_object": _object(_SHOWN_OBJECT, "name", "created_at", "self", "schema"),
    "metadef_objects": _object({"objects": _list(_component("metadef_object")), "schema": _TEXT}, "objects", "schema"),
    "new_metadef_tag": _NEW_TAG,
    "metadef_tag": _object({"name": _TEXT, "created_at": _MOMENT, "updated_at": _MOMENT}, "name", "created_at"),
    "metadef_tags": _closed({"tags": _list(_NEW_TAG)}, "tags"),
}
"""By the names that the route table has for them."""
