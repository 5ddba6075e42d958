"""Every rule is what the field knows it as (data/rules.yaml), also in oslo.policy's terms."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from oslo_policy import policy

from blick.conf.settings import PolicySettings
from blick.model.context import RequestContext
from blick.policy.enforcer import Enforcer
from blick.policy.listing import list_rules
from blick.policy.rules import ALL

FACTS: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "data" / "rules.yaml").read_text())
NAMES = [fact["name"] for fact in FACTS]
DEFAULTS: dict[str, Any] = {default.name: default for default in list_rules()}
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}


def caller(*roles: str, project_id: str = "p") -> RequestContext:
    return RequestContext("req-1", user_id="u", project_id=project_id, roles=frozenset(roles))


def enforcer(folder: Path, *, new_defaults: bool = True, text: str = "") -> Enforcer:
    (folder / "policy.yaml").write_text(text)
    return Enforcer(PolicySettings(folder / "policy.yaml", (), enforce_new_defaults=new_defaults))


def test_there_are_these_and_no_others() -> None:
    assert len(NAMES) == 69
    assert sorted(rule.name for rule in ALL) == sorted(NAMES)


@pytest.mark.parametrize("fact", FACTS, ids=NAMES)
def test_rule(fact: dict[str, Any]) -> None:
    default = DEFAULTS[fact["name"]]
    assert default.check_str == fact["default"]
    assert default.description
    assert (default.scope_types or []) == fact["scope_types"]
    told = [f"{operation['method']} {operation['path']}" for operation in getattr(default, "operations", [])]
    assert set(told) >= set(fact.get("operations", ()))
    assert len(set(told)) == len(told)
    assert default.deprecated_for_removal == ("removal_since" in fact)
    if "removal_since" in fact:
        assert default.deprecated_since == fact["removal_since"]
        assert default.deprecated_reason
    if "legacy" in fact:
        assert isinstance(default.deprecated_rule, policy.DeprecatedRule)
        assert (default.deprecated_rule.name, default.deprecated_rule.check_str) == (fact["name"], fact["legacy"])
        assert default.deprecated_rule.deprecated_since == fact["legacy_since"]
    else:
        assert default.deprecated_rule is None


def test_operations_are_calls() -> None:
    for rule in ALL:
        for operation in rule.operations:
            method, path = operation.split(" ")
            assert method in METHODS, operation
            assert re.fullmatch(r"/v2(/[a-z_]+|/\{[a-z_]+\})+", path), operation


@pytest.mark.parametrize("fact", FACTS, ids=NAMES)
async def test_old_defaults_count_only_if_asked_for(fact: dict[str, Any], tmp_path: Path) -> None:
    """A caller without roles, on what belongs to somebody else: who passes does so by the old default."""
    open_to_all = ("", "rule:default", "rule:metadef_default")
    target = {"project_id": "other", "owner": "other", "visibility": "private"}
    new, old = enforcer(tmp_path), enforcer(tmp_path, new_defaults=False)
    assert await new.allows(fact["name"], caller(), target) == (fact["default"] in open_to_all)
    by_old = fact.get("legacy", fact["default"])
    assert await old.allows(fact["name"], caller(), target) == (fact["default"] in open_to_all or by_old in open_to_all)


async def test_the_old_cache_rules_lead_to_the_one_before_them(tmp_path: Path) -> None:
    text = 'manage_image_cache: "role:cacher"'
    for name in ("cache_image", "cache_list", "cache_delete"):
        assert await enforcer(tmp_path, new_defaults=False, text=text).allows(name, caller("cacher"), {})
        assert not await enforcer(tmp_path, text=text).allows(name, caller("cacher"), {})


@pytest.mark.parametrize("new_defaults", [True, False])
@pytest.mark.parametrize("name", NAMES)
async def test_what_the_file_says_replaces_every_default(name: str, new_defaults: bool, tmp_path: Path) -> None:
    target = {"project_id": "p", "owner": "p", "visibility": "public"}
    rules = enforcer(tmp_path, new_defaults=new_defaults, text=f'{name}: "role:chosen"')
    assert await rules.allows(name, caller("chosen", project_id="q"), target)
    assert not await rules.allows(name, caller("admin", "member", "reader", "service"), target)


@pytest.mark.parametrize("fact", FACTS, ids=NAMES)
async def test_tokens_of_other_scopes(fact: dict[str, Any], tmp_path: Path) -> None:
    rules = enforcer(tmp_path, text=f'{fact["name"]}: "@"')
    everywhere = not fact["scope_types"]
    assert await rules.allows(fact["name"], caller(), {})
    for scope in ({"system_scope": "all"}, {"domain_id": "d"}):
        of_scope = RequestContext("req-1", "u", roles=frozenset({"admin"}), **scope)  # type: ignore[arg-type]
        assert await rules.allows(fact["name"], of_scope, {}) == everywhere
