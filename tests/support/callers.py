"""Callers of the in-process tests: who one is stands in headers, as an authenticating proxy would write it."""

from collections.abc import Iterable

from blick.identity.base import IdentityRequest
from blick.model.context import RequestContext
from blick.model.errors import Unauthenticated

HEADERS = {
    "admin": {"x-user-id": "u-admin", "x-project-id": "admin", "x-roles": "admin,member,reader"},
    "owner": {"x-user-id": "u-owner", "x-project-id": "p1", "x-roles": "member,reader"},
    "reader": {"x-user-id": "u-reader", "x-project-id": "p1", "x-roles": "reader"},
    "other": {"x-user-id": "u-other", "x-project-id": "p2", "x-roles": "member,reader"},
    "stranger": {"x-user-id": "u-stranger", "x-project-id": "p3", "x-roles": "member,reader"},
    "roleless": {"x-user-id": "u-none", "x-project-id": "p1", "x-roles": ""},
    "service": {"x-user-id": "u-service", "x-project-id": "service", "x-roles": "service,reader"},
    "admin_service": {"x-user-id": "u-service", "x-project-id": "service", "x-roles": "admin,service,member,reader"},
    "anonymous": {},
}


def asked(
    headers: Iterable[tuple[bytes, bytes]] = (),
    request_id: str = "req",
    *,
    method: str = "GET",
    path: str = "/v2/images",
    peer: str | None = "127.0.0.1",
) -> IdentityRequest:
    """What an identity is asked about a request with these headers."""
    return IdentityRequest(tuple(headers), method, path, peer, request_id)


class HeaderIdentity:
    """Believes what the headers say."""

    async def authenticate(self, request: IdentityRequest) -> RequestContext:
        given = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
        if "x-user-id" not in given:
            raise Unauthenticated("The request you have made requires authentication.")
        return RequestContext(
            request_id=request.request_id,
            user_id=given["x-user-id"],
            project_id=given.get("x-project-id"),
            roles=_names(given["x-roles"]),
            service_roles=_names(given.get("x-service-roles", "")),
            system_scope=given.get("openstack-system-scope"),
            domain_id=given.get("x-domain-id"),
        )

    def challenge(self, base_url: str) -> str:
        return f'Keystone uri="{base_url}"'

    async def aclose(self) -> None:
        """Nothing is held."""


def _names(text: str) -> frozenset[str]:
    return frozenset(name.lower() for name in text.split(",") if name)
