"""Pages of lists: how long they are, and the links between them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from blick.model.errors import Invalid

Parameters = Sequence[tuple[str, str]]
"""Of a query: decoded, in their order."""

BIGINT_MAX: Final = 2**63 - 1
_NUMBER = re.compile(r"[+-]?[0-9]{1,40}")


@dataclass(frozen=True, slots=True)
class PageLimits:
    """How many items a page has when the caller does not say, and at most; both ≥ 1."""

    default: int = 25
    max: int = 1000


@dataclass(frozen=True, slots=True)
class PageLinks:
    """Relative addresses of the first page and, if there is one, of the next."""

    first: str
    next: str | None


def refuse_nul(parameters: Parameters) -> None:
    """Raise `Invalid` for what no database takes."""
    for name, value in parameters:
        if "\x00" in name or "\x00" in value:
            raise Invalid("A query parameter contains the character NUL.")


def page_size(text: str | None, limits: PageLimits) -> int:
    """What the parameter `limit` asks for, within the maximum; 0 is an empty page. Raises `Invalid`."""
    if text is None:
        return min(limits.default, limits.max)
    number = whole_number(text)
    if number is None:
        raise Invalid("limit param must be an integer")
    if number < 0:
        raise Invalid("limit param must be positive")
    return min(number, limits.max)


def whole_number(text: str) -> int | None:
    """The number that `text` is, clamped to what a database column can be compared with; None if it is none."""
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        return None
    return max(-BIGINT_MAX, min(BIGINT_MAX, int(text)))


def page_links(parameters: Parameters, next_marker: str | None, path: str) -> PageLinks:
    """The links of a page, with every parameter of the request kept, repeats included.

    `next_marker` is the id of the page's last item, or None when nothing follows.
    """
    kept = [(name, value) for name, value in parameters if name != "marker"]
    return PageLinks(
        first=f"{path}?{urlencode(kept)}" if kept else path,
        next=None if next_marker is None else f"{path}?{urlencode([*kept, ('marker', next_marker)])}",
    )
