"""Metadata definitions: which properties there are, by namespace, and what they may be (spec: metadefs-api §1, §2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from blick.model.context import RequestContext
from blick.model.errors import Forbidden

PUBLIC: Final = "public"
PRIVATE: Final = "private"
VISIBILITIES: Final = (PUBLIC, PRIVATE)

Definition = Mapping[str, Any]
"""What one property may be: the members of the JSON schema subset, as they are stored."""


@dataclass(frozen=True, slots=True)
class MetadefNamespace:
    """A namespace, which everything else lies in. `name` is unique in the whole service; `id` is never shown.

    `visibility` and `protected` may be None in rows of others, which counts as private and as false.
    """

    id: int
    name: str
    display_name: str | None
    description: str | None
    visibility: str | None
    protected: bool | None
    owner: str | None
    created_at: datetime
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class MetadefProperty:
    """A property of a namespace and what it may be."""

    name: str
    schema: Definition


@dataclass(frozen=True, slots=True)
class MetadefObject:
    """Properties that belong together, by name. `required` names some of them, or others.

    Unsaved: without times; `required` and `properties` are then None where they were not given.
    """

    name: str
    description: str | None = None
    required: Sequence[str] | None = None
    properties: Mapping[str, Definition] | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class MetadefTag:
    """A word that belongs to a namespace. Unsaved: without times."""

    name: str
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ResourceType:
    """A kind of thing that properties can be put on. `protected` is kept, and means nothing."""

    name: str
    protected: bool
    created_at: datetime
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class Association:
    """A namespace is of use for the resource type `name`; there its properties' names begin with `prefix`.

    Unsaved: without times.
    """

    name: str
    prefix: str | None = None
    properties_target: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Children:
    """What lies in a namespace."""

    associations: Sequence[Association] = ()
    properties: Sequence[MetadefProperty] = ()
    objects: Sequence[MetadefObject] = ()
    tags: Sequence[MetadefTag] = ()


@dataclass(frozen=True, slots=True)
class NewNamespace:
    """A namespace as it was asked for, or stands in a file; `owner` None: whoever makes it."""

    name: str
    display_name: str | None = None
    description: str | None = None
    visibility: str = PRIVATE
    protected: bool = False
    owner: str | None = None


def is_visible(namespace: MetadefNamespace, context: RequestContext) -> bool:
    """May the caller know that it exists?"""
    if context.is_admin or namespace.owner is None or namespace.visibility == PUBLIC:
        return True
    return context.project_id is not None and namespace.owner == context.project_id


def require_unprotected(namespace: MetadefNamespace) -> None:
    """Raises Forbidden where neither the namespace nor anything in it may be deleted."""
    if namespace.protected:
        raise Forbidden(f"Metadata definition namespace {namespace.name} is protected and cannot be deleted.")


def as_for(children: Children, resource_type: str) -> Children:
    """With properties named as they are on resources of that type: with its association's prefix, if it has one."""
    prefix = next((each.prefix for each in children.associations if each.name == resource_type), None)
    if not prefix:
        return children
    return replace(
        children,
        properties=[replace(each, name=prefix + each.name) for each in children.properties],
        objects=[_with_prefix(each, prefix) for each in children.objects],
    )


def _with_prefix(item: MetadefObject, prefix: str) -> MetadefObject:
    return replace(
        item,
        required=None if item.required is None else [prefix + name for name in item.required],
        properties=None
        if item.properties is None
        else {prefix + name: definition for name, definition in item.properties.items()},
    )
