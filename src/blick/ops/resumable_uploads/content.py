"""The bytes of uploads: in a file that grows, or in parts in a store that all nodes reach.

| staged data lies in | how far an upload is | survives |
|---|---|---|
| a folder of this node | as its file is long | the process at any moment; the machine up to what was told |
| a configured store | as its recorded parts are long | both; what was on its way to the part begun last is lost |

Bytes of a piece with a checksum count only once they were compared.
"""

import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from blick.db import resumable_uploads
from blick.model.blob import Location
from blick.model.errors import BlickError, DataNotFound, Invalid, StoreError
from blick.model.import_job import SourceData
from blick.model.resumable_upload import FINAL, Part, ResumableUpload
from blick.ops.resumable_uploads.holding import Hold
from blick.ops.services import Services
from blick.stores.base import Store, Writer
from blick.stores.parts import joined
from blick.stores.spool import SpoolFile
from blick.stores.staging import FOLDER, PARTS

_log = logging.getLogger(__name__)

MIB = 1 << 20
# A part is lost with its process; so it is short at first, and longer where there are many already.
_SMALLEST_PART_BYTES = 32 * MIB
_LARGEST_PART_BYTES = 512 * MIB
_PARTS_OF_ONE_LENGTH = 64
# What is shorter is read again and becomes the beginning of the next part: clients may send pieces of any length.
_LEAST_PART_BYTES = 4 * MIB


class Content(Protocol):
    """The bytes of an upload that we hold, while a request adds to them."""

    @property
    def size_bytes(self) -> int:
        """How many there are, written but not flushed ones too."""
        ...

    async def write(self, buffer: memoryview) -> None:
        """Append. Raises StoreFull, StoreDenied, StoreUnavailable, Gone."""
        ...

    async def flush(self) -> None:
        """Make everything durable that was written. Raises as `write` does."""
        ...

    async def cut(self, size_bytes: int) -> None:
        """Drop what lies behind `size_bytes`, where a flush has been. Raises StoreDenied, StoreUnavailable, Gone."""
        ...


@asynccontextmanager
async def opened(services: Services, hold: Hold, *, may_cut: bool = False) -> AsyncIterator[Content]:
    """The upload's bytes, without what does not count. What was written and not flushed may get lost.

    `may_cut`: where they end now they may be cut later. Raises StoreDenied, StoreFull, StoreUnavailable, Gone,
    ServiceUnavailable.
    """
    if services.staging.is_shared:
        async with _PartsContent.opened(services, hold, may_cut=may_cut) as parts:
            yield parts
        return
    with await services.staging.spool.open(hold.upload.file_name) as file:
        counting = _counting_bytes(hold.upload, file.size_bytes)
        if not _same_boot(hold.was_held_by, services.holder):
            # The machine went down in the middle of a request: beyond what was told the file may hold anything.
            counting = min(counting, hold.upload.offset_bytes)
        if counting < file.size_bytes:
            await file.cut(counting)
        yield _FileContent(file)


async def offset_bytes(services: Services, upload: ResumableUpload) -> int:
    """How much of an upload that nobody adds to is there for good. Raises StoreDenied, StoreUnavailable."""
    if upload.kind == FINAL or services.staging.is_shared:
        return _counting_bytes(upload, upload.offset_bytes)
    size_bytes = _counting_bytes(upload, await services.staging.spool.size_bytes(upload.file_name))
    return size_bytes if _same_boot(upload.holder, services.holder) else min(size_bytes, upload.offset_bytes)


async def source(services: Services, upload: ResumableUpload) -> SourceData:
    """Where the bytes of a complete upload lie, for the job that gives them to the image."""
    assert upload.length_bytes is not None
    if not services.staging.is_shared:
        return SourceData(services.staging.folder_location(upload.file_name), upload.length_bytes)
    return source_of_parts(upload, await services.database.read(resumable_uploads.parts_of, upload.id))


