"""The bytes of an import go into its stores, judged once meanwhile (spec: import-and-tasks §6).

Each store gets them by the shortest way that it knows: the first one that can takes the staged file itself, others copy
it without our help or are written to. Nothing is committed before the bytes have been judged, but for copies that a
store makes by itself: these are removed again.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from functools import partial

from blick.db import imports, outbox
from blick.db.imports import Data
from blick.model.blob import Location
from blick.model.errors import (
    BlickError,
    DataExists,
    DataNotFound,
    Invalid,
    LimitExceeded,
    SourceBroken,
    SourceUnavailable,
    StoreError,
    StoreUnavailable,
)
from blick.model.image import Image
from blick.model.import_job import COPY_IMAGE, SourceData
from blick.model.quota import Measure
from blick.ops import image_copies, quota, store_access
from blick.ops.cleanup import CLAIM_MS, remove_bytes
from blick.ops.imports import data as import_data
from blick.ops.imports.current import CurrentImport
from blick.ops.imports.start import moment
from blick.ops.imports.told import ToldBody
from blick.stores.base import ActsForCaller, CanAdopt, CanCopy, Store
from blick.stream.body import PiecesBody
from blick.stream.hop import to_the_end
from blick.stream.pump import move

_log = logging.getLogger(__name__)

# How often, and how many seconds apart, a store that does not answer is tried.
_TRIES = 3
_FIRST_PAUSE_S = 0.5
# How often somebody else's removal of old bytes is waited for.
_SETTLING_TRIES = 20


class StoreRefused(BlickError):
    """The store `store_id` did not take the bytes, and all of them had to."""

    def __init__(self, store_id: str, reason: BlickError) -> None:
        self.store_id = store_id
        self.reason = reason
        super().__init__(str(reason))


class Placing:
    """Writes the import's bytes to its stores. Once."""

    def __init__(self, current: CurrentImport, step: str) -> None:
        self._current = current
        self._step = step
        self._recording = asyncio.Lock()  # the state is one, and every record of it holds all
        self._adopted_by = current.state.adopted_by
        self.in_doubt: set[str] = set()
        """Stores that may have something of the image that no record names: whoever undoes the import removes it."""

    async def place(self) -> None:
        """Do it, and leave out the stores that have the bytes already.

        Raises StoreRefused if a store failed and all have to succeed, or if none succeeded; what the judgement raises;
        SourceError, Conflict, Gone.
        """
        current = self._current
        image = await current.image()
        known = {*current.state.done, *current.state.failed}
        stores = [store_id for store_id in current.work.stores if store_id not in known]
        if current.is_resumed:
            self.in_doubt.update(stores)
        source = current.state.source
        # Read to be judged, and once more for each store: those that need not are a surprise to nobody.
        total_bytes = source.size_bytes * (1 + len(stores)) if source is not None else None
        async with current.moving("storing", total_bytes), self._judged(image) as judging:
            await self._place_all(image, stores, judging)
        if not current.state.done:
            store_id = current.state.failed[-1]
            raise StoreRefused(store_id, StoreUnavailable(store_id, "no store took the data"))

    @asynccontextmanager
    async def _judged(self, image: Image) -> AsyncIterator["asyncio.Task[Data]"]:
        judging = asyncio.create_task(import_data.judge(self._current, image), name=f"judging {image.id}")
        try:
            yield judging
        finally:
            judging.cancel()
            await asyncio.wait({judging})
            if not judging.cancelled():
                judging.exception()  # seen: where every store failed before, nobody else asks

    async def _place_all(self, image: Image, stores: Sequence[str], judging: "asyncio.Task[Data]") -> None:
        most = self._current.services.settings.imports.max_parallel_stores
        turns = asyncio.Semaphore(1 if self._current.work.method == COPY_IMAGE else most)

        async def one(store_id: str) -> None:
            async with turns:
                await self._place(image, store_id, judging)

        try:
            async with asyncio.TaskGroup() as group:
                for store_id in stores:
                    group.create_task(one(store_id), name=f"import of {image.id} into {store_id}")
        except BaseExceptionGroup as errors:
            # The first is what went wrong; the others were cut off because of it.
            raise errors.exceptions[0] from None

    async def _place(self, image: Image, store_id: str, judging: "asyncio.Task[Data]") -> None:
        services, source = self._current.services, self._current.state.source
        assert source is not None
        try:
            # Told before anything is written; it is taken together with the record.
            await quota.require(services, quota.storage(services, image.owner), {Measure.STORED: source.size_bytes})
            location = await self._stored(image, store_id, judging)
            await self._record(image, store_id, location, await asyncio.shield(judging))
        except (StoreError, LimitExceeded, Invalid) as error:
            if judging.done() and not judging.cancelled() and judging.exception() is error:
                raise
            _log.warning("image %s is not taken by store %s: %s", image.id, store_id, error)
            if self._current.work.all_stores_must_succeed:
                raise StoreRefused(store_id, error) from error
            await self._record_failure(image, store_id)

    async def _stored(self, image: Image, store_id: str, judging: "asyncio.Task[Data]") -> Location:
        store = self._store(store_id)
        for attempt in range(1, _TRIES + 1):
            try:
                await self._make_ready(image, store_id, store)
                return await self._write(image, store_id, store, judging)
            except DataExists:
                self.in_doubt.discard(store_id)  # it is nobody's we know of, and not ours to remove
                raise
            except StoreUnavailable as error:
                if attempt == _TRIES:
                    raise
                _log.info("store %s is tried again for image %s: %s", store_id, image.id, error)
            await asyncio.sleep(_FIRST_PAUSE_S * 2 ** (attempt - 1))
        raise AssertionError("unreachable")

    async def _make_ready(self, image: Image, store_id: str, store: Store) -> None:
        """Nothing of the image is in the store, or is about to be removed from it, when we begin."""
        for entry in await self._current.services.database.read(outbox.of_image, image.id):
            if entry.location.metadata.get("store", store_id) == store_id:
                await self._settle(entry, store_id)
        if store_id in self.in_doubt and not image_copies.is_in(store, image):
            await store.discard(image.id)
        # Whoever is cut off from here on may have left something, even when it was committed already.
        self.in_doubt.add(store_id)

    async def _settle(self, entry: outbox.LocationDelete, store_id: str) -> None:
        """Remove what waits for its removal; else that would come later, and meet what we write."""
        services = self._current.services
        for _ in range(_SETTLING_TRIES):
            ours = await services.database.write(outbox.claim, entry, services.now_ms() + CLAIM_MS)
            if ours is not None:
                if await remove_bytes(services, ours, self._current.context):
                    return
                raise StoreUnavailable(store_id, "earlier data of the image cannot be removed yet")
            await asyncio.sleep(_FIRST_PAUSE_S)
            left = await services.database.read(outbox.of_image, entry.image_id)
            entry = next((each for each in left if each.id == entry.id), entry)
            if all(each.id != entry.id for each in left):
                return
        raise StoreUnavailable(store_id, "earlier data of the image is still being removed")

    async def _write(self, image: Image, store_id: str, store: Store, judging: "asyncio.Task[Data]") -> Location:
        source = self._current.state.source
        assert source is not None
        with_source = import_data.store_of(self._current.services, source)
        try:
            location = await self._adopted(image, store_id, store, with_source, source, judging)
            if location is None and isinstance(store, CanCopy):
                location = await store.copy_from(with_source, source.location, image.id)
        except DataNotFound as error:
            raise SourceBroken(f"The data to import is gone: {error}") from error
        except StoreError as error:
            if error.store == with_source.name != store.name:
                raise SourceUnavailable(str(error)) from error
            raise
        if location is None:
            location = await self._written(image, store, source, judging)
        await self._require_whole(store, location, source)
        await asyncio.shield(judging)
        return location

    async def _adopted(
        self,
        image: Image,
        store_id: str,
        store: Store,
        with_source: Store,
        source: SourceData,
        judging: "asyncio.Task[Data]",
    ) -> Location | None:
        """The staged file itself, for one store; None: it is taken, or this store cannot."""
        if self._current.work.method == COPY_IMAGE or not isinstance(store, CanAdopt) or self._adopted_by is not None:
            return None
        self._adopted_by = store_id
        await asyncio.shield(judging)
        location = await store.adopt(with_source, source.location, image.id)
        if location is None:
            self._adopted_by = None
        return location

    async def _written(self, image: Image, store: Store, source: SourceData, judging: "asyncio.Task[Data]") -> Location:
        services = self._current.services
        async with (
            store.writer(image.id, source.size_bytes) as writer,
            aclosing(import_data.pieces(services, source)) as pieces,
        ):
            await move(
                ToldBody(PiecesBody(pieces), self._copied),
                writer.write,
                cap_bytes=source.size_bytes,
                expected_bytes=source.size_bytes,
                threads=services.threads,
            )
            await asyncio.shield(judging)
            return await writer.commit()

    async def _require_whole(self, store: Store, location: Location, source: SourceData) -> None:
        size_bytes = await store.size_bytes(location)
        if size_bytes != source.size_bytes:
            raise StoreError(store.name, f"it has {size_bytes} bytes of the {source.size_bytes} that it was given")

    async def _copied(self, count: int) -> None:
        """So many more bytes were written, in whichever store."""
        self._current.copied_bytes += count
        await self._current.moved(count)

    async def _record(self, image: Image, store_id: str, location: Location, judged: Data) -> None:
        current = self._current
        services = current.services
        store = services.stores.by_id(store_id)
        await store_access.tell_of_new(services, store, location, image)
        named = {"store": store_id} if services.settings.stores.multi_store else {}
        recorded = Location(location.store, location.uri, {**location.metadata, **named})
        async with self._recording:
            done = {**current.state.done, store_id: location.uri}
            adopted_by = store_id if self._adopted_by == store_id else current.state.adopted_by
            state = replace(current.state, done=done, judged=judged.digests, adopted_by=adopted_by)
            everywhere = len(state.done) == len(current.work.stores)
            await services.database.write(
                partial(imports.store_done, activates=everywhere or not current.work.all_stores_must_succeed),
                current.job,
                current.work,
                store_id,
                recorded,
                judged,
                self._step,
                state.json(),
                moment(services),
                quota.storage(services, image.owner),
            )
            current.state = state
            self.in_doubt.discard(store_id)
        _log.info("image %s is in store %s: %d bytes", image.id, store_id, judged.size_bytes)

    async def _record_failure(self, image: Image, store_id: str) -> None:
        current = self._current
        if store_id in self.in_doubt:
            await to_the_end(self._take_back(image, store_id))
        leftovers = [outbox.leftovers(image.id, store_id)] if store_id in self.in_doubt else []
        async with self._recording:
            state = replace(current.state, failed=(*current.state.failed, store_id))
            await current.services.database.write(
                imports.store_failed,
                current.job,
                current.work,
                store_id,
                self._step,
                state.json(),
                leftovers,
                moment(current.services),
            )
            current.state = state
            self.in_doubt.discard(store_id)

    async def _take_back(self, image: Image, store_id: str) -> None:
        """Remove what may be in the store; what cannot be removed now stays in doubt."""
        try:
            store = self._store(store_id)
            if not image_copies.is_in(store, image):
                await store.discard(image.id)
            self.in_doubt.discard(store_id)
        except (StoreError, Invalid) as error:
            _log.warning("store %s cannot be cleaned up yet: %s", store_id, error)

    def _store(self, store_id: str) -> Store:
        store = self._current.services.stores.by_id(store_id)
        return store.acting_for(self._current.context) if isinstance(store, ActsForCaller) else store
