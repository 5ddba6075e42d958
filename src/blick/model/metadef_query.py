"""What a caller asks of the list of namespaces, and of one namespace (spec: metadefs-api §6, §7)."""

from dataclasses import dataclass, field
from typing import Final

from blick.model.errors import Invalid
from blick.model.image_query import SortKey
from blick.model.metadef import VISIBILITIES
from blick.model.page import PageLimits, Parameters, page_size, refuse_nul

SORT_KEYS: Final = (
    "id", "namespace", "display_name", "description", "visibility", "protected", "owner", "created_at", "updated_at"
)  # fmt: skip
_USUAL_SORT: Final = SortKey("created_at", descending=True)


@dataclass(frozen=True, slots=True)
class NamespaceQuery:
    """A checked query. `marker` is the name of the last namespace of the page before, unchecked.

    `visibility` None: all that the caller may see; "" is one that no namespace has. `resource_types` None: whichever;
    else namespaces that are associated with one of these.
    """

    limit: int
    marker: str | None = None
    sort: SortKey = field(default=_USUAL_SORT)
    visibility: str | None = None
    resource_types: tuple[str, ...] | None = None


def parse(parameters: Parameters, limits: PageLimits) -> NamespaceQuery:
    """Read the decoded query parameters; of a repeated one the first counts. Raises `Invalid` with the reason."""
    refuse_nul(parameters)
    given = dict(reversed(parameters))
    types = given.get("resource_types")
    return NamespaceQuery(
        limit=page_size(given.get("limit"), limits),
        marker=given.get("marker"),
        sort=sort_key(parameters, SORT_KEYS),
        visibility=_visibility(given.get("visibility")),
        resource_types=None if types is None else tuple(types.split(",")),
    )


def parse_resource_type(parameters: Parameters) -> str | None:
    """Of which resource type a namespace's properties are to be shown; None: of none. Raises `Invalid`."""
    refuse_nul(parameters)
    given = dict(parameters)
    _visibility(given.get("visibility"))
    return given.get("resource_type") or None


def sort_key(parameters: Parameters, allowed: tuple[str, ...]) -> SortKey:
    """What a list is sorted by, newest first where nothing is said. Raises `Invalid`."""
    given = dict(reversed(parameters))
    key = given.get("sort_key", "created_at").strip()
    direction = given.get("sort_dir", "desc").strip()
    if key not in allowed:
        raise Invalid(f"Sort key supplied was not valid. It must be one of {', '.join(sorted(allowed))}.")
    if direction not in ("asc", "desc"):
        raise Invalid(f"Invalid sort direction: {direction:.80}")
    return SortKey(key, direction == "desc")


def _visibility(value: str | None) -> str | None:
    """An empty value is let through: it matches nothing."""
    if value and value not in VISIBILITIES:
        raise Invalid(f"Invalid visibility value: {value:.80}")
    return value
