"""An image's own row: set columns of it, or just take it for the rest of a transaction."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, false, select, update

from blick.db.tables import images
from blick.model.image import PENDING_DELETE


def hold(connection: Connection, image_id: str) -> bool:
    """Take the image's row for the rest of the transaction, as `lock` does, but leave it as it is."""
    # SQLite knows no row locks and needs none: there a writing transaction is alone from its beginning.
    wanted = select(images.c.id).where(images.c.id == image_id, images.c.deleted == false()).with_for_update()
    return connection.execute(wanted).first() is not None


def lock(connection: Connection, image_id: str, now: datetime) -> bool:
    """Take the image's row for the rest of the transaction, so that counts and sets made next are not raced.

    Touches `updated_at`, as every save does. False: no such image.
    """
    return set_base(connection, image_id, {}, now)


def hold_waiting(connection: Connection, image_id: str, now: datetime) -> bool:
    """Take the row of a `pending_delete` image for the rest of the transaction. False: it is no such image.

    Writes to it, because a row that is only locked is free to the other members of a Galera cluster.
    """
    waiting = update(images).where(images.c.id == image_id, images.c.status == PENDING_DELETE)
    return connection.execute(waiting.values(updated_at=now)).rowcount == 1


def set_base(
    connection: Connection,
    image_id: str,
    values: Mapping[str, Any],
    now: datetime,
    statuses: Sequence[str] = (),
) -> bool:
    """Set base columns and `updated_at`; only while the status is one of `statuses`, if any are given.

    False: the image is gone, or has another status.
    """
    statement = update(images).where(images.c.id == image_id, images.c.deleted == false())
    if statuses:
        statement = statement.where(images.c.status.in_(statuses))
    return connection.execute(statement.values(updated_at=now, **values)).rowcount == 1
