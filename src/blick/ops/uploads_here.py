"""What this process holds of uploads between and during requests. All of it may get lost: it only saves time."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from blick.model.errors import Locked
from blick.stream.body import RequestBody
from blick.stream.hashing import RunningHashes
from blick.stream.inspect import Inspection

# Each holds two hash states and, for some formats, what an inspector has read: well under a MiB.
_MOST_KEPT = 32


class Transfer:
    """One request that adds to an upload, as others of this process see it, who may want to take its place."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._scope: asyncio.Timeout | None = None
        self._waits_since_s: float | None = None
        self._given_way = False
        self.ended = asyncio.Event()

    @property
    def silent_s(self) -> float:
        """For how long its client has sent nothing that was waited for."""
        return 0.0 if self._waits_since_s is None else self._loop.time() - self._waits_since_s

    async def read(self, body: RequestBody, buffer: memoryview) -> int:
        """The body's `read_some`, until somebody else is to go on. Raises Locked then."""
        if self._given_way:
            raise Locked("Another request goes on with this upload.")
        self._waits_since_s = self._loop.time()
        try:
            async with asyncio.timeout(None) as self._scope:
                return await body.read_some(buffer)
        except TimeoutError as error:
            raise Locked("Another request goes on with this upload.") from error
        finally:
            self._scope = self._waits_since_s = None

    async def ended_within(self, patience_s: float) -> bool:
        """Wait at most so long for its end; False: it goes on."""
        try:
            async with asyncio.timeout(patience_s):
                await self.ended.wait()
        except TimeoutError:
            return False
        return True

    def give_way(self) -> None:
        """Read no more, and keep what was read."""
        self._given_way = True
        if self._scope is not None:
            self._scope.reschedule(self._loop.time())


@dataclass(slots=True)
class Running:
    """What was computed over the first `end_bytes` bytes of an upload.

    `inspection` judges by `formats`, the image's at that time; None: it has lost track.
    """

    hashes: RunningHashes
    formats: tuple[str | None, str | None]
    inspection: Inspection | None
    end_bytes: int = 0


class UploadsHere:
    """By the uploads' ids. Belongs to one event loop."""

    def __init__(self) -> None:
        self.transfers: dict[str, Transfer] = {}
        self._kept: OrderedDict[str, Running] = OrderedDict()

    def keep(self, upload_id: str, running: Running) -> None:
        """Keep it for the next request, unless too many others come before that."""
        self._kept[upload_id] = running
        self._kept.move_to_end(upload_id)
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)

    def take(self, upload_id: str, end_bytes: int) -> Running | None:
        """What was kept, if it goes exactly so far."""
        running = self._kept.pop(upload_id, None)
        return running if running is not None and running.end_bytes == end_bytes else None
