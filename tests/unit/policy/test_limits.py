"""Limits from Keystone: what can be told without one (the rest: tests/process/test_limits.py)."""

from importlib.machinery import ModuleSpec

import pytest

from blick.model.errors import StartRefused
from blick.policy import limits


def test_a_missing_package_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    limits.require_installed()

    def find_nothing(name: str) -> ModuleSpec | None:
        return None

    monkeypatch.setattr(limits, "find_spec", find_nothing)
    with pytest.raises(StartRefused, match=r"use_keystone_limits needs oslo\.limit.*blick\[limits\]"):
        limits.require_installed()
