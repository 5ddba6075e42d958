"""The bodies about members."""

from typing import Any

import pytest

from blick.model.errors import Invalid
from blick.model.member_input import parse_member, parse_status, require_status


def test_member() -> None:
    assert parse_member({"member": "project", "other": 1}) == "project"


@pytest.mark.parametrize(
    "body",
    [
        None, [], "x", {}, {"member": ""}, {"member": None}, {"member": 5}, {"member": "x" * 256},
        {"member": "\U0001f600"},
    ],
)  # fmt: skip
def test_members_that_are_none(body: Any) -> None:
    with pytest.raises(Invalid):
        parse_member(body)


@pytest.mark.parametrize("status", ["pending", "accepted", "rejected"])
def test_status(status: str) -> None:
    require_status(parse_status({"status": status}))


@pytest.mark.parametrize(
    "body", [None, [], {}, {"status": "Accepted"}, {"status": ""}, {"status": None}, {"status": 1}]
)
def test_statuses_that_are_none(body: Any) -> None:
    with pytest.raises(Invalid):
        require_status(parse_status(body))
