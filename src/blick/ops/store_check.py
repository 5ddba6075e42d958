"""Do database and stores agree: is everything there that is recorded, and nothing there that nobody needs?

1. Every store names what it has; the names go into a ledger on disk.
2. The database's locations are walked once. What was listed in the right size is there; about the rest the store is
   asked, which settles it.
3. What no location has named is looked up (blick.ops.store_orphans).

The service goes on meanwhile. So what seems wrong is read again before it is told: first in the database, then in the
store. Nothing is changed here; blick.ops.store_repair does that.
"""

import sqlite3
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from blick.db import outbox, store_check
from blick.db.store_check import RecordedCopy
from blick.db.store_ledger import HOMELESS, MISSING, UNREADABLE, WRONG_DATA, WRONG_SIZE, Finding, Ledger
from blick.model.blob import StoredObject
from blick.model.errors import DataNotFound, Invalid, RangeInvalid, StartRefused, StoreError, StoreUnavailable
from blick.model.image import ImageLocation
from blick.ops import store_orphans
from blick.ops.parallel import each
from blick.ops.services import Services
from blick.ops.store_reading import digests_of
from blick.ops.store_status import OPEN, statuses
from blick.ops.store_tally import (
    MOST_NAMED,
    PAGE,
    PATIENCE,
    QUESTIONS,
    READINGS,
    Check,
    Tally,
    Wanted,
    Watcher,
    location_in,
)
from blick.stores.base import CanList, Store
from blick.stream.hashing import Hashing
from blick.stream.hop import hop, to_the_end

# A store that does not answer for so long is not checked.
_PATIENCE_S = 30.0
# Locations that were being written, in an older transaction, when the newest was looked up.
_LATE = 1000


@asynccontextmanager
async def begun(services: Services, wanted: Wanted, watcher: Watcher) -> AsyncIterator[Check]:
    """A new check, whose findings are there until the context ends. Raises Invalid for a store that there is not."""
    for store_id in wanted.store_ids:
        services.stores.require_known(store_id)
    found = await statuses(services, _PATIENCE_S)
    tallies = {each.id: Tally(each) for each in found if not wanted.store_ids or each.id in wanted.store_ids}
    for tally in tallies.values():
        if tally.status.status != OPEN:
            tally.trouble = tally.status.reason
    with ThreadPoolExecutor(1, thread_name_prefix="ledger") as threads:
        ledger = Ledger()
        try:
            await _open(ledger, threads)
            yield Check(services, ledger, wanted, watcher, tallies, services.now_ms() / 1000, threads)
        finally:
            await to_the_end(hop(threads, ledger.close))


async def _open(ledger: Ledger, threads: ThreadPoolExecutor) -> None:
    try:
        await hop(threads, ledger.open)
    except (OSError, sqlite3.Error) as error:
        raise StartRefused(f"There is no place for the temporary file of the check (see TMPDIR): {error}.") from error


async def compare(check: Check) -> None:
    """Look at everything; what there is to say is in the check's tallies and its ledger afterwards.

    Raises ServiceUnavailable where the database does not answer. Stores that do not are told of in their tallies.
    """
    newest = await check.services.database.read(store_check.newest_location)
    check.newest = max(0, newest - _LATE)
    for tally in check.tallies.values():
        if tally.trouble is None:
            await _list(check, tally)
    await _walk(check)
    await _walk_deletes(check)
    await store_orphans.look_for(check)


async def _list(check: Check, tally: Tally) -> None:
    store = check.store(tally.id)
    if not isinstance(store, CanList):
        if not tally.status.is_read_only:
            tally.trouble = "this store cannot list what it has: only recorded locations were checked"
        return
    try:
        async with aclosing(store_orphans.batches(store)) as listed:
            async for batch in listed:
                await _note_batch(check, tally, batch)
        tally.is_listed = True
    except StoreError as error:
        tally.trouble = f"it could not be listed: {error}"


