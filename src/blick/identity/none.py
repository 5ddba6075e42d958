"""No identity: every caller is an administrator without a project (spec: images-api §1.1)."""

import dataclasses
from collections.abc import Iterable

from blick.model.context import RequestContext

_ADMIN = RequestContext(
    request_id="",
    roles=frozenset({"admin", "manager", "member", "reader"}),
)


class NoIdentity:
    """For deployments that keep strangers out by other means."""

    async def authenticate(self, headers: Iterable[tuple[bytes, bytes]], request_id: str) -> RequestContext:  # noqa: ARG002
        """Whoever it is, let them in. Never raises."""
        return dataclasses.replace(_ADMIN, request_id=request_id)

    def challenge(self, base_url: str) -> str:  # noqa: ARG002
        """Nobody is ever asked for identity here."""
        return "None"

    def close(self) -> None:
        """Nothing is held."""
