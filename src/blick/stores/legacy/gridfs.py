"""Objects as files in MongoDB, where Glance kept images until Mitaka. A URI is `gridfs://<image id>`."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from blick.model.blob import ByteRange, Location, StoredObject
from blick.model.errors import DataNotFound, RangeInvalid, StartRefused, StoreError, WriterClosed
from blick.stores.base import Writer
from blick.stores.legacy.gridfs_bucket import CHUNK_BYTES, Bucket, Document, StoredFile
from blick.stores.legacy.keys import is_key, require_key
from blick.stream.hop import hop

T = TypeVar("T")

_log = logging.getLogger(__name__)

_SCHEME = "gridfs://"
_THREADS = 10
_LISTED_AT_ONCE = 200
# Nobody asks a server that is gone for as long as the driver would by itself. One call moves a chunk at most.
_PATIENCE_MS: Mapping[str, int] = {
    "connectTimeoutMS": 10_000,
    "serverSelectionTimeoutMS": 10_000,
    "socketTimeoutMS": 60_000,
}


class GridFsStore:
    """A store of type gridfs. Also OwnsUri, CanProbe, CanList.

    Options: mongodb_store_uri, which may set every option of MongoDB's driver, and mongodb_store_db.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self._name = name
        self._client = _client(name, options.get("mongodb_store_uri"))
        self._bucket = Bucket(name, self._client, options.get("mongodb_store_db") or "mongodb")
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"store-{name}")

    @property
    def name(self) -> str:
        """The store's id."""
        return self._name

    @asynccontextmanager
    async def writer(self, key: str, size_bytes: int | None) -> AsyncIterator[Writer]:  # noqa: ARG002 - the contract's
        """See Store.writer. Raises Invalid for a key that no object may have."""
        require_key(key)
        upload = _Upload(self._bucket, key)
        writer = _GridFsWriter(self._name, upload, self._threads)
        try:
            await hop(self._threads, upload.begin)
            yield writer
        finally:
            writer.usable = False
            await hop(self._threads, self._end, upload, keep=writer.committed)

    async def read(self, location: Location, wanted: ByteRange | None = None) -> AsyncGenerator[memoryview, None]:
        """See Store.read."""
        file = await self._find(location)
        part = wanted or ByteRange(0, file.size_bytes)
        if part.end_bytes > file.size_bytes:
            raise RangeInvalid(self._name)
        offset = part.offset_bytes
        while offset < part.end_bytes:
            number, begin = divmod(offset, file.chunk_bytes)
            data = await hop(self._threads, self._bucket.chunk, file, number)
            piece = memoryview(data)[begin : begin + part.end_bytes - offset]
            yield piece
            offset += len(piece)

    async def size_bytes(self, location: Location) -> int:
        """See Store.size_bytes."""
        return (await self._find(location)).size_bytes

    async def delete(self, location: Location) -> None:
        """See Store.delete."""
        if not await hop(self._threads, self._bucket.remove, self._key_of(location)):
            raise DataNotFound(self._name)

    async def discard(self, key: str) -> None:
        """See Store.discard. Raises Invalid for a key that no object may have."""
        require_key(key)
        await hop(self._threads, self._bucket.discard, key)

    async def objects(self) -> AsyncGenerator[StoredObject, None]:
        """See CanList."""
        stored, unfinished = self._bucket.stored(), self._bucket.unfinished()
        try:
            while files := await hop(self._threads, _batch, stored):
                for file in files:
                    location = Location(self._name, _SCHEME + file.key)
                    yield StoredObject(file.key, location, file.size_bytes, _seconds(file.stored_at))
            while uploads := await hop(self._threads, _batch, unfinished):
                for upload in uploads:
                    yield StoredObject(upload.key, None, None, _seconds(upload.began_at))
        finally:
            await hop(self._threads, stored.close)
            await hop(self._threads, unfinished.close)

    async def probe(self) -> None:
        """See CanProbe."""
        await hop(self._threads, self._bucket.ping)

    def owns(self, uri: str) -> bool:
        """See OwnsUri."""
        return uri.startswith(_SCHEME) and is_key(uri.removeprefix(_SCHEME))

    async def aclose(self) -> None:
        """End connections and threads."""
        await hop(None, self._threads.shutdown)
        await hop(None, self._client.close)

    def _key_of(self, location: Location) -> str:
        if not self.owns(location.uri):
            raise DataNotFound(self._name)
        return location.uri.removeprefix(_SCHEME)

    async def _find(self, location: Location) -> StoredFile:
        file = await hop(self._threads, self._bucket.find, self._key_of(location))
        if file is None:
            raise DataNotFound(self._name)
        return file

    def _end(self, upload: "_Upload", *, keep: bool) -> None:
        """What cannot be cleaned up now is left to the next writer, or to discard."""
        try:
            upload.end(keep=keep)
        except StoreError as error:
            _log.warning("store %s: cannot clean up behind object %s: %s", self._name, upload.key, error)


