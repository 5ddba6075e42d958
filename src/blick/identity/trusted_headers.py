"""Who is calling, by what an authenticating proxy in front of us wrote into the headers (spec: images-api §1.1).

The headers are the ones that Keystone's middleware sets. They are anybody's to write, so they count only from the
proxy's own addresses; where one of them occurs twice, one may be the client's, and none of them counts.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

import msgspec

from blick.identity.base import IdentityRequest
from blick.model.context import RequestContext
from blick.model.errors import Invalid, PeerRefused, Unauthenticated
from blick.model.service_catalog import ServiceCatalog

_log = logging.getLogger(__name__)

_REFUSED = "The request you have made requires authentication."
_CONFIRMED = "confirmed"
_CATALOG = b"x-service-catalog"

# Fields of the context that are one header's text; where the first name is absent, an older one counts.
_TEXTS: Mapping[str, tuple[bytes, ...]] = {
    "user_id": (b"x-user-id",),
    "user_name": (b"x-user-name", b"x-user"),
    "user_domain_id": (b"x-user-domain-id",),
    "user_domain_name": (b"x-user-domain-name",),
    "project_id": (b"x-project-id", b"x-tenant-id"),
    "project_name": (b"x-project-name", b"x-tenant-name", b"x-tenant"),
    "project_domain_id": (b"x-project-domain-id",),
    "project_domain_name": (b"x-project-domain-name",),
    "domain_id": (b"x-domain-id",),
    "domain_name": (b"x-domain-name",),
    "system_scope": (b"openstack-system-scope",),
    "service_user_id": (b"x-service-user-id",),
    "service_user_domain_id": (b"x-service-user-domain-id",),
    "service_project_id": (b"x-service-project-id",),
    "service_project_domain_id": (b"x-service-project-domain-id",),
    "auth_token": (b"x-auth-token", b"x-storage-token"),
}
_ROLES = (b"x-roles", b"x-role")
_OTHERS = (
    b"x-service-roles", b"x-identity-status", b"x-service-identity-status", b"x-is-admin-project", _CATALOG,
)  # fmt: skip
_KNOWN = frozenset({name for names in _TEXTS.values() for name in names}.union(_ROLES, _OTHERS))

HEADERS = frozenset(name.decode() for name in _KNOWN)
"""The headers that say who calls, in lower case."""


class TrustedHeaders:
    """Believes the headers of requests that come straight from `proxies`; from this machine where none are named."""

    def __init__(self, proxies: Sequence[IPv4Network | IPv6Network]) -> None:
        self._proxies = tuple(proxies)
        self._trusts = lru_cache(maxsize=1024)(self._is_proxy)

    async def authenticate(self, request: IdentityRequest) -> RequestContext:
        """The caller whom the proxy confirmed.

        Raises PeerRefused for requests that do not come from the proxy; Unauthenticated where it did not confirm the
        caller, or where a header occurs twice; Invalid for a service catalog that is none.
        """
        if not self._trusts(request.peer):
            _log.warning("refused a request from %s, which is not a trusted proxy", request.peer or "a local socket")
            raise PeerRefused(_REFUSED)
        given = _identity_headers(request.headers)
        if given.get(b"x-identity-status", "").lower() != _CONFIRMED:
            raise Unauthenticated(_REFUSED)
        if given.get(b"x-service-identity-status", _CONFIRMED).lower() != _CONFIRMED:
            raise Unauthenticated(_REFUSED)
        texts: dict[str, Any] = {field: _first(given, names) for field, names in _TEXTS.items()}
        return RequestContext(
            request_id=request.request_id,
            roles=_roles(_first(given, _ROLES)),
            service_roles=_roles(given.get(b"x-service-roles")),
            is_admin_project=given.get(b"x-is-admin-project", "true").lower() != "false",
            service_catalog=_catalog(given.get(_CATALOG)),
            **texts,
        )

    def challenge(self, base_url: str) -> str:
        """Where to log in is the proxy's to say; a caller who gets here without it only learns where we are."""
        return f'Keystone uri="{base_url.rstrip("/")}"'

    async def aclose(self) -> None:
        """Nothing is held."""

    def _is_proxy(self, peer: str | None) -> bool:
        try:
            address = ip_address(peer or "")
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if not self._proxies:
            return address.is_loopback
        return any(address in network for network in self._proxies)


def _identity_headers(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, str]:
    """The headers that say who calls, with a value. Raises Unauthenticated where one of them is repeated."""
    seen: dict[bytes, str] = {}
    for name, value in headers:
        if name not in _KNOWN:
            continue
        if name in seen:
            _log.warning("refused a request with two headers %s: the proxy has to remove its client's", name.decode())
            raise Unauthenticated(_REFUSED)
        seen[name] = _text(value)
    return {name: text for name, text in seen.items() if text}


def _text(value: bytes) -> str:
    """A name as proxies write it: UTF-8, or what HTTP once took for granted."""
    try:
        return value.decode("utf-8").strip()
    except UnicodeDecodeError:
        return value.decode("latin-1").strip()


def _first(given: Mapping[bytes, str], names: Sequence[bytes]) -> str | None:
    return next((given[name] for name in names if name in given), None)


def _roles(text: str | None) -> frozenset[str]:
    return frozenset(role for part in (text or "").split(",") if (role := part.strip().lower()))


def _catalog(text: str | None) -> ServiceCatalog | None:
    """Raises Invalid here already where it is no catalog: later, work that was done would be lost by it."""
    if text is None:
        return None
    document = text.encode()
    try:
        msgspec.json.decode(document, type=list[dict[str, msgspec.Raw]])
    except (msgspec.DecodeError, RecursionError) as error:
        raise Invalid("The header X-Service-Catalog is no service catalog.") from error
    return ServiceCatalog(document)
