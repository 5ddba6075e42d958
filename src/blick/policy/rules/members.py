"""Sharing an image with projects. (spec: policies)"""

from blick.policy.rules.rule import Rule

RULES = (
    Rule(
        "add_member",
        "rule:context_is_admin or (role:member and project_id:%(project_id)s)",
        "Share an image with a project.",
        operations=("POST /v2/images/{image_id}/members",),
        legacy="rule:default",
        legacy_since="W",
    ),
    Rule(
        "delete_member",
        "rule:context_is_admin or (role:member and project_id:%(project_id)s)",
        "Stop sharing with a project.",
        operations=("DELETE /v2/images/{image_id}/members/{member_id}",),
        legacy="rule:default",
        legacy_since="W",
    ),
    Rule(
        "get_member",
        "rule:context_is_admin or role:reader and (project_id:%(project_id)s or project_id:%(member_id)s)",
        "See one membership; per-item filter of the member list.",
        operations=(
            "GET /v2/images/{image_id}/members/{member_id}",
            "GET /v2/images/{image_id}/members",
            "PUT /v2/images/{image_id}/members/{member_id}",
            "DELETE /v2/images/{image_id}/members/{member_id}",
        ),
        legacy="rule:default",
        legacy_since="W",
    ),
    Rule(
        "get_members",
        "rule:context_is_admin or role:reader and (project_id:%(project_id)s or project_id:%(member_id)s)",
        "List memberships of an image.",
        operations=("GET /v2/images/{image_id}/members",),
        legacy="rule:default",
        legacy_since="W",
    ),
    Rule(
        "modify_member",
        "rule:context_is_admin or (role:member and project_id:%(member_id)s)",
        "Accept/reject/reset a share; not for the image owner.",
        operations=("PUT /v2/images/{image_id}/members/{member_id}",),
        legacy="rule:default",
        legacy_since="W",
    ),
)
