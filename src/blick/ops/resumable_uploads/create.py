"""An upload begins (tus 1.0: creation, and concatenation of those that came side by side)."""

from blick.db import resumable_uploads
from blick.model.context import RequestContext
from blick.model.errors import Conflict, Invalid, ServiceUnavailable
from blick.model.image import QUEUED, Image
from blick.model.resumable_upload import FINAL, OPEN, WHOLE, NewUpload, ResumableUpload
from blick.ops.resumable_uploads import append, finish, lookup
from blick.ops.services import Services


async def create(services: Services, context: RequestContext, image_id: str, new: NewUpload) -> ResumableUpload:
    """Make an upload. One that is complete at once, empty or made of others, is being finished then: `finish.outcome`.

    Raises NotFound, Forbidden, Conflict (the image takes no data), Invalid (formats unset, unknown store; what it is
    made of), LimitExceeded (size, quota, too many), ServiceUnavailable (limits; other uploads are on another node).
    """
    image = await lookup.image_for(services, context, image_id)
    store_id = new.store or services.settings.stores.default_store
    services.stores.by_id(store_id)
    upload = _upload(services, image, new, store_id)
    if new.kind == FINAL:
        _require_formats(image)
        return await finish.concatenate(services, context, image, upload, new.partials)
    if image.status != QUEUED:
        raise Conflict(f"Image {image.id} is {image.status}: it takes data only while it is queued.")
    _require_formats(image)
    if new.length_bytes is not None:
        lookup.require_allowed(services, new.length_bytes)
    await lookup.require_quota(services, context, image, new.length_bytes or 0, None)
    elsewhere = await services.database.write(resumable_uploads.create, upload)
    if elsewhere is not None:
        raise ServiceUnavailable(f"Uploads to image {image.id} are on another node, which does not answer.")
    if new.length_bytes == 0 and new.kind == WHOLE:
        return await append.finish_complete(services, context, image, upload)
    return upload


def _require_formats(image: Image) -> None:
    if image.disk_format is None or image.container_format is None:
        raise Invalid("Properties disk_format, container_format must be set prior to saving data.")


def _upload(services: Services, image: Image, new: NewUpload, store_id: str) -> ResumableUpload:
    return ResumableUpload(
        id=services.new_id(),
        image_id=image.id,
        owner=image.owner,
        node=services.staging.node,
        kind=new.kind,
        state=OPEN,
        store=store_id,
        length_bytes=new.length_bytes,
        offset_bytes=0,
        unverified_from_bytes=None,
        client_metadata=new.client_metadata,
        concatenation=new.concatenation,
        token="",
        holder="",
        lease_until_ms=0,
        created_at_ms=services.now_ms(),
        expires_at_ms=lookup.expires_at_ms(services),
    )
