"""What others can do with entries in memcached."""

import hashlib

import pytest

from blick.identity.keystone.options import Strategy
from blick.identity.keystone.sealing import sealing

DIGEST, OTHER = (hashlib.sha256(token).digest() for token in (b"token", b"other"))
ENTRY = b'{"user": "somebody"}' * 50


@pytest.mark.parametrize("strategy", ["None", "MAC", "ENCRYPT"])
def test_round_trip(strategy: Strategy) -> None:
    made = sealing(strategy, "secret")
    assert made.open(DIGEST, made.seal(DIGEST, ENTRY)) == ENTRY
    place = made.place(DIGEST)
    assert place == sealing(strategy, "secret").place(DIGEST)
    assert place != made.place(OTHER)
    assert place.isascii()
    assert place.isprintable()
    assert len(place) <= 250
    assert DIGEST.hex() not in place


def test_strategies_do_not_meet() -> None:
    strategies: tuple[Strategy, ...] = ("None", "MAC", "ENCRYPT")
    assert len({sealing(strategy, "secret").place(DIGEST) for strategy in strategies}) == 3


@pytest.mark.parametrize("strategy", ["MAC", "ENCRYPT"])
def test_nobody_else_can_write_entries(strategy: Strategy) -> None:
    made = sealing(strategy, "secret")
    kept = made.seal(DIGEST, ENTRY)
    assert made.open(OTHER, kept) is None
    assert made.place(DIGEST) != sealing(strategy, "another").place(DIGEST)
    assert made.open(DIGEST, sealing(strategy, "another").seal(DIGEST, ENTRY)) is None
    for position in (0, 20, 40, len(kept) - 1):
        changed = bytearray(kept)
        changed[position] ^= 1
        assert made.open(DIGEST, bytes(changed)) is None, position
    for length in (0, 5, 12, 31, 32, len(kept) - 1):
        assert made.open(DIGEST, kept[:length]) is None, length


def test_encrypted_entries_cannot_be_read() -> None:
    made = sealing("ENCRYPT", "secret")
    kept = made.seal(DIGEST, ENTRY)
    assert b"somebody" not in kept
    assert kept != made.seal(DIGEST, ENTRY)
