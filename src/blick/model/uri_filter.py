"""Which URIs Blick fetches for users, and which addresses it connects to then (spec: import-and-tasks §8).

Two steps, both pure. `UriFilter.target` judges the text of a URI; `UriFilter.screen` judges the addresses that its
host was resolved to, so that no name leads to this machine or its neighbourhood unless the operator named the host or
the network.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from blick.model.errors import Invalid

USUAL_PORTS: Final = {"http": 80, "https": 443}
REFUSED: Final = "URI does not pass filtering"
"""How each refusal begins: clients look for these words, to tell a filtered URI from other trouble."""

_UNUSUAL_CHARACTER = re.compile(r"[^\x21-\x7e]|\\")
_CREDENTIALS = re.compile(r"([^/?#@:]*:)?//[^/?#]*@")
# A scheme, and a host with a port or none; or a file's path.
_NO_CREDENTIALS = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@:\[\]]+|\[[^/?#@\[\]]+\])(?::[0-9]*)?(?:[/?#]|\Z)|file(?:system)?:///"
)
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
# The addresses behind a translator from IPv6 to IPv4 stand in the last 32 bits (RFC 6052).
_TRANSLATED = IPv6Network("64:ff9b::/96")
# Of all IPv6 addresses, the Internet routes these.
_ROUTED = IPv6Network("2000::/3")
# What is not for everybody's use, by IANA's registries of special purposes. Python has its own list (`is_global`),
# which differs from release to release.
_PRIVATE: Final = (
    IPv4Network("10.0.0.0/8"),
    IPv4Network("100.64.0.0/10"),  # between providers and their customers
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.0.2.0/24"),  # documentation, as are two more below
    IPv4Network("192.88.99.0/24"),
    IPv4Network("192.168.0.0/16"),
    IPv4Network("198.18.0.0/15"),  # benchmarks
    IPv4Network("198.51.100.0/24"),
    IPv4Network("203.0.113.0/24"),
    IPv6Network("2001::/23"),
    IPv6Network("2001:db8::/32"),
    IPv6Network("3fff::/20"),
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URI leads: `host` is lower case and without brackets, `path` is what a request line names.

    `credentials` are the user and password that stood in the URI, if any did.
    """

    scheme: str
    host: str
    port: int
    path: str
    credentials: tuple[str, str] | None = field(default=None, repr=False)

    @property
    def authority(self) -> str:
        """What the header Host says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == USUAL_PORTS[self.scheme] else f"{host}:{self.port}"


def parse_target(uri: str) -> Target:
    """Take an http or https URI apart; its fragment is not part of what is fetched.

    Raises Invalid for anything that different programs could read differently: unusual characters, numbers that
    only look like an address, names that no DNS knows.
    """
    return _target(_split(uri), uri)


def shown(uri: str) -> str:
    """The URI as errors, logs and tasks may quote it: without user and password, and not too long.

    Where it cannot be told where these end, as in what is no URI, or where a password holds a slash that nobody has
    encoded, everything up to the last @ goes.
    """
    found = _CREDENTIALS.match(uri)
    plain = uri if found is None else f"{found[1] or ''}//{uri[found.end() :]}"
    if "@" in plain and _NO_CREDENTIALS.match(plain) is None:
        scheme, separator, rest = plain.partition("://")
        plain = f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else plain.rpartition("@")[2]
    return plain[:300]


@dataclass(frozen=True, slots=True)
class UriFilter:
    """The operator's lists ([import_filtering_opts]). An allow list makes the deny list of the same kind void.

    `allowed_networks` are not such a list: they open what is closed otherwise, and close nothing.
    """

    allowed_schemes: tuple[str, ...] = ("http", "https")
    disallowed_schemes: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    disallowed_hosts: tuple[str, ...] = ()
    allowed_ports: tuple[int, ...] = (80, 443)
    disallowed_ports: tuple[int, ...] = ()
    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def target(self, uri: str) -> Target:
        """Where `uri` leads. Raises Invalid if it is malformed, or one of the lists refuses it.

        A port that the URI does not write down is not looked at.
        """
        parts = _split(uri)
        target = _target(parts, uri)
        if not _passes(target.scheme, self.allowed_schemes, self.disallowed_schemes):
            raise _refused(uri)
        if not _passes(target.host, _hosts(self.allowed_hosts), _hosts(self.disallowed_hosts)):
            raise _refused(uri)
        if parts.port is not None and not _passes(parts.port, self.allowed_ports, self.disallowed_ports):
            raise _refused(uri)
        return target

    def screen(self, target: Target, addresses: Iterable[str]) -> tuple[str, ...]:
        """Those of the host's `addresses` that may be connected to, in their order. Raises Invalid if none is left.

        Private networks, and loopback, link-local and other addresses that are no host's own, are for hosts in
        `allowed_hosts`. What lies in `allowed_networks` is for all; but a network opens loopback and link-local
        addresses only if it has no others: whoever allows 0.0.0.0/0 does not mean this machine.
        """
        named = target.host in _hosts(self.allowed_hosts)
        denied = frozenset() if self.allowed_hosts else frozenset(_hosts(self.disallowed_hosts))
        passed = tuple(
            address
            for address in addresses
            if (named or self._is_open(address)) and not denied & {address, str(_inner(address))}
        )
        if not passed:
            raise Invalid(f"{REFUSED}: the host {target.host} has no address that may be used.")
        return passed

    def screen_unresolved(self, target: Target) -> None:
        """Judge a host whose name somebody else will resolve: as far as its text tells. Raises Invalid."""
        if target.host == "localhost" or target.host.endswith(".localhost"):
            self.screen(target, ["127.0.0.1"])
        elif _is_address(target.host):
            self.screen(target, [target.host])

    def _is_open(self, address: str) -> bool:
        inner = _inner(address)
        is_special = _is_special(inner)
        if not is_special and not _is_private(inner):
            return True
        written = {inner, ip_address(address.partition("%")[0])}
        return any(
            each in network
            for network in self.allowed_networks
            for each in written
            if not is_special or network.is_loopback or network.is_link_local
        )


def _split(uri: str) -> SplitResult:
    try:
        parts = urlsplit(uri)
        parts.port  # noqa: B018 - raises where the port is no number
    except ValueError as error:
        raise _refused(uri) from error
    if _UNUSUAL_CHARACTER.search(uri) or parts.scheme not in USUAL_PORTS or parts.netloc.count("@") > 1:
        raise _refused(uri)
    return parts


def _target(parts: SplitResult, uri: str) -> Target:
    host = _canonical(parts.hostname or "")
    if host is None or parts.port == 0:
        raise _refused(uri)
    credentials = None
    if parts.username is not None:
        credentials = unquote(parts.username), unquote(parts.password or "")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    port = USUAL_PORTS[parts.scheme] if parts.port is None else parts.port
    return Target(parts.scheme, host, port, path, credentials)


def _refused(uri: str) -> Invalid:
    return Invalid(f"{REFUSED}: {shown(uri)}")


def _canonical(host: str) -> str | None:
    """The host in the one way of writing it; None where it is neither a name nor an address."""
    host = host.lower()
    if ":" in host:
        try:
            return None if "%" in host else str(IPv6Address(host))
        except ValueError:
            return None
    if _NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2]):
        try:
            # Refuses short, octal and hexadecimal forms, and leading zeros.
            return str(IPv4Address(host))
        except ValueError:
            return None
    host = host.removesuffix(".")
    return host if _NAME.fullmatch(host) else None


def _hosts(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(_canonical(name.strip("[]")) or name.lower() for name in names)


def _passes(value: object, allowed: tuple[object, ...], disallowed: tuple[object, ...]) -> bool:
    return value in allowed if allowed else value not in disallowed


def _inner(address: str) -> IPv4Address | IPv6Address:
    """The address that is reached in the end, where one is wrapped in another."""
    outer = ip_address(address.partition("%")[0])
    if isinstance(outer, IPv4Address):
        return outer
    if outer in _TRANSLATED:
        return IPv4Address(int(outer) & 0xFFFF_FFFF)
    return outer.ipv4_mapped or outer.sixtofour or (outer.teredo[1] if outer.teredo else outer)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_special(address: IPv4Address | IPv6Address) -> bool:
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        return True
    # 0.x.x.x is this machine, too; reserved ranges hold wrappers around other addresses.
    return address.is_reserved or (isinstance(address, IPv4Address) and address.packed[0] == 0)


def _is_private(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _ROUTED:
        return True
    return any(address in network for network in _PRIVATE)
