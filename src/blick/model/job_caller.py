"""Who asked for a job: kept with it, so that it is done in the caller's name whoever does it, whenever.

What anybody may see goes into the job's payload; token and catalog apart, as a secret.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from blick.model.context import RequestContext
from blick.model.service_catalog import ServiceCatalog

_PLAIN = (
    "request_id", "user_id", "project_id", "user_name", "project_name", "user_domain_id", "user_domain_name",
    "project_domain_id", "project_domain_name", "domain_id", "domain_name", "system_scope", "is_admin",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class JobSecret:
    """What a job needs to call other services in its caller's name. Never shown."""

    auth_token: str | None = field(default=None, repr=False)
    service_catalog: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, context: RequestContext) -> "JobSecret | None":
        """The caller's; None where there is nothing to keep."""
        if context.auth_token is None:
            return None
        catalog = context.service_catalog
        return cls(context.auth_token, None if catalog is None else catalog.document.decode("utf-8", "replace"))

    @classmethod
    def from_text(cls, text: str) -> "JobSecret":
        """What `text` made."""
        return cls(**json.loads(text))

    def text(self) -> str:
        """All of it, as one text."""
        return json.dumps({"auth_token": self.auth_token, "service_catalog": self.service_catalog})


def as_payload(context: RequestContext) -> dict[str, Any]:
    """The caller as a job's payload has it, without secrets."""
    plain = {name: getattr(context, name) for name in _PLAIN}
    return {**plain, "roles": sorted(context.roles), "service_roles": sorted(context.service_roles)}


def from_payload(payload: Mapping[str, Any], secret: JobSecret | None) -> RequestContext:
    """The caller as `as_payload` wrote him down, able to call other services if there is a `secret`."""
    plain = {name: payload[name] for name in _PLAIN}
    catalog = secret.service_catalog if secret is not None else None
    return RequestContext(
        **plain,
        roles=frozenset(payload["roles"]),
        service_roles=frozenset(payload["service_roles"]),
        auth_token=secret.auth_token if secret is not None else None,
        service_catalog=None if catalog is None else ServiceCatalog(catalog.encode()),
    )
