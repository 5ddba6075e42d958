"""Failed log-ins: whose they are counted as, and how much each count slows down.

Three counts are kept. One per *address and user together* stops guessing at one account; one per *address* stops
trying many accounts; one per *user* stops many addresses guessing at one account. The last holds back only
addresses that have failed for this user before, so nobody can lock a user out of an address of his own.
"""

import hashlib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from blick.db.identity_tokens import FailureCount, FailureRule

_HOUR_MS = 3_600_000
PAIR_RULE = FailureRule(free=5, first_ms=1000, cap_ms=300_000, forget_ms=_HOUR_MS)
ADDRESS_RULE = FailureRule(free=30, first_ms=1000, cap_ms=60_000, forget_ms=_HOUR_MS)
USER_RULE = FailureRule(free=30, first_ms=1000, cap_ms=60_000, forget_ms=_HOUR_MS)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to log in as `account` from `address`, as the keys of its three counts."""

    pair: str
    address: str
    user: str

    @property
    def rules(self) -> tuple[tuple[str, FailureRule], ...]:
        """Each count with the rule that goes with it."""
        return ((self.pair, PAIR_RULE), (self.address, ADDRESS_RULE), (self.user, USER_RULE))


def attempt(account: str, address: str | None) -> Attempt:
    """`account` is any fixed name of it; `address` an IP address, or None where the peer has none (a local socket)."""
    network = _network(address)
    return Attempt(
        pair="p:" + _digest(f"{account}\n{network}"),
        address="a:" + _digest(network),
        user="u:" + _digest(account),
    )


def wait_ms(of: Attempt, counts: Mapping[str, FailureCount], *, now_ms: int) -> int:
    """How long this attempt must still wait before its password is looked at; 0: not at all."""
    ends = [counts[subject].blocked_until_ms for subject in (of.pair, of.address) if subject in counts]
    if of.pair in counts and of.user in counts:
        ends.append(counts[of.user].blocked_until_ms)
    # A clock that was set back must not turn a short wait into a long one.
    longest_ms = max(rule.cap_ms for _, rule in of.rules)
    return min(longest_ms, max(0, max(ends, default=0) - now_ms))


def _network(address: str | None) -> str:
    """What one client can hardly leave: the IPv4 address, or the IPv6 /64."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return address or "local"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed), 64), strict=False))
    return str(parsed)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:48]
