"""Every policy rule there is, one module per noun."""

from blick.policy.rules import base, cache, images, jobs, locations, members, metadefs, stores, tasks
from blick.policy.rules.rule import Rule

ALL: tuple[Rule, ...] = (
    *base.RULES,
    *images.RULES,
    *members.RULES,
    *locations.RULES,
    *stores.RULES,
    *tasks.RULES,
    *jobs.RULES,
    *cache.RULES,
    *metadefs.RULES,
)
