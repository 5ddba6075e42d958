"""Who is calling, by a Keystone (spec: security §3).

A request's own identity headers never count: nothing here looks at them.
"""

import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from blick.identity.base import IdentityRequest
from blick.identity.keystone.access_rules import allows
from blick.identity.keystone.cache import Shared, TokenCache
from blick.identity.keystone.options import keystone_options, memcached_options
from blick.identity.keystone.token import Token
from blick.identity.keystone.validation import Validator
from blick.model.context import RequestContext
from blick.model.errors import Unauthenticated

_log = logging.getLogger(__name__)

_USER, _STORAGE, _SERVICE = b"x-auth-token", b"x-storage-token", b"x-service-token"
_HEADERS = frozenset({_USER, _STORAGE, _SERVICE})
_TOKEN = re.compile(rb"[!-~]*")
_REFUSED = "The request you have made requires authentication."


class KeystoneIdentity:
    """Asks a Keystone, and remembers what it said. Closed with `aclose`."""

    def __init__(self, values: Mapping[str, Any], clock: Callable[[], float] = time.time) -> None:
        """From the options of [keystone_authtoken] that have a value. Nothing is asked yet. Raises StartRefused."""
        self._options = keystone_options(values)
        self._validator = Validator(self._options)
        self._cache = TokenCache(self._validator, self._options.token_cache_s, _shared(values), clock)
        self._clock = clock
        if not self._options.service_token_roles_required:
            _log.warning(
                "[keystone_authtoken] service_token_roles_required is off: every valid token counts as a service's, "
                "and frees others from their access rules"
            )

    async def authenticate(self, request: IdentityRequest) -> RequestContext:
        """The caller named by X-Auth-Token, with what X-Service-Token adds where one came along.

        `is_admin` is left False, that is the policy's to say. Raises Unauthenticated without a valid token, for a
        request that the token's access rules do not allow, and for whatever comes with a service token that is not
        valid or lacks its role; ServiceUnavailable where Keystone can't say.
        """
        tokens = _tokens(request)
        service_token = tokens.get(_SERVICE)
        service = await self._service(service_token) if service_token else None
        user_token = tokens.get(_USER) or tokens.get(_STORAGE)
        if not user_token:
            raise Unauthenticated(_REFUSED)
        late = service is not None and self._may_be_late(service)
        token = await self._valid(user_token, allow_expired=late)
        if service is None and not allows(token, self._options.service_type, request.method, request.path):
            _log.info("the access rules of the caller's application credential do not allow this request")
            raise Unauthenticated(_REFUSED)
        context = replace(token.context, request_id=request.request_id, auth_token=user_token)
        return context if service is None else _on_behalf(context, service.context)

    def challenge(self, base_url: str) -> str:  # noqa: ARG002
        """What WWW-Authenticate tells a caller without a valid token: where to get one."""
        return f'Keystone uri="{self._options.challenge_uri}"'

    async def aclose(self) -> None:
        """End threads and connections; calls that still run are waited for."""
        await self._cache.aclose()
        await self._validator.aclose()

    async def _service(self, token: str) -> Token:
        service = await self._valid(token, allow_expired=False)
        if self._options.service_token_roles_required and not self._may_be_late(service):
            _log.info("a service token has none of the roles that make it one")
            raise Unauthenticated(_REFUSED)
        return service

    def _may_be_late(self, service: Token) -> bool:
        """May it finish what a user began whose token has expired meanwhile?"""
        return not self._options.service_token_roles.isdisjoint(service.context.roles)

    async def _valid(self, text: str, *, allow_expired: bool) -> Token:
        token = await self._cache.get(text, allow_expired=allow_expired)
        if token is None or (token.expires_at_s <= self._clock() and not allow_expired):
            raise Unauthenticated(_REFUSED)
        return token


def _tokens(request: IdentityRequest) -> dict[bytes, str]:
    """The tokens of a request, by header; an empty header is like none.

    Raises Unauthenticated where a header occurs twice, or holds something that no token looks like.
    """
    found: dict[bytes, str] = {}
    for name, value in request.headers:
        if name in _HEADERS:
            value = value.strip()
            if name in found or _TOKEN.fullmatch(value) is None:
                raise Unauthenticated(_REFUSED)
            found[name] = value.decode("ascii")
    return found


def _on_behalf(context: RequestContext, service: RequestContext) -> RequestContext:
    return replace(
        context,
        service_roles=service.roles,
        service_user_id=service.user_id,
        service_user_domain_id=service.user_domain_id,
        service_project_id=service.project_id,
        service_project_domain_id=service.project_domain_id,
    )


def _shared(values: Mapping[str, Any]) -> Shared | None:
    options = memcached_options(values)
    if options is None:
        return None
    # Needs a package that nothing else here needs.
    from blick.identity.keystone.shared import SharedTokens

    return SharedTokens(options)
