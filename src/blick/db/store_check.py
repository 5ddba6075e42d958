"""What the database knows of stored bytes, for comparing it with what stores hold: page by page, id by id.

Whoever asks goes on while images come and go. Statements therefore stand in the order in which things happen (lease,
then location, then deletion): what moves from one to the next between two statements is seen twice, never missed.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, and_, false, func, or_, select

from blick.db import outbox
from blick.db.exact import exactly
from blick.db.import_lock import PROPERTY as IMPORT_LOCK
from blick.db.tables import image_locations, image_properties, images, leases, staged_data, upload_parts
from blick.model.blob import Digests
from blick.model.image import ACTIVE, DEACTIVATED, IMPORTING, PENDING_DELETE, SAVING, UPLOADING, ImageLocation

InStore = Callable[[str, Mapping[str, Any]], bool]
"""Is the location with this URI and metadata one of the store in question? Asks nobody."""

# What is to be there, and in these the record has the size and the hashes that it must have.
WITH_DATA = (ACTIVE, DEACTIVATED, PENDING_DELETE)
# Somebody is working on the data, with a lease or, if it is not us, without.
UNDER_WAY = (SAVING, UPLOADING, IMPORTING)


@dataclass(frozen=True, slots=True)
class RecordedCopy:
    """One recorded location with what is recorded of the image's data. `status` is the image's."""

    place: ImageLocation
    image_id: str
    status: str
    size_bytes: int | None
    checksum: str | None
    os_hash_algo: str | None
    os_hash_value: str | None

    @property
    def has_data(self) -> bool:
        """Must the bytes be there? Before, and after a failed import, a location may stand for nothing yet."""
        return self.status in WITH_DATA

    @property
    def has_hash(self) -> bool:
        """Is there anything to tell good bytes by?"""
        return self.checksum is not None or None not in (self.os_hash_algo, self.os_hash_value)

    def is_still(self, other: "RecordedCopy") -> bool:
        """Do both records say the same of the bytes?"""
        return replace(self, status=other.status) == other

    def fault(self, digests: Digests) -> str | None:
        """What is wrong with bytes that have these digests, in words; None if they are the image's."""
        if self.size_bytes is not None and digests.size_bytes != self.size_bytes:
            return f"{digests.size_bytes} bytes instead of {self.size_bytes}"
        if self.checksum is not None and digests.checksum != self.checksum.lower():
            return f"MD5 is {digests.checksum} instead of {self.checksum}"
        known = self.os_hash_value is not None and digests.os_hash_algo == self.os_hash_algo
        if known and digests.os_hash_value != (self.os_hash_value or "").lower():
            return f"{self.os_hash_algo} is {digests.os_hash_value} instead of {self.os_hash_value}"
        return None


@dataclass(frozen=True, slots=True)
class Standing:
    """What the database says of one image, or of an id that may never have been one (`status` None).

    `places` are its locations that still hold its data or did not lose it yet, `deletes` those whose bytes wait for
    removal. `holder`: whose lease there is on its data, and until when. `is_importing`: some import has its lock.
    `is_staged`: it is no image's id, but the name of data that waits for its import, or of a part of an upload.
    """

    status: str | None = None
    places: tuple[ImageLocation, ...] = ()
    deletes: tuple[ImageLocation, ...] = ()
    holder: str | None = None
    expires_at_ms: int = 0
    is_importing: bool = False
    is_staged: bool = False


_UNKNOWN = Standing()


def _held() -> ColumnElement[bool]:
    """Locations that stand for bytes: live ones, and those that wait for the scrubber."""
    return or_(image_locations.c.deleted == false(), image_locations.c.status == PENDING_DELETE)


def _copies() -> Select[Any]:
    location, image = image_locations.c, images.c
    return (
        select(
            location.id, location.value, location.meta_data, location.image_id,
            image.status, image.size, image.checksum, image.os_hash_algo, image.os_hash_value,
        )
        .select_from(image_locations.join(images, image.id == location.image_id))
        .where(_held())
    )  # fmt: skip


