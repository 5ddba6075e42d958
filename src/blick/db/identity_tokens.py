"""What a token is checked against: signing keys, revocations, the state of its user; and counted failures to log in."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, case, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from blick.db import identity
from blick.db.identity import ApplicationCredential, Project, Role, User
from blick.db.identity_tables import failures, keys, revocations


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A Fernet key. The newest signs; every one that is still kept is accepted."""

    secret: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a token stands for, as the database says now. `roles` are those that count:
    given or implied, and with an application credential only what it was made for."""

    user: User
    project: Project | None
    roles: tuple[Role, ...]
    application_credential: ApplicationCredential | None


@dataclass(frozen=True, slots=True)
class FailureRule:
    """How log-ins slow down: `free` failures cost nothing, then the wait doubles from `first_ms` up to `cap_ms`.

    A count is forgotten after `forget_ms` without a failure.
    """

    free: int
    first_ms: int
    cap_ms: int
    forget_ms: int

    def wait_ms(self, failure_count: int) -> int:
        """The wait after that many failures in a row."""
        beyond = failure_count - self.free
        if beyond <= 0:
            return 0
        return min(self.cap_ms, self.first_ms << min(beyond - 1, 32))


@dataclass(frozen=True, slots=True)
class FailureCount:
    """What is known of one subject."""

    failures: int
    blocked_until_ms: int


# -- keys --------------------------------------------------------------------------------------------------------


def signing_keys(connection: Connection) -> list[SigningKey]:
    """Newest first."""
    rows = connection.execute(select(keys.c.secret, keys.c.created_ms).order_by(keys.c.id.desc()))
    return [SigningKey(secret, created_ms) for secret, created_ms in rows]


def add_signing_key(connection: Connection, key: SigningKey) -> None:
    """From now on this key signs. Older ones stay accepted until `drop_signing_keys`."""
    connection.execute(insert(keys).values(secret=key.secret, created_ms=key.created_ms))


def renew_signing_key(connection: Connection, key: SigningKey, *, max_age_ms: int, token_ttl_ms: int) -> None:
    """Let `key` sign from now on if there is none or the newest is older than that; drop keys nobody needs."""
    present = signing_keys(connection)
    if not present or present[0].created_ms < key.created_ms - max_age_ms:
        add_signing_key(connection, key)
    drop_signing_keys(connection, superseded_before_ms=key.created_ms - token_ttl_ms)


def drop_signing_keys(connection: Connection, *, superseded_before_ms: int) -> int:
    """Drop keys whose successor is older than that, so that no token signed with them can be alive; how many."""
    rows = connection.execute(select(keys.c.id, keys.c.created_ms).order_by(keys.c.id)).all()
    dead = [older.id for older, newer in itertools.pairwise(rows) if newer.created_ms < superseded_before_ms]
    return connection.execute(delete(keys).where(keys.c.id.in_(dead))).rowcount if dead else 0


# -- tokens ------------------------------------------------------------------------------------------------------


def token_subject(
    connection: Connection,
    *,
    user_id: str,
    generation: int,
    project_id: str | None,
    application_credential_id: str | None,
    audit_id: str,
    now_ms: int,
) -> Subject | None:
    """Whom a token with these claims stands for; None where it is revoked or stands for nobody any more."""
    if connection.execute(select(revocations.c.audit_id).where(revocations.c.audit_id == audit_id)).first():
        return None
    user = identity.user(connection, user_id)
    if user is None or user.generation != generation:
        return None
    return subject(
        connection,
        user,
        project_id=project_id,
        application_credential_id=application_credential_id,
        now_ms=now_ms,
    )


def subject(
    connection: Connection,
    user: User,
    *,
    project_id: str | None,
    application_credential_id: str | None = None,
    now_ms: int,
) -> Subject | None:
    """What the user is on that project; None where user, project or credential are void, or no role is held there."""
    if not user.enabled:
        return None
    if project_id is None:
        return Subject(user, None, (), None)
    project = identity.project(connection, project_id)
    if project is None or not project.enabled:
        return None
    given = identity.roles_on(connection, user_id=user.id, project_id=project_id)
    roles = identity.effective_roles(connection, (role.name for role in given))
    if application_credential_id is None:
        return Subject(user, project, roles, None) if roles else None
    credential = identity.application_credential(connection, application_credential_id)
    if credential is None or (credential.user_id, credential.project_id) != (user.id, project_id):
        return None
    if credential.expires_ms is not None and credential.expires_ms <= now_ms:
        return None
    chosen = (role.name for role in roles if role.id in credential.role_ids)
    roles = tuple(role for role in identity.effective_roles(connection, chosen) if role in roles)
    return Subject(user, project, roles, credential) if roles else None


def revoke_token(connection: Connection, *, audit_id: str, expires_ms: int, now_ms: int) -> None:
    """This one token is void. May be said twice. Rows of tokens that expired meanwhile are dropped."""
    connection.execute(delete(revocations).where(revocations.c.expires_ms < now_ms))
    try:
        with connection.begin_nested():
            connection.execute(insert(revocations).values(audit_id=audit_id, expires_ms=expires_ms))
    except IntegrityError:
        return  # revoked already, which is what was asked for


# -- failures ----------------------------------------------------------------------------------------------------


def failure_counts(connection: Connection, subjects: list[str]) -> dict[str, FailureCount]:
    """What is known of each subject; those that never failed are missing."""
    rows = connection.execute(select(failures).where(failures.c.subject.in_(subjects)))
    return {row.subject: FailureCount(row.failures, row.blocked_until_ms) for row in rows}


def record_failures(connection: Connection, rules: Iterable[tuple[str, FailureRule]], *, now_ms: int) -> None:
    """One more failed log-in of each subject; sets how long it has to wait. Forgets others that are long over."""
    for subject, rule in rules:
        _record_failure(connection, subject, rule, now_ms)


def _record_failure(connection: Connection, subject: str, rule: FailureRule, now_ms: int) -> None:
    connection.execute(delete(failures).where(failures.c.last_failed_ms < now_ms - rule.forget_ms))
    if not _count_failure(connection, subject, rule, now_ms):
        try:
            with connection.begin_nested():
                connection.execute(
                    insert(failures).values(subject=subject, failures=1, last_failed_ms=now_ms, blocked_until_ms=0)
                )
        except IntegrityError:  # another process counted the first failure in this moment
            _count_failure(connection, subject, rule, now_ms)
    count = connection.execute(select(failures.c.failures).where(failures.c.subject == subject)).scalar_one()
    blocked_until_ms = now_ms + rule.wait_ms(count)
    connection.execute(update(failures).where(failures.c.subject == subject).values(blocked_until_ms=blocked_until_ms))


def forget_failures(connection: Connection, subject: str) -> None:
    """The subject proved itself."""
    connection.execute(delete(failures).where(failures.c.subject == subject))


def _count_failure(connection: Connection, subject: str, rule: FailureRule, now_ms: int) -> bool:
    is_old = failures.c.last_failed_ms < now_ms - rule.forget_ms
    counted = connection.execute(
        update(failures)
        .where(failures.c.subject == subject)
        .values(failures=case((is_old, 1), else_=failures.c.failures + 1), last_failed_ms=now_ms)
    )
    return counted.rowcount > 0
