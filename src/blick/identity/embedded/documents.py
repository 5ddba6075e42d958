"""The JSON documents of the identity API, shaped as Keystone shapes them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from blick.db.identity import ApplicationCredential, Assignment, Project, Role, User
from blick.identity.embedded.names import DOMAIN_ID, DOMAIN_NAME, REGION
from blick.identity.embedded.service import Session

Document = dict[str, Any]

_DOMAIN_REFERENCE = {"id": DOMAIN_ID, "name": DOMAIN_NAME}
# The version of Keystone's API that these documents follow.
_VERSION_ID = "v3.14"
_VERSION_UPDATED = "2020-04-07T00:00:00Z"


def timestamp(at_ms: int) -> str:
    """Milliseconds since 1970 as clients expect them: 2026-01-31T12:00:00.000000Z."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def version(identity_url: str) -> Document:
    """What v3 is and where."""
    return {
        "id": _VERSION_ID,
        "status": "stable",
        "updated": _VERSION_UPDATED,
        "links": [{"rel": "self", "href": f"{identity_url}/v3/"}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }


def catalog(*, image_url: str, identity_url: str) -> list[Document]:
    """The two services there are, each public, internal and admin at the same address."""
    return [
        _service("image", "glance", image_url),
        _service("identity", "keystone", identity_url),
    ]


def _service(kind: str, name: str, url: str) -> Document:
    endpoints = [
        {
            "id": f"{kind}-{interface}",
            "interface": interface,
            "region": REGION,
            "region_id": REGION,
            "url": url,
        }
        for interface in ("public", "internal", "admin")
    ]
    return {"id": kind, "type": kind, "name": name, "endpoints": endpoints}


def token(session: Session, catalog_document: list[Document] | None) -> Document:
    """What a token says; with the catalog where the token has a scope and one is given."""
    claims = session.claims
    document: Document = {
        "methods": list(claims.methods),
        "user": {
            "id": session.user.id,
            "name": session.user.name,
            "domain": _DOMAIN_REFERENCE,
            "password_expires_at": None,
        },
        "audit_ids": list(claims.audit_ids),
        "expires_at": timestamp(claims.expires_ms),
        "issued_at": timestamp(claims.issued_ms),
    }
    if session.project is not None:
        document["project"] = {
            "id": session.project.id,
            "name": session.project.name,
            "domain": _DOMAIN_REFERENCE,
        }
        document["is_domain"] = False
        document["roles"] = [{"id": role.id, "name": role.name} for role in session.roles]
        if catalog_document is not None:
            document["catalog"] = catalog_document
    if session.application_credential is not None:
        document["application_credential"] = {
            "id": session.application_credential.id,
            "name": session.application_credential.name,
            "restricted": not session.application_credential.unrestricted,
        }
    return {"token": document}


def user(record: User, url: str) -> Document:
    """One user; never anything of the password."""
    document: Document = {
        "id": record.id,
        "name": record.name,
        "domain_id": DOMAIN_ID,
        "enabled": record.enabled,
        "password_expires_at": None,
        "options": {},
        "links": {"self": f"{url}/users/{record.id}"},
    }
    if record.email:
        document["email"] = record.email
    return document


def project(record: Project, url: str) -> Document:
    """One project; the domain is its parent."""
    return {
        "id": record.id,
        "name": record.name,
        "domain_id": DOMAIN_ID,
        "description": record.description,
        "enabled": record.enabled,
        "is_domain": False,
        "parent_id": DOMAIN_ID,
        "tags": [],
        "options": {},
        "links": {"self": f"{url}/projects/{record.id}"},
    }


def role(record: Role, url: str) -> Document:
    """One role."""
    return {
        "id": record.id,
        "name": record.name,
        "domain_id": None,
        "description": None,
        "options": {},
        "links": {"self": f"{url}/roles/{record.id}"},
    }


def domain(url: str) -> Document:
    """The one domain."""
    return {
        "id": DOMAIN_ID,
        "name": DOMAIN_NAME,
        "description": "The only domain",
        "enabled": True,
        "tags": [],
        "options": {},
        "links": {"self": f"{url}/domains/{DOMAIN_ID}"},
    }


def assignment(record: Assignment, url: str, *, with_names: bool) -> Document:
    """Who holds which role where."""
    user_document: Document = {"id": record.user.id}
    project_document: Document = {"id": record.project.id}
    role_document: Document = {"id": record.role.id}
    if with_names:
        user_document |= {"name": record.user.name, "domain": _DOMAIN_REFERENCE}
        project_document |= {"name": record.project.name, "domain": _DOMAIN_REFERENCE}
        role_document |= {"name": record.role.name}
    path = f"/projects/{record.project.id}/users/{record.user.id}/roles/{record.role.id}"
    return {
        "user": user_document,
        "scope": {"project": project_document},
        "role": role_document,
        "links": {"assignment": url + path},
    }


def application_credential(record: ApplicationCredential, roles: Sequence[Role], url: str) -> Document:
    """One application credential without its secret. `roles` are all roles there are."""
    return {
        "id": record.id,
        "name": record.name,
        "description": record.description,
        "user_id": record.user_id,
        "project_id": record.project_id,
        "roles": [
            {"id": role.id, "name": role.name, "domain_id": None} for role in roles if role.id in record.role_ids
        ],
        "expires_at": None if record.expires_ms is None else timestamp(record.expires_ms).removesuffix("Z"),
        "unrestricted": record.unrestricted,
        "system": None,
        "links": {"self": f"{url}/users/{record.user_id}/application_credentials/{record.id}"},
    }


def collection(name: str, members: list[Document], self_url: str) -> Document:
    """All of them on one page."""
    return {name: members, "links": {"self": self_url, "next": None, "previous": None}}
