"""What oslo.policy's own tools (sample generator, checker, validator …) ask for through entry points."""

import os
from pathlib import Path

from oslo_config import cfg
from oslo_policy import policy

from blick.conf.load import default_files, examine
from blick.policy.rules import ALL
from blick.policy.rules.rule import Rule


def list_rules() -> list[policy.RuleDefault]:
    """All rules with their defaults, as oslo.policy describes them."""
    return [as_default(rule) for rule in ALL]


def enforcer_for_tools() -> policy.Enforcer:
    """The rules that a service with the tool's configuration files would follow, as oslo.policy has them.

    The tools keep what their command line says in oslo.config's own object, and some of them look there for the
    policy file as well. Where no configuration file was named, those of glance-api count. Raises StartRefused where
    they cannot be read.
    """
    conf = cfg.CONF
    files = [Path(file) for file in conf.config_file or ()]
    folders = [Path(folder) for folder in conf.config_dir or ()]
    if not files and not folders:
        files = list(default_files("glance-api", os.environ))
    settings = examine(files, folders).settings.policy
    enforcer = policy.Enforcer(conf, policy_file=str(settings.policy_file), default_rule=settings.policy_default_rule)
    folders_count = settings.policy_file.exists()
    conf.set_override("policy_file", str(settings.policy_file), "oslo_policy")
    conf.set_override("policy_dirs", [str(one) for one in settings.policy_dirs if folders_count], "oslo_policy")
    conf.set_override("enforce_new_defaults", settings.enforce_new_defaults, "oslo_policy")
    enforcer.suppress_default_change_warnings = True
    enforcer.register_defaults(list_rules())
    return enforcer


def as_default(rule: Rule) -> policy.RuleDefault:
    """`rule` in oslo.policy's terms."""
    default = policy.RuleDefault(
        rule.name,
        rule.default,
        rule.meaning,
        scope_types=list(rule.scope_types) or None,
        deprecated_rule=_legacy(rule),
        deprecated_for_removal=rule.removal_since is not None,
        deprecated_reason=rule.removal_reason or None,
        deprecated_since=rule.removal_since,
    )
    if not rule.operations:
        return default
    return policy.DocumentedRuleDefault(
        default.name,
        default.check_str,
        rule.meaning,
        [_operation(text) for text in rule.operations],
        scope_types=default.scope_types,
        deprecated_rule=default.deprecated_rule,
        deprecated_for_removal=default.deprecated_for_removal,
        deprecated_reason=default.deprecated_reason,
        deprecated_since=default.deprecated_since,
    )


def _legacy(rule: Rule) -> policy.DeprecatedRule | None:
    if rule.legacy is None:
        return None
    return policy.DeprecatedRule(
        name=rule.name,
        check_str=rule.legacy,
        deprecated_reason="The old default counts as well while enforce_new_defaults is off.",
        deprecated_since=rule.legacy_since or "",
    )


def _operation(text: str) -> policy.Operation:
    method, _, path = text.partition(" ")
    return {"method": method, "path": path}
