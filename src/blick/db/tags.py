"""Tags of images."""

from collections.abc import Collection, Iterable
from datetime import datetime

from sqlalchemy import Connection, false, insert, select, update

from blick.db.exact import exactly_one_of
from blick.db.rows import lock
from blick.db.tables import image_tags
from blick.model.errors import LimitExceeded, NotFound


def of_image(connection: Connection, image_id: str) -> set[str]:
    """The image's tags at this moment of the transaction."""
    table = image_tags
    found = select(table.c.value).where(table.c.image_id == image_id, table.c.deleted == false())
    return set(connection.execute(found).scalars())


def add(connection: Connection, image_id: str, tag: str, quota: int, now: datetime) -> None:
    """Give the image one more tag; without effect if it has it. Other tags, set at the same time, stay.

    Raises NotFound if the image went away, LimitExceeded over `quota` (negative: none).
    """
    if not lock(connection, image_id, now):
        raise NotFound(f"No image found with ID {image_id}")
    present = of_image(connection, image_id)
    if tag in present:
        return
    if 0 <= quota < len(present) + 1:
        raise LimitExceeded(f"The limit has been exceeded on the number of allowed image tags: {quota}")
    _insert(connection, image_id, [tag], now)


def remove(connection: Connection, image_id: str, tag: str, now: datetime) -> bool:
    """Take one tag away. False: the image has no such tag."""
    return _delete(connection, image_id, [tag], now) > 0 and lock(connection, image_id, now)


def replace(connection: Connection, image_id: str, tags: Collection[str], now: datetime) -> None:
    """Make `tags` the image's tags; the image's row must be locked."""
    present, wanted = of_image(connection, image_id), set(tags)
    if present - wanted:
        _delete(connection, image_id, present - wanted, now)
    if wanted - present:
        _insert(connection, image_id, wanted - present, now)


def _insert(connection: Connection, image_id: str, tags: Iterable[str], now: datetime) -> None:
    stamp = {"image_id": image_id, "created_at": now, "updated_at": now, "deleted": False}
    connection.execute(insert(image_tags), [stamp | {"value": tag} for tag in tags])


def _delete(connection: Connection, image_id: str, tags: Iterable[str], now: datetime) -> int:
    table = image_tags
    changed = connection.execute(
        update(table)
        .where(table.c.image_id == image_id, exactly_one_of(table.c.value, tags), table.c.deleted == false())
        .values(deleted=True, deleted_at=now, updated_at=now)
    )
    return changed.rowcount
