"""What is in the containers: removing objects with all their segments, and listing them. Everything here blocks."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from blick.model.errors import DataNotFound, StoreUnavailable
from blick.stores.swift.client import Client
from blick.stores.swift.names import fence_place, parse_name
from blick.stores.swift.uri import Place
from blick.stores.swift.writing import parts_of


@dataclass(frozen=True, slots=True)
class Found:
    """What lies in a container under the name of one image. Not whole: only parts of it are there."""

    container: str
    key: str
    is_whole: bool
    size_bytes: int | None
    modified_at_s: float | None


def delete_object(client: Client, place: Place) -> None:
    """Remove an object with its segments; the object itself goes last, so that a next try finds what is left.

    Raises DataNotFound.
    """
    headers = client.head(place)
    if headers.get("x-static-large-object", "").lower() == "true":
        _delete_static(client, place)
    elif manifest := headers.get("x-object-manifest"):
        _delete_dynamic(client, place, manifest)
    elif client.remove(place) is None:
        raise DataNotFound(client.name)
    else:
        return
    for name in parts_of(client, place):
        client.remove(Place(place.container, name))


def discard_object(client: Client, place: Place) -> None:
    """Remove whatever there is of an image: first the fence, so that nobody publishes it any more."""
    try:
        client.remove(fence_place(place))
        delete_object(client, place)
    except DataNotFound:
        # Swift remembers even then: what had begun before is not to appear any more.
        client.remove(place)
    for name in parts_of(client, place):
        client.remove(Place(place.container, name))


def found_in(client: Client, container: str) -> Iterator[Found]:
    """Everything of images in a container, each image once; nothing where there is no container."""
    try:
        yield from _grouped(container, client.listed(container))
    except DataNotFound:
        return


def _delete_static(client: Client, place: Place) -> None:
    """Swift removes the segments of such a manifest itself."""
    answer = client.remove(place, {"multipart-manifest": "delete"})
    said = answer.body.decode("utf-8", "replace") if answer is not None else ""
    # Its status is 200 whatever happened; the body tells. A segment that is gone already is no error to it.
    if answer is not None and '"Response Status": "200 OK"' not in said:
        raise StoreUnavailable(client.name, "Swift could not remove all segments of the object")


def _delete_dynamic(client: Client, place: Place, manifest: str) -> None:
    container, _, prefix = unquote(manifest).partition("/")
    # A manifest could name anything of its account. Only what begins like the image belongs to it.
    if prefix.startswith(place.object):
        segments = Place(container, prefix)
        try:
            names = [entry["name"] for entry in client.listed(segments.container, segments.object)]
        except DataNotFound:
            names = []
        for name in names:
            if name != place.object:
                client.remove(Place(container, name))
    client.remove(place)


def _grouped(container: str, entries: Iterable[Mapping[str, Any]]) -> Iterator[Found]:
    """The parts of an image follow it in a listing, for their names begin with its own."""
    named = ((name, entry) for entry in entries if (name := parse_name(entry["name"])) is not None)
    for key, group in itertools.groupby(named, key=lambda pair: pair[0].key):
        whole: Mapping[str, Any] | None = None
        parts = size_bytes = 0
        latest: float | None = None
        for name, entry in group:
            if name.is_part:
                parts += 1
                size_bytes += int(entry.get("bytes", 0))
                latest = max(filter(None, (latest, _time_of(entry))), default=None)
            else:
                whole = entry
        if whole is None:
            yield Found(container, key, False, size_bytes, latest)
        else:
            # What a listing says of a manifest is its own size, or that of everything; or nothing.
            yield Found(container, key, True, None if parts else int(whole["bytes"]), _time_of(whole))


def _time_of(entry: Mapping[str, Any]) -> float | None:
    try:
        return datetime.fromisoformat(str(entry["last_modified"])).replace(tzinfo=UTC).timestamp()
    except (KeyError, ValueError):
        return None
