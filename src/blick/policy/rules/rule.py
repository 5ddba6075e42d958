"""What one policy rule is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule's name, its default, what it means, and the calls that ask it.

    `legacy` is an older default, or-ed to the new one while enforce_new_defaults is off and no operator has
    overridden the rule. `removal_since` is the release since which the rule is on its way out, for `removal_reason`.
    """

    name: str
    default: str
    meaning: str
    operations: tuple[str, ...] = ()
    scope_types: tuple[str, ...] = ("project",)
    legacy: str | None = None
    legacy_since: str | None = None
    removal_since: str | None = None
    removal_reason: str = ""
