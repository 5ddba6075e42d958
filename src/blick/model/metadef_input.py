"""Bodies of requests about metadata definitions: checked, and made into records (spec: metadefs-api §4 to §6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from blick.model.metadef import (
    PRIVATE,
    Association,
    Children,
    Definition,
    MetadefObject,
    MetadefProperty,
    MetadefTag,
    NewNamespace,
)
from blick.model.metadef_schema import check_body, require_name

_WHOLE_NUMBERS: Final = ("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems")


@dataclass(frozen=True, slots=True)
class NamespaceInput:
    """The body of a new or replaced namespace."""

    namespace: NewNamespace
    children: Children


def parse_namespace(body: object) -> NamespaceInput:
    """The body of POST and PUT of a namespace. Raises Forbidden (read-only members), Invalid."""
    given = check_body(body, "namespace")
    namespace = NewNamespace(
        name=given["namespace"],
        display_name=given.get("display_name"),
        description=given.get("description"),
        visibility=given.get("visibility", PRIVATE),
        protected=given.get("protected", False),
        owner=given.get("owner"),
    )
    children = Children(
        associations=[_association(each) for each in given.get("resource_type_associations", ())],
        properties=[MetadefProperty(name, kept(each)) for name, each in given.get("properties", {}).items()],
        objects=[_object(each) for each in given.get("objects", ())],
        tags=[MetadefTag(each["name"]) for each in given.get("tags", ())],
    )
    return NamespaceInput(namespace, children)


def parse_object(body: object) -> MetadefObject:
    """The body of POST and PUT of an object. Raises Forbidden (read-only members), Invalid."""
    return _object(check_body(body, "object"))


def parse_property(body: object) -> MetadefProperty:
    """The body of POST and PUT of a property; its name is part of what is kept. Raises as `parse_object`."""
    given = check_body(body, "property")
    return MetadefProperty(given["name"], kept(given))


def parse_tag(body: object) -> MetadefTag:
    """The body of PUT of a tag. Raises as `parse_object`."""
    return MetadefTag(check_body(body, "tag")["name"])


def tag_of_path(name: str) -> MetadefTag:
    """A tag that is named by its address only. Raises Invalid."""
    require_name(name, "tag")
    return MetadefTag(name)


def parse_tags(body: object) -> Sequence[MetadefTag]:
    """The body of POST of many tags. Raises as `parse_object`."""
    return [MetadefTag(each["name"]) for each in check_body(body, "tags")["tags"]]


def parse_association(body: object) -> Association:
    """The body of POST of an association with a resource type. Raises as `parse_object`."""
    return _association(check_body(body, "resource_type_association"))


def _association(given: Mapping[str, Any]) -> Association:
    return Association(given["name"], given.get("prefix"), given.get("properties_target"))


def _object(given: Mapping[str, Any]) -> MetadefObject:
    properties: Mapping[str, Definition] | None = given.get("properties")
    return MetadefObject(
        name=given["name"],
        description=given.get("description"),
        required=given.get("required"),
        properties=None if properties is None else {name: kept(each) for name, each in properties.items()},
    )


def kept(definition: Mapping[str, Any]) -> Definition:
    """A checked definition as it is kept: numbers whole, and the default a text, as clients expect them."""
    return {name: _kept(name, value) for name, value in definition.items()}


def _kept(name: str, value: Any) -> Any:
    if name in _WHOLE_NUMBERS:
        return int(value)
    return default_text(value) if name == "default" else value


def default_text(value: object) -> str | None:
    """A property's default as clients have always got it: a text, or null for what is none."""
    return None if value is None or isinstance(value, dict | list) else str(value)
