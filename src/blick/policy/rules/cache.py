"""The image cache. (spec: policies)"""

from blick.policy.rules.rule import Rule

RULES = (
    Rule(
        "manage_image_cache",
        "rule:context_is_admin",
        "Old cache-management API and the legacy default behind cache_*.",
        operations=(
            "GET /v2/cached_images",
            "DELETE /v2/cached_images",
            "DELETE /v2/cached_images/{image_id}",
            "GET /v2/queued_images",
            "DELETE /v2/queued_images",
            "PUT /v2/queued_images/{image_id}",
            "DELETE /v2/queued_images/{image_id}",
        ),
    ),
    Rule(
        "list_cached_nodes",
        "rule:context_is_admin",
        "See on which nodes an image is cached.",
        operations=("GET /v2/cache/nodes/{image_id}",),
    ),
    Rule(
        "cache_image",
        "rule:context_is_admin",
        "Queue an image for caching.",
        operations=("PUT /v2/cache/{image_id}",),
        legacy="rule:manage_image_cache",
        legacy_since="X",
    ),
    Rule(
        "cache_list",
        "rule:context_is_admin",
        "List cached and queued images.",
        operations=("GET /v2/cache",),
        legacy="rule:manage_image_cache",
        legacy_since="X",
    ),
    Rule(
        "cache_delete",
        "rule:context_is_admin",
        "Remove one or all images from cache and/or queue.",
        operations=(
            "DELETE /v2/cache",
            "DELETE /v2/cache/{image_id}",
        ),
        legacy="rule:manage_image_cache",
        legacy_since="X",
    ),
    Rule(
        "cache_clean",
        "rule:context_is_admin",
        "Remove invalid and stalled cache entries.",
        operations=("POST /v2/cache/clean",),
    ),
    Rule(
        "cache_prune",
        "rule:context_is_admin",
        "Evict least recently used entries down to the size limit.",
        operations=("POST /v2/cache/prune",),
    ),
)
