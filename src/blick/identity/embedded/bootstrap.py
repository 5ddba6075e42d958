"""The first users of a new database, and the upkeep of the keys that sign tokens."""

import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from blick.db import identity as directory
from blick.db import identity_tokens
from blick.db.engine import Database
from blick.db.identity import Project, Role, User
from blick.db.identity_tokens import SigningKey
from blick.identity.embedded.passwords import generate_password, hash_password
from blick.identity.embedded.tokens import new_signing_secret
from blick.model.errors import Conflict

ROLES = ("admin", "manager", "member", "reader", "service")
_KEY_AGE_MS = 30 * 24 * 3_600_000


@dataclass(frozen=True, slots=True, repr=False)
class FirstUsers:
    """Passwords that were made up for the first users: written to the client's files, then forgotten."""

    admin_password: str
    demo_password: str


def bootstrap(
    database: Database, *, token_ttl_s: int, now_ms: int, publish: Callable[[FirstUsers], None]
) -> FirstUsers | None:
    """Make an empty database usable; renew the signing key when it is old. Blocks; safe to call at every start.

    Without any user it makes admin (role admin on project admin) and demo (member on project demo) and gives their
    passwords, this once; else None. `publish` is given the passwords before the users exist: whatever kills this
    process, there are no users whose passwords nobody knows. It may be called again with the same or, after a
    failure, with other passwords; the last ones count. What it raises undoes everything. The tables must exist.
    """
    renew_signing_key(database, token_ttl_s=token_ttl_s, now_ms=now_ms)
    if has_users(database):
        return None
    first = FirstUsers(generate_password(), generate_password())
    accounts = [
        (_user("admin", first.admin_password, now_ms), _project("admin", "For the operator", now_ms), "admin"),
        (_user("demo", first.demo_password, now_ms), _project("demo", "For trying things out", now_ms), "member"),
    ]
    return first if database.write_now(directory.insert_first, _roles(), accounts, lambda: publish(first)) else None


def make_ready(database: Database, *, token_ttl_s: int, now_ms: int) -> bool:
    """Like bootstrap, but without users: whoever runs the service makes those. Blocks. False: there are none yet."""
    renew_signing_key(database, token_ttl_s=token_ttl_s, now_ms=now_ms)
    with suppress(Conflict):  # another process has just made them
        database.write_now(directory.insert_first_roles, _roles())
    return has_users(database)


def has_users(database: Database) -> bool:
    """Was it ever made usable? Blocks."""
    return bool(database.read_now(directory.list_users))


def renew_signing_key(database: Database, *, token_ttl_s: int, now_ms: int) -> None:
    """Sign with a new key if there is none or it is old; forget keys whose last token has expired. Blocks."""
    key = SigningKey(new_signing_secret(), now_ms)
    database.write_now(identity_tokens.renew_signing_key, key, max_age_ms=_KEY_AGE_MS, token_ttl_ms=token_ttl_s * 1000)


def _roles() -> list[Role]:
    return [Role(uuid.uuid4().hex, name) for name in ROLES]


def _user(name: str, password: str, now_ms: int) -> User:
    return User(uuid.uuid4().hex, name, hash_password(password), enabled=True, created_ms=now_ms)


def _project(name: str, description: str, now_ms: int) -> Project:
    return Project(uuid.uuid4().hex, name, enabled=True, created_ms=now_ms, description=description)
