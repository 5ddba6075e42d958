"""What goes wrong elsewhere is put right here: uploads whose process died, bytes that no image needs any more.

Everything is safe to run twice and in several processes at once: each piece of work is claimed in the database first.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from blick.db import images, outbox, uploads
from blick.db.outbox import LocationDelete
from blick.db.uploads import Lease
from blick.model.context import RequestContext
from blick.model.errors import (
    BlickError,
    CallerRefused,
    DataNotFound,
    Invalid,
    StoreError,
    StoreReadOnly,
    StoreUnavailable,
)
from blick.model.image import ImageLocation
from blick.model.location import WEB_SCHEMES, scheme_of
from blick.ops import image_copies, job_retention, staging, tasks
from blick.ops.services import Services, is_dead
from blick.stores.base import ActsForCaller, Store

_log = logging.getLogger(__name__)

# A lease is renewed every third of its time; a process that is alive but cannot reach the database for all of it
# loses its uploads. Well under the minute within which an interrupted image is promised to be queued again.
LEASE_TTL_MS = 30_000
LEASE_RENEWAL_S = 10.0
# How long a deletion is its claimer's alone, unless he renews it. Short, so that what a killed process had claimed is
# soon done by another. One that was cut off from the database for so long may meet another at the same object: both
# want it gone, a store removes what was removed in part, and only one of them is heard.
CLAIM_MS = 15_000
_DELETES_AT_ONCE = 4
_BATCH = 100
_LONGEST_WAIT_MS = 3_600_000


async def run_forever(services: Services) -> None:
    """Take over dead uploads, forget old tasks and jobs; until cancelled."""

    async def one_round() -> None:
        await take_over_dead_uploads(services)
        await tasks.expire(services)
        await job_retention.put_away(services)

    await forever(one_round, "housekeeping")


async def renew_forever(services: Services) -> None:
    """Keep this process's leases alive; until cancelled.

    Apart from the rest of the housekeeping: a slow store must not let the leases of running uploads lapse, or a
    neighbour would remove the bytes that they are just sending.
    """
    await forever(partial(renew_leases, services), "renewing the leases of running uploads")


async def delete_forever(services: Services) -> None:
    """Work off deletions; until cancelled. Apart from the rest, because a store may take its time."""
    await forever(partial(work_off_deletes, services), "removing data of deleted images")


async def forever(one_round: Callable[[], Awaitable[object]], what: str, every_s: float = LEASE_RENEWAL_S) -> None:
    """Whatever goes wrong is logged and the next round tries again: nothing may end the housekeeping."""
    while True:
        try:
            await one_round()
        except BlickError as error:
            _log.warning("%s will be tried again: %s", what, error)
        except Exception:
            _log.exception("%s failed and will be tried again", what)
        await asyncio.sleep(every_s)


async def renew_leases(services: Services) -> None:
    """Keep the leases of this process's uploads for another while. Raises ServiceUnavailable."""
    tokens = tuple(services.running_uploads)
    await services.database.write(uploads.renew, tokens, services.now_ms() + LEASE_TTL_MS)


async def one_round(services: Services) -> None:
    """One pass over everything. Raises ServiceUnavailable if the database does not answer."""
    await renew_leases(services)
    await take_over_dead_uploads(services)
    await work_off_deletes(services)
    await tasks.expire(services)
    await job_retention.put_away(services)


async def take_over_dead_uploads(services: Services) -> int:
    """Clean up behind uploads that nobody works on any more; gives how many there were.

    Their process is dead, or gave no sign of life for too long, or it is this one, which could not clean up before.
    A store that takes its time keeps only its own uploads waiting.
    """
    deserted: dict[str, list[Lease]] = {}
    for lease in await services.database.read(uploads.all_leases):
        if lease.token not in services.running_uploads and _is_deserted(services, lease):
            deserted.setdefault(lease.store, []).append(lease)
    counts = await asyncio.gather(*(_take_over(services, leases) for leases in deserted.values()))
    return sum(counts)


