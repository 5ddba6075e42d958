"""Getting at one upload: who may put data into the image may deal with all of its uploads."""

from dataclasses import dataclass

from blick.db import resumable_uploads
from blick.model.context import RequestContext
from blick.model.errors import Gone, LimitExceeded, NotFound, ServiceUnavailable
from blick.model.image import Image
from blick.model.quota import IMAGE_SIZE_TOTAL, Measure
from blick.model.resumable_upload import OPEN, ResumableUpload
from blick.ops import access, quota
from blick.ops.services import Services
from blick.stream.body import RequestBody
from blick.stream.nodes import NodeAnswer, NodeRequest

# A node waits for the end of a finished upload's job, as this one would.
_NODE_PATIENCE_S = 660.0


async def image_for(services: Services, context: RequestContext, image_id: str) -> Image:
    """The image, if the caller may put data into it. Raises NotFound, Forbidden."""
    access.require_writer(context)
    image = await access.load_for(services, context, image_id, "upload_image")
    access.require_owner_in_database(context, image)
    return image


async def find(services: Services, image_id: str, upload_id: str) -> ResumableUpload:
    """The upload. Raises NotFound, Gone (expired), ServiceUnavailable (its bytes are not within our reach)."""
    upload = await services.database.read(resumable_uploads.get, image_id, upload_id)
    if upload is None:
        raise NotFound(f"Image {image_id} has no upload {upload_id}.")
    if upload.state == OPEN and not upload.token and upload.expires_at_ms <= services.now_ms():
        raise Gone(f"The upload {upload_id} has expired.")
    if is_elsewhere(services, upload.node):
        raise ServiceUnavailable(f"The upload {upload_id} is on another node, which does not answer.")
    return upload


def is_elsewhere(services: Services, node: str) -> bool:
    """Are the bytes of that node's uploads out of our reach?"""
    return node not in ("", services.staging.node)


async def node_of(services: Services, image_id: str, upload_id: str | None) -> str | None:
    """The other node that has to answer a request about this upload, or about a new one of the image.

    None: this one, as far as anybody knows.
    """
    if not services.staging.node:
        return None
    node = await services.database.read(resumable_uploads.node_of, image_id, upload_id)
    return node if node is not None and is_elsewhere(services, node) else None


async def pass_on(
    services: Services, node: str, request: NodeRequest, body: RequestBody | None, size_bytes: int | None
) -> NodeAnswer:
    """What the node says that has the upload's bytes. Raises NodeUnreachable, NodeBroken, BodyIncomplete."""
    fetch = services.settings.fetch
    return await services.relay.pass_on(
        node,
        request,
        body,
        size_bytes,
        ca_file=str(fetch.ca_file) if fetch.ca_file is not None else None,
        verify=not fetch.insecure,
        patience_s=_NODE_PATIENCE_S,
    )


def expires_at_ms(services: Services) -> int:
    """Until when an upload that somebody deals with now is kept."""
    return services.now_ms() + services.settings.imports.upload_ttl_h * 3_600_000


def require_allowed(services: Services, length_bytes: int) -> None:
    """Raises LimitExceeded if no image may be so long."""
    cap_bytes = services.settings.quotas.image_size_cap_bytes
    if length_bytes > cap_bytes:
        raise LimitExceeded(f"Image storage media is full or the size exceeds the limit of {cap_bytes} bytes.")


@dataclass(frozen=True, slots=True)
class Room:
    """How long an upload may become by the quota as it is now, and what there is to say of one that is longer."""

    most_bytes: int
    over: str


async def require_quota(
    services: Services, context: RequestContext, image: Image, size_bytes: int, upload_id: str | None
) -> Room | None:
    """Tell early that there is no room for an upload of that size, beside what lies in others that are unfinished.

    Gives how long it may become, None if nothing limits that. Raises LimitExceeded, ServiceUnavailable.
    """
    limits = await quota.unified(services, context.project_id, IMAGE_SIZE_TOTAL)
    limits = limits or quota.storage(services, image.owner)
    if limits is None:
        return None
    others_bytes = await services.database.read(resumable_uploads.waiting_bytes, image.owner, upload_id)
    used = await quota.require(services, limits, {Measure.STORED: size_bytes + others_bytes})
    room_bytes = limits.room(used, Measure.STORED)
    if room_bytes is None:
        return None
    over = limits.refusal(used, {Measure.STORED: room_bytes + 1})
    return Room(room_bytes - others_bytes, str(over))
