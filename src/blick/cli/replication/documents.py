"""Image documents of the v2 API: what of them can be carried to another service, and how two of them differ."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Document = Mapping[str, Any]

# What a service says of an image by itself, under the names of either version of the API.
_ITS_OWN = frozenset(
    {"id", "status", "checksum", "os_hash_algo", "os_hash_value", "size", "virtual_size", "stores", "locations"}
    | {"created_at", "updated_at", "deleted_at", "deleted", "date", "location", "direct_url"}
    | {"self", "file", "schema"}
)
_RESERVED_PREFIX = "os_glance"
_LINKS = frozenset({"self", "file", "schema"})
_BASE = frozenset(
    {"name", "visibility", "owner", "protected", "os_hidden", "min_disk", "min_ram"}
    | {"disk_format", "container_format", "tags"}
)
_SETTLED_WITH_DATA = frozenset({"disk_format", "container_format"})
_HAS_DATA = frozenset({"active", "deactivated"})
_BEFORE_DATA = frozenset({"queued", "importing"})


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that is not the same. None: it is not there, or says nothing."""

    field: str
    source: Any
    target: Any


def has_data(document: Document) -> bool:
    """Is there data, that is known to be whole?"""
    return document.get("status") in _HAS_DATA


def kept(document: Document) -> dict[str, Any]:
    """What of a document is worth keeping in a file: all but links."""
    return {name: value for name, value in document.items() if name not in _LINKS}


def new_image(document: Document, left_out: Collection[str]) -> dict[str, Any]:
    """The body of the request that registers the same image elsewhere, under the same id."""
    carried = {name: document[name] for name in _carried(document, left_out)}
    wanted = {name: value for name, value in carried.items() if value is not None or name not in _BASE}
    return {"id": document["id"], **wanted}


def differences(source: Document, target: Document, left_out: Collection[str]) -> list[Difference]:
    """The fields that a service can be told and that differ, sorted by name. The order of tags is nobody's.

    An attribute of every image that the source does not tell, as a file written by hand may not, is left as it is.
    """
    names = {*_carried(source, left_out), *_carried(target, left_out)} - (_BASE - set(source))
    pairs = ((name, _comparable(source, name), _comparable(target, name)) for name in sorted(names))
    return [Difference(*pair) for pair in pairs if pair[1] != pair[2]]


def data_differences(source: Document, target: Document, left_out: Collection[str]) -> list[Difference]:
    """How the data differs, as the two services tell it: by status, size, and the hash that both know."""
    names = ["status"]
    if has_data(source) and has_data(target):
        names += ["size", *_shared_hash(source, target)]
    pairs = ((name, source.get(name), target.get(name)) for name in names if name not in left_out)
    return [Difference(*pair) for pair in pairs if pair[1] != pair[2]]


def is_same_data(source: Document, target: Document) -> bool:
    """Do size and hash agree? Where the two services have no hash in common, the size has to do."""
    return not [found for found in data_differences(source, target, ()) if found.field != "status"]


def changes(found: Collection[Difference], source: Document, target: Document) -> list[dict[str, Any]]:
    """The JSON patch that gives the target what the source has; without what no service changes any more."""
    settled = _settled(target)
    return [_change(one, source, target) for one in found if one.field not in settled]


def unchangeable(found: Collection[Difference], target: Document) -> list[str]:
    """The fields among `found` that the target's service does not change any more."""
    settled = _settled(target)
    return [one.field for one in found if one.field in settled]


def _carried(document: Document, left_out: Collection[str]) -> Iterator[str]:
    for name in document:
        if name not in _ITS_OWN and name not in left_out and not name.startswith(_RESERVED_PREFIX):
            yield name


def _comparable(document: Document, name: str) -> Any:
    value = document.get(name)
    if name == "tags":
        return sorted(map(str, value or ()))
    return None if name == "owner" and value == "" else value


def _shared_hash(source: Document, target: Document) -> list[str]:
    if source.get("os_hash_value") and source.get("os_hash_algo") == target.get("os_hash_algo"):
        return ["os_hash_value"]
    return ["checksum"] if source.get("checksum") and target.get("checksum") else []


def _settled(target: Document) -> frozenset[str]:
    return frozenset() if target.get("status") in _BEFORE_DATA else _SETTLED_WITH_DATA


def _change(one: Difference, source: Document, target: Document) -> dict[str, Any]:
    path = "/" + one.field.replace("~", "~0").replace("/", "~1")
    if one.field in _BASE:
        return {"op": "replace", "path": path, "value": one.source}
    if one.field not in source:
        return {"op": "remove", "path": path}
    return {"op": "replace" if one.field in target else "add", "path": path, "value": one.source}