def source_of_parts(upload: ResumableUpload, parts: Sequence[Part]) -> SourceData:
    """The same for one that is made of these parts."""
    assert upload.length_bytes is not None
    if len(parts) == 1:
        return SourceData(parts[0].location, upload.length_bytes)
    places = [(part.location, part.size_bytes) for part in parts]
    return SourceData(joined(upload.id, PARTS, places), upload.length_bytes)


async def parts_of(services: Services, upload: ResumableUpload) -> list[Part]:
    """The parts that a complete upload is made of, or is as a whole."""
    assert upload.length_bytes is not None
    if services.staging.is_shared:
        return await services.database.read(resumable_uploads.parts_of, upload.id)
    name = upload.file_name
    return [Part(0, name, services.staging.folder_location(name), upload.length_bytes)]


async def remove(services: Services, upload: ResumableUpload) -> None:
    """Remove all bytes; that there are none is fine. Raises StoreDenied, StoreUnavailable, ServiceUnavailable."""
    if not services.staging.is_shared:
        await services.staging.spool.remove(upload.file_name)
    for part in await services.database.read(resumable_uploads.parts_of, upload.id):
        await _remove_part(services, upload, part)
    await _discard_broken(services, upload)


async def _remove_part(services: Services, upload: ResumableUpload, part: Part) -> None:
    try:
        with contextlib.suppress(DataNotFound):
            await _store(services, part.location.store).delete(part.location)
    except Invalid:
        _log.error("store %s of upload %s is not configured any more", part.location.store, upload.id)
    await services.database.write(resumable_uploads.drop_part, upload.id, part.number)


async def _discard_broken(services: Services, upload: ResumableUpload) -> None:
    for number, store_id, key in await services.database.read(resumable_uploads.broken_parts_of, upload.id):
        try:
            await _store(services, store_id).discard(key)
        except Invalid:
            _log.error("store %s of upload %s is not configured any more", store_id, upload.id)
        await services.database.write(resumable_uploads.drop_part, upload.id, number)


def _store(services: Services, store_id: str) -> Store:
    """The store of a part. Raises Invalid, StoreUnavailable."""
    if store_id == FOLDER:
        folder = services.staging.store_of(Location(store_id, ""))
        assert folder is not None
        return folder
    return services.stores.by_id(store_id)


def _counting_bytes(upload: ResumableUpload, size_bytes: int) -> int:
    bounds = (upload.unverified_from_bytes, upload.length_bytes)
    return min([size_bytes, *(bound for bound in bounds if bound is not None)])


def _same_boot(holder: str, ours: str) -> bool:
    """Has the machine run since the process `holder` did? True if it gave back what it held."""
    return not holder or holder.rsplit("/", 3)[0] == ours.rsplit("/", 3)[0]


class _FileContent:
    """See Content."""

    def __init__(self, file: SpoolFile) -> None:
        self._file = file

    @property
    def size_bytes(self) -> int:
        return self._file.size_bytes

    async def write(self, buffer: memoryview) -> None:
        await self._file.append(buffer)

    async def flush(self) -> None:
        await self._file.sync()

    async def cut(self, size_bytes: int) -> None:
        await self._file.cut(size_bytes)


