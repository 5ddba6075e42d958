"""Now, for transactions that end a task or a job: each table counts time in its own way."""

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Moment:
    """Now (naive, UTC), and when a task that ends now is to be forgotten."""

    now: datetime
    expires_at: datetime

    @property
    def ms(self) -> int:
        """Now, as jobs count: milliseconds since 1970."""
        return int(self.now.replace(tzinfo=UTC).timestamp() * 1000)
