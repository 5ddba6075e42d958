"""How the objects of one image are named in a container.

<id>                        the image, or the manifest of its segments
<id>-<writer>-00001 …       segments, each writer's under a name of its own; Glance's are <id>-00001 …
<id>.blick-writer           who is writing the image now
"""

import re
from dataclasses import dataclass

from blick.stores.swift.uri import Place

_UUID = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_PART = r"-(?:[0-9a-f]{16}-)?\d{5}|\.blick-writer"
_NAME = re.compile(rf"(?P<key>{_UUID})(?P<part>{_PART})?")
_PART_ONLY = re.compile(_PART)


@dataclass(frozen=True, slots=True)
class Name:
    """What an object's name says: of which image it is, and whether it is just a part of what belongs to it."""

    key: str
    is_part: bool


def parse_name(name: str) -> Name | None:
    """None for what is no image's."""
    found = _NAME.fullmatch(name)
    return Name(found["key"], found["part"] is not None) if found else None


def is_part_of(key: str, name: str) -> bool:
    """Whether `name` is a segment or the like of the image `key`."""
    return name.startswith(key) and _PART_ONLY.fullmatch(name, len(key)) is not None


def segment_prefix(key: str, writer: str) -> str:
    """What the names of the segments of this writer begin with; a manifest of the dynamic kind says it."""
    return f"{key}-{writer}-"


def segment_name(key: str, writer: str, number: int) -> str:
    """The name of a writer's segment; the first is 1."""
    return f"{segment_prefix(key, writer)}{number:05}"


def fence_place(place: Place) -> Place:
    """Where it says who is writing the image at `place`."""
    return Place(place.container, f"{place.object}.blick-writer")


def container_of(prefix: str, key: str, seed_digits: int) -> str:
    """The container of the image `key`: with a seed, its first digits tell, whose dashes are kept but not counted."""
    if seed_digits == 0:
        return prefix
    end = count = 0
    for end, character in enumerate(key, start=1):  # noqa: B007 - used behind the loop
        count += character != "-"
        if count == seed_digits:
            break
    return f"{prefix}_{key[:end]}"
