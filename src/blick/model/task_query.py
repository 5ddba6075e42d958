"""What a caller asks of GET /v2/tasks: filters, order and page (spec: images-api §18)."""

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from blick.model.errors import Invalid
from blick.model.image_query import SortKey, moment
from blick.model.page import PageLimits, Parameters, page_size, refuse_nul
from blick.model.schema import UUID_PATTERN
from blick.model.task import LEGACY_IMPORT, STATUS
from blick.model.text import is_storable

TIMES: Final = ("created_at", "updated_at", "expires_at")
TEXTS: Final = ("id", "type", "status", "owner", "image_id", "request_id", "user_id")

_UUID = re.compile(UUID_PATTERN)
_USUAL_SORT = SortKey("created_at", descending=True)


@dataclass(frozen=True, slots=True)
class TaskQuery:
    """A checked query. `filters` name columns and the value that each must have; times are naive UTC.

    `marker` is the id of the last task of the page before, unchecked. `matches_nothing`: some filter has a value that
    no task can have.
    """

    limit: int
    marker: str | None = None
    sort: SortKey = _USUAL_SORT
    filters: Mapping[str, str | datetime] = field(default_factory=dict)
    matches_nothing: bool = False


def parse(parameters: Parameters, limits: PageLimits) -> TaskQuery:
    """Read the decoded query parameters; of a repeated one the first counts. Raises `Invalid` with the reason."""
    refuse_nul(parameters)
    given = dict(reversed(parameters))
    marker = given.get("marker")
    if marker is not None and not _UUID.fullmatch(marker):
        raise Invalid("Invalid marker format")
    # Only tasks that users start can be asked for by their type, as ever.
    _require_one_of("type", given.get("type"), (LEGACY_IMPORT,))
    _require_one_of("status", given.get("status"), STATUS)
    filters = {name: _value(name, given[name]) for name in (*TEXTS, *TIMES) if name in given}
    return TaskQuery(
        limit=page_size(given.get("limit"), limits),
        marker=marker,
        sort=_sort(given),
        filters={name: value for name, value in filters.items() if value is not None},
        matches_nothing=None in filters.values(),
    )


def _require_one_of(name: str, value: str | None, allowed: Container[str]) -> None:
    """An empty value is let through: it matches nothing."""
    if value and value not in allowed:
        raise Invalid(f"Invalid {name} value: {value:.80}")


def _value(name: str, text: str) -> str | datetime | None:
    """What the column must be; None where no task can have that."""
    if name in TEXTS:
        return text if text and is_storable(text) else None
    try:
        return moment(name, text)
    except Invalid:
        return None


def _sort(given: Mapping[str, str]) -> SortKey:
    key = given.get("sort_key", "created_at").strip()
    direction = given.get("sort_dir", "desc").strip()
    if key not in (*TEXTS, *TIMES):
        raise Invalid(f"Sort key supplied was not valid. It must be one of {', '.join(sorted((*TEXTS, *TIMES)))}.")
    if direction not in ("asc", "desc"):
        raise Invalid(f"Invalid sort direction: {direction:.80}")
    return SortKey(key, direction == "desc")
