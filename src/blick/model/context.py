"""Who is calling."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One caller during one request, as the identity layer confirmed it.

    `roles` and `service_roles` are lower case. `is_admin` is the outcome of the rule `context_is_admin`.
    `read_only` marks an anonymous caller: it may look at what is public and change nothing.
    """

    request_id: str
    user_id: str | None = None
    project_id: str | None = None
    roles: frozenset[str] = frozenset()
    service_roles: frozenset[str] = frozenset()
    user_name: str | None = None
    project_name: str | None = None
    user_domain_id: str | None = None
    project_domain_id: str | None = None
    domain_id: str | None = None
    system_scope: str | None = None
    is_admin: bool = False
    read_only: bool = False
    auth_token: str | None = None
