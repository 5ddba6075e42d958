"""An image's bytes come in (spec: images-api §10; design: the data path, crash safety). Out: blick.ops.image_copies."""

import logging

from blick.db import uploads
from blick.db.uploads import Lease
from blick.model.blob import Location
from blick.model.context import RequestContext
from blick.model.errors import (
    BlickError,
    Conflict,
    DataExists,
    Invalid,
    LimitExceeded,
)
from blick.model.image import QUEUED, Image
from blick.model.quota import IMAGE_COUNT_UPLOADING, IMAGE_SIZE_TOTAL, Measure
from blick.ops import access, quota, store_access
from blick.ops.cleanup import LEASE_TTL_MS, abandon
from blick.ops.quota import Terms
from blick.ops.services import Services
from blick.stores.base import ActsForCaller, Store
from blick.stream.body import BodySource
from blick.stream.hashing import Hashing
from blick.stream.hop import hop, to_the_end
from blick.stream.inspect import Inspection
from blick.stream.pump import pump

_log = logging.getLogger(__name__)

MOST_RESERVED_BYTES = 2**63 - 1  # what the databases' widest whole number holds; image_size_cap may say one more


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
        min(expected_bytes or 0, MOST_RESERVED_BYTES),
    )
    services.running_uploads.add(lease.token)
    try:
        used = await services.database.write(uploads.begin, lease, services.now(), limits)
        terms = quota.terms(services, Measure.STORED, expected_bytes, limits, used)
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
    if isinstance(store, ActsForCaller):
        store = store.acting_for(context)
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


async def _receive(
    services: Services, image: Image, lease: Lease, store: Store, body: BodySource, terms: Terms
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
        await store_access.tell_of_new(services, store, location, image)
        recorded = Location(location.store, location.uri, _metadata(services, location))
        await services.database.write(
            uploads.finish, lease, recorded, digests, virtual_size, services.now(), terms.unreserved
        )
    except BaseException as error:
        if isinstance(error, BlickError):
            _log.info("upload to image %s refused: %s", image.id, error)
        # An object that was there before is nobody's we know of: it is not ours to remove.
        left_bytes = not isinstance(error, DataExists)
        await to_the_end(abandon(services, lease, store, left_bytes=left_bytes))
        raise
    _log.info("image %s is active: %d bytes in store %s", image.id, digests.size_bytes, store.name)


def _metadata(services: Services, location: Location) -> dict[str, object]:
    """What is kept beside a location: what the driver says, and the store's id where there are several."""
    named = {"store": location.store} if services.settings.stores.multi_store else {}
    return {**location.metadata, **named}
