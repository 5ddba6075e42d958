"""The bodies of POST /v2/images/{id}/members and PUT /v2/images/{id}/members/{member}."""

from blick.model.errors import Invalid
from blick.model.schema import MEMBER_STATUSES, NAME_MAX_CHARACTERS
from blick.model.text import refuse_unstorable


def parse_member(body: object) -> str:
    """The project to share with, from the decoded body `{"member": "<project>"}`. Raises `Invalid`."""
    member = _one_text(body, "member")
    if not member:
        raise Invalid("Member to be added not specified.")
    if len(member) > NAME_MAX_CHARACTERS:
        raise Invalid(f"The member has {len(member)} characters, at most {NAME_MAX_CHARACTERS} are possible.")
    return member


def parse_status(body: object) -> str:
    """The new status, from the decoded body `{"status": "accepted"}`; see `require_status`. Raises `Invalid`."""
    return _one_text(body, "status")


def require_status(status: str) -> None:
    """Raises `Invalid` for what is no status. Told only to those who may set one, as ever."""
    if status not in MEMBER_STATUSES:
        raise Invalid(f"The status must be one of {', '.join(MEMBER_STATUSES)}.")


def _one_text(body: object, key: str) -> str:
    if not isinstance(body, dict):
        raise Invalid(f'The body must be a JSON object with the key "{key}".')
    if key not in body:
        raise Invalid(f'The body lacks the key "{key}".')
    value = body[key]
    if not isinstance(value, str):
        raise Invalid(f'The value of "{key}" must be a string.')
    refuse_unstorable(value, f'The value of "{key}"')
    return value
