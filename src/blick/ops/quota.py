"""What a project may still take: asked here by every op that takes something (spec: image-model §8, security §4).

Unified limits, where they are in use, are the caller's project's, whomever the image belongs to; `user_storage_quota`
is the image owner's. What is taken is taken in a transaction: `db.usage.take`, or what is built on it.

| action | limits |
|---|---|
| create | image_count_total: one more |
| upload | image_size_total: the announced size, or what comes; image_count_uploading: with itself |
| begin a resumable upload | image_size_total: the announced size, and what lies in the owner's unfinished ones |
| add a piece to one | image_size_total: all of it with the piece, and what lies in the owner's other unfinished ones |
| stage | image_stage_total: the announced size; image_count_uploading: with itself |
| import by glance-direct | image_size_total: the staged size |
| import by the other methods | image_stage_total: the size if known; image_count_uploading: with itself |
| add a location, or one more store | user_storage_quota: the size |
"""

from collections.abc import Mapping
from dataclasses import dataclass

from blick.db import usage
from blick.model.context import RequestContext
from blick.model.quota import NOTHING, UNIFIED_LIMITS, USER_STORAGE_QUOTA, Limit, LimitKind, Measure, Quota, Usage
from blick.ops.services import Services


async def unified(services: Services, project_id: str | None, *kinds: LimitKind) -> Quota | None:
    """The project's limits of those kinds, as Keystone has them now; None if nothing is limited.

    One round to Keystone at most. Raises ServiceUnavailable.
    """
    if services.limits is None:
        return None
    most = await services.limits.of_project(project_id, [kind.name for kind in kinds])
    return _quota(project_id, {kind: most[kind.name] for kind in kinds})


def storage(services: Services, owner: str | None) -> Quota | None:
    """What all data of one owner's images may come to by `user_storage_quota`; None if it is off or replaced."""
    quotas = services.settings.quotas
    if quotas.use_keystone_limits or not quotas.user_storage_quota_bytes:
        return None
    return _quota(owner, {USER_STORAGE_QUOTA: quotas.user_storage_quota_bytes})


def _quota(project_id: str | None, most: Mapping[LimitKind, int]) -> Quota | None:
    limits = tuple(Limit(kind, value) for kind, value in most.items() if value >= 0)
    return Quota(project_id, limits) if limits else None


async def require(services: Services, quota: Quota | None, added: Usage = NOTHING) -> Usage:
    """Raises LimitExceeded if `added` would not fit in now. Takes nothing: only to tell a full quota early.

    Gives what is used.
    """
    if quota is None:
        return NOTHING
    used = await services.database.read(usage.measured, quota.project_id, quota.measures)
    quota.require(used, added)
    return used


@dataclass(frozen=True, slots=True)
class Terms:
    """How long data may be, as known before its first byte.

    `unreserved` is the quota that it has to fit into once it is there, because its size was not announced.
    """

    expected_bytes: int | None
    cap_bytes: int
    over_cap: str | None = None
    unreserved: Quota | None = None


def terms(services: Services, measure: Measure, expected_bytes: int | None, limits: Quota | None, used: Usage) -> Terms:
    """The terms for data that counts as `measure`; what was announced is reserved, beside what is `used`."""
    cap_bytes = services.settings.quotas.image_size_cap_bytes
    unreserved = limits.about(measure) if limits is not None and expected_bytes is None else None
    room_bytes = unreserved.room(used, measure) if unreserved is not None else None
    if unreserved is None or room_bytes is None or room_bytes >= cap_bytes:
        return Terms(expected_bytes, cap_bytes, None, unreserved)
    return Terms(expected_bytes, room_bytes, unreserved.refusal(used, {measure: room_bytes + 1}), unreserved)


@dataclass(frozen=True, slots=True)
class LimitUsage:
    """One limit and what is used of it, both in the limit's unit. A negative limit is none."""

    name: str
    limit: int
    usage: int


async def show_usage(services: Services, context: RequestContext) -> tuple[LimitUsage, ...]:
    """What the caller's project uses of each unified limit; nothing where they are not in use.

    Raises ServiceUnavailable.
    """
    if services.limits is None:
        return ()
    most = await services.limits.of_project(context.project_id, [kind.name for kind in UNIFIED_LIMITS])
    measures = {kind.measure for kind in UNIFIED_LIMITS}
    used = await services.database.read(usage.measured, context.project_id, measures)
    return tuple(LimitUsage(kind.name, most[kind.name], used[kind.measure] // kind.unit) for kind in UNIFIED_LIMITS)
