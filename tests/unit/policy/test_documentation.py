"""What docs/policies.md tells operators is so."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from blick.conf.options.policy import OPTIONS
from blick.conf.settings import PolicySettings
from blick.model.context import RequestContext
from blick.policy.enforcer import Enforcer
from blick.policy.properties import ACTIONS, Action, PropertyProtections, load_protections

PAGE = (Path(__file__).parents[3] / "docs" / "policies.md").read_text()
NOBODY = RequestContext("req-1", user_id="u", project_id="p")


@pytest.fixture
def example(tmp_path: Path) -> PropertyProtections:
    found = re.search(r"```ini\n(.*?)```", PAGE, re.DOTALL)
    assert found
    (tmp_path / "protections.conf").write_text(found[1])
    return load_protections(
        tmp_path / "protections.conf", "roles", Enforcer(PolicySettings(tmp_path / "none.yaml", ()))
    )


@pytest.mark.parametrize(
    ("role", "name", "allowed"),
    [
        ("member", "licence_key", ("read",)),
        ("billing", "licence_key", ("create", "read", "update")),
        ("admin", "licence_key", ACTIONS),
        ("billing", "internal_note", ()),
        ("admin", "internal_note", ("create", "read", "update")),
        ("member", "hw_disk_bus", ACTIONS),
    ],
)
async def test_the_example(example: PropertyProtections, role: str, name: str, allowed: tuple[Action, ...]) -> None:
    caller = replace(NOBODY, roles=frozenset({role}))
    assert tuple([action for action in ACTIONS if await example.allows(action, name, caller)]) == allowed


def test_the_options() -> None:
    told = re.findall(r"^\| `\[oslo_policy\] (\w+)` \| `(\w[\w.]*)`", PAGE, re.MULTILINE)
    defaults = {option.name: option.default for option in OPTIONS["oslo_policy"]}
    assert len(told) == 4
    for name, default in told:
        actual = defaults[name]
        assert default == {True: "true"}.get(actual, actual[0] if isinstance(actual, tuple) else actual)
