"""Application credentials: second secrets that users make for their programs."""

import math
import secrets
import uuid
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from blick.db import identity as directory
from blick.db.identity import ApplicationCredential, Role
from blick.identity.embedded import documents
from blick.identity.embedded.handlers import Handlers, answer, read_body
from blick.identity.embedded.names import checked_name, checked_text, is_id
from blick.identity.embedded.passwords import MAX_PASSWORD_BYTES
from blick.identity.embedded.requests import (
    ApplicationCredentialRequest,
    NewApplicationCredential,
    RoleReference,
    parse,
)
from blick.identity.embedded.service import Session
from blick.model.errors import Forbidden, Invalid, NotFound

_FORBIDDEN = "You are not authorized to perform the requested action."


class CredentialHandlers(Handlers):
    """/v3/users/{user_id}/application_credentials. Made by the user alone; admins may look and delete."""

    async def create(self, request: Request) -> Response:
        session = await self._caller(request, may_admin=False)
        _require_unrestricted(session)
        if session.project is None:
            raise Forbidden("An application credential is made with a token for a project.")
        wanted = parse(await read_body(request), ApplicationCredentialRequest).application_credential
        secret = _secret(wanted)
        all_roles = await self.identity.database.read(directory.list_roles)
        credential = ApplicationCredential(
            id=uuid.uuid4().hex,
            user_id=session.user.id,
            project_id=session.project.id,
            name=checked_name(wanted.name),
            description=None if wanted.description is None else checked_text(wanted.description),
            secret_hash=await self.identity.hash_secret(secret),
            role_ids=_role_ids(wanted.roles, session),
            created_ms=self.identity.now_ms(),
            unrestricted=wanted.unrestricted or False,
            expires_ms=_expiry_ms(wanted.expires_at, now_ms=self.identity.now_ms()),
        )
        await self.identity.database.write(directory.insert_application_credential, credential)
        document = documents.application_credential(credential, all_roles, self.links.v3(request))
        return answer(request, {"application_credential": document | {"secret": secret}}, 201)

    async def list(self, request: Request) -> Response:
        await self._caller(request)
        user_id = request.path_params["user_id"]
        name = request.query_params.get("name")
        found = (
            await self.identity.database.read(directory.application_credentials_of, user_id) if is_id(user_id) else []
        )
        roles = await self.identity.database.read(directory.list_roles)
        url = self.links.v3(request)
        members = [
            documents.application_credential(one, roles, url) for one in found if name is None or one.name == name
        ]
        return answer(request, documents.collection("application_credentials", members, str(request.url)))

    async def show(self, request: Request) -> Response:
        await self._caller(request)
        credential = await self._credential(request)
        roles = await self.identity.database.read(directory.list_roles)
        document = documents.application_credential(credential, roles, self.links.v3(request))
        return answer(request, {"application_credential": document})

    async def delete(self, request: Request) -> Response:
        _require_unrestricted(await self._caller(request))
        credential = await self._credential(request)
        await self.identity.database.write(directory.delete_application_credential, credential.id)
        self.identity.distrust()
        return Response(status_code=204)

    async def access_rules(self, request: Request) -> Response:
        """None can be made, so there are none."""
        await self._caller(request)
        return answer(request, documents.collection("access_rules", [], str(request.url)))

    async def _caller(self, request: Request, *, may_admin: bool = True) -> Session:
        session = await self.caller(request)
        if request.path_params["user_id"] != session.user.id and not (may_admin and session.is_admin):
            raise Forbidden(_FORBIDDEN)
        return session

    async def _credential(self, request: Request) -> ApplicationCredential:
        credential_id = request.path_params["credential_id"]
        found = None
        if is_id(credential_id):
            found = await self.identity.database.read(directory.application_credential, credential_id)
        if found is None or found.user_id != request.path_params["user_id"]:
            raise NotFound("There is no such application credential.")
        return found


def _require_unrestricted(session: Session) -> None:
    """A program that was given a credential must not make itself others, unless that was allowed."""
    credential = session.application_credential
    if credential is not None and not credential.unrestricted:
        raise Forbidden("A token from a restricted application credential cannot manage application credentials.")


def _secret(wanted: NewApplicationCredential) -> str:
    if wanted.access_rules:
        raise Invalid("Access rules are not supported.")
    if wanted.secret is None:
        return secrets.token_urlsafe(64)
    if not wanted.secret or len(wanted.secret.encode()) > MAX_PASSWORD_BYTES:
        raise Invalid(f"A secret has 1 to {MAX_PASSWORD_BYTES} bytes.")
    return wanted.secret


def _role_ids(wanted: "list[RoleReference] | None", session: Session) -> tuple[str, ...]:
    """The roles asked for, all of the caller's by default. Raises Invalid for one that the caller does not hold."""
    if wanted is None:
        return tuple(role.id for role in session.roles)
    chosen = {_held(reference, session).id for reference in wanted}
    if not chosen:
        raise Invalid("An application credential needs at least one role.")
    return tuple(sorted(chosen))


def _held(reference: RoleReference, session: Session) -> Role:
    for role in session.roles:
        if reference.id == role.id or (reference.id is None and (reference.name or "").lower() == role.name):
            return role
    raise Invalid("You do not hold one of the roles that were asked for.")


def _expiry_ms(text: str | None, *, now_ms: int) -> int | None:
    """ISO 8601, UTC unless it says otherwise. Raises Invalid where it cannot be read or is over."""
    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(text)
        parsed = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed
        at_ms = math.floor(parsed.timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise Invalid("expires_at is not a time in ISO 8601.") from error
    if at_ms <= now_ms:
        raise Invalid("expires_at lies in the past.")
    return at_ms
