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
from blick.model.quota import IMAGE_COUNT_UPLOADING, IMAGE_SIZE_TOTAL, Measure, Quota, Usage
from blick.ops import access, quota
from blick.ops.cleanup import LEASE_TTL_MS, abandon
from blick.ops.services import Services
from blick.stores.base import HasLocalFile, Store
from blick.stream.body import BodySource
from blick.stream.hashing import Hashing
from blick.stream.hop import hop, to_the_end
from blick.stream.inspect import Inspection
from blick.stream.pump import pump

_log = logging.getLogger(__name__)

_MOST_RESERVED_BYTES = 2**63 - 1  # what the databases' widest whole number holds; image_size_cap may say one more


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
    limits = await quota.unified(services, context.project_id, IMAGE_SIZE_TOTAL, IMAGE_COUNT_UPLOADING)
    try:
        image, store = await _admitted(services, context, image_id, expected_bytes, store_id)
    except BlickError:
        # That there is no room is told before anything about the image (spec: images-api §1.5).
        if limits is not None:
            await quota.require(services, limits.about(Measure.STORED), {Measure.STORED: expected_bytes or 0})
        raise
    limits = limits or quota.storage(services, image.owner)
    lease = Lease(
        image.id,
        services.new_token(),
        services.holder,
        store.name,
        services.now_ms() + LEASE_TTL_MS,
        min(expected_bytes or 0, _MOST_RESERVED_BYTES),
    )
    services.running_uploads.add(lease.token)
    try:
        used = await services.database.write(uploads.begin, lease, services.now(), limits)
        terms = _terms(services, expected_bytes, limits, used)
        await _receive(services, image, lease, store, body, terms)
    except DataExists as error:
        raise Conflict(f"Image {image.id} has data already that no record knows of.") from error
    finally:
        services.running_uploads.discard(lease.token)


async def _admitted(
    services: Services, context: RequestContext, image_id: str, expected_bytes: int | None, store_id: str | None
) -> tuple[Image, Store]:
    """The image that takes data and the store that it goes to, if the caller may and both can."""
    image = await access.load_for(services, context, image_id, "upload_image")
    access.require_owner_in_database(context, image)
    store = services.stores.default if store_id is None else services.stores.by_id(store_id)
    _require_ready(services, image, expected_bytes)
    return image, store


def _require_ready(services: Services, image: Image, expected_bytes: int | None) -> None:
    if image.status != QUEUED:
        raise Conflict(f"Image {image.id} is {image.status}: it takes data only while it is queued.")
    if image.disk_format is None or image.container_format is None:
        raise Invalid("Properties disk_format, container_format must be set prior to saving data.")
    cap_bytes = services.settings.quotas.image_size_cap_bytes
    if expected_bytes is not None and expected_bytes > cap_bytes:
        raise LimitExceeded(f"Image storage media is full or the size exceeds the limit of {cap_bytes} bytes.")


@dataclass(frozen=True, slots=True)
class _Terms:
    """How long the data may be, as known before its first byte.

    `unreserved` is the quota that it has to fit into once it is there, because its size was not announced.
    """

    expected_bytes: int | None
    cap_bytes: int
    over_cap: str | None = None
    unreserved: Quota | None = None


def _terms(services: Services, expected_bytes: int | None, limits: Quota | None, used: Usage) -> _Terms:
    cap_bytes = services.settings.quotas.image_size_cap_bytes
    unreserved = limits.about(Measure.STORED) if limits is not None and expected_bytes is None else None
    room_bytes = unreserved.room(used, Measure.STORED) if unreserved is not None else None
    if unreserved is None or room_bytes is None or room_bytes >= cap_bytes:
        return _Terms(expected_bytes, cap_bytes, None, unreserved)
    return _Terms(expected_bytes, room_bytes, unreserved.refusal(used, {Measure.STORED: room_bytes + 1}), unreserved)


async def _receive(
    services: Services, image: Image, lease: Lease, store: Store, body: BodySource, terms: _Terms
) -> None:
    try:
        inspection = Inspection(image.disk_format or "", image.container_format or "", services.settings.image_format)
        async with store.writer(image.id, terms.expected_bytes) as writer:
            digests = await pump(
                body,
                writer.write,
                hashing=Hashing(image.os_hash_algo or services.settings.api.hashing_algorithm),
                inspection=inspection,
                cap_bytes=terms.cap_bytes,
                expected_bytes=terms.expected_bytes,
                threads=services.threads,
                over_cap=terms.over_cap,
            )
            # Judging takes up to 100 ms for hostile content.
            virtual_size = await hop(None, inspection.finish, digests.size_bytes)
            location = await writer.commit()
        recorded = Location(location.store, location.uri, _metadata(services, location))
        await services.database.write(
            uploads.finish, lease, recorded, digests, virtual_size, services.now(), terms.unreserved
        )
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
