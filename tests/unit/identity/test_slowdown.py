"""How failed log-ins slow down."""

from blick.db.identity_tokens import FailureCount, FailureRule
from blick.identity.embedded.slowdown import PAIR_RULE, attempt, wait_ms

NOW_MS = 1_800_000_000_000
BLOCKED = FailureCount(9, NOW_MS + 4000)


def test_the_wait_doubles_up_to_the_cap() -> None:
    rule = FailureRule(free=3, first_ms=1000, cap_ms=10_000, forget_ms=1)
    assert [rule.wait_ms(count) for count in range(9)] == [0, 0, 0, 0, 1000, 2000, 4000, 8000, 10_000]
    assert rule.wait_ms(10**9) == 10_000


def test_whoever_never_failed_does_not_wait() -> None:
    assert wait_ms(attempt("user a", "192.0.2.1"), {}, now_ms=NOW_MS) == 0


def test_a_block_of_pair_or_address_holds() -> None:
    tried = attempt("user a", "192.0.2.1")
    assert wait_ms(tried, {tried.pair: BLOCKED}, now_ms=NOW_MS) == 4000
    assert wait_ms(tried, {tried.address: BLOCKED}, now_ms=NOW_MS) == 4000
    assert wait_ms(tried, {tried.pair: BLOCKED}, now_ms=NOW_MS + 4000) == 0


def test_a_block_of_the_user_holds_only_where_the_user_failed_before() -> None:
    tried = attempt("user a", "192.0.2.1")
    assert wait_ms(tried, {tried.user: BLOCKED}, now_ms=NOW_MS) == 0
    assert wait_ms(tried, {tried.user: BLOCKED, tried.pair: FailureCount(1, 0)}, now_ms=NOW_MS) == 4000


def test_a_clock_set_back_does_not_block_for_years() -> None:
    tried = attempt("user a", "192.0.2.1")
    assert wait_ms(tried, {tried.pair: BLOCKED}, now_ms=0) == PAIR_RULE.cap_ms


def test_subjects_tell_accounts_and_addresses_apart_and_keep_names_out() -> None:
    one = attempt("user a", "192.0.2.1")
    assert one == attempt("user a", "::ffff:192.0.2.1")
    assert one.pair != attempt("user b", "192.0.2.1").pair
    assert one.address == attempt("user b", "192.0.2.1").address
    assert one.user == attempt("user a", None).user
    assert all(len(subject) <= 80 and "192" not in subject[:6] for subject, _ in one.rules)


def test_an_ipv6_client_cannot_hide_in_its_own_network() -> None:
    assert attempt("a", "2001:db8::1").address == attempt("a", "2001:db8::ffff:1").address
    assert attempt("a", "2001:db8::1").address != attempt("a", "2001:db8:0:1::1").address
