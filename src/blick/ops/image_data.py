"""An image's bytes: in and out (spec: images-api §10; design: the data path, crash safety)."""

import logging
import os
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from blick.db import uploads
from blick.db.uploads import Lease
from blick.model.blob import ByteRange, Location
from blick.model.context import RequestContext
from blick.model.errors import (
    BlickError,
    Conflict,
    DataExists,
    DataNotFound,
    Forbidden,
    Invalid,
    LimitExceeded,
    StoreError,
)
from blick.model.image import DEACTIVATED, QUEUED, UNFINISHED, Image, ImageLocation
from blick.ops import access
from blick.ops.cleanup import LEASE_TTL_MS, abandon
from blick.ops.services import Services
from blick.stores.base import HasLocalFile, Store
from blick.stream.body import BodySource
from blick.stream.hashing import Hashing
from blick.stream.hop import hop, to_the_end
from blick.stream.inspect import Inspection
from blick.stream.pump import pump

_log = logging.getLogger(__name__)


async def upload(
    services: Services,
    context: RequestContext,
    image_id: str,
    body: BodySource,
    expected_bytes: int | None,
    store_id: str | None,
) -> None:
    """Take the image's data: queued → saving → active, or back to queued with nothing left behind.

    `expected_bytes`: what the client announced, None if it did not. `store_id` None: the default store.
    Raises NotFound, Forbidden, Conflict (not queued), Invalid (formats unset, unknown store, other size than
    announced), LimitExceeded, UnsupportedMediaType (content), Gone (deleted meanwhile), BodyIncomplete, StoreError.
    Cancelled or failed: the bytes are removed before this returns. Killed: by the next housekeeping.
    """
    access.require_writer(context)
    image = await access.load_for(services, context, image_id, "upload_image")
    access.require_owner_in_database(context, image)
    store = services.stores.default if store_id is None else services.stores.by_id(store_id)
    _require_ready(services, image, expected_bytes)
    lease = Lease(image.id, services.new_token(), services.holder, store.name, services.now_ms() + LEASE_TTL_MS)
    services.running_uploads.add(lease.token)
    try:
        await services.database.write(uploads.begin, lease, services.now())
        await _receive(services, image, lease, store, body, expected_bytes)
    except DataExists as error:
        raise Conflict(f"Image {image.id} has data already that no record knows of.") from error
    finally:
        services.running_uploads.discard(lease.token)


def _require_ready(services: Services, image: Image, expected_bytes: int | None) -> None:
    if image.status != QUEUED:
        raise Conflict(f"Image {image.id} is {image.status}: it takes data only while it is queued.")
    if image.disk_format is None or image.container_format is None:
        raise Invalid("Properties disk_format, container_format must be set prior to saving data.")
    cap_bytes = services.settings.quotas.image_size_cap_bytes
    if expected_bytes is not None and expected_bytes > cap_bytes:
        raise LimitExceeded(f"Image storage media is full or the size exceeds the limit of {cap_bytes} bytes.")


async def _receive(
    services: Services, image: Image, lease: Lease, store: Store, body: BodySource, expected_bytes: int | None
) -> None:
    try:
        inspection = Inspection(image.disk_format or "", image.container_format or "", services.settings.image_format)
        async with store.writer(image.id, expected_bytes) as writer:
            digests = await pump(
                body,
                writer.write,
                hashing=Hashing(image.os_hash_algo or services.settings.api.hashing_algorithm),
                inspection=inspection,
                cap_bytes=services.settings.quotas.image_size_cap_bytes,
                expected_bytes=expected_bytes,
                threads=services.threads,
            )
            # Judging takes up to 100 ms for hostile content.
            virtual_size = await hop(None, inspection.finish, digests.size_bytes)
            location = await writer.commit()
        recorded = Location(location.store, location.uri, _metadata(services, location))
        await services.database.write(uploads.finish, lease, recorded, digests, virtual_size, services.now())
    except BaseException as error:
        if isinstance(error, BlickError):
            _log.info("upload to image %s refused: %s", image.id, error)
        # An object that was there before is nobody's we know of: it is not ours to remove.
        left_bytes = not isinstance(error, DataExists)
        await to_the_end(abandon(services, lease, left_bytes=left_bytes))
        raise
    _log.info("image %s is active: %d bytes in store %s", image.id, digests.size_bytes, store.name)


