"""What an option is: plain data, from which oslo.config options, samples and checks are made."""

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal[
    "str",
    "int",
    "float",
    "bool",
    "list",  # comma separated
    "bounded-list",  # comma separated between brackets, which are mandatory: [a,b]
    "bounded-ports",  # the same, of port numbers
    "dict",  # key:value pairs, comma separated
    "multi-str",  # the line may be repeated; every occurrence counts
    "host",
    "port",
    "uri",
]
Keep = Literal["yes", "later", "no"]


@dataclass(frozen=True, slots=True)
class Option:
    """One option of one group, under the name that operators write.

    `old_names` are names that are still read: "group/name", or "name" for one of the same group.
    `keep` says what Blick makes of it: "yes" acts on it, "later" takes it for a feature nobody asked for yet,
    "no" takes it, says so once, and ignores it. `deprecated` is the release since which it is on its way out.
    `ignore_case` is about `choices`. `secret` values are never shown.
    `reload` options may change while the service runs.
    """

    name: str
    kind: Kind
    default: Any
    meaning: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Any, ...] = ()
    ignore_case: bool = False
    old_names: tuple[str, ...] = ()
    secret: bool = False
    keep: Keep = "yes"
    deprecated: str | None = None
    reload: bool = False

    def old_places(self, group: str) -> tuple[tuple[str, str], ...]:
        """(group, name) of every old name, for this option in `group`."""
        return tuple(
            (old.split("/", 1)[0], old.split("/", 1)[1]) if "/" in old else (group, old) for old in self.old_names
        )
