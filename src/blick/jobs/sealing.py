"""What a job needs of its caller, a token above all, written so that the database alone does not give it away.

The key is made of a secret that every process of the deployment has by its configuration, and the database has not: the
key for locations, else the password of the service's own account, else the database's URL.
"""

import hashlib
import logging
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING

from blick.conf.settings import Settings
from blick.model.job_caller import JobSecret

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

_log = logging.getLogger(__name__)


class Sealer:
    """Seals and opens secrets of jobs. The library behind it is loaded by the first that needs it."""

    def __init__(self, settings: Settings) -> None:
        self._material = _material(settings)

    def seal(self, secret: JobSecret) -> str:
        """Text for `blick.db.jobs.NewJob.secret`."""
        return self._cipher().encrypt(secret.text().encode()).decode()

    def open(self, sealed: str) -> JobSecret | None:
        """What was sealed; None if it was sealed with another key."""
        from cryptography.fernet import InvalidToken

        try:
            return JobSecret.from_text(self._cipher().decrypt(sealed.encode()).decode())
        except InvalidToken:
            _log.error("a job's secret was sealed with another key: do all hosts have the same configuration?")
            return None

    def _cipher(self) -> "Fernet":
        from cryptography.fernet import Fernet

        return Fernet(urlsafe_b64encode(hashlib.sha256(b"blick.jobs\0" + self._material).digest()))


def _material(settings: Settings) -> bytes:
    account = settings.identity.keystone_authtoken
    password = account.get("password") or account.get("application_credential_secret")
    return settings.database.location_key or str(password or settings.database.connection).encode()
