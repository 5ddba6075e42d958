"""Swift's location URIs, exactly as Glance writes them.

swift+config://<reference>/<container>/<object>              an account of the accounts file
swift+https://<project>%3A<user>:<key>@<auth host and path>/<container>/<object>
swift+https://<storage URL without scheme>/<container>/<object>   in the account of the image's owner
"""

from dataclasses import dataclass
from urllib.parse import quote, unquote

from blick.stores.swift.options import Account, split_user

_AUTH_SCHEMES = {"swift": "https", "swift+https": "https", "swift+http": "http"}
CONFIG_SCHEME = "swift+config"


@dataclass(frozen=True, slots=True)
class Place:
    """An object in a container."""

    container: str
    object: str


@dataclass(frozen=True, slots=True)
class SwiftUri:
    """A location taken apart. Exactly one of `reference`, `account` and `storage_url` says in whose account it is."""

    place: Place
    reference: str | None = None
    account: Account | None = None
    storage_url: str | None = None


def parse(uri: str) -> SwiftUri | None:
    """The parts of `uri`; None where it is none of Swift's."""
    scheme, separator, rest = uri.partition("://")
    parts = rest.split("/")
    if not separator or len(parts) < 3 or not all((parts[0], parts[-1], parts[-2])):
        return None
    place = Place(unquote(parts[-2]), unquote(parts[-1]))
    where = "/".join(parts[:-2])
    if scheme == CONFIG_SCHEME:
        return SwiftUri(place, reference=where) if len(parts) == 3 else None
    if scheme not in _AUTH_SCHEMES:
        return None
    credentials, at, address = where.rpartition("@")
    url = f"{_AUTH_SCHEMES[scheme]}://{address}"
    if not at:
        return SwiftUri(place, storage_url=url)
    account = _account(credentials, url)
    return SwiftUri(place, account=account) if account else None


def of_account(account: Account, place: Place) -> str:
    """The location of an object in the service's own account."""
    tail = f"{_quote(place.container)}/{_quote(place.object)}"
    if account.reference is not None:
        return f"{CONFIG_SCHEME}://{account.reference}/{tail}"
    scheme, _, address = account.auth_address.partition("://")
    user = account.application_credential_id or account.full_user
    key = account.application_credential_secret or account.key
    return f"swift+{scheme}://{quote(user, safe='')}:{quote(key, safe='')}@{address.rstrip('/')}/{tail}"


def of_storage_url(storage_url: str, place: Place) -> str:
    """The location of an object in the account of its owner."""
    scheme, _, address = storage_url.partition("://")
    return f"swift+{scheme}://{address.rstrip('/')}/{_quote(place.container)}/{_quote(place.object)}"


def _account(credentials: str, auth_address: str) -> Account | None:
    quoted_user, colon, quoted_key = credentials.partition(":")
    full_user, key = unquote(quoted_user), unquote(quoted_key)
    if not colon or not full_user:
        return None
    project, user = split_user(full_user)
    plain = Account(auth_address, user, key, project)
    if project or not plain.uses_keystone:
        return plain
    # Keystone knows no user without a project, so it is what an application credential was written as.
    return Account(auth_address, application_credential_id=full_user, application_credential_secret=key)


def _quote(name: str) -> str:
    return quote(name, safe="")