class _Upload:
    """One attempt to store the object `key`. Blocks; used by one thread at a time."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        self.key = key
        self._bucket = bucket
        self._file_id: str | None = None
        self._chunks = 0
        self._rest = bytearray()

    def begin(self) -> None:
        self._file_id = self._bucket.begin(self.key)

    def append(self, buffer: memoryview) -> None:
        taken = 0
        while taken < len(buffer):
            # Released at once: an error on its way up must not hold on to the caller's bytes.
            with buffer[taken : taken + CHUNK_BYTES - len(self._rest)] as piece:
                self._rest += piece
                taken += len(piece)
            if len(self._rest) == CHUNK_BYTES:
                self._write_rest()

    def commit(self) -> str:
        assert self._file_id is not None
        size_bytes = self._chunks * CHUNK_BYTES + len(self._rest)
        if self._rest:
            self._write_rest()
        self._bucket.commit(self.key, self._file_id, size_bytes)
        return _SCHEME + self.key

    def end(self, *, keep: bool) -> None:
        if self._file_id is None:
            return
        if keep:
            self._bucket.forget_upload(self._file_id)
        else:
            self._bucket.abort(self.key, self._file_id)

    def _write_rest(self) -> None:
        assert self._file_id is not None
        self._bucket.append(self._file_id, self._chunks, bytes(self._rest))
        self._chunks += 1
        self._rest.clear()


class _GridFsWriter:
    """Closed for good by anything that goes wrong: after a failed or cancelled write nobody knows what is there."""

    def __init__(self, store: str, upload: _Upload, threads: Executor) -> None:
        self.usable = True
        self.committed = False
        self._store = store
        self._upload = upload
        self._threads = threads

    async def write(self, buffer: memoryview) -> None:
        self._take()
        await hop(self._threads, self._upload.append, buffer)
        self.usable = True

    async def commit(self) -> Location:
        self._take()
        uri = await hop(self._threads, self._upload.commit)
        # Only now: if the await is cancelled, nobody learns of the object, and leaving the context removes it.
        self.committed = True
        return Location(self._store, uri)

    def _take(self) -> None:
        if not self.usable:
            raise WriterClosed(self._store)
        self.usable = False


def _client(store: str, uri: str | None) -> "MongoClient[Document]":
    """A client that has not connected yet. Raises StartRefused without repeating the URI, which may hold a password."""
    if not uri:
        raise StartRefused(f"Store {store}: mongodb_store_uri: where is MongoDB?")
    options: dict[str, Any] = {name: ms for name, ms in _PATIENCE_MS.items() if name.lower() not in uri.lower()}
    try:
        return MongoClient(uri, connect=False, **options)
    except (PyMongoError, ValueError, TypeError) as error:
        reason = type(error).__name__
        raise StartRefused(f"Store {store}: mongodb_store_uri: this is no URI of a MongoDB ({reason}).") from None


def _batch(entries: Iterator[T]) -> list[T]:
    return list(islice(entries, _LISTED_AT_ONCE))


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
