"""Objects as files, directly under one or several directories, each named like its image.

A URI is `file://<data directory>/<image id>`; other services parse it, and mount the same directories. Nothing but
files directly under a configured directory is ever opened or removed, whatever a URI says.
"""

import logging
import math
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial as bound
from pathlib import Path
from typing import Any

from blick.model.blob import ByteRange, Location, StoredObject
from blick.model.errors import DataNotFound, Invalid, RangeInvalid, StoreDenied, StoreUnavailable, WriterClosed
from blick.stores.base import HasLocalFile, Store, Writer
from blick.stores.file.adoption import Adoption
from blick.stores.file.calls import CallLimits, Calls, Lane
from blick.stores.file.directories import Directories
from blick.stores.file.listing import FoundFile, Listing
from blick.stores.file.opened import OpenedFile
from blick.stores.file.partial import PartialFile, partial_name
from blick.stores.file.setup import FileOptions, Mount, prepare_directory, read_options

_log = logging.getLogger(__name__)

# One hop costs about 0.1 ms, reading 1 MiB from the page cache about as much: larger pieces gain little, and every
# download that the kernel does not send itself holds one.
READ_BYTES = 1 << 20
# Making an object durable takes as long as its disk is slow: so many times the limit of other calls.
_COMMIT_PATIENCE = 10

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


class FileStore:
    """Keeps objects as files. Also HasLocalPath, HasLocalFile, HasFreeSpace, HasProperties, OwnsUri, CanProbe, CanList,
    CanCopy, CanAdopt.

    Creates its directories at once; raises StartRefused for options that make no sense and for directories that
    cannot be used, or are to be mounted and are not. Has threads of its own, until `aclose`.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self._name = name
        self._options = read_options(name, options)
        for directory in self._options.directories:
            prepare_directory(name, directory.path, self._options.file_mode, require_mount=self._options.require_mount)
        self._directories = Directories(
            name,
            self._options.directories,
            require_mount=self._options.require_mount,
            reserved_bytes=self._options.reserved_bytes,
        )
        self._calls = Calls(name, _call_limits(self._options))

    @property
    def name(self) -> str:
        """The store's id."""
        return self._name

    async def properties(self) -> Mapping[str, Any]:
        """See HasProperties. Several directories are a list."""
        folders = [str(directory.path) for directory in self._options.directories]
        return {
            "data_dir": folders[0] if len(folders) == 1 else folders,
            "chunk_size": self._options.chunk_size_bytes,
            "thin_provisioning": self._options.thin_provisioning,
        }

    @asynccontextmanager
    async def writer(self, key: str, size_bytes: int | None) -> AsyncIterator[Writer]:
        """See Store.writer. Raises Invalid for a key that is not a plain file name."""
        async with self._writer(key, size_bytes) as writer:
            yield writer

    async def copy_from(self, source: Store, location: Location, key: str) -> Location | None:
        """See CanCopy: from any store that has a file, by sharing its blocks where the file system can do that."""
        if not isinstance(source, HasLocalFile):
            return None
        file = await source.open_file(location)
        try:
            status = os.fstat(file)
            room_bytes = min(status.st_size, status.st_blocks * 512)  # holes stay holes
            async with self._writer(key, room_bytes) as writer:
                await writer.copy(file)
                return await writer.commit()
        finally:
            os.close(file)

    async def adopt(self, source: Store, location: Location, key: str) -> Location | None:
        """See CanAdopt: from any store that has a file, by a hard link where both lie on one file system."""
        _require_plain(key)
        if not isinstance(source, HasLocalFile):
            return None
        file = await source.open_file(location)
        adoption = Adoption(self._name, self._directories, key, file, self._options.file_mode)
        lane, made = Lane(self._calls), None
        try:
            path = await lane.run_patiently(_COMMIT_PATIENCE, adoption.link, lane.require_wanted)
            # Only now: if the await is cancelled, nobody learns of the object, and it is removed.
            made = None if path is None else self._location(path)
            return made
        finally:
            close = bound(adoption.close, keep=made is not None)
            if lane.end(close):
                await self._close(close)

    async def read(self, location: Location, wanted: ByteRange | None = None) -> AsyncGenerator[memoryview, None]:
        """See Store.read."""
        async with self._opened(location) as (opened, lane):
            part = wanted or ByteRange(0, opened.size_bytes)
            if part.end_bytes > opened.size_bytes:
                raise RangeInvalid(self._name)
            buffer = memoryview(bytearray(min(READ_BYTES, part.length_bytes)))
            offset = part.offset_bytes
            while offset < part.end_bytes:
                count = await lane.run(opened.read_into, buffer[: part.end_bytes - offset], offset)
                yield buffer[:count]
                offset += count

    async def open_file(self, location: Location) -> int:
        """See HasLocalFile."""
        async with self._opened(location) as (opened, _):
            return opened.release()

    async def size_bytes(self, location: Location) -> int:
        """See Store.size_bytes."""
        async with self._opened(location) as (opened, _):
            return opened.size_bytes

    async def delete(self, location: Location) -> None:
        """See Store.delete. What lies outside the directories is not ours to remove: DataNotFound."""
        path = self._directories.file_of(location.uri)
        lane = Lane(self._calls)
        if path is None or not await lane.run(self._directories.remove, path, lane.require_wanted):
            raise DataNotFound(self._name)

    async def discard(self, key: str) -> None:
        """See Store.discard. Raises Invalid for a key that is not a plain file name."""
        _require_plain(key)
        lane = Lane(self._calls)
        await lane.run(self._directories.remove_everywhere, (partial_name(key), key), lane.require_wanted)

    async def objects(self) -> AsyncGenerator[StoredObject, None]:
        """See CanList. Files that other programs put there are listed if their names might be keys."""
        for path in self._directories.paths:
            lane = Lane(self._calls)
            listing = Listing(self._name, self._directories, path, _is_plain)
            try:
                await lane.run(listing.begin)
                while (batch := await lane.run(listing.more)) is not None:
                    for found in batch:
                        yield self._stored(found)
            finally:
                if lane.end(listing.close):
                    listing.close()

    async def probe(self) -> None:
        """See CanProbe."""
        await self._calls.run(self._directories.probe)

    async def free_bytes(self) -> int:
        """See HasFreeSpace: without what is reserved. Raises StoreDenied, StoreUnavailable."""
        return await self._calls.run(self._directories.free_bytes)

    def local_path(self, location: Location) -> Path:
        """See HasLocalPath."""
        path = self._directories.file_of(location.uri)
        if path is None:
            raise StoreDenied(self._name, "the location is outside this store's directories")
        return path

    def owns(self, uri: str) -> bool:
        """See OwnsUri."""
        return self._directories.file_of(uri) is not None

    async def aclose(self) -> None:
        """Wait for running calls and end the threads."""
        await self._calls.aclose()

    @asynccontextmanager
    async def _writer(self, key: str, size_bytes: int | None) -> "AsyncIterator[_FileWriter]":
        _require_plain(key)
        partial = PartialFile(
            self._name,
            key,
            self._options.file_mode,
            leave_holes=self._options.thin_provisioning,
            reserved_bytes=self._options.reserved_bytes,
        )
        lane = Lane(self._calls)
        writer = _FileWriter(self._name, partial, lane, self._publish)
        try:
            await lane.run(self._begin, partial, size_bytes or 0, lane.require_wanted)
            yield writer
        finally:
            writer.usable = False
            close = bound(partial.close, keep=writer.committed)
            if lane.end(close):
                await self._close(close)

    async def _close(self, close: Callable[[], None]) -> None:
        try:
            await self._calls.run(close)
        except StoreUnavailable as error:  # it goes on; and what is committed is committed
            _log.warning("store %s: closing a file: %s", self._name, error)

    @asynccontextmanager
    async def _opened(self, location: Location) -> AsyncIterator[tuple[OpenedFile, Lane]]:
        opened, lane = OpenedFile(self._name, self._directories, self.local_path(location)), Lane(self._calls)
        try:
            await lane.run(opened.open)
            yield opened, lane
        finally:
            if lane.end(opened.close):
                opened.close()

    def _begin(self, partial: PartialFile, size_bytes: int, require_wanted: Callable[[], None]) -> None:
        directory = self._directories.choose(size_bytes)
        partial.begin(directory, require_wanted)
        self._directories.remove_left_overs(partial_name(partial.key), directory.path, require_wanted)

    def _publish(self, partial: PartialFile) -> Location:
        path = partial.path
        partial.publish(self._directories.others(path.name, path.parent))
        return self._location(path)

    def _stored(self, found: FoundFile) -> StoredObject:
        location = None if found.is_partial else self._location(found.path)
        return StoredObject(found.key, location, found.size_bytes, found.modified_at_s)

    def _location(self, path: Path) -> Location:
        mounts = [mount for mount in self._options.mounts if path.is_relative_to(mount.path)]
        closest: Mount | None = max(mounts, key=lambda mount: len(mount.path.parts), default=None)
        return Location(self._name, f"file://{path}", closest.metadata if closest else {})


