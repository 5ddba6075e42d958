"""The names of objects in legacy stores."""

import re

from blick.model.errors import Invalid

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


def is_key(name: str) -> bool:
    """May an object have that name?"""
    return _KEY.fullmatch(name) is not None


def require_key(name: str) -> None:
    """Raises Invalid for a name that no object may have."""
    if not is_key(name):
        raise Invalid("An object's name must be letters, digits, dots, dashes and underscores only.")
