"""The way of an upload's bytes: body → buffers → two hashes ∥ inspection ∥ writer; staged bytes are not hashed.

Every buffer is read by all of them at once and is filled again when the last has let go of it. There are
`BUFFERS` of them, so the slowest part holds back the client and a transfer never holds more memory than that.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from mmap import mmap
from threading import Lock
from typing import Protocol

from blick.model.blob import Digests
from blick.model.errors import BlickError, Invalid, LimitExceeded
from blick.stream.body import BodySource
from blick.stream.hashing import Hashing
from blick.stream.hop import to_the_end
from blick.stream.threads import TransferThreads

MIB = 1 << 20
BUFFER_BYTES = 2 * MIB  # large enough that handing it around costs nothing beside hashing it (4 ms)
BUFFERS = 4  # one being filled, one being hashed and written, two in between

Read = Callable[[memoryview], Awaitable[int]]
Write = Callable[[memoryview], Awaitable[None]]
Feed = Callable[[memoryview], None]


class Inspection(Protocol):
    """Looks at the bytes of a body while they pass."""

    def feed(self, data: memoryview) -> None:
        """Look at the next bytes, in a thread; must not keep `data`. What it raises ends the transfer."""
        ...


async def pump(
    body: BodySource,
    write: Write,
    *,
    hashing: Hashing,
    inspection: Inspection | None,
    cap_bytes: int,
    expected_bytes: int | None,
    threads: TransferThreads,
    over_cap: str | None = None,
) -> Digests:
    """Move the whole body through `write`, one call per buffer and in order; give its size and hashes.

    Raises LimitExceeded (saying `over_cap`, if given) as soon as more than `cap_bytes` came, Invalid when more (as soon
    as seen) or less than `expected_bytes` came, BodyIncomplete, and whatever `write` or the inspection raise. Once this
    has ended, in whatever way, no thread touches a buffer, the inspection or the body any more.
    """
    hashes = hashing.begin()
    feeds: list[Feed] = [hashes.md5.update, hashes.second.update]
    if inspection is not None:
        feeds.append(inspection.feed)
    transfer = _Transfer(body.readinto, write, feeds, _Bounds(cap_bytes, expected_bytes, over_cap), threads)
    return hashes.digests(await transfer.run())


async def move(
    body: BodySource,
    write: Write,
    *,
    cap_bytes: int,
    expected_bytes: int | None,
    threads: TransferThreads,
    inspection: Inspection | None = None,
    over_cap: str | None = None,
) -> int:
    """Like `pump` for bytes that nobody needs to know the hashes of, which are what takes time; gives their count."""
    feeds: list[Feed] = [] if inspection is None else [inspection.feed]
    return await _Transfer(body.readinto, write, feeds, _Bounds(cap_bytes, expected_bytes, over_cap), threads).run()


async def salvage(
    read: Read, write: Write, feeds: Iterable[Feed], *, most_bytes: int, over: str, threads: TransferThreads
) -> int:
    """Move as much as comes through `write` and `feeds`, bit by bit; gives its count, which is at most `most_bytes`.

    `read` is what RequestBody.read_some is. A BlickError that it raises is raised here once everything that came before
    has been written and seen by every feed; so is LimitExceeded, saying `over`, when there is more. After any other
    error, and when cancelled, some of the feeds may have seen what was not written.
    """
    return await _Salvage(read, write, feeds, _Bounds(most_bytes, None, over), threads).run()


class _Bounds:
    """How long the body may be, and must be."""

    def __init__(self, cap_bytes: int, expected_bytes: int | None, over_cap: str | None) -> None:
        self._cap_bytes = cap_bytes
        self._over_cap = over_cap or f"The data is larger than the {cap_bytes} bytes that are allowed."
        self._expected_bytes = expected_bytes
        self._most_bytes = cap_bytes if expected_bytes is None else min(cap_bytes, expected_bytes)

    def room_bytes(self, size_bytes: int) -> int:
        """How much to ask for after `size_bytes`: one byte too many is enough to know."""
        return self._most_bytes - size_bytes + 1

    def check(self, size_bytes: int) -> None:
        """Raise as soon as the body is too long."""
        if size_bytes > self._cap_bytes:
            raise LimitExceeded(self._over_cap)
        if self._expected_bytes is not None and size_bytes > self._expected_bytes:
            raise Invalid(f"The data is longer than the announced {self._expected_bytes} bytes.")

    def check_end(self, size_bytes: int) -> None:
        """Raise if the body ended too early."""
        if self._expected_bytes is not None and size_bytes < self._expected_bytes:
            raise Invalid(
                f"The data is {size_bytes} bytes long, shorter than the announced {self._expected_bytes} bytes."
            )


class _Transfer:
    """One run of the pump: a task that receives, a task that writes, and a strand for every feed."""

    def __init__(
        self, read: Read, write: Write, feeds: Iterable[Feed], bounds: _Bounds, threads: TransferThreads
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._read = read
        self._write = write
        self._bounds = bounds
        self._strands = [(threads.strand(), feed) for feed in feeds]
        self._buffers = _Buffers(self._loop)
        self._filled: asyncio.Queue[_Buffer] = asyncio.Queue()  # bounded by the number of buffers
        self._outcome: asyncio.Future[int] = self._loop.create_future()
        self._ending = False  # seen by the strands: what queues behind a failure is let go unread

    async def run(self) -> int:
        """Move everything; give the count of bytes."""
        tasks = [self._loop.create_task(self._receive()), self._loop.create_task(self._write_all())]
        for task in tasks:
            task.add_done_callback(self._note_failure)
        try:
            return await self._outcome
        finally:
            self._ending = True
            await to_the_end(self._wind_down(tasks))

    async def _wind_down(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """End the tasks, joining their threads, and wait until nobody holds a buffer any more."""
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        while not self._filled.empty():
            self._buffers.release(self._filled.get_nowait())
        await self._buffers.all_back()
        if not self._outcome.cancelled():
            self._outcome.exception()  # seen: the loop must not report it as lost

    async def _receive(self) -> None:
        size_bytes = 0
        while True:
            buffer = await self._buffers.get()
            room = buffer.room(self._bounds.room_bytes(size_bytes))
            try:
                count = await self._read(room)
                size_bytes += count
                self._bounds.check(size_bytes)
            except BaseException:
                self._buffers.release(buffer)
                raise
            self._hand_out(buffer, count)
            if count < len(room):
                break
        self._bounds.check_end(size_bytes)
        await self._buffers.all_back()
        if not self._outcome.done():
            self._outcome.set_result(size_bytes)

    def _hand_out(self, buffer: "_Buffer", count: int) -> None:
        if not count:
            self._buffers.release(buffer)
            return
        buffer.fill(count, holders=len(self._strands) + 1)
        for strand, feed in self._strands:
            strand.submit(partial(self._feed, feed, buffer))
        self._filled.put_nowait(buffer)

    def _feed(self, feed: Feed, buffer: "_Buffer") -> None:
        """In a thread: show the buffer to one feed."""
        try:
            if not self._ending:
                feed(buffer.data)
        except BaseException as error:  # not swallowed: it becomes the outcome of the transfer
            self._ending = True
            self._loop.call_soon_threadsafe(self._fail, error)
        finally:
            self._buffers.release_from_thread(buffer)

    async def _write_all(self) -> None:
        while True:
            buffer = await self._filled.get()
            try:
                await self._write(buffer.data)
            finally:
                self._buffers.release(buffer)

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            self._outcome.cancel()  # nothing when the transfer has ended already
        elif (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._ending = True
        if not self._outcome.done():
            self._outcome.set_exception(error)


class _Salvage(_Transfer):
    """One that ends with whatever is read last, and hands that on whole."""

    async def _receive(self) -> None:
        size_bytes = 0
        trouble: BlickError | None = None
        while True:
            buffer = await self._buffers.get()
            room = buffer.room(self._bounds.room_bytes(size_bytes))
            try:
                count = await self._read(room)
                self._bounds.check(size_bytes + count)
            except BlickError as error:
                trouble = error
                count = 0
            except BaseException:
                self._buffers.release(buffer)
                raise
            size_bytes += count
            self._hand_out(buffer, count)
            if not count:
                break
        await self._buffers.all_back()
        if trouble is not None:
            raise trouble
        if not self._outcome.done():
            self._outcome.set_result(size_bytes)


class _Buffer:
    """Memory that is being filled by one, then read by several."""

    __slots__ = ("_memory", "data", "holders")

    def __init__(self) -> None:
        self._memory = memoryview(mmap(-1, BUFFER_BYTES))  # pages that stay untouched cost nothing
        self.data = self._memory[:0]
        self.holders = 1

    def room(self, most_bytes: int) -> memoryview:
        """Where to put bytes."""
        return self._memory[: min(most_bytes, BUFFER_BYTES)]

    def fill(self, count: int, holders: int) -> None:
        """The first `count` bytes are there now, for `holders` readers."""
        self.data = self._memory[:count]
        self.holders = holders


class _Buffers:
    """At most BUFFERS buffers. Only `release_from_thread` may be called outside the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = Lock()
        self._free: deque[_Buffer] = deque()
        self._made = 0
        self._changed = asyncio.Event()

    async def get(self) -> _Buffer:
        """A free buffer; waits for one."""
        while not self._free and self._made == BUFFERS:
            self._changed.clear()
            await self._changed.wait()
        if self._free:
            buffer = self._free.pop()
        else:
            buffer = _Buffer()
            self._made += 1
        buffer.holders = 1
        return buffer

    async def all_back(self) -> None:
        """Wait until nobody holds a buffer."""
        while len(self._free) < self._made:
            self._changed.clear()
            await self._changed.wait()

    def release(self, buffer: _Buffer) -> None:
        """One holder less."""
        if self._let_go(buffer):
            self._take_back(buffer)

    def release_from_thread(self, buffer: _Buffer) -> None:
        """One holder less, told by a thread."""
        if self._let_go(buffer):
            self._loop.call_soon_threadsafe(self._take_back, buffer)

    def _let_go(self, buffer: _Buffer) -> bool:
        with self._lock:
            buffer.holders -= 1
            return buffer.holders == 0

    def _take_back(self, buffer: _Buffer) -> None:
        self._free.append(buffer)
        self._changed.set()