async def _note_batch(check: Check, tally: Tally, batch: list[StoredObject]) -> None:
    await check.note(Ledger.note_objects, tally.id, batch)
    tally.objects += len(batch)
    check.watcher.listed(tally.id, len(batch))


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A copy that the store has to be asked about."""

    copy: RecordedCopy
    store: Store
    tally: Tally


async def _walk(check: Check) -> None:
    """All locations of the database, whatever store they are in."""
    after_id = 0
    most = READINGS if check.wanted.verify else QUESTIONS
    while page := await check.services.database.read(store_check.recorded, after_id, PAGE):
        doubts = await _doubts(check, page)
        await each(doubts, most, partial(_settle, check))
        check.watcher.compared(len(page))
        after_id = page[-1].place.id or 0


async def _walk_deletes(check: Check) -> None:
    """Objects whose removal is noted, whatever their names, are not orphaned."""
    after_id = 0
    while page := await check.services.database.read(outbox.entries, after_id, PAGE):
        named = await check.note(Ledger.name, _named(check, (entry.location for entry in page)))
        for store_id, _uri in named:
            check.tallies[store_id].waiting += 1
        after_id = page[-1].id


def _named(check: Check, places: Iterable[ImageLocation]) -> list[tuple[str, str]]:
    """Each place with each of the listed stores that it may be in."""
    listed = [(tally.id, check.in_store(tally.id)) for tally in check.tallies.values() if tally.is_listed]
    return [(id_, place.uri) for place in places for id_, is_there in listed if is_there(place.uri, place.metadata)]


async def _doubts(check: Check, page: list[RecordedCopy]) -> list[_Doubt]:
    """The copies of the page that are not known to be right by the listing."""
    sizes = await check.note(Ledger.name, _named(check, (copy.place for copy in page)))
    doubts: list[_Doubt] = []
    for copy in page:
        store = await _store_of(check, copy) if copy.has_data else None
        tally = check.tallies.get(store.name) if store is not None else None
        if store is None or tally is None or tally.status.status != OPEN:
            continue
        tally.locations += 1
        listed = sizes.get((store.name, copy.place.uri))
        if check.wanted.verify or listed is None or copy.size_bytes not in (None, listed):
            doubts.append(_Doubt(copy, store, tally))
    return doubts


async def _store_of(check: Check, copy: RecordedCopy) -> Store | None:
    """The open store that the copy is in; None if it is none of this check's business, or nobody's."""
    place = copy.place
    try:
        return check.services.stores.for_location(place.uri, place.metadata)
    except StoreUnavailable:
        return None  # its store is told of as a whole
    except DataNotFound as error:
        if not check.wanted.store_ids:
            check.homeless += 1
            if check.homeless <= MOST_NAMED:
                await check.note(Ledger.add, _finding("", HOMELESS, copy, str(error)))
        return None


async def _settle(check: Check, doubt: _Doubt) -> None:
    """Ask the store, and note what is wrong if it still is when everything is read again."""
    copy, tally = doubt.copy, doubt.tally
    if tally.silent >= PATIENCE:
        return
    wrong = await _look(check, doubt, verify=check.wanted.verify)
    if wrong is None:
        return
    now = await check.services.database.read(store_check.again, copy.place.id or 0)
    if now is None or not now.is_still(copy):
        return  # deleted, or changed, while we looked
    standing = (await check.services.database.read(store_check.standings, [copy.image_id]))[copy.image_id.lower()]
    if standing.holder is not None:
        tally.busy += 1  # somebody is just writing it anew
        return
    if wrong[0] not in (UNREADABLE, WRONG_DATA):
        wrong = await _look(check, doubt, verify=False)
    if wrong is not None and (wrong[0] != UNREADABLE or tally.unreadable <= MOST_NAMED):
        await check.note(Ledger.add, _finding(tally.id, wrong[0], copy, wrong[1]))


async def _look(check: Check, doubt: _Doubt, *, verify: bool) -> tuple[str, str] | None:
    """What is wrong with the copy, as kind and words; None if nothing is."""
    tally, copy = doubt.tally, doubt.copy
    try:
        wrong = await _compared(check, doubt, verify=verify)
    except DataNotFound:
        wrong = MISSING, "there is nothing"
    except RangeInvalid as error:
        wrong = WRONG_SIZE, str(error)
    except StoreError as error:
        tally.unreadable += 1
        tally.silent += isinstance(error, StoreUnavailable)
        if tally.silent == PATIENCE:
            tally.trouble = f"it was given up after {PATIENCE} copies without an answer: {error}"
        return UNREADABLE, str(error)
    tally.silent = 0
    if wrong is None and verify and not copy.has_hash:
        tally.unhashed += 1
    return wrong


async def _compared(check: Check, doubt: _Doubt, *, verify: bool) -> tuple[str, str] | None:
    copy, location = doubt.copy, location_in(doubt.store, doubt.copy.place)
    stored_bytes = await doubt.store.size_bytes(location)
    if copy.size_bytes not in (None, stored_bytes):
        return WRONG_SIZE, f"{stored_bytes} bytes instead of {copy.size_bytes}"
    if not verify or not copy.has_hash:
        return None
    digests = await digests_of(
        check.services, doubt.store, location, hashing_of(copy), stored_bytes, check.watcher.read
    )
    fault = copy.fault(digests)
    return None if fault is None else (WRONG_DATA, fault)


def hashing_of(copy: RecordedCopy) -> Hashing:
    """The hashes that the record has; a usual one in place of one that this machine does not know."""
    try:
        return Hashing(copy.os_hash_algo or "sha512")
    except Invalid:
        return Hashing()


def _finding(store_id: str, kind: str, copy: RecordedCopy, detail: str) -> Finding:
    return Finding(store_id, kind, copy.image_id, copy.place.uri, detail, copy.place.id)