async def _take_over(services: Services, leases: Iterable[Lease]) -> int:
    count = 0
    for lease in leases:
        try:
            ours = await services.database.write(
                uploads.take_over, lease, services.new_token(), services.holder, services.now_ms() + LEASE_TTL_MS
            )
            if ours is None:
                continue
            count += 1
            if lease.holder != services.holder:
                _log.warning("the upload to image %s broke off with its process; cleaning up", lease.image_id)
            await abandon(services, ours)
        except BlickError as error:
            _log.warning("cannot clean up after the upload to image %s yet: %s", lease.image_id, error)
        except Exception:
            _log.exception("cleaning up after the upload to image %s failed and will be tried again", lease.image_id)
    return count


def _is_deserted(services: Services, lease: Lease) -> bool:
    return lease.holder == services.holder or lease.expires_at_ms <= services.now_ms() or is_dead(lease.holder)


async def abandon(services: Services, lease: Lease, store: Store | None = None, *, left_bytes: bool = True) -> None:
    """Undo an upload that we hold the lease of: remove what it left in its store, then saving → queued. The same for
    data that was to be staged, and its `uploading` image.

    Without effect if the lease has ended: then the upload was completed, or someone else cleaned up. Where the
    store cannot be cleaned now the lease stays and lapses, so that a later round tries again. `store` is the lease's,
    acting for the caller where it does that. `left_bytes` false: the upload is known to have left nothing, so the store
    is not touched.
    """
    if not await services.database.read(uploads.is_ours, lease):
        return
    services.running_uploads.add(lease.token)
    try:
        if left_bytes and lease.store == staging.LEASED:
            await staging.remove(services, lease.image_id)
        elif left_bytes:
            await (store or services.stores.by_id(lease.store)).discard(lease.image_id)
        await services.database.write(uploads.give_back, lease, services.now())
    except Invalid:
        _log.error("store %s of the broken upload to image %s is not configured any more", lease.store, lease.image_id)
        await services.database.write(uploads.give_back, lease, services.now())
    except CallerRefused as error:
        # Nobody but its user ever can, and his next upload finds it. The image must not wait for that.
        _log.error("what the broken upload to image %s left stays in its user's account: %s", lease.image_id, error)
        await services.database.write(uploads.give_back, lease, services.now())
    except StoreError as error:
        _log.warning("cannot clean up after the upload to image %s yet: %s", lease.image_id, error)
    finally:
        services.running_uploads.discard(lease.token)


async def work_off_deletes(services: Services) -> int:
    """Try every deletion whose time has come; gives how many succeeded. Raises ServiceUnavailable."""
    async with aclosing(due_deletes(services)) as entries:
        return (await work_off(services, entries, _DELETES_AT_ONCE)).removed


async def due_deletes(services: Services, *, put_off_too: bool = False) -> AsyncGenerator[LocationDelete, None]:
    """Every deletion whose time has come, each once; also those that failed and wait, if `put_off_too`."""
    last_id = 0
    while page := await services.database.read(outbox.due, services.now_ms(), _BATCH, last_id, put_off_too=put_off_too):
        for entry in page:
            yield entry
        last_id = page[-1].id


@dataclass(frozen=True, slots=True)
class Worked:
    """How many locations' bytes were removed, and how many could not be."""

    removed: int
    failed: int


async def work_off(services: Services, entries: AsyncGenerator[LocationDelete, None], at_once: int) -> Worked:
    """Claim and try each of `entries`, so many at once; what somebody else has claimed is left to him.

    Raises ServiceUnavailable, when everything under way has ended.
    """
    turn = asyncio.Lock()
    outcomes: Counter[bool] = Counter()

    async def work() -> None:
        while True:
            async with turn:
                entry = await anext(entries, None)
            if entry is None:
                return
            ours = await services.database.write(outbox.claim, entry, services.now_ms() + CLAIM_MS)
            if ours is not None:
                outcomes[await _remove_guarded(services, ours)] += 1

    ended = await asyncio.gather(*(work() for _ in range(at_once)), return_exceptions=True)
    for error in filter(None, ended):
        raise error
    return Worked(outcomes[True], outcomes[False])


