"""The body of PATCH /v2/images/{id}: what it says, and what that means for one image.

Two steps, both pure. `parse` needs no image: it refuses what is malformed, what no value can be, and what
nobody may write. `plan` applies the changes, in their order, to what the caller sees of an image, and says what
has to be written: only what the request names, so that concurrent requests do not undo each other.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, cast

from blick.model.errors import Conflict, Forbidden, Invalid, UnsupportedMediaType
from blick.model.image_input import base_value, check_property_name, property_value, refuse_untouchable
from blick.model.json_schema import compile_schema
from blick.model.schema import LOCATION, ImageSchema
from blick.model.text import refuse_unstorable

PatchVersion = Literal["2.0", "2.1"]
Operation = Literal["add", "replace", "remove"]

MEDIA_TYPES: Final[Mapping[str, PatchVersion]] = MappingProxyType(
    {
        "application/openstack-images-v2.0-json-patch": "2.0",
        "application/openstack-images-v2.1-json-patch": "2.1",
    }
)

_OPERATIONS: tuple[Operation, ...] = ("add", "replace", "remove")
_FORMATS = frozenset({"disk_format", "container_format"})
_FORMAT_STATUSES = frozenset({"queued", "importing"})
_STRAY_TILDE = re.compile(r"~(?![01])")
_check_location = compile_schema(LOCATION, "locations")


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the body. `name` is the attribute or custom property.

    `value` is a checked JSON value, None for remove. `index` belongs to locations only: a position, or None
    for the end (`-`) and for a replacement of the whole list.
    `must_be_new` is v2.0's rule that add may not overwrite.
    """

    operation: Operation
    name: str
    value: Any = None
    index: int | None = None
    must_be_new: bool = False


@dataclass(frozen=True, slots=True)
class PropertyEvent:
    """One touch of a custom property."""

    name: str
    action: Literal["create", "update", "delete"]


@dataclass(frozen=True, slots=True)
class PropertyRights:
    """What property protections keep from a caller: names that may not be read, touches that may not be made.

    A property that the caller may not read does not exist for the caller's changes, and stays as it is unless one
    of them creates it anew.
    """

    unreadable: frozenset[str] = frozenset()
    denied: frozenset[PropertyEvent] = frozenset()


@dataclass(frozen=True, slots=True)
class PatchSubject:
    """What of an image the rules look at: its status, its custom properties, and the caller's rights to those."""

    status: str
    properties: Mapping[str, str | None]
    rights: PropertyRights = PropertyRights()


@dataclass(frozen=True, slots=True)
class LocationChange:
    """One touch of the list of locations; `value` is a location, a list of them (replace), or None (remove)."""

    operation: Operation
    index: int | None
    value: Any = None


@dataclass(frozen=True, slots=True)
class PatchPlan:
    """What a request changes, and nothing else.

    `base` holds new values of base attributes (without tags and locations), `tags` the new list as sent,
    doubles included, or None when the request leaves the tags alone. `set_properties` and `remove_properties`
    are the net effect; `events` tells each step, in order. `created` are the names that the image gets anew;
    `resulting_properties` is what it has afterwards.
    """

    base: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] | None = None
    set_properties: Mapping[str, str | None] = field(default_factory=dict)
    remove_properties: frozenset[str] = frozenset()
    created: frozenset[str] = frozenset()
    events: tuple[PropertyEvent, ...] = ()
    locations: tuple[LocationChange, ...] = ()
    resulting_properties: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """True when the request named nothing at all."""
        return not (self.base or self.tags is not None or self.events or self.locations)


def version_of(content_type: str | None) -> PatchVersion:
    """Which of the two notations a Content-Type names. Parameters are ignored, case is not.

    Raises `UnsupportedMediaType` with the two types that are taken.
    """
    media_type = (content_type or "").partition(";")[0].strip()
    version = MEDIA_TYPES.get(media_type)
    if version is None:
        raise UnsupportedMediaType(
            f"The media type must be one of {', '.join(MEDIA_TYPES)}.", accept_patch=tuple(MEDIA_TYPES)
        )
    return version


def parse(version: PatchVersion, document: object, schema: ImageSchema) -> tuple[Change, ...]:
    """Check a decoded JSON body. Raises `Invalid`, or `Forbidden` for attributes that nobody may write."""
    if not isinstance(document, list):
        raise Invalid("Request body must be a JSON array of operation objects.")
    return tuple(_change(version, entry, schema) for entry in document)


def _change(version: PatchVersion, entry: object, schema: ImageSchema) -> Change:
    if not isinstance(entry, dict):
        raise Invalid("Operations must be JSON objects.")
    operation, pointer = _operation_2_0(entry) if version == "2.0" else _operation_2_1(entry)
    tokens = _tokens(pointer)
    name = tokens[0]
    if name != "locations" and len(tokens) != 1:
        raise Invalid(f"Invalid JSON pointer for this resource: {pointer!r:.80}")
    refuse_unstorable(name, "The name of an attribute")
    refuse_untouchable(name, schema)
    if name == "id":
        raise Forbidden("Attribute 'id' is read-only.")
    if not schema.is_base(name):
        check_property_name(name)
    if operation != "remove" and "value" not in entry:
        raise Invalid(f'Operation {operation!r} requires a member named "value".')
    value = None if operation == "remove" else entry["value"]
    must_be_new = version == "2.0" and operation == "add"
    if name == "locations":
        return _location_change(operation, tokens, value, schema)
    if operation != "remove":
        schema.check(name, value)
        refuse_unstorable(value, f"The attribute {name!r}")
    return Change(operation, name, value, must_be_new=must_be_new)


