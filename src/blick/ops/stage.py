"""Data comes in that is imported later (spec: images-api §10.3, import-and-tasks §7).

It is neither hashed nor inspected on its way: the import does both, before anybody gets the data.
"""

import logging

from blick.db import uploads
from blick.db.uploads import Lease
from blick.model.context import RequestContext
from blick.model.errors import BlickError, Conflict, LimitExceeded
from blick.model.image import QUEUED, UPLOADING, Image
from blick.model.quota import IMAGE_COUNT_UPLOADING, IMAGE_STAGE_TOTAL, Measure
from blick.ops import access, quota, staging
from blick.ops.cleanup import LEASE_TTL_MS, abandon
from blick.ops.image_data import MOST_RESERVED_BYTES
from blick.ops.quota import Terms
from blick.ops.services import Services
from blick.stream.body import BodySource
from blick.stream.hop import to_the_end
from blick.stream.pump import move

_log = logging.getLogger(__name__)


async def stage(
    services: Services, context: RequestContext, image_id: str, body: BodySource, expected_bytes: int | None
) -> None:
    """Stage the image's data: queued → uploading, or back to queued with nothing left behind.

    `expected_bytes`: what the client announced, None if it did not. Raises NotFound, Forbidden, Conflict (not queued,
    or being imported), Invalid (other size than announced), LimitExceeded, Gone (deleted meanwhile), BodyIncomplete,
    StoreError. Cancelled or failed: the bytes are removed before this returns. Killed: by the next housekeeping.
    """
    access.require_writer(context)
    limits = await quota.unified(services, context.project_id, IMAGE_STAGE_TOTAL, IMAGE_COUNT_UPLOADING)
    try:
        image = await access.load_for(services, context, image_id, "modify_image")
        access.require_owner_in_database(context, image)
        _require_ready(services, image, expected_bytes)
    except BlickError:
        # That there is no room is told before anything about the image (spec: images-api §1.5).
        if limits is not None:
            await quota.require(services, limits.about(Measure.STAGED), {Measure.STAGED: expected_bytes or 0})
        raise
    lease = Lease(
        image.id,
        services.new_token(),
        services.holder,
        staging.LEASED,
        services.now_ms() + LEASE_TTL_MS,
        min(expected_bytes or 0, MOST_RESERVED_BYTES),
    )
    services.running_uploads.add(lease.token)
    try:
        used = await services.database.write(uploads.begin, lease, services.now(), limits, UPLOADING)
        await _receive(services, lease, body, quota.terms(services, Measure.STAGED, expected_bytes, limits, used))
    finally:
        services.running_uploads.discard(lease.token)


def _require_ready(services: Services, image: Image, expected_bytes: int | None) -> None:
    if image.status != QUEUED:
        raise Conflict(f"Image {image.id} is {image.status}: data can be staged only while it is queued.")
    cap_bytes = services.settings.quotas.image_size_cap_bytes
    if expected_bytes is not None and expected_bytes > cap_bytes:
        raise LimitExceeded(f"Image storage media is full or the size exceeds the limit of {cap_bytes} bytes.")


async def _receive(services: Services, lease: Lease, body: BodySource, terms: Terms) -> None:
    has_begun = False
    try:
        async with staging.filling(services, lease.image_id, terms.expected_bytes) as writer:
            has_begun = True
            size_bytes = await move(
                body,
                writer.write,
                cap_bytes=terms.cap_bytes,
                expected_bytes=terms.expected_bytes,
                threads=services.threads,
                over_cap=terms.over_cap,
            )
            await writer.commit()
        node = services.staging.node
        await services.database.write(uploads.finish_staging, lease, size_bytes, node, services.now(), terms.unreserved)
    except BaseException as error:
        if isinstance(error, BlickError):
            _log.info("data of image %s is not staged: %s", lease.image_id, error)
        # Where nothing could be begun the image must not wait until something can be removed there.
        await to_the_end(abandon(services, lease, left_bytes=has_begun))
        raise
    _log.info("%d bytes of image %s are staged", size_bytes, lease.image_id)