def recorded(connection: Connection, after_id: int, limit: int) -> list[RecordedCopy]:
    """The next `limit` locations behind the one of id `after_id`, in the order of their ids. One walk, no sorting."""
    wanted = _copies().where(image_locations.c.id > after_id).order_by(image_locations.c.id).limit(limit)
    return [_copy(row) for row in connection.execute(wanted)]


def again(connection: Connection, location_id: int) -> RecordedCopy | None:
    """The location of that id as it is now; None if it stands for nothing any more."""
    row = connection.execute(_copies().where(image_locations.c.id == location_id)).first()
    return None if row is None else _copy(row)


def of_image(connection: Connection, image_id: str) -> list[RecordedCopy]:
    """All locations of one image."""
    wanted = _copies().where(image_locations.c.image_id == image_id).order_by(image_locations.c.id)
    return [_copy(row) for row in connection.execute(wanted)]


def newest_location(connection: Connection) -> int:
    """The id of the newest location; 0 without any."""
    return int(connection.execute(select(func.max(image_locations.c.id))).scalar() or 0)


def is_named_since(connection: Connection, uri: str, after_id: int) -> bool:
    """Does a location behind the one of id `after_id` stand for `uri`? Reads them: URIs may be encrypted."""
    later = select(image_locations.c.value).where(image_locations.c.id > after_id, _held())
    return any(value == uri for value in connection.execute(later).scalars())


def standings(connection: Connection, image_ids: Collection[str]) -> dict[str, Standing]:
    """The standing of each of these ids, by the id in lower case: some databases do not tell the case of ids."""
    found: dict[str, dict[str, Any]] = {image_id.lower(): {} for image_id in image_ids}
    wanted = tuple(image_ids)
    for table in (staged_data, upload_parts):
        for key in connection.execute(select(table.c.object_key).where(table.c.object_key.in_(wanted))).scalars():
            found[key.lower()]["is_staged"] = True
    for image_id in connection.execute(_import_locks(wanted)).scalars():
        found[image_id.lower()]["is_importing"] = True
    for row in connection.execute(select(leases).where(leases.c.image_id.in_(wanted))):
        found[row.image_id.lower()] |= {"holder": row.holder, "expires_at_ms": row.expires_at_ms}
    for row in connection.execute(select(images.c.id, images.c.status).where(images.c.id.in_(wanted))):
        found[row.id.lower()]["status"] = row.status
    held = select(image_locations).where(image_locations.c.image_id.in_(wanted), _held())
    for row in connection.execute(held.order_by(image_locations.c.id)):
        _append(found[row.image_id.lower()], "places", _place(row))
    for entry in outbox.of_images(connection, wanted):
        _append(found[entry.image_id.lower()], "deletes", entry.location)
    return {image_id: Standing(**values) if values else _UNKNOWN for image_id, values in found.items()}


def _append(values: dict[str, Any], name: str, place: ImageLocation) -> None:
    values[name] = (*values.get(name, ()), place)


def _import_locks(image_ids: Collection[str]) -> Select[Any]:
    table = image_properties.c
    named = and_(exactly(table.name, IMPORT_LOCK), table.deleted == false())
    return select(table.image_id).where(table.image_id.in_(image_ids), named)


def _copy(row: Row[Any]) -> RecordedCopy:
    return RecordedCopy(
        place=_place(row),
        image_id=row.image_id,
        status=row.status,
        size_bytes=row.size,
        checksum=row.checksum,
        os_hash_algo=row.os_hash_algo,
        os_hash_value=row.os_hash_value,
    )


def _place(row: Row[Any]) -> ImageLocation:
    return ImageLocation(row.value, msgspec.json.decode(row.meta_data) if row.meta_data else {}, row.id)
