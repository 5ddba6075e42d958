"""Locations' URIs written encrypted, where `metadata_encryption_key` is set (spec: security §6).

The types of this module do it between statement and driver, so that everything else in `db` reads and writes plain
URIs. An encrypted value has no colon in it and a URI always has: values that are not encrypted are read as they are.
Equal URIs are encrypted differently each time: SQL cannot compare them, and nothing here does.
"""

import base64
import binascii
import logging
import os
from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import Dialect, Engine, Text
from sqlalchemy.types import TypeDecorator

_log = logging.getLogger(__name__)

_BLOCK_BYTES = 16  # AES's, whatever the key's length
_ATTRIBUTE = "blick_location_cipher"

decode_locations = msgspec.json.Decoder(dict[int, tuple[str, str | None]]).decode
"""What `GatheredLocations` gives: URI and metadata (JSON text) by the location's id."""

_Process = Callable[[Any], Any]


class LocationCipher:
    """AES in CBC mode: a random initialisation vector, then the text, one NUL and random bytes up to a whole block."""

    def __init__(self, key: bytes) -> None:
        """`key` has 16, 24 or 32 bytes."""
        # Only who encrypts pays for loading it.
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        algorithm = algorithms.AES(key)

        def with_vector(vector: bytes) -> "Cipher[modes.CBC]":
            return Cipher(algorithm, modes.CBC(vector))

        self._with_vector = with_vector
        self._has_complained = False

    def encrypt(self, uri: str) -> str:
        """The value to store for `uri`. One that could not be decrypted goes back as it was."""
        if ":" not in uri:
            return uri
        plain = uri.encode() + b"\0"
        plain += bytes(byte or 1 for byte in os.urandom(-len(plain) % _BLOCK_BYTES))
        vector = os.urandom(_BLOCK_BYTES)
        encryptor = self._with_vector(vector).encryptor()
        return base64.urlsafe_b64encode(vector + encryptor.update(plain) + encryptor.finalize()).decode()

    def decrypt(self, value: str) -> str:
        """The URI of a stored value; the value itself where it is not encrypted, or not with this key.

        Such a location belongs to no store: its image is shown, its data is out of reach, and nothing of it is lost.
        """
        if ":" in value:
            return value
        uri = self._opened(value)
        if uri is None:
            if not self._has_complained:
                self._has_complained = True
                _log.error("a location cannot be decrypted: metadata_encryption_key is not the one it was written with")
            return value
        return uri

    def opens(self, value: str) -> bool:
        """Is `value` plain, or encrypted with this key?"""
        return ":" in value or self._opened(value) is not None

    def _opened(self, value: str) -> str | None:
        try:
            stored = base64.urlsafe_b64decode(value)
        except (binascii.Error, ValueError):
            return None
        if len(stored) <= _BLOCK_BYTES or len(stored) % _BLOCK_BYTES:
            return None
        decryptor = self._with_vector(stored[:_BLOCK_BYTES]).decryptor()
        plain, found, _padding = (decryptor.update(stored[_BLOCK_BYTES:]) + decryptor.finalize()).rpartition(b"\0")
        try:
            uri = plain.decode()
        except UnicodeDecodeError:
            return None
        return uri if found and ":" in uri else None


def use_cipher(engine: Engine, key: bytes | None) -> None:
    """Let every connection of `engine` encrypt and decrypt locations with `key`; None: neither."""
    if key is not None:
        # The types are everybody's, the dialect is this engine's alone and all that a type is told.
        setattr(engine.dialect, _ATTRIBUTE, LocationCipher(key))


def cipher_of(dialect: Dialect) -> LocationCipher | None:
    found: LocationCipher | None = getattr(dialect, _ATTRIBUTE, None)
    return found


def _if_any(process: _Process) -> _Process:
    """No value, or an empty text, is nothing to keep secret."""
    return lambda value: process(value) if value else value


class LocationUri(TypeDecorator[str]):
    """A column that holds one location's URI, or nothing. Costs nothing on an engine without a cipher."""

    impl = Text
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> _Process | None:
        cipher = cipher_of(dialect)
        return None if cipher is None else _if_any(cipher.encrypt)

    def result_processor(self, dialect: Dialect, coltype: object) -> _Process | None:  # noqa: ARG002 - SQLAlchemy's
        cipher = cipher_of(dialect)
        return None if cipher is None else _if_any(cipher.decrypt)


class GatheredLocations(TypeDecorator[str]):
    """Locations gathered into JSON, `{id: [uri, metadata] …}`, as a result. Costs nothing without a cipher."""

    impl = Text
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> _Process | None:  # noqa: ARG002 - SQLAlchemy's
        cipher = cipher_of(dialect)
        if cipher is None:
            return None

        def decrypted(text: str) -> str:
            found = decode_locations(text)
            return msgspec.json.encode(
                {id_: (cipher.decrypt(uri), rest) for id_, (uri, rest) in found.items()}
            ).decode()

        return decrypted