def _metadata(services: Services, location: Location) -> dict[str, object]:
    """What is kept beside a location: what the driver says, and the store's id where there are several."""
    named = {"store": location.store} if services.settings.stores.multi_store else {}
    return {**location.metadata, **named}


@dataclass(frozen=True, slots=True)
class ImageData:
    """Where the bytes of an image come from. Either `file`, an open descriptor that the receiver closes with
    `close`, or pieces through `pieces`."""

    image: Image
    size_bytes: int
    store: Store
    location: Location
    file: int | None

    def pieces(self, wanted: ByteRange) -> AsyncGenerator[memoryview, None]:
        """The wanted bytes, from the store; see `Store.read`."""
        return self.store.read(self.location, wanted)

    def close(self) -> None:
        """Give the descriptor back. Once."""
        if self.file is not None:
            os.close(self.file)


async def open_data(
    services: Services, context: RequestContext, image_id: str, prefer: Sequence[str] | None = None
) -> ImageData | None:
    """The image's data, from the first store that has it whole; None if the image has no data yet.

    `prefer`: ids of stores to try first, None if the caller named none. Raises NotFound, Forbidden, Invalid (an
    unknown store), DataNotFound where the data of an active image is missing in every store, or the last store's
    error.
    """
    image = await access.load(services, context, image_id)
    if image.status == DEACTIVATED and not context.is_admin:
        await services.policy.require_on_image("get_image", context, image)
        raise Forbidden("The requested image has been deactivated. Image data download is forbidden.")
    await services.policy.require_on_image("download_image", context, image)
    if prefer is not None:
        await _require_choice(services, context, image, prefer)
    # A location that was refused may still stand on a queued image, or one that is being verified: no data yet.
    if image.status in UNFINISHED or not image.locations:
        return None
    last: StoreError | None = None
    for found in _in_order(services, image, prefer or ()):
        try:
            store = services.stores.for_location(found.uri, found.metadata)
            return await _open(image, store, Location(store.name, found.uri, found.metadata))
        except StoreError as error:
            _log.error("image %s cannot be read from store %s: %s", image.id, error.store, error)
            last = error
    if last is None or isinstance(last, DataNotFound):
        raise DataNotFound(
            last.store if last else "none", f"image {image.id} exists, but its data is missing in this store"
        )
    raise last


async def _require_choice(services: Services, context: RequestContext, image: Image, prefer: Sequence[str]) -> None:
    if not services.settings.stores.multi_store:
        raise Invalid("There is only one store here: none can be preferred.")
    await services.policy.require_on_image("download_from_store", context, image)
    for store_id in prefer:
        services.stores.by_id(store_id)


def _in_order(services: Services, image: Image, prefer: Sequence[str]) -> list[ImageLocation]:
    """Preferred stores in their order, then the rest by weight."""
    rank = {store_id: position for position, store_id in enumerate(dict.fromkeys(prefer))}
    found = services.stores.ordered(image.locations)
    return sorted(found, key=lambda place: rank.get(str(place.metadata.get("store", "")), len(rank)))


async def _open(image: Image, store: Store, location: Location) -> ImageData:
    if isinstance(store, HasLocalFile):
        file = await store.open_file(location)
        data = ImageData(image, os.fstat(file).st_size, store, location, file)
    else:
        data = ImageData(image, await store.size_bytes(location), store, location, None)
    if image.size is not None and data.size_bytes != image.size:
        data.close()
        raise StoreError(store.name, f"{data.size_bytes} bytes are stored, {image.size} are recorded")
    return data
