"""In whose name a swift store works: its own account's, a caller's, or that of an account that a location names."""

import threading
from collections import OrderedDict
from dataclasses import replace
from urllib.parse import urlsplit

from blick.model.blob import Location
from blick.model.context import RequestContext
from blick.model.errors import DataNotFound, StoreDenied
from blick.stores.swift.auth import CallerLogin, Login, login_of
from blick.stores.swift.client import Client
from blick.stores.swift.http import Connections
from blick.stores.swift.names import container_of
from blick.stores.swift.options import Account, SwiftOptions
from blick.stores.swift.trusts import TrustLogin, login_for_upload
from blick.stores.swift.uri import Place, SwiftUri, of_account, of_storage_url, parse

_MOST_LOGINS = 64  # of accounts that locations name


class Accounts:
    """The log-ins of one store, made as they are needed. Raises ImportError where Keystone's library is missing."""

    def __init__(self, name: str, options: SwiftOptions, connections: Connections) -> None:
        self._name = name
        self._options = options
        self._connections = connections
        self._service = login_of(name, options.account, options, connections) if options.account else None
        self._others: OrderedDict[Account, Login] = OrderedDict()
        self._lock = threading.Lock()

    def as_caller(self, caller: RequestContext) -> CallerLogin:
        """The log-in of a request's caller."""
        return CallerLogin(self._name, caller, self._options)

    def writing(self, caller: CallerLogin | None) -> Login:
        """Who writes new objects. Raises StoreDenied where that takes a caller and there is none."""
        if not self._options.multi_tenant and self._service is not None:
            return self._service
        if caller is None:
            raise StoreDenied(self._name, "this store keeps images in accounts of users, and none of them is asking")
        return caller

    def begin_upload(self, caller: CallerLogin | None, size_bytes: int | None) -> Login:
        """Who writes one new object, from its first byte to its last. Blocks. See `writing`, and `end_upload` after."""
        login = self.writing(caller)
        return login if caller is not login else login_for_upload(self._name, self._options, caller, size_bytes)

    def end_upload(self, login: Login) -> None:
        """After the last request of an upload. Blocks."""
        if isinstance(login, TrustLogin):
            login.end()

    def anybody(self, caller: CallerLogin | None) -> Login | None:
        """Whom to ask as whether Swift is there."""
        return caller or self._service

    def client(self, login: Login, storage_url: str | None = None) -> Client:
        """Requests in somebody's name. `storage_url` None: in the account of its own."""
        return Client(self._name, login, self._connections, storage_url)

    def at(self, location: Location, caller: CallerLogin | None) -> tuple[Client, Place]:
        """Who gets at a location, and where in the account it is. May ask for the caller's account, and block.

        Raises DataNotFound for what is no location of Swift's, StoreDenied, CallerRefused, StoreUnavailable.
        """
        uri = parse(location.uri)
        if uri is None:
            raise DataNotFound(self._name)
        if uri.storage_url is not None:
            return self._at_storage_url(uri.storage_url, caller), uri.place
        return self.client(self._login_of(uri)), uri.place

    def location(self, client: Client, place: Place) -> Location:
        """The location of an object that `client` has written or listed."""
        account = self._options.account
        own = account is not None and not self._options.multi_tenant
        uri = of_account(account, place) if account and own else of_storage_url(client.storage_url(), place)
        return Location(self._name, uri)

    def place_of(self, key: str) -> Place:
        """Where the object `key` goes."""
        options = self._options
        if options.multi_tenant:
            return Place(f"{options.container}_{key}", key)
        return Place(container_of(options.container, key, options.seed_digits), key)

    def owns(self, uri: str) -> bool:
        """Whether it is in an account that we know, in whatever container."""
        parsed = parse(uri)
        if parsed is None:
            return False
        if parsed.reference is not None:
            return parsed.reference in self._options.accounts
        if parsed.account is not None:
            return urlsplit(parsed.account.auth_address).netloc in self._auth_hosts()
        return self._options.multi_tenant

    def _auth_hosts(self) -> set[str]:
        known = [*self._options.accounts.values(), *filter(None, (self._options.account,))]
        return {urlsplit(account.auth_address).netloc for account in known}

    def _at_storage_url(self, storage_url: str, caller: CallerLogin | None) -> Client:
        login = self.anybody(caller)
        if login is None:
            raise StoreDenied(self._name, "the data is in the account of a user, and no user is asking")
        # A location may come from a user. Nobody's token goes anywhere but to the Swift that it is for.
        if urlsplit(storage_url)[:2] != urlsplit(login.access().storage_url)[:2]:
            raise StoreDenied(self._name, "the location names another Swift than this store's")
        return self.client(login, storage_url)

    def _login_of(self, uri: SwiftUri) -> Login:
        known = self._options.account
        if uri.reference is not None:
            account = self._options.accounts.get(uri.reference)
            if account is None:
                raise StoreDenied(self._name, f"the swift_store_config_file has no section {uri.reference!r}")
        else:
            assert uri.account is not None
            account = uri.account
        if known is not None and self._service is not None and _is_same(account, known):
            return self._service
        if known is not None and uri.account is not None:
            account = replace(
                account,
                user_domain_id=known.user_domain_id,
                user_domain_name=known.user_domain_name,
                project_domain_id=known.project_domain_id,
                project_domain_name=known.project_domain_name,
            )
        return self._other(account)

    def _other(self, account: Account) -> Login:
        with self._lock:
            login = self._others.get(account)
            if login is None:
                login = self._others[account] = login_of(self._name, account, self._options, self._connections)
            self._others.move_to_end(account)
            if len(self._others) > _MOST_LOGINS:
                self._others.popitem(last=False)
            return login


def _is_same(account: Account, known: Account) -> bool:
    """Whether both log in alike. The key has to agree: a location that names our user is no right to our data."""

    def essence(one: Account) -> tuple[str, ...]:
        credential = (one.application_credential_id, one.application_credential_secret)
        return (one.auth_address.rstrip("/"), *(credential if any(credential) else (one.full_user, one.key)))

    return account == known or essence(account) == essence(known)
