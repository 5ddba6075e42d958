"""A cloud's worth of image records: many projects, every visibility, members, hidden and deleted images.

The same for the same number of images on every machine and engine. What the lists of the benchmark ask for is as
frequent in a large catalogue as in a small one, so that their costs can be compared; public images, and what the
projects of `Cast` own and share, are as many in both.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.bench.loading import Row

PROJECTS = 400
PUBLIC_IMAGES = 300
SHARED_WITH_MEMBER = 500
OWN_IMAGES = 40
BATCH = 40  # images of one batch: what a rare tag, a rare property value and a rare name find

MIB = 1024 * 1024
_FIRST_CREATED = datetime(2020, 1, 1)  # noqa: DTZ001 - the columns hold UTC without a zone
_DISTRIBUTIONS = ("ubuntu", "ubuntu", "ubuntu", "debian", "debian", "rocky", "fedora", "windows", "arch", "suse")
_MASK = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Cast:
    """The ids of the projects that lists are measured for."""

    ordinary: str = "a" * 32  # owns a few images, as most do
    newcomer: str = "b" * 32  # owns none
    member: str = "c" * 32  # sees 500 images of others by being a member
    owner: str = "d" * 32  # owns two of five images


@dataclass(frozen=True, slots=True)
class Catalogue:
    """`images` live ones; a tenth as many deleted ones lie beside them. `public` of them are."""

    images: int
    cast: Cast = Cast()
    public: int = PUBLIC_IMAGES

    def rows(self) -> Iterator[tuple[str, list[Row]]]:
        """(table, rows) image by image, in the order of the ids: engines load that fastest."""
        everything = range(self.images + self.images // 10)
        for image_id, number in sorted((_id(number), number) for number in everything):
            yield from self._image(image_id, number)

    def _image(self, image_id: str, number: int) -> Iterator[tuple[str, list[Row]]]:
        chance = _chance(number)
        deleted = number >= self.images
        place = _spread(number - self.images, self.images // 10, self.images) if deleted else number
        created = _FIRST_CREATED + timedelta(seconds=place // 3 * 30)  # three at a time
        created_at = created.isoformat(" ")
        deleted_at = (created + timedelta(days=1)).isoformat(" ") if deleted else None
        stamp: Row = (created_at, created_at, deleted_at, int(deleted))
        owner, visibility = self._access(number, chance, deleted=deleted)
        status = "deleted" if deleted else _status(chance)
        filled = status in ("active", "deactivated", "deleted")
        hidden = int(chance % 100 == 7 and visibility not in ("public", "community"))
        size = (chance >> 20) % 40_000 * MIB if filled else None
        checksum, long_hash = (f"{chance:032x}", f"{chance:0128x}") if filled else (None, None)
        yield (
            "images",
            [
                (
                    image_id, _name(number, chance), "qcow2", "bare", size, size and size * 2, status, visibility,
                    checksum, (filled and "sha512") or None, long_hash, 4, 512, owner, 0, hidden, *stamp,
                )
            ],
        )  # fmt: skip
        yield "image_properties", [(image_id, *each, *stamp) for each in _properties(number, chance)]
        tags = (f"kind-{chance % 10}", f"batch-{number // BATCH}")
        yield "image_tags", [(image_id, tag, *stamp) for tag in tags]
        if filled:
            status = "deleted" if deleted else "active"
            yield "image_locations", [(image_id, f"file:///images/{image_id}", '{"store": "file"}', status, *stamp)]
        if visibility == "shared":
            members = self._members(number, chance)
            yield "image_members", [(image_id, member, 0, status, *stamp) for member, status in members]

    def _access(self, number: int, chance: int, *, deleted: bool) -> tuple[str, str]:
        """Owner and visibility."""
        if not deleted and _is_chosen(number, self.public, self.images, 0):
            return f"{2 + chance % (PROJECTS - 2):032x}", "public"
        if not deleted and self._is_for_member(number):
            return f"{2 + chance % (PROJECTS - 2):032x}", "shared"
        for shift, project in enumerate((self.cast.ordinary, self.cast.member)):
            if not deleted and _is_chosen(number, OWN_IMAGES, self.images, 2 + shift):
                return project, "shared" if chance & 1 else "private"
        visibility = "community" if chance % 200 == 1 else "shared" if chance & 1 else "private"
        owner = self.cast.owner if (chance >> 8) % 5 < 2 else f"{2 + (chance >> 16) % (PROJECTS - 2):032x}"
        return owner, visibility

    def _is_for_member(self, number: int) -> bool:
        return _is_chosen(number, SHARED_WITH_MEMBER * 6 // 5, self.images, 1)

    def _members(self, number: int, chance: int) -> Iterator[tuple[str, str]]:
        if self._is_for_member(number):  # each sixth is not accepted yet
            step = number * SHARED_WITH_MEMBER * 6 // 5 // self.images
            yield self.cast.member, "pending" if step % 6 == 0 else "accepted"
        elif chance % 20 == 3:
            several = {f"{2 + (chance >> (8 * which)) % (PROJECTS - 2):032x}" for which in range(1 + chance % 3)}
            yield from [(member, "accepted") for member in sorted(several)]


def marker(number: int) -> str:
    """The id of the image of that number; the larger the number, the newer the image."""
    return _id(number)


def _id(number: int) -> str:
    digits = hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"


def _chance(number: int) -> int:
    """64 bits that look random, the same for the same number."""
    mixed = (number + 1) * 0x9E3779B97F4A7C15 & _MASK
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _MASK
    return mixed ^ mixed >> 31


def _spread(step: int, steps: int, images: int) -> int:
    return step * images // max(steps, 1)


def _is_chosen(number: int, wanted: int, images: int, shift: int) -> bool:
    """True for `wanted` of the numbers, evenly spread; with another `shift`, mostly for others."""
    moved = (number + shift) % images
    return moved * wanted // images != (moved - 1) * wanted // images


def _status(chance: int) -> str:
    part = chance % 1000
    if part < 20:
        return "queued"
    return "deactivated" if part < 25 else "killed" if part < 27 else "active"


def _name(number: int, chance: int) -> str | None:
    kind = chance % 16
    if kind == 0:
        return None
    if kind < 4:
        return f"{_DISTRIBUTIONS[chance % 10]}-{20 + chance % 7}.04"
    return f"nightly-{number // BATCH}" if kind < 8 else f"snapshot of server {chance % 10**9}"


def _properties(number: int, chance: int) -> list[tuple[str, str]]:
    return [
        ("os_distro", _DISTRIBUTIONS[(chance >> 4) % 10]),
        ("os_version", f"{chance % 30}.04"),
        ("architecture", "x86_64" if chance % 9 else "aarch64"),
        ("hw_disk_bus", "virtio"),
        ("hw_machine_type", "q35" if chance & 1 else "pc"),
        ("instance_uuid", _id(number + 10**9)),
        ("build", f"build-{number // BATCH}"),
        ("image_type", "snapshot" if chance % 3 else "image"),
        ("user_id", f"{chance % 5000:032x}"),
        ("description", f"made by job {chance % 100_000} for nobody in particular"),
    ]
