"""What an image's attributes may be, and the schema documents that tell clients so.

One table per resource is both: what values are checked against, and what the documents show.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from blick.model.errors import Invalid, StartRefused
from blick.model.json_schema import Check, compile_schema
from blick.model.task import STATUS, TYPES

Definition = Mapping[str, Any]

NAME_MAX_CHARACTERS = 255
"""Longest image name, property name, tag and project id that the database keeps."""

INTEGER_MAX = 2**31 - 1
"""Largest min_disk and min_ram that the database keeps."""

# The groups mean nothing; clients have always been shown the pattern with them.
UUID_PATTERN = "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"

IMAGE_STATUSES = (
    "queued", "saving", "active", "killed", "deleted",
    "uploading", "importing", "pending_delete", "deactivated",
)  # fmt: skip
VISIBILITIES = ("community", "public", "private", "shared")
MEMBER_STATUSES = ("pending", "accepted", "rejected")

_BOUNDED = {"minimum": 0, "maximum": INTEGER_MAX}
_UNSHOWN_BOUNDS: Mapping[str, Definition] = {"min_disk": _BOUNDED, "min_ram": _BOUNDED}
"""Checked, but not part of the documents, which have the shape that clients have always got."""


def _text(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": description, **more}


def _text_or_null(description: str, **more: Any) -> dict[str, Any]:
    return {"type": ["null", "string"], "description": description, **more}


def _read_only_text(description: str, **more: Any) -> dict[str, Any]:
    return _text(description, readOnly=True, **more)


def _format(description: str, formats: Iterable[str]) -> dict[str, Any]:
    return {"type": ["null", "string"], "description": description, "enum": [None, *formats]}


_VALIDATION_DATA: Definition = {
    "type": "object",
    "description": "What the data must hash to; only ever sent, never returned",
    "writeOnly": True,
    "additionalProperties": False,
    "properties": {
        "checksum": _text("MD5 of the data, hexadecimal", minLength=32, maxLength=32),
        "os_hash_algo": _text("Name of the algorithm behind os_hash_value", maxLength=64),
        "os_hash_value": _text("Hash of the data, hexadecimal", maxLength=128),
    },
    "required": ["os_hash_algo", "os_hash_value"],
}

LOCATION: Definition = {
    "type": "object",
    "properties": {
        "url": {"type": "string", "maxLength": 255},
        "metadata": {"type": "object"},
        "validation_data": _VALIDATION_DATA,
    },
    "required": ["url", "metadata"],
}


def _size(description: str) -> dict[str, Any]:
    return {"type": ["null", "integer"], "description": description, "readOnly": True}


def _base_attributes(disk_formats: Iterable[str], container_formats: Iterable[str]) -> dict[str, Definition]:
    return {
        "id": _text("The image's own identifier", pattern=UUID_PATTERN),
        "name": _text_or_null("A name for people; need not be unique", maxLength=NAME_MAX_CHARACTERS),
        "status": _read_only_text("How far the image has come", enum=list(IMAGE_STATUSES)),
        "visibility": _text("Who may find and use the image", enum=list(VISIBILITIES)),
        "protected": {"type": "boolean", "description": "When true, the image cannot be deleted"},
        "os_hidden": {"type": "boolean", "description": "When true, default lists leave the image out"},
        "checksum": _text_or_null("MD5 of the data, hexadecimal", readOnly=True, maxLength=32),
        "os_hash_algo": _text_or_null("Name of the algorithm behind os_hash_value", readOnly=True, maxLength=64),
        "os_hash_value": _text_or_null("Hash of the data by os_hash_algo, hexadecimal", readOnly=True, maxLength=128),
        "owner": _text_or_null("Project that owns the image", maxLength=NAME_MAX_CHARACTERS),
        "size": _size("Bytes of the stored data"),
        "virtual_size": _size("Bytes of the disk that the data describes"),
        "container_format": _format("What the disk is wrapped in", container_formats),
        "disk_format": _format("Format of the disk", disk_formats),
        "created_at": _read_only_text("When the image was registered, UTC"),
        "updated_at": _read_only_text("When the image last changed, UTC"),
        "tags": {
            "type": "array",
            "description": "Short words to find the image by",
            "items": {"type": "string", "maxLength": NAME_MAX_CHARACTERS},
        },
        "direct_url": _read_only_text("Where the data lies, for services that may read it there"),
        "min_ram": {"type": "integer", "description": "Memory in MiB that a server needs to boot the image"},
        "min_disk": {"type": "integer", "description": "Disk in GiB that a server needs to boot the image"},
        "self": _read_only_text("Address of this record"),
        "file": _read_only_text("Address of the data"),
        "stores": _read_only_text("Stores that hold the data, comma between them"),
        "schema": _read_only_text("Address of this record's schema"),
        "locations": {"type": "array", "description": "Where the copies of the data lie", "items": LOCATION},
    }


def _hyphenated_or_null(description: str) -> dict[str, Any]:
    return _text_or_null(description, pattern=UUID_PATTERN)


SHIPPED_PROPERTIES: Mapping[str, Definition] = MappingProxyType(
    {
        "kernel_id": _hyphenated_or_null("Image that holds the kernel to boot with"),
        "ramdisk_id": _hyphenated_or_null("Image that holds the initial memory disk to boot with"),
        "instance_uuid": _text("Server that this image was made from"),
        "architecture": _text("Processor architecture that the system inside needs"),
        "os_distro": _text("Name of the distribution inside, in lower case"),
        "os_version": _text("Version of the system inside, as its makers write it"),
        "description": _text("What the image is, for people"),
        "cinder_encryption_key_id": _text("Key, in the key manager, that the disk is encrypted with"),
        "cinder_encryption_key_deletion_policy": _text(
            "What becomes of that key when the image is deleted",
            enum=["on_image_deletion", "do_not_delete"],
        ),
    }
)
"""The custom properties that are declared where the operator's own file does not say otherwise."""


