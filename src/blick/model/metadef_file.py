"""Files of metadata definitions: what may stand in one, and what is written into one (spec: metadefs-api §10).

Files come from many hands. What is unknown in them is passed over; refused is what could not be kept or shown.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeVar

from blick.model.errors import Invalid
from blick.model.metadef import (
    PRIVATE,
    VISIBILITIES,
    Association,
    Children,
    Definition,
    MetadefNamespace,
    MetadefObject,
    MetadefProperty,
    MetadefTag,
    NewNamespace,
)
from blick.model.text import refuse_unstorable

T = TypeVar("T")

OWNER: Final = "admin"
"""Who owns the namespaces of files that name nobody."""

_NAME_CHARACTERS = 80
_OWNER_CHARACTERS = 255
_TEXTS = ("title", "description", "pattern")
_LISTS = ("enum", "operators")


class Mode(Enum):
    """What happens to a namespace of a file that is there already."""

    SKIP = "it stays as it is"
    MERGE = "what it lacks is added"
    PREFER_NEW = "what it lacks is added, and what it has is replaced; what the file lacks stays"
    OVERWRITE = "it is deleted with all that lies in it, and made anew"


def mode_of(*, merge: bool, prefer_new: bool, overwrite: bool) -> Mode:
    """The mode that is meant by these words. Raises Invalid for combinations that make no sense."""
    if not merge and (prefer_new or overwrite):
        raise Invalid("prefer_new and overwrite say how to merge: they need merge.")
    if prefer_new and overwrite:
        raise Invalid("prefer_new and overwrite exclude each other.")
    if prefer_new:
        return Mode.PREFER_NEW
    if overwrite:
        return Mode.OVERWRITE
    return Mode.MERGE if merge else Mode.SKIP


@dataclass(frozen=True, slots=True)
class NamespaceFile:
    """A namespace as it stands in a file, with everything in it; `owner` is set."""

    namespace: NewNamespace
    owner: str
    children: Children


def parse(document: object) -> NamespaceFile:
    """The decoded content of a file. Raises Invalid, naming what is wrong with it."""
    given = _mapping(document, "The file")
    if given.get("namespace") == "":
        raise Invalid("The file has no namespace.")
    namespace = NewNamespace(
        name=_name(given, "namespace", "The file"),
        display_name=_text(given, "display_name", "The namespace", _NAME_CHARACTERS),
        description=_text(given, "description", "The namespace"),
        visibility=_visibility(given.get("visibility")),
        protected=_flag(given.get("protected")),
    )
    owner = _text(given, "owner", "The namespace", _OWNER_CHARACTERS)
    children = Children(
        associations=_each(given, "resource_type_associations", _association),
        properties=[
            MetadefProperty(_checked_name(name, "A property"), _definition(each, f"The property {name!r}"))
            for name, each in _optional_mapping(given, "properties", "The namespace").items()
        ],
        objects=_each(given, "objects", _object),
        tags=_each(given, "tags", lambda each: MetadefTag(_name(_mapping(each, "A tag"), "name", "A tag"))),
    )
    return NamespaceFile(namespace, OWNER if owner is None else owner, children)


def _each(given: Mapping[str, Any], key: str, make: Callable[[object], T]) -> Sequence[T]:
    items = given.get(key)
    if items is None:
        return ()
    if not isinstance(items, list):
        raise Invalid(f"{key} is not a list.")
    return [make(each) for each in items]


def _association(item: object) -> Association:
    given = _mapping(item, "A resource type association")
    name = _name(given, "name", "A resource type association")
    where = f"The association with {name!r}"
    return Association(
        name,
        _text(given, "prefix", where, _NAME_CHARACTERS),
        _text(given, "properties_target", where, _NAME_CHARACTERS),
    )


def _object(item: object) -> MetadefObject:
    given = _mapping(item, "An object")
    name = _name(given, "name", "An object")
    where = f"The object {name!r}"
    required = given.get("required")
    if required is not None:
        _require_texts(required, f"{where}: required")
        refuse_unstorable(required, f"{where}: required")
    return MetadefObject(
        name=name,
        description=_text(given, "description", where),
        required=required,
        properties={
            key: _definition(each, f"{where}: the property {key!r}")
            for key, each in _optional_mapping(given, "properties", where).items()
        },
    )


def _definition(item: object, where: str) -> Definition:
    """As it is: whatever there is in it that nobody knows does no harm."""
    given = _mapping(item, where)
    for key in _TEXTS:
        _text(given, key, where, storable=False)
    for key in _LISTS:
        if given.get(key) is not None:
            _require_texts(given[key], f"{where}: {key}")
    items = given.get("items")
    if items is not None:
        inner = _mapping(items, f"{where}: items")
        if not isinstance(inner.get("type"), str):
            raise Invalid(f"{where}: items has no type.")
        if inner.get("enum") is not None:
            _require_texts(inner["enum"], f"{where}: items: enum")
    return given


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Invalid(f"{where} is not a JSON object.")
    return value


def _optional_mapping(given: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = given.get(key)
    return {} if value is None else _mapping(value, f"{where}: {key}")


def _require_texts(value: object, where: str) -> None:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise Invalid(f"{where} is not a list of texts.")


def _name(given: Mapping[str, Any], key: str, where: str) -> str:
    value = given.get(key)
    if not isinstance(value, str):
        raise Invalid(f"{where} has no {key}.")
    return _checked_name(value, where)


def _checked_name(name: str, where: str) -> str:
    if len(name) > _NAME_CHARACTERS:
        raise Invalid(f"{where}: the name {name!r} is longer than {_NAME_CHARACTERS} characters.")
    refuse_unstorable(name, f"{where}: the name {name!r}")
    return name


def _text(
    given: Mapping[str, Any], key: str, where: str, most_characters: int | None = None, *, storable: bool = True
) -> str | None:
    value = given.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        raise Invalid(f"{where}: {key} is not a text.")
    if most_characters is not None and len(value) > most_characters:
        raise Invalid(f"{where}: {key} is longer than {most_characters} characters.")
    if storable:
        refuse_unstorable(value, f"{where}: {key}")
    return value


def _visibility(value: object) -> str:
    if value is None:
        return PRIVATE
    if value not in VISIBILITIES:
        raise Invalid(f"The namespace: visibility is none of {', '.join(VISIBILITIES)}.")
    return str(value)


def _flag(value: object) -> bool:
    if value is None:
        return False
    if not isinstance(value, bool):
        raise Invalid("The namespace: protected is neither true nor false.")
    return value


def document_of(namespace: MetadefNamespace, children: Children) -> dict[str, Any]:
    """What is to be written into a file, so that `parse` gives all of it back. What is not set is left out."""
    return _set_only(
        {
            "namespace": namespace.name,
            "display_name": namespace.display_name,
            "description": namespace.description,
            "visibility": namespace.visibility or PRIVATE,
            "protected": bool(namespace.protected),
            "owner": namespace.owner,
            # The database has no order of its own for them that would last.
            "resource_type_associations": [
                _set_only({"name": each.name, "properties_target": each.properties_target, "prefix": each.prefix})
                for each in sorted(children.associations, key=lambda each: each.name)
            ],
            "properties": {each.name: each.schema for each in children.properties},
            "objects": [
                _set_only(
                    {
                        "name": each.name,
                        "description": each.description,
                        "required": list(each.required or ()) or None,
                        "properties": each.properties or {},
                    }
                )
                for each in children.objects
            ],
            # The first to come is the first in the file, as everywhere but in lists of tags.
            "tags": [{"name": each.name} for each in reversed(children.tags)],
        }
    )


def _set_only(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if value is not None}


def file_name(namespace: MetadefNamespace, taken: Collection[str]) -> str:
    """Where a namespace is written: by its name for people, its name, or that with a number, whichever is free.

    `taken` are names that other namespaces of this export have, in lower case: file systems may not tell case apart.
    """
    stems = [_stem(namespace.display_name or ""), _stem(namespace.name)]
    last = stems[-1] or "namespace"
    numbered = (f"{last}-{number}" for number in range(2, len(taken) + 3))
    return next(
        name for name in (f"{stem}.json" for stem in (*stems, last, *numbered) if stem) if name.lower() not in taken
    )


def _stem(name: str) -> str:
    return re.sub(r"[\W_]", "", name)
