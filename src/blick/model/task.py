"""The record of a task that runs in the background, as the API shows it (spec: import-and-tasks §4)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

PENDING: Final = "pending"
PROCESSING: Final = "processing"
SUCCESS: Final = "success"
FAILURE: Final = "failure"

# What each status may become.
STATUS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        PENDING: frozenset({PROCESSING, SUCCESS, FAILURE}),
        PROCESSING: frozenset({SUCCESS, FAILURE}),
        SUCCESS: frozenset(),
        FAILURE: frozenset(),
    }
)
UNFINISHED: Final = (PENDING, PROCESSING)

LEGACY_IMPORT: Final = "import"
IMAGE_IMPORT: Final = "api_image_import"
LOCATION_IMPORT: Final = "location_import"
TYPES: Final = (LEGACY_IMPORT, IMAGE_IMPORT, LOCATION_IMPORT)


@dataclass(frozen=True, slots=True)
class Task:
    """One task. Times are naive UTC; `expires_at` is set when it ends: from then on nobody sees it any more."""

    id: str
    type: str
    status: str
    owner: str
    image_id: str | None
    request_id: str | None
    user_id: str | None
    created_at: datetime
    updated_at: datetime
    input: Mapping[str, Any] | None
    expires_at: datetime | None = None
    result: Mapping[str, Any] | None = None
    message: str = ""

    def is_expired(self, now: datetime) -> bool:
        """Is its time over?"""
        return self.expires_at is not None and self.expires_at <= now
