"""Objects that no location names: who explains them, and which nobody does.

An object is called by the id of its image. A lease on that image, a location of it in the same store (spelled in
another way), a deletion that is noted, or an import explain it; so does the time: what is younger than the grace time
may be somebody's who writes down nothing beforehand, such as a service that puts data into the store itself. Data that
waits for its import has a name of its own, which the database knows.
"""

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial

from blick.db import store_check
from blick.db.store_check import UNDER_WAY, Standing
from blick.db.store_ledger import FOREIGN, ORPHANED, Finding, Ledger, NotedObject
from blick.model.blob import Location, StoredObject
from blick.model.errors import DataNotFound, StoreError, StoreUnavailable
from blick.ops.parallel import each
from blick.ops.store_tally import MOST_NAMED, PAGE, PATIENCE, QUESTIONS, Check, Tally
from blick.stores.base import CanList

_IMAGE_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


async def batches(store: CanList) -> AsyncGenerator[list[StoredObject], None]:
    """What the store lists, so many at a time. Raises as `objects` does; whoever stops early closes it."""
    batch: list[StoredObject] = []
    async with aclosing(store.objects()) as objects:
        async for found in objects:
            batch.append(found)
            if len(batch) == PAGE:
                yield batch
                batch = []
    if batch:
        yield batch


async def look_for(check: Check) -> None:
    """Note the foreign and the orphaned ones among what was listed and not named."""
    after_id = 0
    while page := await check.note(Ledger.unnamed, after_id, PAGE):
        await _judge(check, page)
        after_id = page[-1].id
    for tally in check.tallies.values():
        if tally.is_listed:
            await _confirm_parts(check, tally)


async def _judge(check: Check, page: Sequence[NotedObject]) -> None:
    ours = [found for found in page if _IMAGE_ID.fullmatch(found.key)]
    for found in page:
        if not _IMAGE_ID.fullmatch(found.key):
            await _note_foreign(check, check.tallies[found.store], found)
    unexplained = await _unexplained(check, ours)
    await each(unexplained, QUESTIONS, partial(_note_orphan, check))


async def _note_foreign(check: Check, tally: Tally, found: NotedObject) -> None:
    tally.foreign += 1
    if tally.foreign <= MOST_NAMED:
        await check.note(Ledger.add, Finding(tally.id, FOREIGN, found.key, found.uri, "its name is no image's id"))


async def _unexplained(check: Check, found: Sequence[NotedObject]) -> list[NotedObject]:
    """Those of the objects that neither the database nor their age explains."""
    if not found:
        return []
    keys = sorted({each.key for each in found})
    standings = await check.services.database.read(store_check.standings, keys)
    return [each for each in found if not _is_explained(check, each, standings[each.key.lower()])]


def _is_explained(check: Check, found: NotedObject, standing: Standing) -> bool:
    tally, is_there = check.tallies[found.store], check.in_store(found.store)
    if any(is_there(place.uri, place.metadata) for place in standing.places):
        return True
    if any(is_there(place.uri, place.metadata) for place in standing.deletes):
        tally.waiting += 1
        return True
    if standing.is_staged or standing.holder is not None or standing.is_importing or standing.status in UNDER_WAY:
        tally.busy += 1
        return True
    grace_s = check.wanted.grace_s
    if grace_s > 0 and found.modified_at_s is not None and found.modified_at_s > check.began_at_s - grace_s:
        tally.young += 1
        return True
    return False


async def _note_orphan(check: Check, found: NotedObject) -> None:
    """Note it, if it is there even after the database was asked: a deletion explains its object until it is done."""
    tally = check.tallies[found.store]
    if tally.silent >= PATIENCE or (found.uri is not None and not await _is_there(check, tally, found.uri)):
        return
    await check.note(Ledger.add, Finding(tally.id, ORPHANED, found.key, found.uri, _words(check, found)))


async def _is_there(check: Check, tally: Tally, uri: str) -> bool:
    try:
        await check.store(tally.id).size_bytes(Location(tally.id, uri))
    except DataNotFound:
        return False
    except StoreError as error:
        tally.unreadable += 1
        tally.silent += isinstance(error, StoreUnavailable)
        tally.trouble = tally.trouble or f"an object that nobody knows could not be looked at: {error}"
        return False
    tally.silent = 0
    return True


def _words(check: Check, found: NotedObject) -> str:
    what = "part of an upload" if found.uri is None else "no record needs it"
    size = "" if found.size_bytes is None else f", {found.size_bytes} bytes"
    if found.modified_at_s is None:
        return f"{what}{size}, of unknown age"
    hours = max(0.0, check.began_at_s - found.modified_at_s) / 3600
    return f"{what}{size}, {hours:.1f} hours old" if hours < 48 else f"{what}{size}, {hours / 24:.0f} days old"


async def _confirm_parts(check: Check, tally: Tally) -> None:
    """What an upload has left cannot be asked for; it is listed, and looked up, once more before it is believed in."""
    if not await check.note(Ledger.has_orphaned_parts, tally.id):
        return
    store = check.store(tally.id)
    assert isinstance(store, CanList), "it was listed before"
    try:
        async with aclosing(batches(store)) as listed:
            async for batch in listed:
                await check.note(Ledger.confirm, tally.id, [each.key for each in batch if each.location is None])
    except StoreError as error:
        tally.trouble = f"it could not be listed again: {error}"
    await check.note(Ledger.withdraw_unconfirmed, tally.id)
    after_id = 0
    while page := await check.note(Ledger.findings, (ORPHANED,), after_id, PAGE):
        await _withdraw_explained(check, [found for found in page if found.store == tally.id and found.uri is None])
        after_id = page[-1].id


async def _withdraw_explained(check: Check, parts: Sequence[Finding]) -> None:
    """The same name may have been listed again because a new upload has begun meanwhile."""
    noted = [NotedObject(part.id, part.store, part.key, None, None, None) for part in parts]
    kept = {found.id for found in await _unexplained(check, noted)}
    for part in parts:
        if part.id not in kept:
            await check.note(Ledger.withdraw, part)
