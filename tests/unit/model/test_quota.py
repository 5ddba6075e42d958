"""Limits in their units, usage in bytes: what fits, and what a refusal says."""

import pytest

from blick.model.errors import LimitExceeded
from blick.model.quota import (
    IMAGE_COUNT_TOTAL,
    IMAGE_SIZE_TOTAL,
    UNIFIED_LIMITS,
    USER_STORAGE_QUOTA,
    Limit,
    LimitKind,
    Measure,
    Quota,
)

MIB = 1 << 20


@pytest.mark.parametrize(
    ("kind", "most", "used", "room"),
    [
        (USER_STORAGE_QUOTA, 100, 0, 100),
        (USER_STORAGE_QUOTA, 100, 100, 0),
        (USER_STORAGE_QUOTA, 100, 130, -30),
        (IMAGE_COUNT_TOTAL, 3, 2, 1),
        (IMAGE_COUNT_TOTAL, 0, 0, 0),
        (IMAGE_SIZE_TOTAL, 5, 3 * MIB, 3 * MIB - 1),
        (IMAGE_SIZE_TOTAL, 0, 0, MIB - 1),
        (IMAGE_SIZE_TOTAL, 5, 6 * MIB, -1),
    ],
)
def test_room_is_what_keeps_the_reported_usage_within_the_limit(
    kind: LimitKind, most: int, used: int, room: int
) -> None:
    limit = Limit(kind, most)
    assert limit.room(used) == room
    assert limit.excess(used, room) is None
    assert limit.excess(used, room + 1) is not None
    assert (used + room) // kind.unit <= most < (used + room + 1) // kind.unit


@pytest.mark.parametrize(
    ("used", "added", "told"),
    [
        (3 * MIB, 3 * MIB, "usage 3 and delta 3"),
        (4 * MIB - 1, 3 * MIB, "usage 3 and delta 3"),
        (7 * MIB, 0, "usage 7 and delta 0"),
        (6 * MIB - 1, 1, "usage 5 and delta 1"),
    ],
)
def test_what_is_told_adds_up(used: int, added: int, told: str) -> None:
    text = Limit(IMAGE_SIZE_TOTAL, 5).excess(used, added)
    assert text == f"Resource image_size_total is over limit of 5 due to current {told}"


def test_quota() -> None:
    quota = Quota("p", (Limit(IMAGE_SIZE_TOTAL, 5), Limit(IMAGE_COUNT_TOTAL, 1)))
    assert quota.measures == {Measure.STORED, Measure.IMAGES}
    usage = {Measure.STORED: MIB, Measure.IMAGES: 1}
    quota.require(usage, {Measure.STORED: 4 * MIB})
    assert quota.room(usage, Measure.STORED) == 5 * MIB - 1
    assert quota.room(usage, Measure.STAGED) is None
    assert quota.about(Measure.IMAGES) == Quota("p", (Limit(IMAGE_COUNT_TOTAL, 1),))
    assert quota.about(Measure.UPLOADING) is None
    with pytest.raises(
        LimitExceeded, match=r"^Project p is over a limit for \[Resource image_count_total is over limit"
    ):
        quota.require(usage, {Measure.IMAGES: 1})


def test_names_are_those_that_operators_register() -> None:
    assert [kind.name for kind in UNIFIED_LIMITS] == [
        "image_size_total",
        "image_stage_total",
        "image_count_total",
        "image_count_uploading",
    ]
