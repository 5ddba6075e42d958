"""What one check finds."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class Result(IntEnum):
    """How it went; the number is the exit status that it leads to."""

    SUCCESS = 0
    WARNING = 1
    FAILURE = 2


@dataclass(frozen=True, slots=True)
class Outcome:
    """One check. `details` are sentences for the operator, each on a line of its own; None: nothing to say."""

    check: str
    result: Result
    details: str | None = None


def outcome(check: str, result: Result, lines: Sequence[str]) -> Outcome:
    """The outcome of a check that has `lines` to complain of, which are as bad as `result`: none, no complaint."""
    return Outcome(check, result, "\n".join(lines)) if lines else Outcome(check, Result.SUCCESS)
