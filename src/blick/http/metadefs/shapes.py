"""The shapes of what goes over the wire about metadata definitions (JSON Schema 2020-12).

Of bodies that are sent, only what is always taken: the rest is refused, or depends on the database.
"""

from collections.abc import Mapping
from typing import Any, Final

from blick.model.metadef import VISIBILITIES
from blick.model.metadef_schema import NAME_MAX_CHARACTERS, PROPERTY_TYPES

Shape = Mapping[str, Any]

_TEXT: Shape = {"type": "string"}
_MOMENT: Shape = {"type": "string", "format": "date-time"}
# Existing databases have no place for characters that take four bytes in UTF-8, and none for NUL.
_STORABLE: Shape = {"type": "string", "pattern": "^[\\u0001-\\ud7ff\\ue000-\\uffff]*$", "maxLength": 500}
_NAME: Shape = {**_STORABLE, "minLength": 1, "maxLength": NAME_MAX_CHARACTERS}
_NAMES: Shape = {"type": "array", "items": _NAME, "uniqueItems": True, "maxItems": 10}
_TEXTS: Shape = {"type": "array", "items": _STORABLE, "maxItems": 10}
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
    "title": _STORABLE,
    "description": _STORABLE,
    "operators": _TEXTS,
    "default": _STORABLE,
    "readonly": _FLAG,
    "minimum": {"type": "number"},
    "maximum": {"type": "number"},
    "enum": _TEXTS,
    "pattern": _STORABLE,
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
_NEW_TAG = _closed({"name": _NAME}, "name")
# A comma would part the name in two.
_REQUIRED_NAMES: Shape = {**_NAMES, "items": {**_NAME, "pattern": "^[A-Za-z0-9_]*$"}}

_ASSOCIATION: Mapping[str, Shape] = {"name": _NAME, "prefix": {**_NAME, "minLength": 0}, "properties_target": _NAME}
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
            "namespace": {"type": "string", "pattern": "^[A-Za-z0-9_:]+$", "maxLength": NAME_MAX_CHARACTERS},
            "display_name": {**_NAME, "minLength": 0},
            "description": _STORABLE,
            "visibility": {"enum": list(VISIBILITIES)},
            "protected": _FLAG,
            "owner": {**_NAME, "maxLength": 255},
            "resource_type_associations": _list(_closed(_ASSOCIATION, "name")),
            "properties": {
                **_map(_component("new_metadef_definition")),
                "propertyNames": _NAME,
                "maxProperties": 10,
            },
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
            "tags": _list(_NEW_TAG),
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
            "description": _STORABLE,
            "required": _REQUIRED_NAMES,
            "properties": {
                **_map(_component("new_metadef_definition")),
                "propertyNames": _NAME,
                "maxProperties": 10,
            },
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
