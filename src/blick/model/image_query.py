"""What a caller asks of GET /v2/images: filters, order and page.

A query becomes plain data that an SQL builder can walk without looking at text again: comparisons on base
columns, wanted custom properties, wanted tags. Who may see what is not decided here.
"""

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal

from blick.model.errors import Invalid
from blick.model.page import PageLimits, Parameters, page_size, refuse_nul, whole_number
from blick.model.text import is_storable

Operator = Literal["eq", "neq", "in", "gt", "gte", "lt", "lte"]
Value = str | int | bool | datetime

_VISIBILITIES = frozenset({"public", "private", "shared", "community", "all"})
_MEMBER_STATUSES = frozenset({"pending", "accepted", "rejected", "all"})
_SORT_KEYS = frozenset({"name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at"})
_TIME_OPERATORS: Final[frozenset[Operator]] = frozenset({"gt", "gte", "lt", "lte", "eq", "neq"})
_NUMBERS = frozenset({"size", "virtual_size", "min_disk", "min_ram"})
_MONTH = re.compile(r"\d{4}(-\d{2})?")
_OPERATOR_LIKE = re.compile(r"[A-Za-z]+:")
# What an image can have by the usual quotas, 128 tags and 128 properties, can be asked for at once. Engines give up
# beyond some hundreds of conditions, and beyond 65,535 values.
MOST_FILTERS: Final = 300
MOST_VALUES: Final = 10_000


@dataclass(frozen=True, slots=True)
class SortKey:
    """One column to sort by. For paging, null sorts as '' or 0."""

    name: str
    descending: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """`column operator values`. All operators take one value, except `in`, which takes any number of them.

    The value's type is the column's: str, int (within 64 bits), bool, or naive UTC datetime.
    """

    column: str
    operator: Operator
    values: tuple[Value, ...]


_DEFAULT_SORT = (SortKey("created_at", descending=True), SortKey("id", descending=True))


@dataclass(frozen=True, slots=True)
class ImageQuery:
    """A checked query. Every part narrows the result; all of them must hold.

    `limit` is ≥ 0 and within the maximum; 0 asks for an empty page.
    `marker` is the id of the last image of the page before, unchecked.
    `sort` is never empty and always ends the ties: it contains created_at and id.
    `properties` are custom properties with the exact text they must have; `tags` must all be present.
    `visibility` is None (the default list), one of public, private, shared, community, or all.
    `member_status` is pending, accepted, rejected or all.
    `matches_nothing` is true when some filter has a value that no image can have: the answer is an empty
    page, without asking the database.
    """

    limit: int
    marker: str | None = None
    sort: tuple[SortKey, ...] = _DEFAULT_SORT
    comparisons: tuple[Comparison, ...] = ()
    properties: tuple[tuple[str, str], ...] = ()
    tags: tuple[str, ...] = ()
    visibility: str | None = None
    member_status: str = "accepted"
    os_hidden: bool = False
    matches_nothing: bool = False


def parse(parameters: Parameters, limits: PageLimits) -> ImageQuery:
    """Read the decoded query parameters, in their order. Raises `Invalid` with the reason.

    Of a repeated parameter the last counts, except `tag`, `sort`, `sort_key` and `sort_dir`, whose repeats add up.
    """
    refuse_nul(parameters)
    last = dict(parameters)
    query = ImageQuery(
        limit=page_size(last.get("limit"), limits),
        marker=last.get("marker"),
        sort=_sort(parameters),
        tags=tuple(dict.fromkeys(value.strip() for name, value in parameters if name == "tag")),
        visibility=_one_of("visibility", last.get("visibility"), _VISIBILITIES | {""}),
        member_status=_one_of("member_status", last.get("member_status"), _MEMBER_STATUSES) or "accepted",
        os_hidden=_hidden(last.get("os_hidden")),
    )
    if last.get("changes-since"):
        raise Invalid('The "changes-since" filter is no longer available on v2.')
    return _with_filters(query, {name: value for name, value in last.items() if name not in _HANDLED})


_HANDLED = frozenset(
    {
        "limit", "marker", "sort", "sort_key", "sort_dir", "tag", "visibility", "member_status", "os_hidden",
        "changes-since", "deleted",
    }
)  # fmt: skip


def _with_filters(query: ImageQuery, filters: Mapping[str, str]) -> ImageQuery:
    comparisons: list[Comparison] = []
    properties: list[tuple[str, str]] = []
    for name, value in filters.items():
        reader = _READERS.get(name)
        if reader is None:
            properties.append((name, value))
        else:
            comparisons.append(_storable(reader(name, value)))
    if len(query.tags) + len(properties) + len(comparisons) > MOST_FILTERS:
        raise Invalid(f"The query has too many filters; at most {MOST_FILTERS} are possible.")
    texts = [*query.tags, *itertools.chain.from_iterable(properties)]
    return replace(
        query,
        comparisons=tuple(comparisons),
        properties=tuple(properties),
        matches_nothing=query.visibility == ""
        or any(not each.values for each in comparisons)
        or not all(is_storable(text) for text in texts),
    )


def _storable(comparison: Comparison) -> Comparison:
    """Without the texts that no image can have; some databases refuse to compare with them."""
    values = tuple(value for value in comparison.values if not isinstance(value, str) or is_storable(value))
    return comparison if len(values) == len(comparison.values) else replace(comparison, values=values)


def _one_of(name: str, value: str | None, allowed: frozenset[str]) -> str | None:
    if value is not None and value not in allowed:
        listing = ", ".join(sorted(allowed - {""}))
        raise Invalid(f"Invalid {name} value: {value!r:.80}. It must be one of {listing}.")
    return value


