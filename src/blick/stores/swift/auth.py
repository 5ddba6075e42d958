"""Who we are for Swift: tokens and the address of the account, from Keystone, from Swift's own log-in or of a caller.

Everything here blocks. Every log-in may be used by several threads at once.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from blick.model.context import RequestContext
from blick.model.errors import CallerRefused, Invalid, StoreDenied, StoreUnavailable
from blick.stores.swift.errors import Refusal, as_unavailable, error_of
from blick.stores.swift.http import Connections
from blick.stores.swift.options import Account, SwiftOptions

_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Access:
    """A token and the account that it opens."""

    token: str = field(repr=False)
    storage_url: str


class Login(Protocol):
    """Gives access, and a new one when it was refused."""

    refused: Refusal
    """The error where Swift refuses these credentials."""

    def access(self) -> Access:
        """Raises StoreDenied or CallerRefused, StoreUnavailable."""
        ...

    def renew(self, stale: Access) -> Access | None:
        """Another access in place of `stale`, which Swift does not take; None if there can be none."""
        ...


def login_of(name: str, account: Account, options: SwiftOptions, connections: Connections) -> Login:
    """The log-in of a service's account. Raises ImportError if its library is missing."""
    if not account.uses_keystone:
        return PlainLogin(name, account, options, connections)
    return KeystoneLogin(name, account, options)


class PlainLogin:
    """Swift's own log-in, of tempauth and its like: one GET with user and key."""

    refused: Refusal = StoreDenied

    def __init__(self, name: str, account: Account, options: SwiftOptions, connections: Connections) -> None:
        self._name = name
        self._account = account
        self._options = options
        self._connections = connections
        self._lock = threading.Lock()
        self._access: Access | None = None
        self._stale_at_s = 0.0

    def access(self) -> Access:
        """See Login."""
        with self._lock:
            if self._access is None or time.monotonic() >= self._stale_at_s:
                self._access = self._log_in()
            return self._access

    def renew(self, stale: Access) -> Access | None:
        """See Login."""
        with self._lock:
            if self._access is None or self._access.token == stale.token:
                self._access = self._log_in()
            return self._access

    def _log_in(self) -> Access:
        headers = {"X-Auth-User": self._account.full_user, "X-Auth-Key": self._account.key}
        with as_unavailable(self._name):
            connection = self._connections.open(self._account.auth_address, fresh=True)
            try:
                connection.send_head("GET", urlsplit(self._account.auth_address).path, headers)
                answer = connection.answer()
            finally:
                connection.close()
        if answer.status not in (200, 204):
            raise error_of(self._name, answer.status, "log in", self.refused)
        token = answer.headers.get("x-auth-token") or answer.headers.get("x-storage-token")
        storage_url = self._options.endpoint or answer.headers.get("x-storage-url")
        if not token or not storage_url:
            raise StoreUnavailable(self._name, "what answers at the auth address is no log-in of Swift's")
        lives_s = answer.headers.get("x-auth-token-expires", "")
        self._stale_at_s = (
            time.monotonic() + int(lives_s) - self._options.renew_before_s if lives_s.isdigit() else float("inf")
        )
        return Access(token, storage_url.rstrip("/"))


