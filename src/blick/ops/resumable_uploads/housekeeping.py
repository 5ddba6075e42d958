"""The end of uploads: given up by their clients, expired, or over; and their bytes, which go before they are forgotten.

Safe to run twice and in several processes at once: each step is done again by whoever finds it undone.
"""

import logging
from functools import partial

from blick.db import resumable_uploads
from blick.model.context import RequestContext
from blick.model.errors import BlickError, Conflict, StoreError
from blick.model.resumable_upload import FINISHED, FINISHING, REMOVED, ResumableUpload
from blick.ops.cleanup import forever
from blick.ops.resumable_uploads import content as contents
from blick.ops.resumable_uploads import lookup
from blick.ops.services import Services

_log = logging.getLogger(__name__)

_BATCH = 100
# A node that was not there for so long does not come back; if it does, its folder is swept.
_ABSENT_MS = 7 * 86_400_000
_STOPPING_S = 5.0


async def run_forever(services: Services) -> None:
    """Expire, now and every 10 s; until cancelled."""
    await forever(partial(expire, services), "looking after resumable uploads")


async def terminate(services: Services, context: RequestContext, image_id: str, upload_id: str) -> None:
    """Give an upload up, whoever is adding to it, and remove its bytes (tus 1.0: DELETE).

    Raises NotFound, Forbidden, Gone, Conflict (it is complete, and the image is getting its data), ServiceUnavailable.
    """
    image = await lookup.image_for(services, context, image_id)
    await give_up(services, await lookup.find(services, image.id, upload_id))


async def give_up(services: Services, upload: ResumableUpload) -> None:
    """Nobody is told of the upload any more; bytes that cannot be removed now are later. Raises Conflict."""
    if not await services.database.write(resumable_uploads.remove, upload):
        raise Conflict(f"The upload {upload.id} is complete, and its image is getting its data.")
    other = services.uploads_here.transfers.get(upload.id)
    if other is not None:
        other.give_way()
        await other.ended_within(_STOPPING_S)
    await _forget(services, upload)


async def conclude(services: Services, upload: ResumableUpload) -> None:
    """The job is over. Its client may still ask about the upload; nothing of its bytes is needed."""
    if upload.state == FINISHING and await _remove_bytes(services, upload):
        await services.database.write(resumable_uploads.end, upload.id)


async def expire(services: Services) -> int:
    """Give up what expired, or what no image waits for, and finish what was begun; gives how many there were.

    Raises ServiceUnavailable.
    """
    count, last_id = 0, ""
    while page := await services.database.read(resumable_uploads.overdue, services.now_ms(), _BATCH, last_id):
        for upload in page:
            if not lookup.is_elsewhere(services, upload.node):
                await _end(services, upload)
                count += 1
            elif upload.expires_at_ms + _ABSENT_MS <= services.now_ms():
                await services.database.write(resumable_uploads.end, upload.id)
                await services.database.write(resumable_uploads.remove, upload)
                await services.database.write(resumable_uploads.drop, upload)
                _log.warning(
                    "the upload %s to image %s is forgotten: node %s, which has its bytes, stays away",
                    upload.id,
                    upload.image_id,
                    upload.node,
                )
        last_id = page[-1].id
    return count


async def _end(services: Services, upload: ResumableUpload) -> None:
    try:
        if upload.state == FINISHING:
            await conclude(services, upload)
        elif upload.state == REMOVED:
            await _forget(services, upload)
        elif await services.database.write(resumable_uploads.remove, upload):
            if upload.state != FINISHED:
                has_expired = upload.expires_at_ms <= services.now_ms()
                reason = "it has expired" if has_expired else "its image takes no data any more"
                _log.info("the upload %s to image %s is given up: %s", upload.id, upload.image_id, reason)
            await _forget(services, upload)
    except BlickError as error:
        _log.warning("the upload %s cannot be cleaned up yet: %s", upload.id, error)


async def _forget(services: Services, upload: ResumableUpload) -> None:
    if await _remove_bytes(services, upload):
        await services.database.write(resumable_uploads.drop, upload)


async def _remove_bytes(services: Services, upload: ResumableUpload) -> bool:
    """False: it does not work now; the row stays, and a later round tries again."""
    services.uploads_here.take(upload.id, 0)
    try:
        await contents.remove(services, upload)
    except StoreError as error:
        _log.warning("the bytes of upload %s cannot be removed yet: %s", upload.id, error)
        return False
    return True
