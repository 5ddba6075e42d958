"""What images a pool holds, in the words of the store contract. All of it blocks."""

import re
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from blick.model.blob import Location, StoredObject
from blick.stores.rbd import images as rbd_images
from blick.stores.rbd.cluster import Cluster, Pool
from blick.stores.rbd.uri import SNAPSHOT, RbdPlace

# Disks and volumes of others may share the pool; an image's name is an id and nothing else.
_IMAGE_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_BATCH = 32
"""Images looked at in one go: some milliseconds each."""


class Listing:
    """The images of the configured pool of the store `store`, and of its trash."""

    def __init__(self, store: str, cluster: Cluster, fsid: str) -> None:
        self._store = store
        self._cluster = cluster
        self._fsid = fsid

    def batches(self, own_ids: Collection[str | None]) -> list[Sequence[tuple[str, str | None]]]:
        """What there is, in small helpings for `look_at`: names, with an id for what lies in the trash.

        Of that, the images `own_ids` are left out: our own writers will see to them.
        """
        with self._cluster.pool() as pool, self._cluster.watched(pool):
            rbd = pool.bindings.rbd.RBD()
            entries = [(name, None) for name in rbd.list(pool.io) if _IMAGE_ID.fullmatch(name)]
            trash = rbd.trash_list(pool.io)
            left = [entry for entry in trash if entry["id"] not in own_ids and _IMAGE_ID.fullmatch(entry["name"])]
            entries += [(entry["name"], entry["id"]) for entry in left]
        return [entries[start : start + _BATCH] for start in range(0, len(entries), _BATCH)]

    def look_at(self, batch: Sequence[tuple[str, str | None]]) -> list[StoredObject]:
        """The objects of a batch, without what vanished meanwhile, and what is in the trash because of its clones."""
        with self._cluster.pool() as pool, self._cluster.watched(pool):
            return [found for name, image_id in batch for found in self._objects(pool, name, image_id)]

    def _objects(self, pool: Pool, name: str, image_id: str | None) -> Iterator[StoredObject]:
        how: dict[str, Any] = {"name": name} if image_id is None else {"image_id": image_id}
        try:
            with rbd_images.reading(pool, **how) as image:
                if image_id is None:
                    yield self._object(pool, name, image)
                elif not list(image.list_snaps()):
                    yield StoredObject(name, None, int(image.size()), _seconds(image.modify_timestamp()))
        except pool.bindings.rbd.ImageNotFound:
            return

    def _object(self, pool: Pool, name: str, image: Any) -> StoredObject:
        found = next((snapshot for snapshot in image.list_snaps() if snapshot["name"] == SNAPSHOT), None)
        if found is None:
            return StoredObject(name, None, int(image.size()), _seconds(image.modify_timestamp()))
        place = RbdPlace(name, self._fsid, pool.name, SNAPSHOT)
        made_at = _seconds(image.get_snap_timestamp(found["id"]))
        return StoredObject(name, Location(self._store, place.uri), int(found["size"]), made_at)


def _seconds(moment: datetime) -> float:
    """RBD's times are UTC and do not say so."""
    return moment.replace(tzinfo=UTC).timestamp()
