"""What a caller asks of the lists of tags and of objects of a namespace (spec: metadefs-api §7)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from blick.model.errors import Invalid
from blick.model.image_query import SortKey
from blick.model.page import Parameters, refuse_nul, whole_number

SORT_KEYS: Final = ("created_at", "id", "name", "namespace_id", "updated_at")
_VISIBILITIES: Final = ("public", "private", "shared")
_USUAL_SORT = SortKey("created_at", descending=True)


@dataclass(frozen=True, slots=True)
class TagQuery:
    """A checked query of the list of tags. `limit` None: all. `marker`: the last tag of the page before, unchecked."""

    limit: int | None = None
    marker: str | None = None
    sort: SortKey = _USUAL_SORT


def parse_tags(parameters: Parameters) -> TagQuery:
    """Read the decoded query parameters; of a repeated one the first counts. Raises `Invalid` with the reason."""
    given = _checked(parameters)
    key = given.get("sort_key", "created_at").strip()
    if key not in SORT_KEYS:
        raise Invalid(f"Sort key supplied was not valid. It must be one of {', '.join(SORT_KEYS)}.")
    return TagQuery(
        limit=_limit(given["limit"]) if "limit" in given else None,
        marker=given.get("marker"),
        sort=SortKey(key, _descends(given)),
    )


def check_objects(parameters: Parameters) -> None:
    """The list of objects comes whole and in its own order, as ever; senseless parameters raise `Invalid`."""
    given = _checked(parameters)
    _descends(given)
    if "limit" in given and _limit(given["limit"]) == 0:
        raise Invalid("limit param must be positive")


def _checked(parameters: Parameters) -> Mapping[str, str]:
    refuse_nul(parameters)
    given = dict(reversed(parameters))
    visibility = given.get("visibility")
    if visibility is not None and visibility not in _VISIBILITIES:
        raise Invalid(f"Invalid visibility value: {visibility:.80}")
    return given


def _descends(given: Mapping[str, str]) -> bool:
    direction = given.get("sort_dir", "desc").strip()
    if direction not in ("asc", "desc"):
        raise Invalid(f"Invalid sort direction: {direction:.80}")
    return direction == "desc"


def _limit(text: str) -> int:
    number = whole_number(text)
    if number is None:
        raise Invalid("limit param must be an integer")
    if number < 0:
        raise Invalid("limit param must be positive")
    return number
