"""One image on its way into a volume. One that is not flagged read-only is nobody's image, and goes if it never is."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from blick.model.errors import DataExists, DataInUse, DataNotFound, StoreError, StoreFull, StoreUnavailable
from blick.stores.cinder.api import DISCARDED, CinderApi
from blick.stores.cinder.attach import Attachment, Volumes
from blick.stores.cinder.devices import Device
from blick.stores.cinder.options import GIB, CinderOptions, size_gib

_log = logging.getLogger(__name__)


class Writing:
    """The uploads of this process, by key: to take their volumes away, they have to let go of them."""

    def __init__(self) -> None:
        self._partials: dict[str, list[Partial]] = {}

    @contextmanager
    def entered(self, partial: "Partial") -> Iterator[None]:
        """It is one of them meanwhile."""
        others = self._partials.setdefault(partial.key, [])
        others.append(partial)
        try:
            yield
        finally:
            others.remove(partial)
            if not others and self._partials.get(partial.key) is others:
                del self._partials[partial.key]

    async def stop(self, key: str, but: "Partial | None" = None) -> None:
        """End every upload of the key, except `but`."""
        for partial in list(self._partials.get(key, ())):
            if partial is not but:
                await partial.stop()


class Partial:
    """The upload of the object `key`. Begin, append …, publish, and close always. Creating it touches nothing."""

    def __init__(
        self, store: str, key: str, options: CinderOptions, api: CinderApi, volumes: Volumes, writing: Writing
    ) -> None:
        self.key = key
        self._store = store
        self._options = options
        self._api = api
        self._volumes = volumes
        self._writing = writing
        self._turn = asyncio.Lock()  # a writer has one call at a time, but `stop` comes from somebody else
        self._volume_id: str | None = None
        self._attachment: Attachment | None = None
        self._room_bytes = 0
        self._written_bytes = 0
        self._is_stopped = False

    async def begin(self, size_bytes: int | None) -> None:
        """Have an attached volume; clean away what an earlier upload of the key left. Raises StoreFull."""
        async with self._turn:
            await self._remove_left_overs()
            await self._volumes.run(self._create, size_gib(size_bytes or 0))
            await self._settle("creating")
            await self._attach()

    async def append(self, buffer: memoryview) -> None:
        """Write on, and enlarge the volume where it is full. Raises StoreFull."""
        async with self._turn:
            taken = 0
            while taken < len(buffer):
                if self._written_bytes == self._room_bytes:
                    await self._extend()
                device = self._open_attachment().device
                assert device is not None
                count = min(len(buffer) - taken, self._room_bytes - self._written_bytes)
                await self._volumes.run(_write, device, buffer, taken, count, self._written_bytes)
                self._written_bytes += count
                taken += count

    async def finish(self) -> None:
        """Have all bytes in the volume, and let go of it."""
        async with self._turn:
            attachment = self._open_attachment()
            assert attachment.device is not None
            await self._volumes.run(attachment.device.flush)
            await self._detach()
            await self._settle("detaching")

    async def publish(self) -> str:
        """Make it an image; gives the volume's id. Raises DataExists, StoreUnavailable. Not to be broken off."""
        async with self._turn:
            assert self._volume_id is not None
            try:
                volume = await self._volumes.run(self._api.show, self._volume_id)
                if DISCARDED in volume.metadata or self._is_stopped:
                    raise self._superseded()
                if any(other.is_whole for other in await self._volumes.run(self._api.find, self.key)):
                    raise DataExists(self._store)
                size = {"image_size": str(self._written_bytes)}
                await self._volumes.run(self._api.set_metadata, self._volume_id, size)
                await self._volumes.run(self._api.make_read_only, self._volume_id)
            except DataNotFound:
                raise self._superseded() from None
            return self._volume_id

    async def stop(self) -> None:
        """Somebody else takes the volume away: let go of it as soon as the call that runs has ended."""
        self._is_stopped = True
        async with self._turn:
            await self._detach()

    async def close(self, *, keep: bool) -> None:
        """Let go; unless `keep`, remove it, published or not. Raises nothing: what is left is for discard to find."""
        async with self._turn:
            try:
                await self._detach()
                if not keep and self._volume_id is not None:
                    volume = await self._volumes.run(self._api.show, self._volume_id)
                    await self._volumes.remove_left_over(self._api, volume)
            except DataNotFound:
                return
            except StoreError as error:
                _log.warning("store %s: cannot clean up behind object %s: %s", self._store, self.key, error)

    def _create(self, size: int) -> None:
        """In a thread: the id is known here even if whoever waits for it is cancelled."""
        self._volume_id = self._api.create(self.key, size, self._options.volume_type)

    async def _remove_left_overs(self) -> None:
        await self._writing.stop(self.key, but=self)
        for volume in await self._volumes.run(self._api.find, self.key):
            if volume.is_whole:
                continue
            try:
                await self._volumes.remove_left_over(self._api, volume)
            except (DataInUse, StoreUnavailable) as error:
                # It cannot become an image any more, and is not in our way.
                _log.warning("store %s: volume %s is left over: %s", self._store, volume.id, error)

    async def _settle(self, passing: str) -> None:
        assert self._volume_id is not None
        try:
            volume = await self._volumes.wait(self._api, self._volume_id, {passing})
        except DataNotFound:
            raise self._superseded() from None
        self._room_bytes = volume.room_bytes
        if volume.status == "error":
            raise StoreUnavailable(self._store, "Cinder could not make the volume")
        if volume.status == "error_extending":
            raise StoreFull(self._store, "Cinder could not enlarge the volume")

    async def _attach(self) -> None:
        assert self._volume_id is not None
        self._attachment = await self._volumes.attach(self._api, self._volume_id, writable=True)

    async def _detach(self) -> None:
        attachment, self._attachment = self._attachment, None
        if attachment is not None:
            await self._volumes.detach(self._api, attachment)

    async def _extend(self) -> None:
        """One GiB more. An attached volume can be enlarged by few drivers, so that it is detached unless told."""
        assert self._volume_id is not None
        attachment = self._open_attachment()
        assert attachment.device is not None
        await self._volumes.run(attachment.device.flush)
        if not self._options.extend_attached:
            await self._detach()
            await self._settle("detaching")
        await self._volumes.run(self._api.extend, self._volume_id, size_gib(self._room_bytes + GIB))
        before_bytes = self._room_bytes
        await self._settle("extending")
        if self._room_bytes == before_bytes:
            raise StoreFull(self._store, "Cinder could not enlarge the volume")
        await self._detach()
        await self._attach()

    def _open_attachment(self) -> Attachment:
        if self._is_stopped or self._attachment is None:
            raise self._superseded()
        return self._attachment

    def _superseded(self) -> StoreUnavailable:
        return StoreUnavailable(self._store, "the partial object was cleaned away, or begun anew, by somebody else")


def _write(device: Device, buffer: memoryview, begin: int, count: int, offset_bytes: int) -> None:
    """Write a part of `buffer`. Slices of it are made, and released, in the thread: the buffer is the caller's."""
    with buffer[begin : begin + count] as piece:
        device.write(piece, offset_bytes)
