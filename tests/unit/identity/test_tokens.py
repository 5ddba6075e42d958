"""Sealing and opening tokens."""

import pytest
from cryptography.fernet import Fernet

from blick.identity.embedded.tokens import KeyRing, TokenClaims, looks_like_token, new_signing_secret

CLAIMS = TokenClaims(
    user_id="u" * 32,
    generation=3,
    project_id="p" * 32,
    methods=("password", "token"),
    issued_ms=1_800_000_000_123,
    expires_ms=1_800_003_600_123,
    audit_ids=("own", "parent"),
    application_credential_id="c" * 32,
)


def test_what_was_sealed_is_opened() -> None:
    ring = KeyRing([new_signing_secret()])
    token = ring.seal(CLAIMS)
    assert ring.open(token) == CLAIMS
    assert CLAIMS.audit_id == "own"
    assert looks_like_token(token)
    assert len(token) < 400
    assert "=" not in token


def test_two_seals_of_the_same_claims_differ() -> None:
    ring = KeyRing([new_signing_secret()])
    assert ring.seal(CLAIMS) != ring.seal(CLAIMS)


def test_the_newest_key_seals_and_older_ones_open() -> None:
    old, new = new_signing_secret(), new_signing_secret()
    sealed_before = KeyRing([old]).seal(CLAIMS)
    both = KeyRing([new, old])
    assert both.open(sealed_before) == CLAIMS
    assert KeyRing([new]).open(both.seal(CLAIMS)) == CLAIMS
    assert KeyRing([new]).open(sealed_before) is None


@pytest.mark.parametrize("change", [lambda t: t[:-1], lambda t: t[:40] + "AAAA" + t[44:], lambda t: t + t, str.lower])
def test_a_changed_token_is_not_opened(change: "object") -> None:
    ring = KeyRing([new_signing_secret()])
    assert ring.open(change(ring.seal(CLAIMS))) is None  # type: ignore[operator]


@pytest.mark.parametrize(
    "token", ["", "gAAAAA", "x" * 200, "gAAAAA" + "é" * 100, "gAAAAA" + "A" * 2000, "gAAAAA\n\x00"]
)
def test_what_was_never_a_token_is_not_opened(token: str) -> None:
    assert KeyRing([new_signing_secret()]).open(token) is None


@pytest.mark.parametrize("content", [b"", b"\x90", b"not msgpack", b"\x98\x07" + b"\xc0" * 8])
def test_a_seal_around_something_else_is_not_opened(content: bytes) -> None:
    secret = new_signing_secret()
    sealed = Fernet(secret).encrypt(content).decode().rstrip("=")
    assert KeyRing([secret]).open(sealed) is None