async def _remove_guarded(services: Services, entry: LocationDelete) -> bool:
    """`remove_bytes` where one entry must not be in the way of the others, whatever a driver raises."""
    try:
        return await remove_bytes(services, entry)
    except BlickError:
        raise
    except Exception as error:
        _log.exception("removing data of deleted image %s failed and will be tried again", entry.image_id)
        await _put_off(services, entry, type(error).__name__)
        return False


async def remove_bytes(services: Services, entry: LocationDelete, context: RequestContext | None = None) -> bool:
    """Remove one location's bytes, which the caller has claimed. Bytes that are gone already are fine.

    `context` is the caller of the request that gave them up, for stores that keep data in accounts of their users.
    False: it did not work, and is to be tried again later. Raises ServiceUnavailable.
    """
    try:
        async with _claim_kept(services, entry):
            await _delete(services, entry.location, context)
    except (StoreError, Invalid) as error:
        await _put_off(services, entry, str(error))
        return False
    await services.database.write(outbox.done, entry, services.now())
    return True


async def _delete(services: Services, place: ImageLocation, context: RequestContext | None) -> None:
    if scheme_of(place.uri) == outbox.LEFTOVERS:
        await _discard_leftovers(services, place, context)
        return
    try:
        copy = image_copies.copy_at(services, context, place)
    except DataNotFound as error:
        if scheme_of(place.uri) in WEB_SCHEMES:
            return  # somebody else's, whatever is configured
        # Not gone, as far as anybody knows: it is found again when its store is configured again.
        raise StoreUnavailable(error.store, "no configured store keeps this location") from error
    with contextlib.suppress(DataNotFound, StoreReadOnly):  # what was wanted; or bytes of somebody else
        await copy.store.delete(copy.location)


async def _discard_leftovers(services: Services, place: ImageLocation, context: RequestContext | None) -> None:
    """Have the store discard what it has of the image, unless that is data which some record names."""
    image_id = place.uri.partition(":")[2]
    store = services.stores.by_id(place.metadata["store"])
    image = await services.database.read(images.get, image_id, None)
    if image is not None and image_copies.is_in(store, image):
        return
    if context is not None and isinstance(store, ActsForCaller):
        store = store.acting_for(context)
    await store.discard(image_id)


async def _put_off(services: Services, entry: LocationDelete, reason: str) -> None:
    wait_ms = min(1000 * 2 ** min(entry.attempts, 20), _LONGEST_WAIT_MS)
    _log.warning(
        "cannot remove the data of deleted image %s yet (attempt %d, the next in %d s): %s",
        entry.image_id,
        entry.attempts,
        wait_ms // 1000,
        reason,
    )
    await services.database.write(outbox.failed, entry, reason, services.now_ms() + wait_ms)


@asynccontextmanager
async def _claim_kept(services: Services, entry: LocationDelete) -> AsyncIterator[None]:
    """Renews the claim while its holder works: some stores take minutes for one object."""
    renewing = asyncio.create_task(_renew_claim(services, entry), name=f"claim on {entry.image_id}")
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.wait({renewing})


async def _renew_claim(services: Services, entry: LocationDelete) -> None:
    while True:
        await asyncio.sleep(CLAIM_MS / 3000)
        try:
            if not await services.database.write(outbox.renew, entry, services.now_ms() + CLAIM_MS):
                return  # somebody else tries too by now, which does no harm
        except BlickError as error:
            _log.warning("the claim on data of image %s will be renewed again: %s", entry.image_id, error)
