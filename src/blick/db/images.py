"""Images and their children: every statement that reads or changes them.

All functions run inside a transaction of `blick.db.engine.Database`. Times are naive UTC.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    String,
    and_,
    bindparam,
    cast,
    false,
    insert,
    literal_column,
    null,
    or_,
    select,
    true,
    type_coerce,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.expression import Select

from blick.db import tags, usage
from blick.db.children import gathered, json_record, json_row
from blick.db.exact import exactly, exactly_one_of
from blick.db.location_cipher import GatheredLocations, decode_locations
from blick.db.rows import set_base
from blick.db.tables import image_locations, image_members, image_properties, image_tags, images
from blick.model.errors import BlickError, Conflict, Forbidden, NotFound
from blick.model.image import DELETED, PENDING_DELETE, SHARED, Image, ImageLocation, may_become
from blick.model.image_input import RESERVED_PREFIX, check_property_quota
from blick.model.image_patch import PatchPlan
from blick.model.quota import Measure, Quota

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode

_decode_base = msgspec.json.Decoder(list[Any]).decode

NOTHING: Mapping[str, Any] = MappingProxyType({})

# What makes a location one that is in use.
IN_USE: ColumnElement[bool] = and_(image_locations.c.deleted == false(), image_locations.c.status == "active")

_BASE = (
    "id", "name", "status", "visibility", "owner", "disk_format", "container_format", "size", "virtual_size",
    "checksum", "os_hash_algo", "os_hash_value", "min_disk", "min_ram", "protected", "os_hidden",
    "created_at", "updated_at",
)  # fmt: skip
# Places in it, and in Image, which has the same order.
_VISIBILITY, _FLAGS = _BASE.index("visibility"), _BASE.index("protected")


def children_of(outer: FromClause) -> list[ColumnElement[Any]]:
    """The columns `properties`, `tags` and `locations` for a statement over `outer`, which has a column `id`."""
    live = {
        table: (table.c.image_id == outer.c.id) & (table.c.deleted == false())
        for table in (image_properties, image_tags, image_locations)
    }
    prop, tag, location = image_properties.c, image_tags.c, image_locations.c
    locations = gathered(
        cast(location.id, String(20)),
        json_row(location.value, location.meta_data),
        live[image_locations] & (location.status == "active"),
        outer,
    )
    return [
        gathered(prop.name, prop.value, live[image_properties], outer).label("properties"),
        gathered(tag.value, literal_column("1"), live[image_tags], outer).label("tags"),
        type_coerce(locations, GatheredLocations).label("locations"),
    ]


def base_of(outer: FromClause) -> ColumnElement[str]:
    """The column with all that is an image's own, of `outer`."""
    return json_record(*[outer.c[name] for name in _BASE]).label("base")


def record(row: Row[Any], member_id: str | None, member_status: str | None) -> Image:
    """The image of a row that begins with `base_of` and `children_of`; the membership counts only if it is shared."""
    base, properties, tags, locations = tuple(row)[:4]
    values = _decode_base(base)
    created_at, updated_at = values[-2:]
    is_member = member_id is not None and values[_VISIBILITY] == SHARED
    values[_FLAGS:] = [
        *map(bool, values[_FLAGS:-2]),
        datetime.fromisoformat(created_at),
        datetime.fromisoformat(updated_at or created_at),
        _decode_object(properties),
        tuple(_decode_object(tags)),
        () if locations == "{}" else tuple(_locations(locations)),
        member_id if is_member else None,
        member_status if is_member else None,
    ]
    return Image(*values)


def _locations(text: str) -> Iterable[ImageLocation]:
    for number, (uri, metadata) in sorted(decode_locations(text).items()):
        yield ImageLocation(uri, _decode_object(metadata) if metadata else {}, number)


def _membership() -> ColumnElement[Any]:
    member = image_members.c
    return (
        select(member.status)
        .where(
            member.image_id == images.c.id,
            exactly(member.member, bindparam("project_id")),
            member.deleted == false(),
        )
        .limit(1)
        .correlate(images)
        .scalar_subquery()
        .label("member_status")
    )


_GET: Select[Any] = (
    select(base_of(images), *children_of(images), _membership())
    .where(images.c.id == bindparam("image_id"), images.c.deleted == false())
)  # fmt: skip


def get(connection: Connection, image_id: str, project_id: str | None) -> Image | None:
    """The image, or None if there is none or it is deleted. One statement.

    Membership of `project_id` is filled in where the image is shared with it.
    """
    if not plausible_id(image_id):
        return None
    row = connection.execute(_GET, {"image_id": image_id, "project_id": project_id}).one_or_none()
    if row is None:
        return None
    status = row[-1]
    return record(row, project_id if status is not None else None, status)


def plausible_id(image_id: str) -> bool:
    """Could the database hold an image of that id at all? (Length, and characters that every engine takes.)"""
    return len(image_id) <= 36 and image_id.isascii() and "\x00" not in image_id


def insert_image(connection: Connection, image: Image, quota: Quota | None = None) -> None:
    """Store a new image with its properties and tags.

    Raises Conflict if the id is, or ever was, in use; LimitExceeded if one more image is too many for `quota`.
    """
    if quota is not None:
        usage.take(connection, quota, {Measure.IMAGES: 1})
    values = {name: getattr(image, name) for name in _BASE}
    try:
        connection.execute(insert(images), values | {"deleted": False})
    except IntegrityError as error:
        raise Conflict(f"Image ID {image.id} already exists!") from error
    stamp = {
        "image_id": image.id,
        "created_at": image.created_at,
        "updated_at": image.created_at,
        "deleted": False,
    }
    if image.properties:
        rows = [stamp | {"name": name, "value": value} for name, value in image.properties.items()]
        _insert_properties(connection, rows)
    if image.tags:
        connection.execute(insert(image_tags), [stamp | {"value": tag} for tag in image.tags])


