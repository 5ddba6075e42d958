"""Limits from Keystone: what can be told without one (the rest: tests/process/test_limits.py)."""

import asyncio
import contextlib
import socket
from importlib.machinery import ModuleSpec

import pytest

from blick.model.errors import ServiceUnavailable, StartRefused
from blick.policy import limits


def test_a_missing_package_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    limits.require_installed()

    def find_nothing(name: str) -> ModuleSpec | None:
        return None

    monkeypatch.setattr(limits, "find_spec", find_nothing)
    with pytest.raises(StartRefused, match=r"use_keystone_limits needs oslo\.limit.*blick\[limits\]"):
        limits.require_installed()


async def test_one_time_out_for_all_who_wait() -> None:
    """A Keystone that hangs is tried by the first; who waited meanwhile does not try again, one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v3"
        options = {"auth_type": "password", "auth_url": url, "username": "u", "password": "p", "timeout": 1.0}
        keystone = limits.KeystoneLimits({**options, "endpoint_id": "e"})
        calls = [keystone.of_project("p", ["image_count_total"]) for _ in range(40)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {ServiceUnavailable}
        keystone.close()
        silent.setblocking(False)
        tried = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                connection, _ = silent.accept()
                connection.close()
                tried += 1
        assert 1 <= tried <= 4  # one caller, whose library looks around before it gives up
