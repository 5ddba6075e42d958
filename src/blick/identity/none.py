"""No identity: every caller is an administrator without a project (spec: images-api §1.1)."""

import dataclasses

from blick.identity.base import IdentityRequest
from blick.model.context import RequestContext

_ADMIN = RequestContext(
    request_id="",
    roles=frozenset({"admin", "manager", "member", "reader"}),
    is_admin=True,
)


class NoIdentity:
    """For deployments that keep strangers out by other means."""

    async def authenticate(self, request: IdentityRequest) -> RequestContext:
        """Whoever it is, let them in, as an administrator whatever the policy says of roles. Never raises."""
        return dataclasses.replace(_ADMIN, request_id=request.request_id)

    def challenge(self, base_url: str) -> str:  # noqa: ARG002
        """Nobody is ever asked for identity here."""
        return "None"

    async def aclose(self) -> None:
        """Nothing is held."""
