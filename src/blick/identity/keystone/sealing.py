"""How what we know of a token is kept in memcached, where others may read and write."""

import hashlib
import hmac
import os
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from blick.identity.keystone.options import Strategy

_PREFIX = "blick/token/"
_MAC_BYTES = 32
_NONCE_BYTES = 12


class Sealing(Protocol):
    """`digest` is the SHA-256 of a token: whoever has it could ask for the token's entry, so it is a secret too."""

    def place(self, digest: bytes) -> str:
        """The name under which a token's entry is kept: no white space, at most 250 bytes."""
        ...

    def seal(self, digest: bytes, entry: bytes) -> bytes:
        """What is kept of an entry."""
        ...

    def open(self, digest: bytes, kept: bytes) -> bytes | None:
        """The entry; None where what was kept is not what was sealed for that token."""
        ...


class Unsealed:
    """Everybody who reaches memcached can read entries, and write some of their own."""

    def place(self, digest: bytes) -> str:
        """A hash of the token's hash: who reads it cannot ask for other entries by it."""
        return f"{_PREFIX}plain/{hashlib.sha256(digest).hexdigest()}"

    def seal(self, digest: bytes, entry: bytes) -> bytes:  # noqa: ARG002
        """As it is."""
        return entry

    def open(self, digest: bytes, kept: bytes) -> bytes | None:  # noqa: ARG002
        """As it is."""
        return kept


class Signed:
    """Nobody without the secret can write an entry that we take for ours."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def place(self, digest: bytes) -> str:
        """Nobody without the secret can find a token's entry."""
        return f"{_PREFIX}mac/{self._mac(b'place', digest).hex()}"

    def seal(self, digest: bytes, entry: bytes) -> bytes:
        """A signature, and the entry."""
        return self._mac(b"entry", digest + entry) + entry

    def open(self, digest: bytes, kept: bytes) -> bytes | None:
        """The entry if the signature is right for this token."""
        signature, entry = kept[:_MAC_BYTES], kept[_MAC_BYTES:]
        return entry if hmac.compare_digest(signature, self._mac(b"entry", digest + entry)) else None

    def _mac(self, use: bytes, data: bytes) -> bytes:
        return hmac.digest(self._secret, use + b"\0" + data, "sha256")


class Encrypted:
    """Nobody without both the secret and the token can read an entry, or write one that we take for ours."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def place(self, digest: bytes) -> str:
        """Nobody without the secret can find a token's entry."""
        return f"{_PREFIX}sealed/{self._derived(b'place', digest).hex()}"

    def seal(self, digest: bytes, entry: bytes) -> bytes:
        """A nonce, and the entry under AES-256-GCM with a key of this token's own."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(self._derived(b"key", digest)).encrypt(nonce, entry, digest)

    def open(self, digest: bytes, kept: bytes) -> bytes | None:
        """The entry if it was sealed for this token."""
        if len(kept) < _NONCE_BYTES:
            return None
        try:
            return AESGCM(self._derived(b"key", digest)).decrypt(kept[:_NONCE_BYTES], kept[_NONCE_BYTES:], digest)
        except InvalidTag:
            return None

    def _derived(self, use: bytes, digest: bytes) -> bytes:
        return hmac.digest(self._secret, use + b"\0" + digest, "sha256")


def sealing(strategy: Strategy, secret: str) -> Sealing:
    """The way that the operator chose; `secret` is not empty where it needs one."""
    match strategy:
        case "None":
            return Unsealed()
        case "MAC":
            return Signed(secret)
        case "ENCRYPT":
            return Encrypted(secret)
