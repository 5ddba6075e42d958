"""Property protections: what the operator's file can say, and whom that lets do what (spec: policies §6)."""

import json
import logging
import re
from dataclasses import replace
from pathlib import Path

import pytest

from blick.conf.settings import PolicySettings
from blick.model.context import RequestContext
from blick.model.errors import StartRefused
from blick.policy.enforcer import Enforcer
from blick.policy.properties import ACTIONS, PropertyProtections, RuleFormat, load_protections

MEMBER = RequestContext("req-1", user_id="u", project_id="p", roles=frozenset({"member", "reader"}))
ADMIN = replace(MEMBER, roles=frozenset({"admin"}), is_admin=True)


def section(name: str, create: str = "@", read: str = "@", update: str = "@", delete: str = "@") -> str:
    return f"[{name}]\ncreate = {create}\nread = {read}\nupdate = {update}\ndelete = {delete}\n"


class Protected:
    """Protections from the text of a file, beside a policy file of its own."""

    def __init__(self, folder: Path, rule_format: RuleFormat = "roles", **rules: str) -> None:
        self.file = folder / "protections.conf"
        self.format = rule_format
        self.policy_file = folder / "policy.yaml"
        self.policy_file.write_text(json.dumps(rules))
        self.policy = Enforcer(PolicySettings(policy_file=self.policy_file, policy_dirs=()))

    def load(self, *sections: str) -> PropertyProtections:
        self.file.write_text("\n".join(sections))
        return load_protections(self.file, self.format, self.policy)


@pytest.fixture
def by_roles(tmp_path: Path) -> Protected:
    return Protected(tmp_path)


@pytest.fixture
def by_rules(tmp_path: Path) -> Protected:
    return Protected(tmp_path, "policies", mine="user_id:u", see="role:seer")


async def readers(loaded: PropertyProtections, name: str) -> tuple[bool, bool]:
    """May the member, may the administrator read a property of that name?"""
    return await loaded.allows("read", name, MEMBER), await loaded.allows("read", name, ADMIN)


@pytest.mark.parametrize(
    ("value", "member", "admin"),
    [
        ("@", True, True),
        ("!", False, False),
        ("", False, False),
        (" , ", False, False),
        ("admin", False, True),
        ("ADMIN", False, True),
        ("nobody-has-this", False, False),
        ("admin,Member", True, True),
        (" admin ,, member ", True, True),
        ("@,admin", True, True),
        ("!,admin", False, False),
    ],
)
async def test_values(by_roles: Protected, value: str, member: bool, admin: bool) -> None:
    assert await readers(by_roles.load(section(".*", read=value)), "x") == (member, admin)


async def test_each_action_has_its_own_key(by_roles: Protected) -> None:
    for allowed in ACTIONS:
        loaded = by_roles.load(section("x", **{action: "@" if action == allowed else "!" for action in ACTIONS}))
        assert [action for action in ACTIONS if await loaded.allows(action, "x", MEMBER)] == [allowed]


async def test_names_are_searched_in_file_order(by_roles: Protected) -> None:
    loaded = by_roles.load(section("x_y", read="!"), section("^a", read="admin"), section("a[xz]$", read="@"))
    assert await readers(loaded, "ax_yz") == (False, False)
    assert await readers(loaded, "ax") == (False, True)
    assert await readers(loaded, "bax") == (True, True)
    assert await readers(loaded, "other") == (False, False)
    assert await readers(loaded, "") == (False, False)


async def test_no_section_at_all_is_nobody(by_roles: Protected) -> None:
    assert await readers(by_roles.load(""), "x") == (False, False)


async def test_names_of_the_service_are_free(by_roles: Protected) -> None:
    loaded = by_roles.load(section("os_glance_x", read="!"), section("os_glance", read="!"), section(".*", read="!"))
    assert await readers(loaded, "os_glance_x") == (True, True)
    assert await readers(loaded, "os_glancex") == (True, True)
    assert await readers(loaded, "my_os_glance") == (False, False)
    only_dropped = by_roles.load(section("os_glance", read="@"))
    assert await readers(only_dropped, "my_os_glance") == (False, False)


