"""A project that an image is shared with (spec: images-api §13)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

PENDING: Final = "pending"
ACCEPTED: Final = "accepted"
REJECTED: Final = "rejected"


@dataclass(frozen=True, slots=True)
class Member:
    """One membership. Times are naive UTC."""

    image_id: str
    member_id: str
    status: str
    created_at: datetime
    updated_at: datetime
