"""Bodies that clients send to the identity API, and how they are checked."""

from typing import Any, Literal, TypeVar

import msgspec

from blick.model.errors import Invalid

T = TypeVar("T")


class DomainReference(msgspec.Struct, frozen=True):
    """There is one domain, id `default`, name `Default`."""

    id: str | None = None
    name: str | None = None

    @property
    def is_ours(self) -> bool:
        """Both id and name must fit where both are given; names are taken in any case, as Keystone does."""
        id_fits = self.id is None or self.id == "default"
        name_fits = self.name is None or self.name.lower() == "default"
        return id_fits and name_fits


class PasswordUser(msgspec.Struct, frozen=True):
    password: str
    id: str | None = None
    name: str | None = None
    domain: DomainReference | None = None


class PasswordMethod(msgspec.Struct, frozen=True):
    user: PasswordUser


class TokenMethod(msgspec.Struct, frozen=True):
    id: str


class UserReference(msgspec.Struct, frozen=True):
    id: str | None = None
    name: str | None = None
    domain: DomainReference | None = None


class ApplicationCredentialMethod(msgspec.Struct, frozen=True):
    secret: str
    id: str | None = None
    name: str | None = None
    user: UserReference | None = None


class Identity(msgspec.Struct, frozen=True):
    methods: list[str]
    password: PasswordMethod | None = None
    token: TokenMethod | None = None
    application_credential: ApplicationCredentialMethod | None = None


class ProjectReference(msgspec.Struct, frozen=True):
    id: str | None = None
    name: str | None = None
    domain: DomainReference | None = None


class Scope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Exactly one of them."""

    project: ProjectReference | None = None
    domain: DomainReference | None = None
    system: dict[str, bool] | None = None
    trust: dict[str, Any] | None = msgspec.field(default=None, name="OS-TRUST:trust")


class Auth(msgspec.Struct, frozen=True):
    identity: Identity
    scope: Scope | Literal["unscoped"] | None = None


class AuthRequest(msgspec.Struct, frozen=True):
    """Body of POST auth/tokens."""

    auth: Auth


class RoleReference(msgspec.Struct, frozen=True):
    id: str | None = None
    name: str | None = None


class NewApplicationCredential(msgspec.Struct, frozen=True):
    name: str
    secret: str | None = None
    description: str | None = None
    expires_at: str | None = None
    roles: list[RoleReference] | None = None
    unrestricted: bool | None = False
    project_id: str | None = None
    access_rules: list[dict[str, Any]] | None = None


class ApplicationCredentialRequest(msgspec.Struct, frozen=True):
    """Body of POST users/{id}/application_credentials."""

    application_credential: NewApplicationCredential


class PasswordChange(msgspec.Struct, frozen=True):
    password: str
    original_password: str


class PasswordChangeRequest(msgspec.Struct, frozen=True):
    """Body of POST users/{id}/password."""

    user: PasswordChange


def parse(body: bytes, shape: type[T]) -> T:
    """The body as `shape`. Raises Invalid with what is wrong where; never repeats a value, it may be a secret."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise Invalid(f"The request body is not as it should be: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid("The request body is not valid JSON.") from error
