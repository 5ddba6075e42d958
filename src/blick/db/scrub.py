"""Images whose deletion was delayed: found when their time has come, given to the outbox, or restored instead.

What decides is whether an image has rows in the outbox: from the first on its data is being removed, and there is no
way back.
"""

from datetime import datetime

from sqlalchemy import Connection, exists, or_, select, true

from blick.db import image_deletion, outbox
from blick.db.outbox import LocationDelete
from blick.db.rows import hold_waiting
from blick.db.tables import images, location_deletes
from blick.model.errors import Conflict
from blick.model.image import PENDING_DELETE


def due(connection: Connection, deleted_before: datetime, after_id: str, limit: int) -> list[str]:
    """Ids of up to `limit` images that were deleted before then and of which nothing is being removed yet.

    By id, from after `after_id` on.
    """
    wanted = (
        select(images.c.id)
        .where(
            images.c.status == PENDING_DELETE,
            images.c.deleted == true(),
            or_(images.c.deleted_at <= deleted_before, images.c.deleted_at.is_(None)),
            images.c.id > after_id,
            ~exists().where(location_deletes.c.image_id == images.c.id),
        )
        .order_by(images.c.id)
        .limit(limit)
    )
    return list(connection.execute(wanted).scalars())


def begin(connection: Connection, image_id: str, now: datetime, now_ms: int) -> list[LocationDelete]:
    """Note the data of a `pending_delete` image for removal by whoever claims it first.

    An image without any is `deleted` at once. Nothing happens if somebody else began, or restored it.
    """
    if not hold_waiting(connection, image_id, now) or outbox.of_image(connection, image_id):
        return []
    locations = image_deletion.waiting_locations(connection, image_id)
    outbox.add(connection, image_id, locations, now_ms, is_claimed=False)
    if not locations:
        image_deletion.finish(connection, image_id, now)
    return outbox.of_image(connection, image_id)


def restore(connection: Connection, image_id: str, now: datetime) -> None:
    """Make a `pending_delete` image `active` again, with what its deletion took along.

    Raises NotFound; Conflict if it is not `pending_delete`, or its data is being removed.
    """
    image_deletion.restore(connection, image_id, now)
    if outbox.of_image(connection, image_id):
        raise Conflict(
            f"glance-scrubber is already running: it has begun to remove the data of image {image_id}, which cannot be "
            "restored any more."
        )