@dataclass(frozen=True, slots=True)
class ImageSchema:
    """The attributes of an image on this deployment. Made by `image_schema`.

    `base` and `declared` hold each attribute's definition, in the order of the documents; `required` names
    what each record must have. Reading it from several threads is safe.
    """

    base: Mapping[str, Definition]
    declared: Mapping[str, Definition]
    required: tuple[str, ...]
    checks: Mapping[str, Check]

    def check(self, name: str, value: object) -> None:
        """Raise `Invalid` when `value` is nothing that the attribute or custom property `name` may be."""
        check = self.checks.get(name, _text_check)
        complaint = check(value)
        if complaint is not None:
            raise Invalid(f"Provided object does not match schema 'image': {complaint}, in attribute {name!r}.")

    def check_required(self, present: Iterable[str]) -> None:
        """Raise `Invalid` when one of the attributes that each record needs is not among `present`."""
        present = frozenset(present)
        missing = [name for name in self.required if name not in present]
        if missing:
            raise Invalid(f"Provided object does not match schema 'image': {', '.join(missing)} is required.")

    def is_base(self, name: str) -> bool:
        """True for an attribute that each image has; false for a custom property, declared or not."""
        return name in self.base

    def is_read_only(self, name: str) -> bool:
        """True for a base attribute that only the service sets."""
        return bool(self.base.get(name, {}).get("readOnly", False))


def _text_check(value: object) -> str | None:
    return None if isinstance(value, str) else f"{value!r:.80} is not of type string"


def image_schema(
    disk_formats: Iterable[str],
    container_formats: Iterable[str],
    declaration: Mapping[str, Any] = SHIPPED_PROPERTIES,
) -> ImageSchema:
    """The schema for the configured formats and the declared custom properties.

    `declaration` is the decoded operator's file in either of its two shapes, `{name: definition}` or
    `{"properties": {name: definition}, "required": [name]}`; `{}` declares nothing.
    Raises `StartRefused` when it is malformed or tries to redefine a base attribute.
    """
    base = _base_attributes(tuple(disk_formats), tuple(container_formats))
    declared, required = _declaration(declaration)
    redefined = sorted(declared.keys() & base.keys())
    if redefined:
        raise StartRefused(f"The image schema file redefines base attributes: {', '.join(redefined)}.")
    checks = {
        name: compile_schema({**definition, **_UNSHOWN_BOUNDS.get(name, {})}, name)
        for name, definition in (base | declared).items()
    }
    return ImageSchema(
        base=MappingProxyType(base),
        declared=MappingProxyType(declared),
        required=required,
        checks=MappingProxyType(checks),
    )


