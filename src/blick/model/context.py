"""Who is calling."""

from dataclasses import dataclass, field

from blick.model.service_catalog import ServiceCatalog


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One caller during one request, as the identity layer confirmed it.

    `roles` and `service_roles` are lower case. `is_admin` is the outcome of the rule `context_is_admin`.
    `read_only` marks an anonymous caller: it may look at what is public and change nothing.
    The `service_` fields tell of the service that calls on behalf of the user, where one does.
    `auth_token` is for calls to other services in the caller's name; it is never shown.
    """

    request_id: str
    user_id: str | None = None
    project_id: str | None = None
    roles: frozenset[str] = frozenset()
    service_roles: frozenset[str] = frozenset()
    user_name: str | None = None
    project_name: str | None = None
    user_domain_id: str | None = None
    user_domain_name: str | None = None
    project_domain_id: str | None = None
    project_domain_name: str | None = None
    domain_id: str | None = None
    domain_name: str | None = None
    system_scope: str | None = None
    is_admin_project: bool = True
    service_user_id: str | None = None
    service_user_domain_id: str | None = None
    service_project_id: str | None = None
    service_project_domain_id: str | None = None
    is_admin: bool = False
    read_only: bool = False
    auth_token: str | None = field(default=None, repr=False)
    service_catalog: ServiceCatalog | None = field(default=None, repr=False)
