"""Who is calling, by Blick's own users: logging in, issuing tokens, checking them, taking them back."""

import asyncio
import base64
import hashlib
import logging
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from blick.db import identity as directory
from blick.db import identity_tokens
from blick.db.engine import Database
from blick.db.identity import ApplicationCredential, Project, Role, User
from blick.db.identity_tokens import Subject
from blick.identity.base import IdentityRequest, unique_header
from blick.identity.embedded import slowdown
from blick.identity.embedded.names import DOMAIN_ID, is_id, is_name
from blick.identity.embedded.passwords import MAX_PASSWORD_BYTES, NO_PASSWORD, hash_password, password_matches
from blick.identity.embedded.requests import (
    ApplicationCredentialMethod,
    Auth,
    DomainReference,
    PasswordUser,
    ProjectReference,
)
from blick.identity.embedded.tokens import KeyRing, TokenClaims, looks_like_token
from blick.model.context import RequestContext
from blick.model.errors import Forbidden, Invalid, ServiceUnavailable, TooManyRequests, Unauthenticated
from blick.stream.hop import hop

_log = logging.getLogger(__name__)

# How long another process may go on trusting what this one revoked.
_TRUST_MS = 5000
_MAX_TRUSTED_TOKENS = 4096
# Passwords checked at one time in one process: each takes a core for a while, and 32 MiB.
_PASSWORD_THREADS = 2
_REFUSED = "The request you have made requires authentication."


@dataclass(frozen=True, slots=True)
class Session:
    """A token that was found good, and whom it stands for."""

    claims: TokenClaims
    user: User
    project: Project | None
    roles: tuple[Role, ...]
    application_credential: ApplicationCredential | None

    @property
    def is_admin(self) -> bool:
        """May look up and revoke what belongs to others."""
        return any(role.name == "admin" for role in self.roles)

    @property
    def may_validate(self) -> bool:
        """May look at tokens of others."""
        return any(role.name in ("admin", "service") for role in self.roles)


@dataclass(frozen=True, slots=True)
class _Trusted:
    session: Session
    context: RequestContext
    checked_ms: int


@dataclass(frozen=True, slots=True)
class _Account:
    """Whom somebody claims to be: `label` counts failures, `secret_hash` is what the secret must match."""

    label: str
    user: User | None
    secret_hash: str
    application_credential: ApplicationCredential | None = None


