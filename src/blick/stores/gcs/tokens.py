"""Access tokens of Google's, put into the requests of the S3 library. Blocking."""

from collections.abc import MutableMapping
from threading import Lock
from typing import Any

import google.auth
import urllib3
from botocore.exceptions import EndpointConnectionError, NoCredentialsError
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from google.auth.transport.urllib3 import Request
from google.oauth2.service_account import Credentials

from blick.model.errors import StartRefused
from blick.stores.gcs.options import GcsOptions

_SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)
_TIMEOUT_S = 60
# Google knows Amazon's names of headers only with Amazon's signature.
_THEIRS, _OURS = "x-amz-", "x-goog-"


class Tokens:
    """A valid token at any time, for many threads; renewed a little before it ends."""

    def __init__(self, store: str, options: GcsOptions) -> None:
        """Raises StartRefused for a file that is none of credentials. Asks nobody yet."""
        self._options = options
        self._lock = Lock()
        self._pool = urllib3.PoolManager(timeout=_TIMEOUT_S, ca_certs=options.ca_file, retries=1)
        self._credentials: Any = None
        if options.credentials_file is not None:
            try:
                self._credentials = Credentials.from_service_account_file(options.credentials_file, scopes=_SCOPES)
            except (GoogleAuthError, ValueError, OSError) as error:
                raise StartRefused(
                    f"Store {store}: gcs_store_credentials_file: there are no credentials of a service account in it "
                    f"({type(error).__name__})."
                ) from error

    def sign(self, params: MutableMapping[str, Any], **_: Any) -> None:
        """A handler of the library's event before-call: it may change the headers in `params`.

        Raises the library's own errors.
        """
        headers = params["headers"]
        for name in [name for name in headers if name.lower().startswith(_THEIRS)]:
            headers[_OURS + name[len(_THEIRS) :]] = headers.pop(name)
        headers["Authorization"] = f"Bearer {self._token()}"

    def close(self) -> None:
        """Give connections back."""
        self._pool.clear()

    def _token(self) -> str:
        try:
            with self._lock:
                if self._credentials is None:
                    self._credentials, _ = google.auth.default(scopes=_SCOPES)
                if not self._credentials.valid:
                    self._credentials.refresh(Request(self._pool))
                return str(self._credentials.token)
        except TransportError as error:
            raise EndpointConnectionError(endpoint_url="the issuer of tokens", error=error) from error
        except (DefaultCredentialsError, GoogleAuthError) as error:
            raise NoCredentialsError from error
