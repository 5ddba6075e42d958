"""Tasks. (spec: policies)"""

from blick.policy.rules.rule import Rule

RULES = (
    Rule(
        "get_task",
        "rule:default",
        "Not enforced by any API in 33.0.0.",
        operations=("GET /v2/tasks/{task_id}",),
        legacy="rule:default",
        legacy_since="X",
    ),
    Rule(
        "get_tasks",
        "rule:default",
        "Not enforced by any API in 33.0.0.",
        operations=("GET /v2/tasks",),
        legacy="rule:default",
        legacy_since="X",
    ),
    Rule(
        "add_task",
        "rule:default",
        "Not enforced by any API in 33.0.0.",
        operations=("POST /v2/tasks",),
        legacy="rule:default",
        legacy_since="X",
    ),
    Rule(
        "modify_task",
        "rule:default",
        "Never enforced.",
        operations=("DELETE /v2/tasks/{task_id}",),
        removal_since="W",
        removal_reason="No call of the API asks for this rule.",
    ),
    Rule(
        "tasks_api_access",
        "rule:context_is_admin",
        "Single gate of the whole tasks API.",
        operations=(
            "GET /v2/tasks/{task_id}",
            "GET /v2/tasks",
            "POST /v2/tasks",
            "DELETE /v2/tasks/{task_id}",
        ),
    ),
)
