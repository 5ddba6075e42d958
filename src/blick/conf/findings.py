"""What there is to say about a configuration that does not (or does) stop the start."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["info", "warning", "error"]
Kind = Literal[
    "unknown-option",
    "unknown-group",
    "retired",  # it was an option once
    "deprecated",  # it still works, under an old name or for a while
    "ignored",  # it is known and has no meaning here
    "not-yet",  # this version does not have the feature
    "doubtful",  # it works and is probably not meant
    "wrong",  # the start is refused
]


@dataclass(frozen=True, slots=True)
class Finding:
    """One remark about `name` in `group`, written in `place` (file and line, a variable, or empty).

    `text` is a whole sentence. It shows no value, except the reason why an option that is no secret is wrong.
    """

    level: Level
    kind: Kind
    group: str
    name: str
    text: str
    place: str = ""

    def __str__(self) -> str:
        where = f" ({self.place})" if self.place else ""
        return f"{self.group}.{self.name}: {self.text}{where}" if self.name else f"[{self.group}]: {self.text}{where}"
