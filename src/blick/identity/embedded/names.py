"""What users, projects, roles and ids may be called. Checked before a text reaches the database."""

import re

from blick.model.errors import Invalid

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_MAX_NAME_LENGTH = 255

DOMAIN_ID = "default"
DOMAIN_NAME = "Default"
REGION = "RegionOne"


def is_id(text: str) -> bool:
    """Can there be anything with this id?"""
    return _ID.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """1 to 255 printable characters, no blanks at the ends."""
    return 0 < len(text) <= _MAX_NAME_LENGTH and text.isprintable() and text == text.strip()


def checked_name(text: str) -> str:
    """The name as given. Raises Invalid where it cannot be one."""
    if not is_name(text):
        raise Invalid("A name has 1 to 255 printable characters and no blanks at its ends.")
    return text


def checked_text(text: str) -> str:
    """A description as given. Raises Invalid where it is too long or holds what databases refuse."""
    if len(text) > 1000 or not text.replace("\n", "").isprintable():
        raise Invalid("A description has at most 1000 characters, and no control characters but line ends.")
    return text
