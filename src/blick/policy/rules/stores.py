"""What stores there are. (spec: policies)"""

from blick.policy.rules.rule import Rule

RULES = (
    Rule(
        "stores_info_detail",
        "rule:context_is_admin or rule:service_api",
        "Show store details (driver, properties).",
        operations=("GET /v2/info/stores/detail",),
        legacy="rule:context_is_admin",
        legacy_since="2025.1",
    ),
)
