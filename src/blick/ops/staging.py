"""Data that waits for its import: where it lies, how it comes there and goes (spec: import-and-tasks §7).

In a folder of this node an image's data is the file that is named like the image, and nothing else tells of it: so
staged data of another service's is found as well. In a store that has images too a row tells where (db/staging.py).
Who fills or removes it has to hold a lease on the image, or its job: this module keeps nobody apart.
"""

import contextlib
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from blick.db import staging
from blick.db.staging import StagedRow
from blick.model.blob import Location
from blick.model.errors import BlickError, DataNotFound, Gone, Invalid, StoreError, StoreUnavailable
from blick.model.resumable_upload import FILE_SUFFIX
from blick.ops.services import Services
from blick.stores.base import Store, Writer
from blick.stores.staging import FOLDER
from blick.stream.hop import hop, to_the_end

_log = logging.getLogger(__name__)

LEASED: Final = FOLDER
"""What a lease on staged data names as its store, wherever that lies."""


@dataclass(frozen=True, slots=True)
class StagedData:
    """Data that is whole. Its store is `store_of(services, location)`."""

    location: Location
    size_bytes: int


async def find(services: Services, image_id: str) -> StagedData | None:
    """The staged data of an image; None if there is none that is whole, or it lies on another node.

    Raises StoreDenied, StoreUnavailable, ServiceUnavailable.
    """
    if not services.staging.is_shared:
        location = services.staging.folder_location(image_id)
        with contextlib.suppress(DataNotFound):
            return StagedData(location, await services.staging.store.size_bytes(location))
    for row in await services.database.read(staging.of_image, image_id):
        if row.location is not None and row.size_bytes is not None:
            return StagedData(row.location, row.size_bytes)
    return None


def store_of(services: Services, location: Location) -> Store:
    """The store that has staged data, or any other data that `location` tells of: a staging folder, or one that users
    know. Raises StoreUnavailable, also where it is not configured any more.
    """
    folder = services.staging.store_of(location)
    if folder is not None:
        return folder
    try:
        return services.stores.by_id(location.store)
    except Invalid as error:
        raise StoreUnavailable(location.store, "this store is not configured any more") from error


@asynccontextmanager
async def filling(services: Services, image_id: str, size_bytes: int | None) -> AsyncIterator[Writer]:
    """Stage data of an image, in the place of all that was staged before; `size_bytes` as in Store.writer.

    Its commit makes the data findable. Leaving without, on an error or a cancellation too, leaves nothing.
    Raises StoreFull, StoreDenied, StoreReadOnly, StoreUnavailable, ServiceUnavailable; its commit also Gone, if it was
    swept away. What a killed process leaves goes with the next filling, with `discard`, or with the sweep.
    """
    await hop(None, services.staging.make_folders)
    await remove(services, image_id)
    store = services.staging.store
    if not services.staging.is_shared:
        async with store.writer(image_id, size_bytes) as writer:
            yield writer
        return
    # Another name each time: whoever still removes what was there before never meets what comes now.
    key = services.staging.key(f"{image_id}.{services.new_token()}")
    row = StagedRow(image_id, store.name, key, created_at_ms=services.now_ms())
    await services.database.write(staging.begin, row)
    recording = _RecordingWriter(services, row)
    try:
        async with store.writer(key, size_bytes) as writer:
            recording.inner = writer
            yield recording
    finally:
        if not recording.is_recorded:
            await to_the_end(_undo(services, replace(row, location=recording.location)))


class _RecordingWriter:
    """Notes in the row where the data lies once it is whole."""

    inner: Writer

    def __init__(self, services: Services, row: StagedRow) -> None:
        self.location: Location | None = None
        self.is_recorded = False
        self._services = services
        self._row = row
        self._size_bytes = 0

    async def write(self, buffer: memoryview) -> None:
        await self.inner.write(buffer)
        self._size_bytes += len(buffer)

    async def commit(self) -> Location:
        self.location = await self.inner.commit()
        args = (self._row, self.location, self._size_bytes)
        if not await self._services.database.write(staging.finish, *args):
            raise Gone(f"Data of image {self._row.image_id} is not wanted any more.")
        self.is_recorded = True
        return self.location


async def discard(services: Services, image_id: str) -> None:
    """Remove what is staged of an image, whole or not. Nothing there is fine; what cannot be removed now is logged, and
    left to the sweep. Raises ServiceUnavailable.
    """
    try:
        await remove(services, image_id)
    except StoreError as error:
        _log.warning("staged data of image %s cannot be removed yet: %s", image_id, error)


async def remove(services: Services, image_id: str) -> None:
    """Remove what is staged of an image, whole or not. Raises StoreDenied, StoreUnavailable, ServiceUnavailable."""
    if not services.staging.is_shared:
        await services.staging.store.discard(image_id)
    for row in await services.database.read(staging.of_image, image_id):
        await remove_row(services, row)


async def remove_row(services: Services, row: StagedRow) -> None:
    """Remove what a row tells of, then the row. Raises StoreDenied, StoreUnavailable, ServiceUnavailable."""
    try:
        store = services.stores.by_id(row.store)
    except Invalid:
        _log.error("store %s of staged data of image %s is not configured any more", row.store, row.image_id)
    else:
        if row.location is not None:
            with contextlib.suppress(DataNotFound):
                await store.delete(row.location)
        await store.discard(row.key)
    await services.database.write(staging.drop, row)


async def _undo(services: Services, row: StagedRow) -> None:
    """After a filling that failed. What does not work now is left to the sweep: the row stays."""
    try:
        await remove_row(services, row)
    except BlickError as error:
        _log.warning("staged data of image %s cannot be removed yet: %s", row.image_id, error)


def scratch_file(services: Services, image_id: str, suffix: str) -> Path:
    """Where work on the data of an image may write a file of its own, in the scratch folder, which is there then.

    `suffix` has no dot at its beginning. Gone with `remove_scratch`, or once the image needs it no longer.
    Raises StoreUnavailable.
    """
    _ = services.staging.scratch
    return services.staging.scratch_dir / f"{image_id}.{suffix}"


async def remove_scratch(services: Services, image_id: str) -> None:
    """Remove all of the image's files that `scratch_file` named; uploads under way, which may lie in the same folder,
    stay. What cannot be removed is logged.
    """
    await hop(None, _remove_named, services.staging.scratch_dir, f"{image_id}.")


def _remove_named(folder: Path, beginning: str) -> None:
    try:
        with os.scandir(folder) as entries:
            for name in [entry.name for entry in entries if entry.name.startswith(beginning)]:
                if not name.endswith(FILE_SUFFIX):
                    (folder / name).unlink(missing_ok=True)
    except FileNotFoundError:
        return
    except OSError as error:
        _log.warning("%s* in %s cannot be removed yet: %s", beginning, folder, error.strerror)
