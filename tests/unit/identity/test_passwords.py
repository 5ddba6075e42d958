"""Password hashes."""

import argon2
import pytest

from blick.identity.embedded.passwords import NO_PASSWORD, generate_password, hash_password, password_matches


def test_a_password_matches_its_own_hash_only() -> None:
    hashed = hash_password("pässwörd ✓")
    assert hashed.startswith("$argon2id$")
    assert len(hashed) <= 255
    assert password_matches(hashed, "pässwörd ✓")
    assert not password_matches(hashed, "pässwörd")


def test_checking_against_nobody_costs_as_much_as_against_somebody() -> None:
    assert argon2.extract_parameters(NO_PASSWORD) == argon2.extract_parameters(hash_password("x"))


@pytest.mark.parametrize("password_hash", [NO_PASSWORD, "", "$argon2id$rubbish", "plain"])
def test_nothing_matches_what_is_not_a_hash_of_a_password(password_hash: str) -> None:
    assert not password_matches(password_hash, "")
    assert not password_matches(password_hash, "plain")


def test_made_up_passwords_are_long_and_differ() -> None:
    made = {generate_password() for _ in range(100)}
    assert len(made) == 100
    assert all(len(password) == 24 for password in made)
