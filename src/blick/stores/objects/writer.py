"""A writer that gathers an object's bytes into parts and sends several of them at once, in bounded memory."""

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager

from blick.model.blob import Location
from blick.model.errors import StoreError, StoreFull, StoreUnavailable, WriterClosed
from blick.stores.objects.backend import Backend, Upload
from blick.stores.objects.parts import MEMORY_BYTES, MOST_OBJECT_BYTES, MOST_PARTS, PartData, PartPlan
from blick.stream.hop import hop, interruptible_hop, to_the_end

_log = logging.getLogger(__name__)


class PartWriter:
    """See Writer. Closed for good by anything that goes wrong, like every writer.

    One buffer at a time; the parts that are full are sent by tasks of its own, which it joins.
    """

    def __init__(self, store: str, upload: Upload, plan: PartPlan, threads: Executor, location: Location) -> None:
        self._store = store
        self._upload = upload
        self._plan = plan
        self._threads = threads
        self._location = location
        self._usable = True
        self._committed = False
        self._count = 0
        self._size_bytes = 0
        self._part: PartData | None = None
        self._sending: dict[asyncio.Task[None], PartData] = {}

    async def write(self, buffer: memoryview) -> None:
        """See Writer.write."""
        self._take()
        if self._size_bytes + len(buffer) > MOST_OBJECT_BYTES:
            raise StoreFull(self._store, f"an object has {MOST_OBJECT_BYTES} bytes at most")
        taken = 0
        while taken < len(buffer):
            part = await self._open_part()
            count = min(len(buffer) - taken, part.room_bytes)
            with buffer[taken : taken + count] as piece:  # let go of at once, also by the traceback of an error
                await self._append(part, piece)
            taken += count
            self._size_bytes += count
            if part.room_bytes == 0:
                self._send()
        self._usable = True

    async def commit(self) -> Location:
        """See Writer.commit."""
        self._take()
        if self._part is not None or self._count == 0:
            await self._open_part()  # of an empty object: one empty part
            self._send()
        await self._wait_for_all()
        # Not to be broken off: the server would go on, and might make the object after we have cleaned up.
        await hop(self._threads, self._upload.finish)
        # Only now: if the await is cancelled, nobody learns of the object, and leaving the context removes it.
        self._committed = True
        return self._location

    async def end(self) -> None:
        """Join what is being sent; unless committed, leave nothing on the server. Once, as the last."""
        self._usable = False
        self._upload.call_off()
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        if self._part is not None:
            self._part.let_go()
        if not self._committed:
            await abort_quietly(self._store, self._upload, self._threads)

    def _take(self) -> None:
        if not self._usable:
            raise WriterClosed(self._store)
        self._usable = False

    async def _open_part(self) -> PartData:
        """The part that is being filled; a new one once there is memory for it."""
        if self._part is None:
            if self._count == MOST_PARTS:
                raise StoreFull(self._store, f"an object has {MOST_PARTS} parts at most")
            part = PartData(self._plan.size_of(self._count + 1))
            while self._sending and not self._has_room_for(part):
                await self._wait_for_one()
            self._part = part
        return self._part

    def _has_room_for(self, part: PartData) -> bool:
        # Parts of giants, in files, go one after the other.
        held = sum(sent.memory_bytes for sent in self._sending.values())
        return part.in_memory and held + part.memory_bytes <= MEMORY_BYTES

    async def _append(self, part: PartData, piece: memoryview) -> None:
        if part.in_memory:
            part.append(piece)  # a copy of 2 MiB takes half a millisecond: a hop costs nearly as much
            return
        try:
            await hop(self._threads, part.append, piece)
        except OSError as error:
            detail = f"no temporary file for a large part ({type(error).__name__})"
            raise StoreUnavailable(self._store, detail) from error

    def _send(self) -> None:
        part, self._part = self._part, None
        assert part is not None
        self._count += 1
        task = asyncio.create_task(hop(self._threads, self._upload.put_part, self._count, part))
        self._sending[task] = part

    async def _wait_for_one(self) -> None:
        done, _ = await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            self._sending.pop(task).let_go()
            task.result()

    async def _wait_for_all(self) -> None:
        while self._sending:
            await self._wait_for_one()


@asynccontextmanager
async def part_writer(
    backend: Backend, location: Location, key: str, plan: PartPlan, threads: Executor
) -> AsyncIterator[PartWriter]:
    """Begin the upload of the object `key`, which will be at `location`; end it in whatever way the context is left."""
    store = location.store
    begun: list[Upload] = []
    try:
        scope = backend.scope()
        begin = lambda: begun.append(backend.begin(key))  # noqa: E731 - kept even if nobody waits for it any more
        await interruptible_hop(threads, scope.interrupt, scope.run, begin)
    except asyncio.CancelledError:
        for upload in begun:  # the thread went on to its end
            await to_the_end(abort_quietly(store, upload, threads))
        raise
    writer = PartWriter(store, begun[0], plan, threads, location)
    try:
        yield writer
    finally:
        await to_the_end(writer.end())


async def abort_quietly(store: str, upload: Upload, threads: Executor) -> None:
    """Abort; where that fails, say so: whatever ended the upload is the better error, and housekeeping comes later."""
    try:
        await hop(threads, upload.abort)
    except StoreError as error:
        _log.warning("store %s: what an upload has left stays until it is discarded: %s", store, error)
