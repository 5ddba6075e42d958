"""What oslo.policy's own tools (sample generator, checker …) ask for through entry points."""

from oslo_policy import policy

from blick.policy.rules import ALL
from blick.policy.rules.rule import Rule


def list_rules() -> list[policy.RuleDefault]:
    """All rules with their defaults, as oslo.policy describes them."""
    return [as_default(rule) for rule in ALL]


def as_default(rule: Rule) -> policy.RuleDefault:
    """`rule` in oslo.policy's terms."""
    deprecated = None
    if rule.legacy is not None:
        deprecated = policy.DeprecatedRule(
            name=rule.legacy_name or rule.name,
            check_str=rule.legacy,
            deprecated_reason="The default became stricter.",
            deprecated_since=rule.legacy_since or "",
        )
    operations = [_operation(text) for text in rule.operations]
    if not operations:
        return policy.RuleDefault(
            rule.name,
            rule.default,
            description=rule.meaning,
            scope_types=list(rule.scope_types) or None,
            deprecated_rule=deprecated,
        )
    return policy.DocumentedRuleDefault(
        rule.name,
        rule.default,
        description=rule.meaning,
        operations=operations,
        scope_types=list(rule.scope_types) or None,
        deprecated_rule=deprecated,
    )


def _operation(text: str) -> policy.Operation:
    method, _, path = text.partition(" ")
    return {"method": method, "path": path or "/"}
