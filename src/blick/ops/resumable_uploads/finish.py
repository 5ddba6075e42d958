"""Everything of an upload is there: a job gives it to the image, as an import would, and its client hears of the end.

From the transaction that makes the image `saving` on the upload is the job's: whoever dies, the image ends active or
queued.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

from blick.db import images, jobs, resumable_uploads
from blick.db.jobs import Job, NewJob
from blick.model import errors
from blick.model.blob import Digests
from blick.model.context import RequestContext
from blick.model.errors import BlickError, Gone, Invalid, NotFound, StoreError
from blick.model.image import QUEUED, Image
from blick.model.import_job import IMAGE_UPLOAD, RESUMABLE_UPLOAD, ImportState, ImportWork, SourceData
from blick.model.job_caller import JobSecret, as_payload
from blick.model.resumable_upload import FINISHING, PARTIAL, Part, ResumableUpload, partials_of
from blick.ops.resumable_uploads import content as contents
from blick.ops.resumable_uploads import housekeeping, lookup
from blick.ops.resumable_uploads.holding import Hold, held
from blick.ops.services import Services
from blick.stores.base import ActsForCaller

_log = logging.getLogger(__name__)

PATIENCE_S: Final = 600.0
"""How long a client that sent its last piece waits to hear that the image is active; after that it has to look."""
_FIRST_LOOK_S, _LAST_LOOK_S = 0.03, 1.0


async def finish(
    services: Services, context: RequestContext, image: Image, hold: Hold, size_bytes: int, digests: Digests | None
) -> ResumableUpload:
    """Have a job give the image the bytes of an upload, which are durable and `size_bytes`; gives it as it is then.

    `digests` are those of all bytes, None if nobody has hashed them. The hold ends. Raises NotFound, Conflict (the
    image is not queued any more), Gone, ServiceUnavailable.
    """
    upload = replace(hold.upload, length_bytes=size_bytes, offset_bytes=size_bytes)
    source = await contents.source(services, upload)
    job = _job(services, context, image, upload, replace(source, digests=digests))
    await services.database.write(resumable_uploads.finish, upload, job, services.now(), services.now_ms())
    hold.is_settled = True
    _log.info("the upload %s to image %s is complete: job %s gives it to the image", upload.id, image.id, job.id)
    services.jobs_wanted.set()
    return replace(upload, state=FINISHING, job_id=job.id)


async def concatenate(
    services: Services, context: RequestContext, image: Image, final: ResumableUpload, partials: Sequence[str]
) -> ResumableUpload:
    """Make `final` of these uploads, which are gone then, and have a job go on as in `finish`; gives it as it is.

    The same once more gives the same one, for clients that did not hear the answer. Raises Invalid (unknown, or not
    complete, or not made to be a part), Locked, NotFound, Conflict, Gone, StoreError, ServiceUnavailable.
    """
    for made in await services.database.read(resumable_uploads.finals_of, image.id):
        if list(partials_of(made.concatenation)) == list(partials):
            return made
    async with AsyncExitStack() as stack:
        holds = {}
        for upload_id in sorted(partials):  # in one order, whoever asks for them
            found = await _partial(services, image, upload_id)
            holds[upload_id] = await stack.enter_async_context(held(services, found))
        parts: list[Part] = []
        for upload_id in partials:
            await _require_complete(services, holds[upload_id])
            for part in await contents.parts_of(services, holds[upload_id].upload):
                parts.append(replace(part, number=len(parts)))
        size_bytes = sum(part.size_bytes for part in parts)
        lookup.require_allowed(services, size_bytes)
        final = replace(final, length_bytes=size_bytes, offset_bytes=size_bytes)
        job = _job(services, context, image, final, contents.source_of_parts(final, parts))
        ours = [hold.upload for hold in holds.values()]
        await services.database.write(
            resumable_uploads.concatenate, final, ours, parts, job, services.now(), services.now_ms()
        )
        for hold in holds.values():
            hold.is_settled = True
    _log.info("the upload %s to image %s is complete: job %s gives it to the image", final.id, image.id, job.id)
    services.jobs_wanted.set()
    return replace(final, state=FINISHING, job_id=job.id)


async def _partial(services: Services, image: Image, upload_id: str) -> ResumableUpload:
    try:
        found = await lookup.find(services, image.id, upload_id)
    except NotFound as error:
        raise Invalid(str(error)) from error
    if found.kind != PARTIAL:
        raise Invalid(f"The upload {upload_id} was not made to be a part of another.")
    return found


async def _require_complete(services: Services, hold: Hold) -> None:
    async with contents.opened(services, hold) as content:
        if content.size_bytes != hold.upload.length_bytes:
            raise Invalid(f"The upload {hold.upload.id} is not complete.")
        await content.flush()


def _job(
    services: Services, context: RequestContext, image: Image, upload: ResumableUpload, source: SourceData
) -> NewJob:
    store = services.stores.by_id(upload.store)
    secret = JobSecret.of(context) if isinstance(store, ActsForCaller) else None
    work = ImportWork(
        id=services.new_id(),
        image_id=image.id,
        method=RESUMABLE_UPLOAD,
        stores=(upload.store,),
        caller=as_payload(context),
        has_secret=secret is not None,
    )
    return NewJob(
        id=work.id,
        kind=IMAGE_UPLOAD,
        payload=work.payload(),
        project_id=context.project_id or "",
        image_id=image.id,
        node=upload.node,
        secret=None if secret is None else services.sealer.seal(secret),
        state=ImportState(source=source).json(),
    )


async def outcome(services: Services, upload: ResumableUpload, patience_s: float = PATIENCE_S) -> None:
    """Wait, at most so long, until the image has the upload's data. Raises what the job ended with.

    What is left of the upload's bytes goes then.
    """
    loop = asyncio.get_running_loop()
    give_up_at_s, pause_s = loop.time() + patience_s, _FIRST_LOOK_S
    while True:
        job = await services.database.read(jobs.get, upload.job_id or "")
        if job is None:
            await _require_data(services, upload)
            return
        if job.outcome != jobs.UNFINISHED:
            break
        if loop.time() + pause_s > give_up_at_s:
            return
        await asyncio.sleep(pause_s)
        pause_s = min(1.5 * pause_s, _LAST_LOOK_S)
    await housekeeping.conclude(services, upload)
    if job.outcome != jobs.SUCCESS:
        raise _error_of(job)


async def _require_data(services: Services, upload: ResumableUpload) -> None:
    """The job is over and forgotten: what came of it only the image tells. Raises Gone."""
    image = await services.database.read(images.get, upload.image_id, None)
    if image is None or image.status == QUEUED:
        raise Gone("The data was not taken.")


def _error_of(job: Job) -> BlickError:
    """What ended the job, as it was raised there, as far as the job tells."""
    message = job.message or "The data was not taken."
    kind = getattr(errors, ImportState.from_json(job.state).error or "", None)
    if not (isinstance(kind, type) and issubclass(kind, BlickError)):
        return BlickError(message)
    if issubclass(kind, StoreError):  # its message begins with the store already
        error = kind.__new__(kind)
        error.store = ImportWork.from_payload(job.payload).stores[0]
        error.args = (message,)
        return error
    return kind(message)