def _operation_2_1(entry: dict[Any, Any]) -> tuple[Operation, str]:
    operation = entry.get("op")
    if operation not in _OPERATIONS:
        raise Invalid(f"Operations must be one of {', '.join(_OPERATIONS)}, not {operation!r:.80}.")
    if "path" not in entry:
        raise Invalid('Operation objects must contain a member named "path".')
    return cast(Operation, operation), _text(entry["path"])


def _operation_2_0(entry: dict[Any, Any]) -> tuple[Operation, str]:
    named = [operation for operation in _OPERATIONS if operation in entry]
    if len(named) != 1:
        raise Invalid(f"Operation objects must contain exactly one of {', '.join(_OPERATIONS)}.")
    return named[0], _text(entry[named[0]])


def _text(pointer: object) -> str:
    if not isinstance(pointer, str):
        raise Invalid("A JSON pointer must be a string.")
    return pointer


def _tokens(pointer: str) -> list[str]:
    pointer = pointer.strip()
    if not pointer.startswith("/"):
        raise Invalid(f'Pointer {pointer!r:.80} does not start with "/".')
    if "//" in pointer:
        raise Invalid(f'Pointer {pointer!r:.80} contains adjacent "/".')
    if len(pointer) > 1 and pointer.endswith("/"):
        raise Invalid(f'Pointer {pointer!r:.80} ends with "/".')
    if _STRAY_TILDE.search(pointer):
        raise Invalid(f'Pointer {pointer!r:.80} contains "~" not part of a recognized escape sequence.')
    return [token.strip().replace("~1", "/").replace("~0", "~") for token in pointer[1:].split("/")]


def _location_change(operation: Operation, tokens: list[str], value: Any, schema: ImageSchema) -> Change:
    wanted_depth = 1 if operation == "replace" else 2
    if len(tokens) != wanted_depth:
        raise Invalid(f"Operation {operation!r} on locations needs a pointer of {wanted_depth} parts.")
    if operation == "replace":
        schema.check("locations", value)
        refuse_unstorable(value, "The attribute 'locations'")
        return Change(operation, "locations", value)
    if operation == "add":
        complaint = _check_location(value)
        if complaint is not None:
            raise Invalid(f"Invalid location: {complaint}.")
        refuse_unstorable(value, "A location")
    return Change(operation, "locations", value, index=_index(operation, tokens[1]))


def _index(operation: Operation, step: str) -> int | None:
    if step == "-" and operation == "add":
        return None
    if not re.fullmatch(r"[0-9]{1,9}", step):
        raise Invalid(f"Invalid position for a location: {step!r:.80}.")
    return int(step)


def plan(changes: Iterable[Change], subject: PatchSubject, schema: ImageSchema, *, is_admin: bool) -> PatchPlan:
    """Say what `changes` do to the image. Quotas and policies are not looked at.

    Raises `Conflict` (a property that is missing, or exists against v2.0's rule), `Forbidden` (an attribute that
    cannot be removed, a format that is settled, an owner set by anyone but an administrator, a property that is
    protected from the caller) or `Invalid` (a required property would be missing). Nothing has happened then.
    """
    draft = _Draft(subject, is_admin=is_admin)
    for change in changes:
        if change.name == "locations":
            draft.locations.append(LocationChange(change.operation, change.index, change.value))
        elif schema.is_base(change.name):
            draft.apply_to_base(change)
        else:
            draft.apply_to_property(change)
    outcome = draft.plan()
    if not outcome.is_empty:
        schema.check_required([*schema.base, *outcome.resulting_properties])
    return outcome


class _Draft:
    """The state while changes are applied one after another."""

    def __init__(self, subject: PatchSubject, *, is_admin: bool) -> None:
        self._subject = subject
        self._is_admin = is_admin
        self._properties = dict(subject.properties)
        self._touched: set[str] = set()
        self._base: dict[str, Any] = {}
        self._tags: tuple[str, ...] | None = None
        self._events: list[PropertyEvent] = []
        self.locations: list[LocationChange] = []

    def apply_to_base(self, change: Change) -> None:
        name = change.name
        if name == "owner" and not self._is_admin:
            raise Forbidden("Changing the owner of an image is up to administrators.")
        if change.operation == "remove":
            raise Forbidden(f"Property {name} may not be removed.")
        if change.must_be_new:
            raise Conflict(f"Property {name} already present.")
        if name in _FORMATS and self._subject.status not in _FORMAT_STATUSES:
            raise Forbidden(f"Attribute {name} can be only replaced for a queued image.")
        value = base_value(name, change.value)
        if name == "tags":
            self._tags = value
        else:
            self._base[name] = (value or None) if name == "owner" else value

    def apply_to_property(self, change: Change) -> None:
        name, rights = change.name, self._subject.rights
        exists = name in self._properties and name not in rights.unreadable
        if not exists and change.operation != "add":
            raise Conflict(f"Property {name} does not exist.")
        if exists and change.must_be_new:
            raise Conflict(f"Property {name} already present.")
        removes = change.operation == "remove"
        event = PropertyEvent(name, "delete" if removes else "update" if exists else "create")
        if event in rights.denied:
            raise Forbidden(f"Attribute '{name}' is reserved.")
        self._touched.add(name)
        self._events.append(event)
        if removes:
            del self._properties[name]
        else:
            self._properties[name] = property_value(change.value)

    def plan(self) -> PatchPlan:
        before, after = self._subject.properties, self._properties
        return PatchPlan(
            base=self._base,
            tags=self._tags,
            set_properties={name: after[name] for name in after if name in self._touched},
            remove_properties=frozenset(name for name in self._touched if name in before and name not in after),
            created=frozenset(name for name in self._touched if name not in before and name in after),
            events=tuple(self._events),
            locations=tuple(self.locations),
            resulting_properties=after,
        )
