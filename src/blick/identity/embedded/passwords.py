"""Password hashes: argon2id, a few tens of milliseconds and 32 MiB each.

The calls block; they belong into a thread.
"""

import base64
import secrets
import string

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

# RFC 9106 asks for 64 MiB and three passes; half the memory keeps two log-ins at once cheap for a small machine.
_TIME_COST = 3
_MEMORY_COST_KIB = 32 * 1024
_HASHER = PasswordHasher(time_cost=_TIME_COST, memory_cost=_MEMORY_COST_KIB, parallelism=1)

MAX_PASSWORD_BYTES = 4096
_ALPHABET = string.ascii_letters + string.digits


def _no_password() -> str:
    salt = base64.b64encode(bytes(16)).decode().rstrip("=")
    digest = base64.b64encode(bytes(32)).decode().rstrip("=")
    return f"$argon2id$v=19$m={_MEMORY_COST_KIB},t={_TIME_COST},p=1${salt}${digest}"


# No password has this hash, and checking one against it takes as long as against a real one: whoever asks
# for a user that does not exist waits as long as for one that does.
NO_PASSWORD = _no_password()


def hash_password(password: str) -> str:
    """A salted hash, at most 255 characters."""
    return _HASHER.hash(password)


def password_matches(password_hash: str, password: str) -> bool:
    """Is it the password of that hash? A hash that cannot be read matches nothing."""
    try:
        return _HASHER.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


def generate_password() -> str:
    """A new password of 24 letters and digits, some 142 random bits: easy to select, safe in any shell."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(24))