class EmbeddedIdentity:
    """The identity service of one process. Several processes may share the database. Closed with `close`.

    `clock` gives seconds since 1970.
    """

    def __init__(self, database: Database, *, token_ttl_s: int, clock: Callable[[], float] = time.time) -> None:
        self.database = database
        self._token_ttl_ms = token_ttl_s * 1000
        self._clock = clock
        self._threads = ThreadPoolExecutor(_PASSWORD_THREADS, thread_name_prefix="password")
        self._password_slots = asyncio.Semaphore(_PASSWORD_THREADS)
        self._trusted: dict[bytes, _Trusted] = {}
        # Raised by every revocation, so that a check that began before it is not trusted after it.
        self._epoch = 0
        self._ring: KeyRing | None = None
        self._ring_loaded_ms = 0

    async def aclose(self) -> None:
        """Wait for password checks that still run. The database is not closed."""
        await hop(None, self._threads.shutdown, wait=True)

    def now_ms(self) -> int:
        """The clock, in milliseconds since 1970."""
        return int(self._clock() * 1000)

    # -- who is calling ------------------------------------------------------------------------------------------

    async def authenticate(self, request: IdentityRequest) -> RequestContext:
        """The caller named by X-Auth-Token, and by X-Service-Token where one came along.

        `is_admin` is left False, that is the policy's to say. Raises Unauthenticated without a valid token, or with a
        service token that is not valid or lacks the role `service`; ServiceUnavailable.
        """
        token = unique_header(request.headers, b"x-auth-token")
        service_token = unique_header(request.headers, b"x-service-token")
        service_roles: frozenset[str] = frozenset()
        if service_token is not None:
            service_roles = (await self._trust(service_token)).context.roles
            if "service" not in service_roles:
                raise Unauthenticated(_REFUSED)
        context = (await self._trust(token or b"")).context
        return replace(context, request_id=request.request_id, service_roles=service_roles)

    def challenge(self, base_url: str) -> str:
        """What WWW-Authenticate tells a caller without a valid token: where to get one."""
        return f'Keystone uri="{base_url.rstrip("/")}/identity/v3"'

    async def validate(self, token: str) -> Session:
        """Whom the token stands for. Raises Unauthenticated."""
        return (await self._trust(token.encode("latin-1", "replace"))).session

    async def _trust(self, token: bytes) -> _Trusted:
        key = hashlib.sha256(token).digest()
        now_ms = self.now_ms()
        known = self._trusted.get(key)
        if (
            known is not None
            and known.checked_ms <= now_ms < known.checked_ms + _TRUST_MS
            and now_ms < known.session.claims.expires_ms
        ):
            return known
        epoch = self._epoch
        text = token.decode("latin-1")
        session = await self._check(text, now_ms)
        trusted = _Trusted(session, _context(session, text), now_ms)
        if epoch == self._epoch:
            if len(self._trusted) >= _MAX_TRUSTED_TOKENS:
                self._trusted.clear()
            self._trusted[key] = trusted
        return trusted

    async def _check(self, token: str, now_ms: int) -> Session:
        claims = await self._open(token)
        if claims is None or claims.expires_ms <= now_ms:
            raise Unauthenticated(_REFUSED)
        subject = await self.database.read(
            identity_tokens.token_subject,
            user_id=claims.user_id,
            generation=claims.generation,
            project_id=claims.project_id,
            application_credential_id=claims.application_credential_id,
            audit_id=claims.audit_id,
            now_ms=now_ms,
        )
        if subject is None:
            raise Unauthenticated(_REFUSED)
        return _session(claims, subject)

    # -- keys ----------------------------------------------------------------------------------------------------

    async def _open(self, token: str) -> TokenClaims | None:
        """A token may have been sealed by another process with a key made a moment ago: then look again."""
        if not looks_like_token(token):
            return None
        loaded_ms = self._ring_loaded_ms
        claims = (await self._keys()).open(token)
        if claims is None and loaded_ms == self._ring_loaded_ms:
            claims = (await self._keys(anew=True)).open(token)
        return claims

    async def _keys(self, *, anew: bool = False) -> KeyRing:
        now_ms = self.now_ms()
        if self._ring is None or anew or not 0 <= now_ms - self._ring_loaded_ms < _TRUST_MS:
            keys = await self.database.read(identity_tokens.signing_keys)
            if not keys:
                raise ServiceUnavailable("The identity service has not been set up.")
            self._ring, self._ring_loaded_ms = KeyRing([key.secret for key in keys]), now_ms
        return self._ring

    # -- logging in ----------------------------------------------------------------------------------------------

    async def log_in(self, auth: Auth, address: str | None) -> tuple[str, Session]:
        """A new token and its session. `address` is the client's.

        Raises Invalid; Unauthenticated, alike for a wrong name, a wrong secret and a disabled user;
        Forbidden where an application credential's token asks for more; TooManyRequests after many failures.
        """
        methods = auth.identity.methods
        if methods == ["password"] and auth.identity.password:
            user = await self._by_password(auth.identity.password.user, address)
            return await self._issue(user, await self._scope(auth), methods=("password",))
        if methods == ["token"] and auth.identity.token:
            return await self._rescope(auth.identity.token.id, auth)
        if methods == ["application_credential"] and auth.identity.application_credential:
            credential, user = await self._by_application_credential(auth.identity.application_credential, address)
            if auth.scope is not None:
                raise Invalid("An application credential brings its own scope.")
            return await self._issue(
                user, credential.project_id, methods=("application_credential",), credential_id=credential.id
            )
        if not methods or set(methods) <= {"password", "token", "application_credential"}:
            raise Invalid("Name one method of password, token and application_credential, and give what it needs.")
        raise Unauthenticated("Attempted to authenticate with an unsupported method.")

    async def check_password(self, user_id: str, password: str, address: str | None) -> User:
        """The user whose id and password these are. Raises like `log_in`."""
        return await self._by_password(PasswordUser(password=password, id=user_id), address)

    async def _by_password(self, claimed: PasswordUser, address: str | None) -> User:
        user = await self._claimed_user(claimed.id, claimed.name, claimed.domain)
        label = f"user {user.id}" if user else f"name {claimed.id or claimed.name}"
        account = _Account(label, user, user.password_hash if user else NO_PASSWORD)
        return await self._prove(account, claimed.password, address)

    async def _by_application_credential(
        self, claimed: ApplicationCredentialMethod, address: str | None
    ) -> tuple[ApplicationCredential, User]:
        credential, user = None, None
        if claimed.id is not None:
            if is_id(claimed.id):
                credential = await self.database.read(directory.application_credential, claimed.id)
            if credential:
                user = await self.database.read(directory.user, credential.user_id)
        else:
            if claimed.name is None or claimed.user is None:
                raise Invalid("An application credential is named by its id, or by its name and its user.")
            user = await self._claimed_user(claimed.user.id, claimed.user.name, claimed.user.domain)
            if user and is_name(claimed.name):
                found = await self.database.read(directory.application_credentials_of, user.id, name=claimed.name)
                credential = next(iter(found), None)
        label = f"credential {credential.id if credential else claimed.id or claimed.name}"
        account = _Account(label, user, credential.secret_hash if credential else NO_PASSWORD, credential)
        user = await self._prove(account, claimed.secret, address)
        if credential is None:
            raise Unauthenticated(_REFUSED)
        return credential, user

    async def _claimed_user(self, user_id: str | None, name: str | None, domain: DomainReference | None) -> User | None:
        if user_id is not None:
            return await self.database.read(directory.user, user_id) if is_id(user_id) else None
        if name is None or domain is None or (domain.id is None and domain.name is None):
            raise Invalid("A user is named by id, or by name and domain.")
        if not domain.is_ours or not is_name(name):
            return None
        return await self.database.read(directory.user_named, name)

    async def _prove(self, account: _Account, secret: str, address: str | None) -> User:
        """The account's user, if the secret is right. Counts failures; says no without a look while slowed down.

        The count is looked at and the secret checked in one slot, so that guesses sent side by side cannot all
        slip through before the first of them is counted.
        """
        attempt = slowdown.attempt(account.label, address)
        async with self._password_slots:
            counts = await self.database.read(identity_tokens.failure_counts, [subject for subject, _ in attempt.rules])
            wait_ms = slowdown.wait_ms(attempt, counts, now_ms=self.now_ms())
            if wait_ms > 0:
                raise TooManyRequests(
                    "Too many failed attempts to log in. Try again later.", retry_after_s=-(-wait_ms // 1000)
                )
            too_long = len(secret.encode()) > MAX_PASSWORD_BYTES
            matches = not too_long and await hop(self._threads, password_matches, account.secret_hash, secret)
            if account.user is None or not account.user.enabled or not matches:
                # Not the name that was given: people type passwords where names belong.
                who = account.user.name if account.user else "an unknown user"
                _log.warning("failed to log in as %s from %s", who, address or "a local socket")
                await self.database.write(identity_tokens.record_failures, attempt.rules, now_ms=self.now_ms())
                raise Unauthenticated(_REFUSED)
        if attempt.pair in counts:
            await self.database.write(identity_tokens.forget_failures, attempt.pair)
        return account.user

    async def _rescope(self, token: str, auth: Auth) -> tuple[str, Session]:
        """A token for another scope. It dies when the first one does."""
        session = await self._check(token, self.now_ms())  # never on trust: the new token would outlive the doubt
        if session.application_credential:
            raise Forbidden("A token from an application credential cannot be changed for another one.")
        methods = (*(name for name in session.claims.methods if name != "token"), "token")
        return await self._issue(session.user, await self._scope(auth), methods=methods, parent=session.claims)

    async def _scope(self, auth: Auth) -> str | None:
        """The id of the wanted project; None for no scope. Raises Unauthenticated for scopes nobody can have."""
        scope = auth.scope
        if scope is None or scope == "unscoped":
            return None
        if sum(part is not None for part in (scope.project, scope.domain, scope.system, scope.trust)) != 1:
            raise Invalid("A scope is one of project, domain and system.")
        if scope.project is None:
            raise Unauthenticated("Nobody has a role on a domain, on the system or by a trust here.")
        project = await self._wanted_project(scope.project)
        if project is None:
            raise Unauthenticated("There is no such project, or the user has no role in it.")
        return project.id

    async def _wanted_project(self, wanted: ProjectReference) -> Project | None:
        if wanted.id is not None:
            return await self.database.read(directory.project, wanted.id) if is_id(wanted.id) else None
        if wanted.name is None or wanted.domain is None:
            raise Invalid("A project is named by id, or by name and domain.")
        if not wanted.domain.is_ours or not is_name(wanted.name):
            return None
        return await self.database.read(directory.project_named, wanted.name)

    async def _issue(
        self,
        user: User,
        project_id: str | None,
        *,
        methods: tuple[str, ...],
        credential_id: str | None = None,
        parent: TokenClaims | None = None,
    ) -> tuple[str, Session]:
        now_ms = self.now_ms()
        subject = await self.database.read(
            identity_tokens.subject,
            user,
            project_id=project_id,
            application_credential_id=credential_id,
            now_ms=now_ms,
        )
        if subject is None:
            raise Unauthenticated("There is no such project, or the user has no role in it.")
        expires_ms = parent.expires_ms if parent else now_ms + self._token_ttl_ms
        if subject.application_credential and subject.application_credential.expires_ms is not None:
            expires_ms = min(expires_ms, subject.application_credential.expires_ms)
        claims = TokenClaims(
            user_id=user.id,
            generation=user.generation,
            project_id=project_id,
            methods=methods,
            issued_ms=now_ms,
            expires_ms=expires_ms,
            audit_ids=(_audit_id(), *(parent.audit_ids[-1:] if parent else ())),
            application_credential_id=credential_id,
        )
        return (await self._keys()).seal(claims), _session(claims, subject)

    # -- taking back ---------------------------------------------------------------------------------------------

    async def revoke(self, session: Session) -> None:
        """This one token is void, here at once and elsewhere within seconds."""
        await self.database.write(
            identity_tokens.revoke_token,
            audit_id=session.claims.audit_id,
            expires_ms=session.claims.expires_ms,
            now_ms=self.now_ms(),
        )
        self.distrust()

    async def change_password(self, user_id: str, *, old: str, new: str, address: str | None) -> None:
        """Set the password and void every token of the user. Raises Invalid, and like `log_in` for a wrong old one."""
        if not new or len(new.encode()) > MAX_PASSWORD_BYTES:
            raise Invalid(f"A password has 1 to {MAX_PASSWORD_BYTES} bytes.")
        user = await self.check_password(user_id, old, address)
        password_hash = await self.hash_secret(new)
        await self.database.write(directory.set_password, user.id, password_hash)
        self.distrust()

    async def hash_secret(self, secret: str) -> str:
        """The hash of a password or another secret, made in a thread."""
        async with self._password_slots:
            return await hop(self._threads, hash_password, secret)

    def distrust(self) -> None:
        """Ask the database again for every token: to be called after a change to users, roles or credentials."""
        self._epoch += 1
        self._trusted.clear()


def _session(claims: TokenClaims, subject: Subject) -> Session:
    return Session(claims, subject.user, subject.project, subject.roles, subject.application_credential)


def _context(session: Session, token: str) -> RequestContext:
    return RequestContext(
        request_id="",
        user_id=session.user.id,
        user_name=session.user.name,
        user_domain_id=DOMAIN_ID,
        project_id=session.project.id if session.project else None,
        project_name=session.project.name if session.project else None,
        project_domain_id=DOMAIN_ID if session.project else None,
        roles=frozenset(role.name.lower() for role in session.roles),
        auth_token=token,
    )


def _audit_id() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