async def test_percent_is_interpolated(by_roles: Protected) -> None:
    text = "[DEFAULT]\nwho = admin\n" + section("a", read="%(who)s") + section("b", read="100%%,member")
    loaded = by_roles.load(text)
    assert await readers(loaded, "a") == (False, True)
    assert await readers(loaded, "b") == (True, False)


async def test_roles_of_a_service_token_count_and_leave_no_trace(by_roles: Protected) -> None:
    loaded = by_roles.load(section("x", read="service"))
    through_service = replace(MEMBER, service_roles=frozenset({"service"}))
    assert await loaded.allows("read", "x", through_service)
    assert not await loaded.allows("read", "x", MEMBER)
    assert not await by_roles.policy.allows("service_api", through_service, {})


async def test_rules(by_rules: Protected) -> None:
    loaded = by_rules.load(
        section("a", read="mine"),
        section("b", read="see"),
        section("c", read="context_is_admin"),
        section("d", read="@"),
        section("e", read="!"),
        section("f", read=""),
        section("g", read="project_id:p"),
    )
    other = replace(MEMBER, user_id="v", service_roles=frozenset({"seer"}))
    assert [await loaded.allows("read", name, MEMBER) for name in "abcdefg"] == [
        True,
        False,
        False,
        *[True],
        *[False] * 3,
    ]
    assert [await loaded.allows("read", name, other) for name in "abcdefg"] == [False, True, False, True, *[False] * 3]
    assert [await loaded.allows("read", name, ADMIN) for name in "abcdefg"] == [True, False, True, True, *[False] * 3]


async def test_rules_follow_the_policy_file(by_rules: Protected) -> None:
    loaded = by_rules.load(section("a", read="later"))
    assert not await loaded.allows("read", "a", MEMBER)
    by_rules.policy_file.write_text('later: "role:member"')
    by_rules.policy.refresh()
    assert await loaded.allows("read", "a", MEMBER)


async def test_more_names_than_are_remembered(by_roles: Protected) -> None:
    loaded = by_roles.load(section("^1", read="!"), section(".*"))
    seen = [await loaded.allows("read", str(number), MEMBER) for number in range(9000)]
    assert seen == [not str(number).startswith("1") for number in range(9000)]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[x]\ncreate = @\nread = @\nupdate = @\n", "section [x], key delete: missing"),
        (section("x", update="@,!"), "section [x], key update: @ (everybody) and ! (nobody)"),
        (section("x("), "section [x(]: not a regular expression"),
        (section("x") + section("x"), "section 'x' already exists"),
        ("create = @\n", "no section headers"),
        ("[x]\ncreate\n", "parsing errors"),
        (section("x", read="100%"), "'%' must be followed by"),
        (section("x", read="%(who)s"), "who"),
        (b"[x\xff]", "utf-8"),
    ],
)
def test_what_makes_no_sense_refuses_the_start(by_roles: Protected, text: str | bytes, complaint: str) -> None:
    by_roles.file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(StartRefused, match=re.escape(complaint)) as refused:
        load_protections(by_roles.file, "roles", by_roles.policy)
    assert str(by_roles.file) in str(refused.value)


def test_only_one_rule_can_be_named(by_rules: Protected) -> None:
    with pytest.raises(StartRefused, match=r"section \[x\], key read: one policy rule"):
        by_rules.load(section("x", read="mine,see"))


def test_a_missing_file_refuses_the_start(by_roles: Protected) -> None:
    with pytest.raises(StartRefused, match=r"protections\.conf: No such file"):
        load_protections(by_roles.file, "roles", by_roles.policy)


def test_an_empty_value_is_told(by_roles: Protected, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        by_roles.load(section("x", delete=""))
    assert "section [x], key delete: empty" in caplog.text
