"""Callers of the in-process tests: who one is stands in headers, as an authenticating proxy would write it."""

from collections.abc import Iterable

from blick.model.context import RequestContext
from blick.model.errors import Unauthenticated

HEADERS = {
    "admin": {"x-user-id": "u-admin", "x-project-id": "admin", "x-roles": "admin,member,reader"},
    "owner": {"x-user-id": "u-owner", "x-project-id": "p1", "x-roles": "member,reader"},
    "reader": {"x-user-id": "u-reader", "x-project-id": "p1", "x-roles": "reader"},
    "other": {"x-user-id": "u-other", "x-project-id": "p2", "x-roles": "member,reader"},
    "stranger": {"x-user-id": "u-stranger", "x-project-id": "p3", "x-roles": "member,reader"},
    "roleless": {"x-user-id": "u-none", "x-project-id": "p1", "x-roles": ""},
    "anonymous": {},
}


class HeaderIdentity:
    """Believes what the headers say."""

    async def authenticate(self, headers: Iterable[tuple[bytes, bytes]], request_id: str) -> RequestContext:
        given = {name.decode(): value.decode() for name, value in headers}
        if "x-user-id" not in given:
            raise Unauthenticated("The request you have made requires authentication.")
        return RequestContext(
            request_id=request_id,
            user_id=given["x-user-id"],
            project_id=given.get("x-project-id"),
            roles=frozenset(role for role in given["x-roles"].split(",") if role),
        )

    def challenge(self, base_url: str) -> str:
        return f'Keystone uri="{base_url}"'

    def close(self) -> None:
        """Nothing is held."""
