"""The JSON of metadata definitions that is sent: records in, documents out (spec: metadefs-api §1, §4).

What is not set is left out, never null; but for a property's default.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from blick.http.render import stamp
from blick.model.metadef import (
    Association,
    Children,
    Definition,
    MetadefNamespace,
    MetadefObject,
    MetadefProperty,
    MetadefTag,
    ResourceType,
)
from blick.model.metadef_input import default_text

NAMESPACES_PATH: Final = "/v2/metadefs/namespaces"

_DEFINITION_KEYS: Final = (
    "name", "type", "title", "description", "operators", "default", "readonly", "minimum", "maximum", "enum",
    "pattern", "minLength", "maxLength", "confidential", "items", "uniqueItems", "minItems", "maxItems",
    "additionalItems", "required",
)  # fmt: skip


def set_only(document: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is None."""
    return {name: value for name, value in document.items() if value is not None}


def moment(at: datetime | None) -> str | None:
    """A time as it is shown, None where it is not known."""
    return None if at is None else stamp(at)


def namespace_document(namespace: MetadefNamespace, children: Children | None = None) -> dict[str, Any]:
    """A namespace, with what lies in it as far as there is some."""
    inside = children or Children()
    path = f"{NAMESPACES_PATH}/{namespace.name}"
    return set_only(
        {
            "namespace": namespace.name,
            "display_name": namespace.display_name,
            "description": namespace.description,
            "visibility": namespace.visibility,
            "protected": namespace.protected,
            "owner": namespace.owner,
            "created_at": stamp(namespace.created_at),
            "updated_at": moment(namespace.updated_at),
            "resource_type_associations": [association_document(each) for each in inside.associations] or None,
            "properties": property_map(inside.properties) or None,
            "objects": [object_document(each, namespace.name) for each in inside.objects] or None,
            "tags": [{"name": each.name} for each in inside.tags] or None,
            "self": path,
            "schema": "/v2/schemas/metadefs/namespace",
        }
    )


def association_document(association: Association) -> dict[str, Any]:
    """A namespace's association with a resource type."""
    return set_only(
        {
            "name": association.name,
            "prefix": association.prefix,
            "properties_target": association.properties_target,
            "created_at": moment(association.created_at),
            "updated_at": moment(association.updated_at),
        }
    )


def resource_type_document(resource_type: ResourceType) -> dict[str, Any]:
    """A resource type, whichever namespaces are associated with it."""
    return set_only(
        {
            "name": resource_type.name,
            "created_at": stamp(resource_type.created_at),
            "updated_at": moment(resource_type.updated_at),
        }
    )


def object_document(item: MetadefObject, namespace_name: str) -> dict[str, Any]:
    """An object; one that is not saved, without times and address."""
    document = {
        "name": item.name,
        "required": None if item.required is None else list(item.required),
        "description": item.description,
        "properties": None
        if item.properties is None
        else {name: definition_document(each) for name, each in item.properties.items()},
    }
    if item.created_at is not None:
        document |= {
            "created_at": stamp(item.created_at),
            "updated_at": moment(item.updated_at),
            "self": f"{NAMESPACES_PATH}/{namespace_name}/objects/{item.name}",
            "schema": "/v2/schemas/metadefs/object",
        }
    return set_only(document)


def tag_document(tag: MetadefTag) -> dict[str, Any]:
    """A tag on its own."""
    return set_only({"name": tag.name, "created_at": moment(tag.created_at), "updated_at": moment(tag.updated_at)})


def property_map(properties: Sequence[MetadefProperty]) -> dict[str, Any]:
    """Properties by name."""
    return {each.name: definition_document(each.schema) for each in properties}


def property_document(item: MetadefProperty) -> dict[str, Any]:
    """A property on its own."""
    return {"name": item.name, **definition_document({**item.schema, "name": item.name})}


def definition_document(definition: Definition) -> dict[str, Any]:
    """What a property may be, in the customary order of keys; what clients do not know is left out."""
    document = {
        name: definition[name] for name in _DEFINITION_KEYS if name in definition and definition[name] is not None
    }
    if "default" not in definition:
        return document
    return {name: _shown(name, definition[name]) for name in _DEFINITION_KEYS if name in document or name == "default"}


def _shown(name: str, value: Any) -> Any:
    return default_text(value) if name == "default" else value
