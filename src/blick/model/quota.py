"""What a project may hold at most: storage and counts of images (spec: image-model §8).

A limit speaks in units of its own (MiB, images); usage is measured in bytes and images. What is left of a started unit
is not counted, as the limits' usage is reported in whole units: what is refused would show a usage above the limit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from blick.model.errors import LimitExceeded

_MIB: Final = 1 << 20


class Measure(Enum):
    """What of a project's is measured, in bytes or images."""

    STORED = "stored"  # bytes: size × live locations of every image, and what running uploads have reserved
    STAGED = "staged"  # bytes of images that are being imported or copied to more stores
    IMAGES = "images"  # that are there, with data or without
    UPLOADING = "uploading"  # images whose data is on its way: upload, import, copy


@dataclass(frozen=True, slots=True)
class LimitKind:
    """One of the limits that there are: its name for operators and clients, what it is about, and its unit."""

    name: str
    measure: Measure
    unit: int = 1


IMAGE_SIZE_TOTAL: Final = LimitKind("image_size_total", Measure.STORED, _MIB)
IMAGE_STAGE_TOTAL: Final = LimitKind("image_stage_total", Measure.STAGED, _MIB)
IMAGE_COUNT_TOTAL: Final = LimitKind("image_count_total", Measure.IMAGES)
IMAGE_COUNT_UPLOADING: Final = LimitKind("image_count_uploading", Measure.UPLOADING)
USER_STORAGE_QUOTA: Final = LimitKind("user_storage_quota", Measure.STORED)

# Those that Keystone may keep, in the order in which they are told.
UNIFIED_LIMITS: Final = (IMAGE_SIZE_TOTAL, IMAGE_STAGE_TOTAL, IMAGE_COUNT_TOTAL, IMAGE_COUNT_UPLOADING)

Usage = Mapping[Measure, int]
NOTHING: Final[Usage] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `most` units of `kind`."""

    kind: LimitKind
    most: int

    def room(self, used: int) -> int:
        """How many bytes or images may come to the `used` ones; negative if there are too many already."""
        return (self.most + 1) * self.kind.unit - 1 - used

    def excess(self, used: int, added: int) -> str | None:
        """What is wrong with `used` and `added` together, in the words that the field uses; None if nothing is."""
        if added <= self.room(used):
            return None
        unit = self.kind.unit
        told, delta = used // unit, (used + added) // unit - used // unit
        return f"Resource {self.kind.name} is over limit of {self.most} due to current usage {told} and delta {delta}"


@dataclass(frozen=True, slots=True)
class Quota:
    """The limits of one project (None: of what has no owner). A kind without a limit here is unlimited."""

    project_id: str | None
    limits: tuple[Limit, ...]

    @property
    def measures(self) -> frozenset[Measure]:
        """What has to be measured to judge by it."""
        return frozenset(limit.kind.measure for limit in self.limits)

    def about(self, measure: Measure) -> "Quota | None":
        """Only the limits on that measure; None if there is none."""
        limits = tuple(limit for limit in self.limits if limit.kind.measure is measure)
        return Quota(self.project_id, limits) if limits else None

    def require(self, usage: Usage, added: Usage = NOTHING) -> None:
        """Raises LimitExceeded if `added` does not fit in beside `usage`, which holds every one of our measures."""
        refusal = self.refusal(usage, added)
        if refusal is not None:
            raise LimitExceeded(refusal)

    def refusal(self, usage: Usage, added: Usage) -> str | None:
        """What there is to say if `added` does not fit in; None if it does."""
        found = [
            limit.excess(usage[limit.kind.measure], added.get(limit.kind.measure, 0))
            for limit in sorted(self.limits, key=lambda limit: limit.kind.name)
        ]
        over = [text for text in found if text is not None]
        return f"Project {self.project_id} is over a limit for [{', '.join(over)}]" if over else None

    def room(self, usage: Usage, measure: Measure) -> int | None:
        """How much more of `measure` fits in beside `usage`; None if that is unlimited."""
        rooms = [limit.room(usage[measure]) for limit in self.limits if limit.kind.measure is measure]
        return min(rooms, default=None)
