"""Memberships of shared images."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, false, func, insert, null, select, update
from sqlalchemy.exc import IntegrityError

from blick.db.exact import exactly
from blick.db.rows import hold
from blick.db.tables import image_members
from blick.model.errors import Conflict, LimitExceeded, NotFound
from blick.model.member import PENDING, Member

_COLUMNS = (
    image_members.c.image_id,
    image_members.c.member,
    image_members.c.status,
    image_members.c.created_at,
    image_members.c.updated_at,
)


def _record(row: Sequence[Any]) -> Member:
    image_id, member_id, status, created_at, updated_at = row
    return Member(image_id, member_id, status, created_at, updated_at or created_at)


def of_image(connection: Connection, image_id: str, only: str | None = None) -> list[Member]:
    """The image's members, or just the membership of the project `only`."""
    table = image_members
    statement = select(*_COLUMNS).where(table.c.image_id == image_id, table.c.deleted == false())
    if only is not None:
        statement = statement.where(exactly(table.c.member, only))
    return [_record(row) for row in connection.execute(statement.order_by(table.c.id))]


def add(connection: Connection, image_id: str, member_id: str, quota: int, now: datetime) -> Member:
    """Share the image with `member_id`, pending. A membership that once was is revived with its old `created_at`.

    Raises Conflict if it is a member already, LimitExceeded over `quota` (negative: none), NotFound if the image
    went away. Of racing calls exactly one succeeds: they take turns on the image's row.
    """
    if not hold(connection, image_id):
        raise NotFound(f"No image found with ID {image_id}")
    members = of_image(connection, image_id)
    if any(member.member_id == member_id for member in members):
        raise Conflict(f"Project {member_id} is already a member of image {image_id}.")
    if 0 <= quota < len(members) + 1:
        raise LimitExceeded(f"The limit has been exceeded on the number of allowed image members: {quota}")
    table = image_members
    newest = select(func.max(table.c.id)).where(table.c.image_id == image_id, exactly(table.c.member, member_id))
    old_id = connection.execute(newest).scalar()
    revived = (
        update(table)
        .where(table.c.id == old_id)
        .values(status=PENDING, deleted=False, deleted_at=null(), updated_at=now)
    )
    # It may be purged at this very moment.
    if old_id is None or connection.execute(revived).rowcount == 0:
        _insert(connection, image_id, member_id, now)
    return of_image(connection, image_id, only=member_id)[0]


def _insert(connection: Connection, image_id: str, member_id: str, now: datetime) -> None:
    values = {
        "image_id": image_id,
        "member": member_id,
        "can_share": False,
        "status": PENDING,
        "created_at": now,
        "updated_at": now,
        "deleted": False,
    }
    try:
        connection.execute(insert(image_members), values)
    except IntegrityError as error:
        raise Conflict(f"Project {member_id} is already a member of image {image_id}.") from error


def set_status(connection: Connection, image_id: str, member_id: str, status: str, now: datetime) -> Member | None:
    """Accept, reject or reconsider. None: no such membership."""
    table = image_members
    changed = connection.execute(
        update(table)
        .where(table.c.image_id == image_id, exactly(table.c.member, member_id), table.c.deleted == false())
        .values(status=status, updated_at=now)
    )
    if changed.rowcount == 0:
        return None
    return of_image(connection, image_id, only=member_id)[0]


def remove(connection: Connection, image_id: str, member_id: str, now: datetime) -> bool:
    """End the membership. False: there was none."""
    table = image_members
    changed = connection.execute(
        update(table)
        .where(table.c.image_id == image_id, exactly(table.c.member, member_id), table.c.deleted == false())
        .values(deleted=True, deleted_at=now, updated_at=now)
    )
    return changed.rowcount > 0