class _FileWriter:
    """Closed for good by anything that goes wrong: after a failed or cancelled write nobody knows what is there."""

    def __init__(
        self, store: str, partial: PartialFile, lane: Lane, publish: Callable[[PartialFile], Location]
    ) -> None:
        self.committed = False
        self._store = store
        self._partial = partial
        self._lane = lane
        self._publish = publish
        self.usable = True

    async def write(self, buffer: memoryview) -> None:
        self._take()
        # A call that may be given up gets bytes of its own: the caller's are the caller's again then.
        lent = memoryview(bytes(buffer)) if self._lane.is_limited else buffer
        await self._lane.run(self._partial.append, lent)
        self.usable = True

    async def copy(self, source: int) -> None:
        """Take all bytes of the open file `source`, which stays the caller's. Nothing was written before."""
        self._take()
        self._partial.take_over(os.dup(source))
        if not await self._lane.run(self._partial.clone_source):
            while await self._lane.run(self._partial.append_from_source):
                pass
        self.usable = True

    async def commit(self) -> Location:
        self._take()
        location = await self._lane.run_patiently(_COMMIT_PATIENCE, self._publish, self._partial)
        # Only now: if the await is cancelled, nobody learns of the object, and leaving the context removes it.
        self.committed = True
        return location

    def _take(self) -> None:
        if not self.usable:
            raise WriterClosed(self._store)
        self.usable = False


def _call_limits(options: FileOptions) -> CallLimits:
    if options.timeout_s == 0:
        return CallLimits()
    busy_threads = math.ceil(options.threads * options.busy_percent / 100)
    return CallLimits(options.timeout_s, options.threads, warn_from=max(1, busy_threads))


def _require_plain(key: str) -> None:
    if not _is_plain(key):
        raise Invalid("An object's name must be letters, digits, dots, dashes and underscores only.")


def _is_plain(key: str) -> bool:
    return _KEY.fullmatch(key) is not None
