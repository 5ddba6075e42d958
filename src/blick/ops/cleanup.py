"""What goes wrong elsewhere is put right here: uploads whose process died, bytes that no image needs any more.

Everything is safe to run twice and in several processes at once: each piece of work is claimed in the database first.
"""

import asyncio
import logging

from blick.db import outbox, uploads
from blick.db.outbox import LocationDelete
from blick.db.uploads import Lease
from blick.model.blob import Location
from blick.model.errors import BlickError, DataNotFound, Invalid, StoreError, StoreReadOnly
from blick.ops import tasks
from blick.ops.services import Services, is_dead

_log = logging.getLogger(__name__)

# A lease is renewed every third of its time; a process that is alive but cannot reach the database for all of it
# loses its uploads. Well under the minute within which an interrupted image is promised to be queued again.
LEASE_TTL_MS = 30_000
LEASE_RENEWAL_S = 10.0
# How long a deletion is its claimer's alone. Short, so that what a killed process had claimed is soon done by another;
# that both try does no harm.
CLAIM_MS = 15_000
_BATCH = 100
_LONGEST_WAIT_MS = 3_600_000


async def run_forever(services: Services) -> None:
    """Take over dead uploads and work off deletions; until cancelled.

    Whatever goes wrong is logged and the next round tries again: nothing may end the housekeeping.
    """
    while True:
        try:
            await one_round(services)
        except BlickError as error:
            _log.warning("housekeeping will try again: %s", error)
        except Exception:
            _log.exception("housekeeping failed and will try again")
        await asyncio.sleep(LEASE_RENEWAL_S)


async def renew_forever(services: Services) -> None:
    """Keep this process's leases alive; until cancelled.

    Apart from the rest of the housekeeping: a slow store must not let the leases of running uploads lapse, or a
    neighbour would remove the bytes that they are just sending.
    """
    while True:
        try:
            await renew_leases(services)
        except BlickError as error:
            _log.warning("the leases of running uploads will be renewed again: %s", error)
        except Exception:
            _log.exception("renewing the leases of running uploads failed and will be tried again")
        await asyncio.sleep(LEASE_RENEWAL_S)


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


async def take_over_dead_uploads(services: Services) -> int:
    """Clean up behind uploads that nobody works on any more; gives how many there were.

    Their process is dead, or gave no sign of life for too long, or it is this one, which could not clean up before.
    """
    count = 0
    for lease in await services.database.read(uploads.all_leases):
        if lease.token in services.running_uploads or not _is_deserted(services, lease):
            continue
        ours = await services.database.write(
            uploads.take_over, lease, services.new_token(), services.holder, services.now_ms() + LEASE_TTL_MS
        )
        if ours is None:
            continue
        if lease.holder != services.holder:
            _log.warning("the upload to image %s broke off with its process; cleaning up", lease.image_id)
        await abandon(services, ours)
        count += 1
    return count


def _is_deserted(services: Services, lease: Lease) -> bool:
    return lease.holder == services.holder or lease.expires_at_ms <= services.now_ms() or is_dead(lease.holder)


async def abandon(services: Services, lease: Lease, *, left_bytes: bool = True) -> None:
    """Undo an upload that we hold the lease of: remove what it left in its store, then saving → queued.

    Without effect if the lease has ended: then the upload was completed, or someone else cleaned up. Where the
    store cannot be cleaned now the lease stays and lapses, so that a later round tries again. `left_bytes` false: the
    upload is known to have left nothing, so the store is not touched.
    """
    if not await services.database.read(uploads.is_ours, lease):
        return
    services.running_uploads.add(lease.token)
    try:
        if left_bytes:
            await services.stores.by_id(lease.store).discard(lease.image_id)
        await services.database.write(uploads.give_back, lease, services.now())
    except Invalid:
        _log.error("store %s of the broken upload to image %s is not configured any more", lease.store, lease.image_id)
        await services.database.write(uploads.give_back, lease, services.now())
    except StoreError as error:
        _log.warning("cannot clean up after the upload to image %s yet: %s", lease.image_id, error)
    finally:
        services.running_uploads.discard(lease.token)


async def work_off_deletes(services: Services) -> int:
    """Try every deletion whose time has come; gives how many succeeded."""
    removed = 0
    for entry in await services.database.read(outbox.due, services.now_ms(), _BATCH):
        if await services.database.write(outbox.claim, entry, services.now_ms() + CLAIM_MS):
            removed += await remove_bytes(services, entry)
    return removed


async def remove_bytes(services: Services, entry: LocationDelete) -> bool:
    """Remove one location's bytes, which the caller has claimed. Bytes that are gone already are fine.

    False: it did not work, and is to be tried again later.
    """
    location = entry.location
    try:
        store = services.stores.for_location(location.uri, location.metadata)
        await store.delete(Location(store.name, location.uri, location.metadata))
    except (DataNotFound, StoreReadOnly):
        pass  # what was wanted; or bytes of somebody else, that no record needs any more
    except (StoreError, Invalid) as error:
        wait_ms = min(1000 * 2 ** min(entry.attempts, 20), _LONGEST_WAIT_MS)
        _log.warning("cannot remove the data of deleted image %s yet: %s", entry.image_id, error)
        await services.database.write(outbox.failed, entry, str(error), services.now_ms() + wait_ms)
        return False
    await services.database.write(outbox.done, entry)
    return True
