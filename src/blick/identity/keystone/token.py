"""What Keystone says of a token, as far as we listen."""

from dataclasses import dataclass
from datetime import datetime

import msgspec

from blick.model.context import RequestContext
from blick.model.service_catalog import ServiceCatalog


class AccessRule(msgspec.Struct, frozen=True):
    """One thing that a restricted application credential may be used for."""

    service: str = ""
    method: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """A token that Keystone found good, without the token itself.

    `context` has no request id and no token. `access_rules` is None where the token may be used for everything.
    `service_types` are those of its catalog; None where no catalog came along.
    """

    context: RequestContext
    expires_at_s: float
    access_rules: tuple[AccessRule, ...] | None
    service_types: frozenset[str] | None
    size_bytes: int  # about what it takes in memory


class _Domain(msgspec.Struct, frozen=True):
    id: str | None = None
    name: str | None = None


class _Named(msgspec.Struct, frozen=True):
    id: str | None = None
    name: str | None = None
    domain: _Domain = _Domain()


class _Role(msgspec.Struct, frozen=True):
    name: str


class _System(msgspec.Struct, frozen=True):
    all: bool = False


class _Service(msgspec.Struct, frozen=True):
    type: str = ""


class _ApplicationCredential(msgspec.Struct, frozen=True):
    access_rules: tuple[AccessRule, ...] | None = None


class _Document(msgspec.Struct, frozen=True):
    expires_at: datetime
    user: _Named
    project: _Named | None = None
    domain: _Domain | None = None
    system: _System | None = None
    roles: tuple[_Role, ...] = ()
    is_admin_project: bool = True
    application_credential: _ApplicationCredential | None = None
    catalog: msgspec.Raw = msgspec.Raw()


class _Answer(msgspec.Struct, frozen=True):
    token: _Document


_ANSWER = msgspec.json.Decoder(_Answer)
_SERVICES = msgspec.json.Decoder(tuple[_Service, ...])
_OVERHEAD_BYTES = 2048


def read_token(answer: bytes) -> Token:
    """The token that an answer of GET /v3/auth/tokens describes. Raises ValueError where it describes none."""
    try:
        document = _ANSWER.decode(answer).token
        catalog = bytes(document.catalog)
        services = _SERVICES.decode(catalog) if catalog else None
    except msgspec.MsgspecError as error:
        raise ValueError(f"no description of a token: {error}") from error
    user, project, domain = document.user, document.project or _Named(), document.domain or _Domain()
    credential = document.application_credential
    context = RequestContext(
        request_id="",
        user_id=user.id,
        user_name=user.name,
        user_domain_id=user.domain.id,
        user_domain_name=user.domain.name,
        project_id=project.id,
        project_name=project.name,
        project_domain_id=project.domain.id,
        project_domain_name=project.domain.name,
        domain_id=domain.id,
        domain_name=domain.name,
        system_scope="all" if document.system and document.system.all else None,
        is_admin_project=document.is_admin_project,
        roles=frozenset(role.name.lower() for role in document.roles),
        service_catalog=ServiceCatalog(catalog) if catalog else None,
    )
    return Token(
        context=context,
        expires_at_s=document.expires_at.timestamp(),
        access_rules=credential.access_rules if credential else None,
        service_types=None if services is None else frozenset(service.type for service in services),
        size_bytes=_OVERHEAD_BYTES + len(catalog),
    )
