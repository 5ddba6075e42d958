"""What `blick job` says of a job once it is over."""

import pytest

from blick.cli.job import _ending
from blick.db.jobs import CANCELLED, FAILURE, SUCCESS, Job


@pytest.mark.parametrize(
    ("outcome", "message", "said"),
    [
        (SUCCESS, None, "success"),
        (FAILURE, "The server answered 404.", "failure, The server answered 404."),
        (CANCELLED, "Cancelled", "cancelled"),
        (CANCELLED, "The node is gone.", "cancelled, The node is gone."),
    ],
)
def test_nothing_is_said_twice(outcome: str, message: str | None, said: str) -> None:
    job = Job("1", "import", {}, "stores", "", "", 1, 0, outcome=outcome, message=message, ended_at_ms=1)
    assert _ending(job) == said
