"""Volumes of Cinder: waiting for what they become, attaching them for reading and writing, removing them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

from blick.model.errors import DataInUse, DataNotFound, StoreError, StoreUnavailable
from blick.stores.cinder.api import DISCARDED, CinderApi, Volume
from blick.stores.cinder.devices import Device, Devices
from blick.stores.cinder.options import CinderOptions
from blick.stream.hop import hop, to_the_end

_log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 15.0
_CLEANING_S = 60.0
"""How long somebody waits for a left-over to go who wants something else. What is there then is left over still."""


class Attachment:
    """A volume that is ours now, and its device."""

    def __init__(self, attachment_id: str) -> None:
        self.id = attachment_id
        self.device: Device | None = None


class _Shared:
    """An attachment that several readers of this process use."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.readers = 0
        self.attachment: Attachment | None = None


class Volumes:
    """One store's. One event loop's. Everything raises StoreDenied, CallerRefused and StoreUnavailable, too."""

    def __init__(self, store: str, options: CinderOptions, devices: Devices, threads: ThreadPoolExecutor) -> None:
        self._store = store
        self._options = options
        self._devices = devices
        self._threads = threads
        self._shared: dict[str, _Shared] = {}

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """A blocking call, in a thread of ours."""
        return await hop(self._threads, call, *args, **kwargs)

    async def wait(self, api: CinderApi, volume_id: str, passing: set[str], within_s: float | None = None) -> Volume:
        """The volume, once it is in none of the states `passing`.

        Raises StoreUnavailable after `within_s`, or after as long as the operator said.
        """
        clock = asyncio.get_running_loop().time
        give_up_at_s = clock() + (self._options.state_timeout_s if within_s is None else within_s)
        pause_s = _FIRST_PAUSE_S
        while (volume := await self.run(api.look, volume_id)).status in passing:
            if clock() > give_up_at_s:
                raise StoreUnavailable(self._store, "a volume takes too long to change its state")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return volume

    async def attach(self, api: CinderApi, volume_id: str, *, writable: bool) -> Attachment:
        """Attach a volume. Tries again where somebody else has it for a moment. Raises DataInUse."""
        pause_s = 1.0
        for _ in range(self._options.attach_attempts - 1):
            try:
                return await self._attach(api, volume_id, writable=writable)
            except DataInUse:
                await asyncio.sleep(pause_s)
                pause_s *= 2
        return await self._attach(api, volume_id, writable=writable)

    async def detach(self, api: CinderApi, attachment: Attachment) -> None:
        """Let go of a volume. What goes wrong is logged: the next one who wants it will meet it."""
        try:
            if attachment.device is not None:
                await self.run(attachment.device.close)
        finally:
            await self._end(api, attachment.id)

    @asynccontextmanager
    async def reading(self, api: CinderApi, volume: Volume) -> AsyncIterator[Device]:
        """The volume for reading, which this process attaches once however many read it."""
        shared = self._shared.setdefault(volume.id, _Shared())
        shared.readers += 1
        try:
            async with shared.lock:
                if shared.attachment is None:
                    shared.attachment = await self.attach(api, volume.id, writable=False)
            assert shared.attachment.device is not None
            yield shared.attachment.device
        finally:
            shared.readers -= 1
            await to_the_end(self._leave(api, volume.id, shared))

    async def remove(self, api: CinderApi, volume_id: str, within_s: float | None = None) -> None:
        """Remove a volume and wait until it is gone. Raises DataNotFound, DataInUse; for `within_s` see `wait`."""
        await self.run(api.delete, volume_id)
        try:
            left = await self.wait(api, volume_id, {"deleting"}, within_s)
        except DataNotFound:
            return
        if left.status.startswith("error"):
            raise StoreUnavailable(self._store, "Cinder could not remove the volume")
        raise DataInUse(self._store)

    async def remove_left_over(self, api: CinderApi, volume: Volume) -> None:
        """Remove a volume that is nobody's image. Whoever still writes to it cannot make it one any more.

        Raises DataInUse where another process still has it open: it is marked, and removed by the next attempt.
        """
        try:
            await self.run(api.set_metadata, volume.id, {DISCARDED: "true"})
            for attachment_id in await self.run(api.attachments_of, volume.id):
                await self._end(api, attachment_id)
            await self.wait(api, volume.id, {"creating", "extending", "detaching", "attaching"}, _CLEANING_S)
            await self.remove(api, volume.id, _CLEANING_S)
        except DataNotFound:
            return

    async def _attach(self, api: CinderApi, volume_id: str, *, writable: bool) -> Attachment:
        made: list[Attachment] = []

        def work() -> Attachment:
            attachment = Attachment(api.attach(volume_id, "rw" if writable else "ro"))
            made.append(attachment)
            room_bytes = api.show(volume_id).room_bytes
            info = api.connect(attachment.id, self._devices.connector())
            attachment.device = self._devices.open(volume_id, info, room_bytes, writable=writable)
            api.complete(attachment.id)
            return attachment

        try:
            return await self.run(work)
        except BaseException:
            for attachment in made:
                await to_the_end(self.detach(api, attachment))
            raise

    async def _leave(self, api: CinderApi, volume_id: str, shared: _Shared) -> None:
        async with shared.lock:
            if shared.readers:
                return
            attachment, shared.attachment = shared.attachment, None
            if attachment is not None:
                await self.detach(api, attachment)
            if not shared.readers and self._shared.get(volume_id) is shared:
                del self._shared[volume_id]

    async def _end(self, api: CinderApi, attachment_id: str) -> None:
        try:
            await self.run(api.detach, attachment_id)
        except DataNotFound:
            return
        except StoreError as error:
            _log.warning("store %s: cannot end an attachment: %s", self._store, error)
