"""What a caller asks of GET /v2/jobs: filters and page (docs: jobs)."""

from dataclasses import dataclass
from typing import Final

from blick.model.errors import Invalid
from blick.model.page import PageLimits, Parameters, page_size, refuse_nul
from blick.model.text import is_storable

WAITING: Final = "waiting"
RUNNING: Final = "running"
STATUSES: Final = (WAITING, RUNNING, "success", "failure", "cancelled")
"""How a job can be: nobody has it, somebody has it, and how it can have ended."""


@dataclass(frozen=True, slots=True)
class JobQuery:
    """A checked query, newest jobs first. `marker` is the id of the last job of the page before, unchecked.

    `matches_nothing`: some filter has a value that no job can have.
    """

    limit: int
    marker: str | None = None
    status: str | None = None
    image_id: str | None = None
    kind: str | None = None
    matches_nothing: bool = False


def parse(parameters: Parameters, limits: PageLimits) -> JobQuery:
    """Read the decoded query parameters; of a repeated one the last counts. Raises `Invalid` with the reason."""
    refuse_nul(parameters)
    last = dict(parameters)
    status = last.get("status")
    if status is not None and status not in STATUSES:
        raise Invalid(f"Invalid status value: {status:.80}; a job is one of {', '.join(STATUSES)}.")
    marker = last.get("marker")
    if marker is not None and not is_storable(marker):
        raise Invalid("The marker is no job's id.")
    return JobQuery(
        limit=page_size(last.get("limit"), limits),
        marker=marker,
        status=status,
        image_id=last.get("image_id"),
        kind=last.get("kind"),
        matches_nothing=not all(is_storable(last.get(name, "")) for name in ("image_id", "kind")),
    )
