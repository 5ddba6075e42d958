"""Who may call: one caller of each kind that default rules tell apart, on images of project p1.

p2 has been offered the shared image and has not answered, p3 has accepted it, p4 has nothing to do with it.
"""

from collections.abc import Mapping
from typing import Final

OWNER_PROJECT: Final = "p1"
PENDING_PROJECT: Final = "p2"
ACCEPTED_PROJECT: Final = "p3"

_PERSONAS: Mapping[str, tuple[str | None, str]] = {
    "admin": ("p0", "admin,member,reader"),
    "owner": (OWNER_PROJECT, "member,reader"),
    "owner-reader": (OWNER_PROJECT, "reader"),
    "other": ("p4", "member,reader"),
    "pending": (PENDING_PROJECT, "member,reader"),
    "accepted": (ACCEPTED_PROJECT, "member,reader"),
    "shared-reader": (ACCEPTED_PROJECT, "reader"),
    "service": ("services", "service"),
    "roleless": (OWNER_PROJECT, ""),
    "anonymous": (None, ""),
}
NAMES: Final = tuple(_PERSONAS)


def project_of(persona: str) -> str | None:
    """The project that the persona's token is for."""
    return _PERSONAS[persona][0]


def roles_of(persona: str) -> frozenset[str]:
    """The roles of the persona's token."""
    return frozenset(_PERSONAS[persona][1].split(",")) - {""}


def headers_of(persona: str) -> dict[str, str]:
    """What tells the persona to the tests' identity (see tests.support.callers); nothing if it comes without token."""
    project_id, roles = _PERSONAS[persona]
    return {} if project_id is None else {"x-user-id": f"u-{persona}", "x-project-id": project_id, "x-roles": roles}