def _hidden(text: str | None) -> bool:
    if text is None:
        return False
    if text.lower() not in ("true", "false"):
        raise Invalid(f"Invalid value {text!r:.80} for os_hidden. Valid values are true and false.")
    return text.lower() == "true"


# Filters on base columns


def _text(column: str, value: str) -> Comparison:
    return Comparison(column, "eq", (value,))


def _exact_number(column: str, value: str) -> Comparison:
    number = whole_number(value)
    return Comparison(column, "eq", () if number is None else (number,))


def _protected(column: str, value: str) -> Comparison:
    if value not in ("true", "false"):
        raise Invalid(f"Invalid value {value!r:.80} for protected. Valid values are true and false.")
    return Comparison(column, "eq", (value == "true",))


def _text_or_list(column: str, value: str) -> Comparison:
    operator, colon, rest = value.partition(":")
    if not colon:
        return Comparison(column, "eq", (value,))
    if operator == "eq":
        return Comparison(column, "eq", (rest,))
    if operator == "in":
        return Comparison(column, "in", _split_list(column, rest))
    raise Invalid(
        f"Unable to filter by unknown operator {operator!r:.80}; "
        f"write eq: before a value of {column} that contains a colon."
    )


_LIST_ITEM = re.compile(r'(?:"((?:[^"\\]|\\.)*)"|([^",]*))(,|$)', re.DOTALL)


def _split_list(column: str, text: str) -> tuple[str, ...]:
    """Split at commas outside double quotes; inside quotes a backslash takes the next character as it is."""
    items: list[str] = []
    position = 0
    while position <= len(text):
        match = _LIST_ITEM.match(text, position)
        if match is None:
            raise Invalid(f"Invalid filter value {text!r:.80} for {column}: check its double quotes.")
        quoted, plain, comma = match.groups()
        if quoted is not None:
            items.append(re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL))
        elif plain:
            items.append(plain)
        if not comma:
            break
        position = match.end()
    if len(items) > MOST_VALUES:
        raise Invalid(f"The filter {column} names too many values; at most {MOST_VALUES} are possible.")
    return tuple(dict.fromkeys(items))


def _time(column: str, value: str) -> Comparison:
    operator: Operator = "eq"
    text = value
    for each in _TIME_OPERATORS:
        if value.startswith(f"{each}:"):
            operator, text = each, value[len(each) + 1 :]
    if text is value and _OPERATOR_LIKE.match(value):
        raise Invalid(f"Unable to filter {column} by unknown operator {value.partition(':')[0]!r:.80}.")
    return Comparison(column, operator, (moment(column, text),))


def moment(column: str, text: str) -> datetime:
    """The time that `text` is in ISO 8601, as the database keeps it: naive, UTC. Raises `Invalid`."""
    text = text.strip()
    if _MONTH.fullmatch(text):
        text += "-01-01" if len(text) == len("2026") else "-01"
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found
    except (ValueError, OverflowError) as error:
        raise Invalid(f"Invalid time {text!r:.80} for {column}; ISO 8601 is expected.") from error


def _bound(column: str, operator: Operator) -> Callable[[str, str], Comparison]:
    def read(name: str, value: str) -> Comparison:
        number = whole_number(value)
        if number is None:
            raise Invalid(f"Invalid value {value!r:.80} for {name}; a whole number is expected.")
        return Comparison(column, operator, (number,))

    return read


_READERS: Mapping[str, Callable[[str, str], Comparison]] = {
    **dict.fromkeys(("name", "id", "status", "container_format", "disk_format"), _text_or_list),
    **dict.fromkeys(("owner", "checksum", "os_hash_algo", "os_hash_value"), _text),
    **dict.fromkeys(("created_at", "updated_at"), _time),
    **dict.fromkeys(_NUMBERS, _exact_number),
    **{f"{column}_min": _bound(column, "gte") for column in _NUMBERS},
    **{f"{column}_max": _bound(column, "lte") for column in _NUMBERS},
    "protected": _protected,
}


# Order


def _sort(parameters: Parameters) -> tuple[SortKey, ...]:
    combined = [value for name, value in parameters if name == "sort"]
    keys = [value.strip() for name, value in parameters if name == "sort_key"]
    directions = [value.strip() for name, value in parameters if name == "sort_dir"]
    if combined:
        if keys or directions:
            raise Invalid("Old and new sorting syntax cannot be combined")
        keys, directions = _split_sort(",".join(combined))
    return _complete(keys, directions)


def _split_sort(text: str) -> tuple[list[str], list[str]]:
    keys, directions = [], []
    for item in text.split(","):
        key, colon, direction = item.partition(":")
        keys.append(key.strip())
        directions.append(direction.strip() if colon else "desc")
    return keys, directions


def _complete(keys: list[str], directions: list[str]) -> tuple[SortKey, ...]:
    """Check keys and directions, pair them, and add what ends the ties."""
    for direction in directions:
        if direction not in ("asc", "desc"):
            raise Invalid(f"Unknown sort direction {direction!r:.80}, must be asc or desc.")
    for key in keys:
        if key not in _SORT_KEYS:
            raise Invalid(f"Invalid sort key {key!r:.80}. It must be one of {', '.join(sorted(_SORT_KEYS))}.")
    keys = keys or ["created_at"]
    tie_direction = directions[0] if len(directions) == 1 else "desc"
    if len(directions) <= 1:
        directions = [tie_direction] * len(keys)
    if len(keys) != len(directions):
        raise Invalid("Number of sort dirs does not match the number of sort keys")
    order = dict(reversed(list(zip(keys, directions, strict=True))))  # of a repeated key the first counts
    order = {key: order[key] for key in keys}
    for key in ("created_at", "id"):
        order.setdefault(key, tie_direction)
    return tuple(SortKey(key, direction == "desc") for key, direction in order.items())
