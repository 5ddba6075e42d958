"""Tables of the embedded identity: users, projects, roles, what they hold, and what keeps tokens honest.

Times are milliseconds since 1970 in UTC: MariaDB's DATETIME drops fractions, whole numbers compare alike everywhere.
"""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, String, Table, Text, UniqueConstraint
from sqlalchemy.dialects.mysql import VARCHAR

from blick.db.metadata import metadata

# Names differ by case on every engine, so that no name is taken on one and free on another.
_NAME = String(255).with_variant(VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
_TEXT = Text().with_variant(VARCHAR(4000, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
_ID = String(64)

users = Table(
    "blick_identity_users",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("name", _NAME, nullable=False),
    Column("password_hash", String(255), nullable=False),
    Column("email", _NAME, nullable=True),
    Column("enabled", Boolean, nullable=False),
    # Carried by every token; raising it revokes all tokens of the user without a clock.
    Column("generation", Integer, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    UniqueConstraint("name", name="uq_blick_identity_users_name"),
)

projects = Table(
    "blick_identity_projects",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("name", _NAME, nullable=False),
    Column("description", _TEXT, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    UniqueConstraint("name", name="uq_blick_identity_projects_name"),
)

roles = Table(
    "blick_identity_roles",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("name", _NAME, nullable=False),
    UniqueConstraint("name", name="uq_blick_identity_roles_name"),
)

assignments = Table(
    "blick_identity_assignments",
    metadata,
    Column("user_id", _ID, ForeignKey(users.c.id), primary_key=True),
    Column("project_id", _ID, ForeignKey(projects.c.id), primary_key=True),
    Column("role_id", _ID, ForeignKey(roles.c.id), primary_key=True),
    Index("ix_blick_identity_assignments_project", "project_id"),
    Index("ix_blick_identity_assignments_role", "role_id"),
)

application_credentials = Table(
    "blick_identity_application_credentials",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("user_id", _ID, ForeignKey(users.c.id), nullable=False),
    Column("project_id", _ID, ForeignKey(projects.c.id), nullable=False),
    Column("name", _NAME, nullable=False),
    Column("description", _TEXT, nullable=True),
    Column("secret_hash", String(255), nullable=False),
    Column("unrestricted", Boolean, nullable=False),
    Column("expires_ms", BigInteger, nullable=True),
    Column("created_ms", BigInteger, nullable=False),
    UniqueConstraint("user_id", "name", name="uq_blick_identity_application_credentials_name"),
    Index("ix_blick_identity_application_credentials_project", "project_id"),
)

application_credential_roles = Table(
    "blick_identity_application_credential_roles",
    metadata,
    Column("application_credential_id", _ID, ForeignKey(application_credentials.c.id), primary_key=True),
    Column("role_id", _ID, ForeignKey(roles.c.id), primary_key=True),
    Index("ix_blick_identity_application_credential_roles_role", "role_id"),
)

# Keys that sign tokens: the newest signs, all of them are accepted.
keys = Table(
    "blick_identity_keys",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("secret", String(64), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

# Single tokens that were given back before their time. A row may go once the token would have expired anyway.
revocations = Table(
    "blick_identity_revocations",
    metadata,
    Column("audit_id", String(64), primary_key=True),
    Column("expires_ms", BigInteger, nullable=False),
    Index("ix_blick_identity_revocations_expires", "expires_ms"),
)

# Failed log-ins per subject: an address, a user, or both together. Subjects are digests, names stay out of it.
failures = Table(
    "blick_identity_failures",
    metadata,
    Column("subject", String(80), primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("last_failed_ms", BigInteger, nullable=False),
    Column("blocked_until_ms", BigInteger, nullable=False),
    Index("ix_blick_identity_failures_last_failed", "last_failed_ms"),
)