def _declaration(declaration: Mapping[str, Any]) -> tuple[dict[str, Definition], tuple[str, ...]]:
    if not isinstance(declaration, Mapping):
        raise StartRefused("The image schema file must hold a JSON object.")
    properties: Any = declaration
    required: Any = ()
    if isinstance(declaration.get("properties"), Mapping) and "type" not in declaration["properties"]:
        properties = declaration["properties"]
        required = declaration.get("required", ())
    for name, definition in properties.items():
        if not isinstance(definition, Mapping):
            raise StartRefused(f"The image schema file does not define {name!r} by a JSON object.")
    if not isinstance(required, list | tuple) or not all(isinstance(name, str) for name in required):
        raise StartRefused("In the image schema file, required must be a list of names.")
    return dict(properties), tuple(required)


def _link(relation: str, target: str) -> dict[str, str]:
    return {"rel": relation, "href": target}


_PAGE_LINKS = [_link("first", "{first}"), _link("next", "{next}"), _link("describedby", "{schema}")]


def _image(schema: ImageSchema) -> dict[str, Any]:
    declared = {name: {**definition, "is_base": False} for name, definition in schema.declared.items()}
    document: dict[str, Any] = {
        "name": "image",
        "properties": {**schema.base, **declared},
        "additionalProperties": {"type": "string"},
        "links": [_link("self", "{self}"), _link("enclosure", "{file}"), _link("describedby", "{schema}")],
    }
    if schema.required:
        document["required"] = list(schema.required)
    return document


def _images(schema: ImageSchema) -> dict[str, Any]:
    return {
        "name": "images",
        "properties": {
            "images": {"type": "array", "items": _image(schema)},
            "first": {"type": "string"},
            "next": {"type": "string"},
            "schema": {"type": "string"},
        },
        "links": _PAGE_LINKS,
    }


_MEMBER: Definition = {
    "name": "member",
    "properties": {
        "member_id": _text("Project that the image is shared with"),
        "image_id": _text("The shared image", pattern=UUID_PATTERN),
        "created_at": _text("When the image was shared, UTC"),
        "updated_at": _text("When the status last changed, UTC"),
        "status": _text("What the project made of the offer", enum=list(MEMBER_STATUSES)),
        "schema": {"type": "string", "readOnly": True},
    },
}

TASK: Definition = {
    "name": "task",
    "properties": {
        "id": _text("The task's own identifier", pattern=UUID_PATTERN),
        "type": _text("What the task does", enum=list(TYPES)),
        "status": _text("How far the task has come", enum=list(STATUS)),
        "input": {"type": ["null", "object"], "description": "What the task was asked to do"},
        "result": {"type": ["null", "object"], "description": "What came of it"},
        "owner": _text("Project that the task belongs to"),
        "message": _text("What went wrong, if anything did"),
        "expires_at": _text_or_null("When the record of the task may be removed, UTC"),
        "created_at": _text("When the task was made, UTC"),
        "updated_at": _text("When the task last changed, UTC"),
        "self": {"type": "string", "readOnly": True},
        "schema": {"type": "string", "readOnly": True},
        "image_id": _text("Image that the task works on"),
        "request_id": _text("Request that made the task"),
        "user_id": _text("User that made the task"),
    },
}


def _in_lists(properties: Mapping[str, Definition]) -> dict[str, Definition]:
    """What of a task its list shows: not what it was given and what came of it."""
    return {name: each for name, each in properties.items() if name not in ("input", "result", "message")}


def _unpaged(name: str, item: Definition) -> dict[str, Any]:
    return {
        "name": name,
        "properties": {
            name: {"type": "array", "items": item},
            "schema": {"type": "string"},
        },
        "links": [_link("describedby", "{schema}")],
    }


def documents(schema: ImageSchema) -> dict[str, dict[str, Any]]:
    """The six documents by name (image, images, member, members, task, tasks), ready to be written as JSON."""
    return {
        "image": _image(schema),
        "images": _images(schema),
        "member": dict(_MEMBER),
        "members": _unpaged("members", _MEMBER),
        "task": dict(TASK),
        "tasks": _unpaged("tasks", {**TASK, "properties": _in_lists(TASK["properties"])}),
    }