def set_status(
    connection: Connection,
    image_id: str,
    from_: Sequence[str],
    to: str,
    now: datetime,
    values: Mapping[str, Any] = NOTHING,
) -> bool:
    """Compare and set: `status` becomes `to` (and the columns in `values` too) if it is one of `from_` now.

    The only place where a status is written, beside `blick.db.image_deletion`. False: the image has another status, is
    deleted (`pending_delete` alone is a status of deleted images) or does not exist.
    """
    for status in from_:
        if not may_become(status, to):
            raise AssertionError(f"an image never goes from {status} to {to}")
    changed = connection.execute(
        update(images)
        .where(images.c.id == image_id, images.c.status.in_(from_), images.c.deleted == (PENDING_DELETE in from_))
        .values({**values, "status": to, "updated_at": now})
    )
    return changed.rowcount == 1


def set_properties(connection: Connection, image_id: str, properties: Mapping[str, str | None], now: datetime) -> None:
    """Create or overwrite exactly these properties; a name once used keeps its one row (spec: image-model §1)."""
    table = image_properties
    stamp = {"image_id": image_id, "created_at": now, "updated_at": now, "deleted": False}
    for name, value in properties.items():
        changed = connection.execute(
            update(table)
            .where(table.c.image_id == image_id, table.c.name == name)
            # A name of old may be written differently, where the database takes both for the same (see exact.py).
            .where(or_(table.c.deleted == true(), exactly(table.c.name, name)))
            .values(name=name, value=value, updated_at=now, deleted=False, deleted_at=null())
        )
        if changed.rowcount == 0:
            _insert_properties(connection, [{"name": name, "value": value} | stamp])


def _insert_properties(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    try:
        connection.execute(insert(image_properties), rows)
    except IntegrityError as error:
        raise Conflict(
            "This database does not tell the names of all these properties apart: they differ only by case, accents or "
            "spaces at the end."
        ) from error


def remove_properties(connection: Connection, image_id: str, names: Iterable[str], now: datetime) -> None:
    """Soft-delete exactly these properties."""
    table = image_properties
    connection.execute(
        update(table)
        .where(table.c.image_id == image_id, exactly_one_of(table.c.name, names), table.c.deleted == false())
        .values(deleted=True, deleted_at=now, updated_at=now)
    )


@dataclass(frozen=True, slots=True)
class ChangeLimits:
    """What must still hold when a change is written. `statuses` empty: any. `project_id`: whose membership to tell."""

    image_property_quota: int
    statuses: tuple[str, ...]
    project_id: str | None


def change(connection: Connection, image_id: str, wanted: PatchPlan, limits: ChangeLimits, now: datetime) -> Image:
    """Write what a PATCH names, and nothing else, so that racing PATCHes of other attributes all survive.

    Gives the image as it is afterwards. Raises NotFound if it is gone, Forbidden if its status left `statuses`
    meanwhile, LimitExceeded if it would have more custom properties than the quota allows.
    """
    if not set_base(connection, image_id, wanted.base, now, limits.statuses):
        raise _gone_or_moved_on(connection, image_id)
    if wanted.remove_properties:
        remove_properties(connection, image_id, wanted.remove_properties, now)
    if wanted.set_properties:
        set_properties(connection, image_id, wanted.set_properties, now)
    if wanted.tags is not None:
        tags.replace(connection, image_id, wanted.tags, now)
    image = get(connection, image_id, limits.project_id)
    if image is None:
        raise NotFound(f"No image found with ID {image_id}")
    if wanted.created:
        counted = [name for name in image.properties if not name.startswith(RESERVED_PREFIX)]
        check_property_quota(len(counted), limits.image_property_quota)
    return image


def _gone_or_moved_on(connection: Connection, image_id: str) -> BlickError:
    image = get(connection, image_id, None)
    if image is None:
        return NotFound(f"No image found with ID {image_id}")
    return Forbidden(f"The image is {image.status} by now: its formats are settled.")


def add_location(connection: Connection, image_id: str, uri: str, metadata: Mapping[str, Any], now: datetime) -> None:
    """Record one more place where the image's bytes lie."""
    connection.execute(
        insert(image_locations),
        {
            "image_id": image_id,
            "value": uri,
            "meta_data": msgspec.json.encode(dict(metadata)).decode(),
            "status": "active",
            "created_at": now,
            "updated_at": now,
            "deleted": False,
        },
    )


def drop_locations(connection: Connection, image_id: str, now: datetime) -> None:
    """Soft-delete the locations of an image that is about to get its first data: they were refused before."""
    table = image_locations
    live = update(table).where(table.c.image_id == image_id, table.c.deleted == false())
    connection.execute(live.values(status=DELETED, deleted=True, deleted_at=now, updated_at=now))


def live_locations(connection: Connection, image_id: str) -> list[ImageLocation]:
    """The locations in use at this moment of the transaction, oldest first."""
    return find_locations(connection, image_id, IN_USE)


def find_locations(connection: Connection, image_id: str, wanted: ColumnElement[bool]) -> list[ImageLocation]:
    """The image's locations that are as `wanted` says, oldest first."""
    table = image_locations
    found = (
        select(table.c.id, table.c.value, table.c.meta_data)
        .where(table.c.image_id == image_id, wanted)
        .order_by(table.c.id)
    )
    return [
        ImageLocation(row.value, _decode_object(row.meta_data) if row.meta_data else {}, row.id)
        for row in connection.execute(found)
    ]
