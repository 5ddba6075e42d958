"""Having an upload alone: in this process, and in all of them.

A client whose connection broke often comes back before the server has noticed. So whoever comes anew is let in as soon
as the one before has gone silent, wherever that one runs; only one that is still being served is left alone.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from blick.db import resumable_uploads
from blick.model.errors import BlickError, Conflict, Gone, Locked, NotFound
from blick.model.resumable_upload import OPEN, ResumableUpload
from blick.ops.services import Services, is_dead
from blick.ops.uploads_here import Transfer
from blick.stream.hop import to_the_end

_log = logging.getLogger(__name__)

PATIENCE_S: Final = 10.0
"""How long somebody who comes anew waits for the one before to end."""
SILENCE_S: Final = 2.0
"""After so long without a byte, somebody who waits takes the place."""
LEASE_TTL_MS: Final = 30_000
_RENEWAL_S = 10.0
_LOOK_S = 1.0
_POLL_S = 0.2


@dataclass(slots=True)
class Hold:
    """An upload that is ours alone. `was_held_by` is who had it before and did not give it back, if anybody."""

    services: Services
    upload: ResumableUpload
    transfer: Transfer
    was_held_by: str
    is_settled: bool = False

    async def settle(self, values: Mapping[str, Any]) -> None:
        """Give it back, with these columns changed. Raises Gone, ServiceUnavailable."""
        await self.services.database.write(resumable_uploads.settle, self.upload, values)
        self.is_settled = True


@asynccontextmanager
async def held(services: Services, upload: ResumableUpload) -> AsyncIterator[Hold]:
    """Have the upload alone, and kept for us, until the context ends.

    Raises Locked (somebody is at it), NotFound, Conflict (it was finished meanwhile), ServiceUnavailable.
    """
    give_up_at_s = asyncio.get_running_loop().time() + PATIENCE_S
    await _enter(services, upload.id, give_up_at_s)
    transfer = services.uploads_here.transfers[upload.id] = Transfer()
    try:
        hold = await _taken(services, upload, transfer, give_up_at_s)
        keeping = asyncio.create_task(_keep(services, hold.upload, transfer), name=f"lease of upload {upload.id}")
        try:
            yield hold
        finally:
            keeping.cancel()
            await asyncio.wait({keeping})
            if not hold.is_settled:
                await to_the_end(_give_back(hold))
    finally:
        del services.uploads_here.transfers[upload.id]
        transfer.ended.set()


async def released(services: Services, upload: ResumableUpload) -> ResumableUpload:
    """The upload as it is once nobody adds to it; who has gone silent is stopped. Raises Locked, NotFound."""
    give_up_at_s = asyncio.get_running_loop().time() + PATIENCE_S
    await _enter(services, upload.id, give_up_at_s)
    return await _free(services, upload, give_up_at_s)


async def _enter(services: Services, upload_id: str, give_up_at_s: float) -> None:
    """Return, without a further await, when no request of this process has it."""
    loop = asyncio.get_running_loop()
    while (other := services.uploads_here.transfers.get(upload_id)) is not None:
        if other.silent_s >= SILENCE_S:
            other.give_way()
        if loop.time() >= give_up_at_s:
            raise _locked(upload_id)
        await other.ended_within(_POLL_S)


async def _free(services: Services, upload: ResumableUpload, give_up_at_s: float) -> ResumableUpload:
    """The upload as it is once no process has it."""
    asked = ""
    while True:
        found = await services.database.read(resumable_uploads.get, upload.image_id, upload.id)
        if found is None:
            raise NotFound(f"Image {upload.image_id} has no upload {upload.id}.")
        if _is_free(services, found):
            return found
        if asyncio.get_running_loop().time() >= give_up_at_s:
            raise _locked(upload.id)
        if asked != found.token:
            await services.database.write(resumable_uploads.ask_for, found)
            asked = found.token
        await asyncio.sleep(_POLL_S)


def _is_free(services: Services, upload: ResumableUpload) -> bool:
    # What we hold ourselves, and no request of ours knows of, could not be given back.
    mine = upload.holder == services.holder
    return not upload.token or mine or upload.lease_until_ms <= services.now_ms() or is_dead(upload.holder)


async def _taken(services: Services, upload: ResumableUpload, transfer: Transfer, give_up_at_s: float) -> Hold:
    while True:
        found = await _free(services, upload, give_up_at_s)
        if found.state != OPEN:
            raise Conflict(f"The upload {upload.id} is complete.")
        token, until_ms = services.new_token(), services.now_ms() + LEASE_TTL_MS
        if await services.database.write(resumable_uploads.take, found, token, services.holder, until_ms):
            return Hold(services, replace(found, token=token), transfer, found.holder)


def _locked(upload_id: str) -> Locked:
    return Locked(f"The upload {upload_id} is being added to by another request.")


async def _keep(services: Services, upload: ResumableUpload, transfer: Transfer) -> None:
    """Renew the lease, and give way to others when our client is silent; until cancelled, or the lease is lost."""
    loop = asyncio.get_running_loop()
    renew_at_s, ends_at_s = loop.time() + _RENEWAL_S, loop.time() + LEASE_TTL_MS / 1000
    while loop.time() < ends_at_s:
        await asyncio.sleep(_LOOK_S)
        try:
            if transfer.silent_s >= SILENCE_S and await services.database.read(resumable_uploads.is_asked_for, upload):
                transfer.give_way()
            if loop.time() >= renew_at_s:
                began_s = loop.time()
                await services.database.write(resumable_uploads.renew, upload, services.now_ms() + LEASE_TTL_MS)
                renew_at_s, ends_at_s = began_s + _RENEWAL_S, began_s + LEASE_TTL_MS / 1000
        except Gone as error:
            _log.info("%s", error)
            break
        except BlickError as error:
            _log.warning("the lease of upload %s will be renewed again: %s", upload.id, error)
    transfer.give_way()


async def _give_back(hold: Hold) -> None:
    """What cannot be given back now lapses by itself."""
    try:
        await hold.settle({})
    except Gone:
        return
    except BlickError as error:
        _log.warning("the upload %s could not be given back: %s", hold.upload.id, error)
