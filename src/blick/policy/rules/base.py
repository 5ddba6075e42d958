"""Who is an administrator, who is a service. (spec: policies)"""

from blick.policy.rules.rule import Rule

RULES = (
    Rule(
        "default",
        "",
        "Fallback for rule names not defined anywhere; empty string = always allow.",
        operations=(),
        scope_types=(),
        legacy="rule:context_is_admin",
        legacy_since="Ussuri",
    ),
    Rule(
        "context_is_admin",
        "role:admin",
        "Decides is_admin of a request; admin bypasses DB-level ownership and visibility.",
        operations=(),
        scope_types=(),
    ),
    Rule(
        "service_api",
        "role:service or role:admin",
        "Service-to-service callers (Nova, Cinder); admin kept for callers without a service token.",
        operations=(),
        scope_types=(),
    ),
)
