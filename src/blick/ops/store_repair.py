"""Putting right what a check has found: copies from good copies, orphans away.

Each repair works under a lease like an upload's (blick.db.store_repair): while it is there, what the store has under
the image's id counts as rubbish. Whoever is killed in the middle leaves a lease, somebody's housekeeping or the next
repair discards the rubbish, and the next check finds what is missing then. So a lease is taken only

- on an orphan, which is rubbish, while the image has no location in that store;
- on a copy that is missing;
- on a copy that is bad, when another one has just been read to its end and is good.

Nothing is done on the check's word alone: the transaction that takes the lease looks again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial

from blick.db import store_check, store_repair, uploads
from blick.db.store_check import RecordedCopy
from blick.db.store_ledger import DAMAGES, MISMATCHED, ORPHANED, REPAIRED, Finding, Ledger
from blick.db.uploads import Lease
from blick.model.blob import Location
from blick.model.errors import Conflict, DataExists, DataNotFound, Gone, StoreError
from blick.model.image import ACTIVE, DEACTIVATED
from blick.model.location import WEB_SCHEMES, scheme_of
from blick.ops import cleanup
from blick.ops.cleanup import LEASE_TTL_MS
from blick.ops.parallel import each
from blick.ops.services import Services
from blick.ops.store_check import hashing_of
from blick.ops.store_reading import digests_of, transfer
from blick.ops.store_tally import PAGE, READINGS, Check, location_in
from blick.stores.base import CanCopy, Store
from blick.stream.hop import to_the_end

_log = logging.getLogger(__name__)

_REMOVALS = 8
# So many orphans are nothing unusual, however little else there is in a store.
_FEW = 10
_SUSPICIOUS = (
    "left, because more lies here that this database does not know than what it does: is it the right database, and is "
    "the store its alone? --force removes it"
)


class _Unfit(Exception):
    """A copy that was to be taken over is not good itself."""


async def finish_broken(services: Services) -> None:
    """What killed uploads, deletions and repairs have left: done before a check, as the service would."""
    await cleanup.take_over_dead_uploads(services)
    await cleanup.work_off_deletes(services)


async def repair(check: Check, *, force: bool) -> None:
    """Try every finding that can be repaired; what came of it is in the ledger.

    `force`: remove orphans also where they are more than what the database knows in that store. Raises
    ServiceUnavailable. When cancelled, what is under way is undone or finished first.
    """
    renewing = asyncio.create_task(cleanup.renew_forever(check.services))
    try:
        # Copies first: an orphan may be all that is left of an image, and is kept then.
        await _each_finding(check, DAMAGES, READINGS, _restore)
        suspicious = frozenset() if force else await _suspicious(check)
        await _each_finding(check, (ORPHANED,), _REMOVALS, partial(_remove, suspicious))
    finally:
        renewing.cancel()
        with suppress(asyncio.CancelledError):
            await renewing


async def _each_finding(
    check: Check, kinds: tuple[str, ...], most: int, work: Callable[[Check, Finding], Awaitable[str | None]]
) -> None:
    """Do `work`, which gives the outcome, None where the finding has vanished."""

    async def in_turn(findings: Sequence[Finding]) -> None:
        for finding in findings:
            outcome = await work(check, finding)
            if outcome is None:
                await check.note(Ledger.withdraw, finding)
            else:
                await check.note(Ledger.settle, finding, outcome)

    after_id = 0
    while page := await check.note(Ledger.findings, kinds, after_id, PAGE):
        by_image: dict[str, list[Finding]] = {}  # which has one lease at a time
        for finding in page:
            by_image.setdefault(finding.key.lower(), []).append(finding)
        await each(by_image.values(), most, in_turn)
        after_id = page[-1].id


async def _suspicious(check: Check) -> frozenset[str]:
    """Stores with more orphans than objects that are known."""
    found = set()
    for store_id in check.tallies:
        counts = await check.note(Ledger.counts, store_id)
        known = await check.note(Ledger.count_named, store_id)
        if counts.get((ORPHANED, False), 0) > max(known, _FEW):
            found.add(store_id)
    return frozenset(found)


async def _remove(suspicious: frozenset[str], check: Check, finding: Finding) -> str:
    services, store = check.services, check.store(finding.store)
    if finding.store in suspicious:
        return _SUSPICIOUS
    if not await _is_dispensable(check, finding.key):
        return "left, because no other copy of this image is whole"
    lease = _lease(services, finding.key, store)
    services.running_uploads.add(lease.token)
    in_store = check.in_store(store.name)
    try:
        await services.database.write(store_repair.claim_orphan, lease, in_store, finding.uri, check.newest)
        await store.discard(finding.key)
        await _require_gone(store, finding)
    except (Conflict, StoreError) as error:
        return f"left: {error}"
    finally:
        # Also after a claim that was cancelled, which may have been granted.
        await to_the_end(services.database.write(uploads.give_back, lease, services.now()))
        services.running_uploads.discard(lease.token)
    _log.info("object %s, which no image needs, was removed from store %s", finding.key, store.name)
    return REPAIRED


async def _is_dispensable(check: Check, image_id: str) -> bool:
    """Is this no image with data, or does it have a recorded copy of the right size?"""
    copies = [copy for copy in await check.services.database.read(store_check.of_image, image_id) if copy.has_data]
    for copy in copies:
        with suppress(StoreError):
            store = check.services.stores.for_location(copy.place.uri, copy.place.metadata)
            if await store.size_bytes(location_in(store, copy.place)) == copy.size_bytes:
                return True
    return not copies


async def _require_gone(store: Store, finding: Finding) -> None:
    if finding.uri is None:
        return
    try:
        await store.size_bytes(Location(store.name, finding.uri))
    except DataNotFound:
        return
    raise StoreError(store.name, "the object is still there after its removal")


async def _restore(check: Check, finding: Finding) -> str | None:
    """Write the copy anew, from the first other one that proves good."""
    copy = await check.services.database.read(store_check.again, finding.location_id or 0)
    if copy is None:
        return None
    obstacle = await _obstacle(check, finding, copy)
    if obstacle is not None:
        return f"left: {obstacle}"
    outcome = "left: there is no other copy of this image"
    for source in await check.services.database.read(store_check.of_image, copy.image_id):
        if source.place.id == copy.place.id or (scheme_of(source.place.uri) in WEB_SCHEMES and not copy.has_hash):
            continue  # itself, or somebody else's data with nothing to tell it by
        try:
            await _restore_from(check, finding, copy, source)
        except (Conflict, Gone, StoreError, _Unfit) as error:
            outcome = f"left: {error}"
        else:
            _log.info("image %s has its copy in store %s again", copy.image_id, finding.store)
            return REPAIRED
    return outcome


async def _obstacle(check: Check, finding: Finding, copy: RecordedCopy) -> str | None:
    """Why the copy cannot be written anew, or must not be; None if nothing is in the way."""
    if copy.status not in (ACTIVE, DEACTIVATED):
        return f"the image is {copy.status}"
    if check.tallies[finding.store].status.is_read_only:
        return "the store is read-only"
    if finding.kind in MISMATCHED and not copy.has_hash:
        return "no hash is recorded to tell a good copy by"
    if await check.note(Ledger.times_named, finding.store, copy.place.uri) > 1:
        return "another location is the same place"
    if await check.note(Ledger.lies_elsewhere, finding.store, copy.image_id, copy.place.uri):
        return "an object of this name lies elsewhere in the store"
    return None


async def _restore_from(check: Check, finding: Finding, copy: RecordedCopy, source: RecordedCopy) -> None:
    """Raises _Unfit if the source is no good either, Conflict, Gone, StoreError; then everything is as it was, or the
    bad copy is away."""
    services = check.services
    origin = services.stores.for_location(source.place.uri, source.place.metadata)
    store = check.store(finding.store)
    if finding.kind in MISMATCHED:
        await _require_good(check, copy, origin, location_in(origin, source.place), origin)
    lease = _lease(services, copy.image_id, store)
    services.running_uploads.add(lease.token)
    is_claimed = False
    try:
        await services.database.write(store_repair.claim_copy, lease, copy, check.in_store(store.name))
        is_claimed = True
        await _rewrite(check, finding, copy, (origin, location_in(origin, source.place)), lease)
    except BaseException as error:
        # A claim that was cancelled may have been granted; nothing was done under it.
        left_bytes = is_claimed and not isinstance(error, DataExists | _StillThere)
        await to_the_end(cleanup.abandon(services, lease, left_bytes=left_bytes))
        raise
    finally:
        services.running_uploads.discard(lease.token)


class _StillThere(StoreError):
    """The bad copy could not be removed."""


async def _rewrite(
    check: Check, finding: Finding, copy: RecordedCopy, origin: tuple[Store, Location], lease: Lease
) -> None:
    services, store = check.services, check.store(finding.store)
    if finding.kind in MISMATCHED:
        try:
            await store.delete(location_in(store, copy.place))
        except DataNotFound:
            pass  # gone by itself
        except StoreError as error:
            raise _StillThere(store.name, f"the bad copy cannot be removed: {error}") from error
    written = await _write(check, copy, origin, store)
    recorded = location_in(store, copy.place)
    if written.uri != copy.place.uri:
        named = {"store": store.name} if services.settings.stores.multi_store else {}
        recorded = Location(store.name, written.uri, {**copy.place.metadata, **written.metadata, **named})
    await services.database.write(store_repair.finish_copy, lease, copy, recorded, services.now())


async def _write(check: Check, copy: RecordedCopy, origin: tuple[Store, Location], store: Store) -> Location:
    """The image's bytes, in `store` again. Raises _Unfit if they are not what is recorded, StoreError."""
    if isinstance(store, CanCopy):
        location = await store.copy_from(*origin, copy.image_id)
        if location is not None:
            await _require_good(check, copy, store, location, origin[0])
            return location
    async with store.writer(copy.image_id, copy.size_bytes) as writer:
        digests = await transfer(
            check.services, *origin, writer.write, hashing_of(copy), copy.size_bytes, check.watcher.read
        )
        if (fault := copy.fault(digests)) is not None:
            raise _Unfit(f"the copy in store {origin[0].name} is no better: {fault}")
        return await writer.commit()


async def _require_good(check: Check, copy: RecordedCopy, store: Store, location: Location, origin: Store) -> None:
    """What lies there, and came from `origin`, must be what is recorded. Raises _Unfit, StoreError."""
    hashing, told = hashing_of(copy), check.watcher.read
    digests = await digests_of(check.services, store, location, hashing, copy.size_bytes, told)
    if (fault := copy.fault(digests)) is not None:
        raise _Unfit(f"the copy in store {origin.name} is no better: {fault}")


def _lease(services: Services, image_id: str, store: Store) -> Lease:
    return Lease(image_id, services.new_token(), services.holder, store.name, services.now_ms() + LEASE_TTL_MS)
