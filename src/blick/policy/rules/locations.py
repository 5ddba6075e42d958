"""Where an image's bytes lie. (spec: policies)"""

from blick.policy.rules.rule import Rule

RULES = (
    Rule(
        "delete_image_location",
        "rule:context_is_admin",
        "Remove a location by PATCH, or delete data from one store.",
        operations=(
            "PATCH /v2/images/{image_id}",
            "DELETE /v2/stores/{store_id}/{image_id}",
        ),
        legacy="rule:default",
        legacy_since="W",
    ),
    Rule(
        "get_image_location",
        "rule:context_is_admin or (role:reader and project_id:%(project_id)s)",
        "Only checked by delete-from-store; does not hide locations in image documents in 33.0.0.",
        operations=(
            "GET /v2/images/{image_id}",
            "DELETE /v2/stores/{store_id}/{image_id}",
        ),
        legacy="rule:default",
        legacy_since="W",
    ),
    Rule(
        "set_image_location",
        "rule:context_is_admin or (role:member and project_id:%(project_id)s)",
        "Add or replace locations by PATCH.",
        operations=("PATCH /v2/images/{image_id}",),
        legacy="rule:default",
        legacy_since="W",
    ),
    Rule(
        "add_image_location",
        "rule:service_api or (role:member and project_id:%(project_id)s and project_id:%(owner)s)",
        "Use the add-location API (POST locations).",
        operations=("POST /v2/images/{image_id}/locations",),
    ),
    Rule(
        "fetch_image_location",
        "rule:service_api",
        "Use the get-locations API (GET locations).",
        operations=("GET /v2/images/{image_id}/locations",),
    ),
)