class _PartsContent:
    """See Content. Each part is an object of its own; the one that is being written is noted beforehand."""

    def __init__(self, services: Services, hold: Hold, parts: list[Part], *, may_cut: bool) -> None:
        self._services = services
        self._upload = hold.upload
        self._store = services.staging.store
        self._parts = parts
        self._may_cut = may_cut
        self._recorded_bytes = sum(part.size_bytes for part in parts)
        self._stack = AsyncExitStack()
        self._writer: Writer | None = None
        self._number = parts[-1].number if parts else -1
        self._key = ""
        self._part_bytes = 0
        self._replaced: Part | None = None

    @classmethod
    @asynccontextmanager
    async def opened(cls, services: Services, hold: Hold, *, may_cut: bool) -> AsyncIterator["_PartsContent"]:
        """The parts that count; leaves none half written."""
        await _discard_broken(services, hold.upload)
        parts = await services.database.read(resumable_uploads.parts_of, hold.upload.id)
        content = cls(services, hold, parts, may_cut=may_cut)
        try:
            await content.cut(_counting_bytes(hold.upload, content.size_bytes))
            yield content
        finally:
            await content._break_off()

    @property
    def size_bytes(self) -> int:
        replaced_bytes = self._replaced.size_bytes if self._replaced is not None else 0
        return self._recorded_bytes + self._part_bytes - replaced_bytes

    async def write(self, buffer: memoryview) -> None:
        while buffer:
            if self._writer is None:
                await self._begin()
            assert self._writer is not None
            piece = buffer[: self._wanted_bytes - self._part_bytes]
            await self._writer.write(piece)
            self._part_bytes += len(piece)
            buffer = buffer[len(piece) :]
            if self._part_bytes >= self._wanted_bytes:
                await self.flush()

    async def flush(self) -> None:
        if self._writer is None:
            return
        location = await self._writer.commit()
        part = Part(self._number, self._key, location, self._part_bytes)
        services, size_bytes = self._services, self.size_bytes
        try:
            await services.database.write(resumable_uploads.finish_part, self._upload, part, size_bytes, self._replaced)
        except BaseException:
            # Nobody knows of it but the row that says that it was begun.
            await self._break_off()
            raise
        replaced = self._replaced
        self._parts.append(part)
        self._recorded_bytes = size_bytes
        await self._close()
        if replaced is not None:
            self._parts.remove(replaced)
            await self._remove_broken()

    async def cut(self, size_bytes: int) -> None:
        await self._break_off()
        while self._parts and self._recorded_bytes > size_bytes:
            last = self._parts.pop()
            await _remove_part(self._services, self._upload, last)
            self._recorded_bytes -= last.size_bytes
        if self._recorded_bytes != self._upload.offset_bytes:
            await self._services.database.write(resumable_uploads.set_offset, self._upload, self._recorded_bytes)

    @property
    def _wanted_bytes(self) -> int:
        """How long the part at hand is to become."""
        wanted = self._recorded_bytes // _PARTS_OF_ONE_LENGTH
        return max(_SMALLEST_PART_BYTES, min(wanted, _LARGEST_PART_BYTES))

    async def _begin(self) -> None:
        last = self._parts[-1] if self._parts else None
        self._number += 1
        # Another name each time: whoever still removes an earlier one never meets this one.
        name = f"{self._upload.image_id}.{self._upload.id}.{self._services.new_token()}"
        self._key = self._services.staging.key(name)
        await self._services.database.write(
            resumable_uploads.begin_part, self._upload, self._number, self._store.name, self._key
        )
        self._writer = await self._stack.enter_async_context(self._store.writer(self._key, None))
        if last is not None and last.size_bytes < _LEAST_PART_BYTES and not self._may_cut:
            async with contextlib.aclosing(self._store.read(last.location)) as pieces:
                async for piece in pieces:
                    await self._writer.write(piece)
            self._replaced = last
            self._part_bytes = last.size_bytes

    async def _break_off(self) -> None:
        """Leave nothing of the part at hand, as far as that works now; the row tells whoever comes next."""
        if self._writer is None:
            return
        await self._close()
        await self._remove_broken()

    async def _remove_broken(self) -> None:
        try:
            await _discard_broken(self._services, self._upload)
        except (BlickError, StoreError) as error:
            _log.warning("a part of upload %s cannot be removed yet: %s", self._upload.id, error)

    async def _close(self) -> None:
        self._writer, self._replaced, self._part_bytes = None, None, 0
        await self._stack.aclose()
        self._stack = AsyncExitStack()
