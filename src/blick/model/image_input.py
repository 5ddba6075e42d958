"""The body of POST /v2/images, and what its values may be."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from blick.model.errors import Forbidden, Invalid, LimitExceeded
from blick.model.json_schema import is_integer
from blick.model.schema import NAME_MAX_CHARACTERS, ImageSchema
from blick.model.text import refuse_unstorable

RESERVED_PREFIX: Final = "os_glance"
"""Property names that start so belong to the service."""

_RESERVED = frozenset({"location", "locations", "deleted", "deleted_at"})
_INTEGERS = frozenset({"min_disk", "min_ram"})


@dataclass(frozen=True, slots=True)
class NewImage:
    """What a caller wants registered: checked, defaults filled in, nothing decided about rights or quotas.

    `owner` is what the body says, which counts only if `owner_given`; an empty string means that nobody
    shall own the image. `tags` are as sent, doubles included: the quota counts them so. `properties` are
    the custom properties, in the order of the body.
    """

    id: str | None = None
    name: str | None = None
    visibility: str = "shared"
    owner: str | None = None
    owner_given: bool = False
    protected: bool = False
    os_hidden: bool = False
    min_disk: int = 0
    min_ram: int = 0
    disk_format: str | None = None
    container_format: str | None = None
    tags: tuple[str, ...] = ()
    properties: Mapping[str, str | None] = field(default_factory=dict)


def parse(body: object, schema: ImageSchema) -> NewImage:
    """Check a decoded JSON body. Raises `Invalid` for what makes no sense, then `Forbidden` for names that
    callers may not set."""
    if not isinstance(body, dict):
        raise Invalid("The body must be a JSON object.")
    for name, value in body.items():
        schema.check(name, value)
        refuse_unstorable(name, "The name of an attribute")
        refuse_unstorable(value, f"The attribute {name!r}")
        if not schema.is_base(name):
            check_property_name(name)
    schema.check_required(body)
    for name in body:
        refuse_untouchable(name, schema)
        if name in _RESERVED:
            raise Forbidden(f"Attribute '{name}' is reserved.")
    base: dict[str, Any] = {name: base_value(name, body[name]) for name in body if schema.is_base(name)}
    return NewImage(
        **base,
        owner_given="owner" in body,
        properties=MappingProxyType(
            {name: property_value(value) for name, value in body.items() if not schema.is_base(name)}
        ),
    )


def refuse_untouchable(name: str, schema: ImageSchema) -> None:
    """Raise `Forbidden` for an attribute that no caller may write, whoever it is."""
    if schema.is_read_only(name):
        raise Forbidden(f"Attribute '{name}' is read-only.")
    if name in _RESERVED and name != "locations":
        raise Forbidden(f"Attribute '{name}' is reserved.")
    if name.startswith(RESERVED_PREFIX):
        raise Forbidden(f"Attribute '{name}' is reserved: names that start with {RESERVED_PREFIX} are the service's.")


def check_property_name(name: str) -> None:
    """Raise `Invalid` for a name that no custom property can have."""
    if len(name) > NAME_MAX_CHARACTERS:
        raise Invalid(f"A property name has {len(name)} characters, at most {NAME_MAX_CHARACTERS} are possible.")


def check_tag(tag: str) -> None:
    """Raise `Invalid` for a text that cannot be a tag."""
    if len(tag) > NAME_MAX_CHARACTERS:
        raise Invalid(f"A tag has {len(tag)} characters, at most {NAME_MAX_CHARACTERS} are possible.")
    refuse_unstorable(tag, "A tag")


def check_property_quota(count: int, image_property_quota: int) -> None:
    """Raise `LimitExceeded` when `count` custom properties are too many; a negative quota is no limit."""
    if 0 <= image_property_quota < count:
        raise LimitExceeded(
            f"The limit has been exceeded on the number of allowed image properties. "
            f"Attempted: {count}, Maximum: {image_property_quota}"
        )


def check_tag_quota(count: int, image_tag_quota: int) -> None:
    """Raise `LimitExceeded` when `count` tags, doubles included, are too many; a negative quota is no limit."""
    if 0 <= image_tag_quota < count:
        raise LimitExceeded(
            f"The limit has been exceeded on the number of allowed image tags. "
            f"Attempted: {count}, Maximum: {image_tag_quota}"
        )


def base_value(name: str, value: Any) -> Any:
    """A checked JSON value of a base attribute as the record keeps it: 5.0 becomes 5, a list a tuple."""
    if name in _INTEGERS and is_integer(value):
        return int(value)
    return tuple(value) if name == "tags" else value


def property_value(value: object) -> str | None:
    """A checked JSON value of a custom property as the record keeps it: text, or null.

    Only a property that the operator declared so can be anything else; it is kept as JSON text.
    """
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
