"""What a token carries, and how it is sealed: Fernet (AES-CBC and HMAC-SHA-256) with keys from the database."""

import binascii
from collections.abc import Sequence

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

_FORMAT = 1
# Fernet's version byte and the upper bytes of its time stamp: everything else is refused without a look at keys.
_BEGINNING = "gAAAAA"
_MAX_LENGTH = 1024


class TokenClaims(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Who logged in how, for how long. Roles are not among it: they are looked up whenever the token is used."""

    format: int = _FORMAT
    user_id: str
    generation: int
    project_id: str | None
    methods: tuple[str, ...]
    issued_ms: int
    expires_ms: int
    audit_ids: tuple[str, ...]
    application_credential_id: str | None = None

    @property
    def audit_id(self) -> str:
        """The token's own name, fit for logs and revocations. Those after it name the tokens it descends from."""
        return self.audit_ids[0]


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(TokenClaims)


def new_signing_secret() -> str:
    """A fresh Fernet key, 44 characters."""
    return Fernet.generate_key().decode()


class KeyRing:
    """Signing keys, newest first; the newest seals, all open."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._fernets = MultiFernet([Fernet(secret) for secret in secrets])
        self._sealing = Fernet(secrets[0])

    def seal(self, claims: TokenClaims) -> str:
        """A token: at most `_MAX_LENGTH` characters, safe in headers and URLs."""
        sealed = self._sealing.encrypt_at_time(_ENCODER.encode(claims), claims.issued_ms // 1000)
        return sealed.decode().rstrip("=")

    def open(self, token: str) -> TokenClaims | None:
        """The claims, unchecked but for the seal; None where no key fits or it was never a token of ours."""
        if not looks_like_token(token):
            return None
        padded = token + "=" * (-len(token) % 4)
        try:
            claims = _DECODER.decode(self._fernets.decrypt(padded.encode("ascii")))
        except (InvalidToken, binascii.Error, msgspec.DecodeError):
            return None
        return claims if claims.format == _FORMAT and claims.audit_ids else None


def looks_like_token(token: str) -> bool:
    """False for what cannot be one of ours, whatever the keys are."""
    return token.startswith(_BEGINNING) and len(token) <= _MAX_LENGTH and token.isascii()