class KeystoneLogin:
    """An account of Keystone's v3: a password or an application credential, or a trust of a user to it."""

    def __init__(
        self,
        name: str,
        account: Account,
        options: SwiftOptions,
        *,
        trust_id: str | None = None,
        refused: Refusal = StoreDenied,
    ) -> None:
        # The library is loaded by those who log in with Keystone only.
        from keystoneauth1 import session

        self.refused = refused
        self.address = _v3_address(account)
        self._name = name
        self._options = options
        self._plugin = _plugin(account, trust_id)
        # What is about to lapse is renewed before it is used.
        self._plugin.MIN_TOKEN_LIFE_SECONDS = options.renew_before_s
        verify: bool | str = not options.insecure and (options.ca_file or True)
        self.session = session.Session(auth=self._plugin, verify=verify, timeout=_TIMEOUT_S)
        self._lock = threading.Lock()

    def access(self) -> Access:
        """See Login."""
        with self._lock, as_store_errors(self._name, self.refused):
            return self._access()

    def renew(self, stale: Access) -> Access | None:
        """See Login."""
        with self._lock, as_store_errors(self._name, self.refused):
            if self._access().token == stale.token:
                self._plugin.invalidate()
            return self._access()

    def user_id(self) -> str:
        """The id of the account's user. Raises as `access`."""
        with self._lock, as_store_errors(self._name, self.refused):
            return str(self._plugin.get_access(self.session).user_id)

    def _access(self) -> Access:
        known = self._plugin.get_access(self.session)
        options = self._options
        storage_url = options.endpoint or known.service_catalog.url_for(
            service_type=options.service_type, interface=options.interface, region_name=options.region
        )
        return Access(known.auth_token, str(storage_url).rstrip("/"))


class CallerLogin:
    """The caller of a request, with the token and the catalog that came with it. It cannot be renewed."""

    refused: Refusal = CallerRefused

    def __init__(self, name: str, caller: RequestContext, options: SwiftOptions) -> None:
        self.caller = caller
        self._name = name
        self._options = options

    def access(self) -> Access:
        """See Login."""
        if not self.caller.auth_token:
            raise CallerRefused(self._name, "this store keeps images in accounts of users, and no token came along")
        return Access(self.caller.auth_token, self._storage_url())

    def renew(self, stale: Access) -> Access | None:  # noqa: ARG002 - the contract's
        """See Login."""
        return None

    def _storage_url(self) -> str:
        options = self._options
        if options.endpoint:
            project = self.caller.project_id or ""
            return options.endpoint.replace("%(project_id)s", project).replace("%(tenant_id)s", project)
        try:
            catalog = self.caller.service_catalog
            url = catalog and catalog.url(options.service_type, options.interface, options.region)
        except Invalid as error:
            raise CallerRefused(self._name, str(error)) from error
        if not url:
            raise CallerRefused(self._name, f"the caller's catalog has no {options.service_type}")
        return url.rstrip("/")


@contextmanager
def as_store_errors(name: str, refused: Refusal) -> Iterator[None]:
    """Keystone's trouble as a store's. No text of the library's goes on: it may quote addresses and users."""
    from keystoneauth1 import exceptions

    try:
        yield
    except exceptions.HttpError as error:
        if error.http_status in (401, 403):
            raise refused(name, f"Keystone refuses the credentials ({error.http_status})") from error
        raise StoreUnavailable(name, f"Keystone cannot log us in ({error.http_status})") from error
    except exceptions.CatalogException as error:
        raise StoreDenied(name, "Keystone's catalog has no such object store for this account") from error
    except exceptions.ClientException as error:
        raise StoreUnavailable(name, f"Keystone does not answer ({type(error).__name__})") from error


def _v3_address(account: Account) -> str:
    address = account.auth_address.rstrip("/").removesuffix("/v2.0")
    return address if address.endswith("/v3") else f"{address}/v3"


def _plugin(account: Account, trust_id: str | None) -> Any:
    from keystoneauth1.identity import v3

    address = _v3_address(account)
    if account.application_credential_id:
        return v3.ApplicationCredential(
            address,
            application_credential_id=account.application_credential_id,
            application_credential_secret=account.application_credential_secret,
        )
    scope: dict[str, Any] = (
        {"trust_id": trust_id}
        if trust_id
        else {
            "project_id": account.project_id,
            "project_name": None if account.project_id else account.project,
            "project_domain_id": None if account.project_id else account.project_domain_id,
            "project_domain_name": None if account.project_id else account.project_domain_name,
        }
    )
    return v3.Password(
        address,
        username=account.user,
        password=account.key,
        user_domain_id=account.user_domain_id,
        user_domain_name=account.user_domain_name,
        **scope,
    )
