"""Image data in the collections of a GridFS bucket, written and removed so that no moment is one to die in.

`fs.chunks` and `fs.files` are as GridFS has them. A file that Glance wrote has the image's id for its own. Ours have an
id for each attempt, `<image id>/<token>`, so that two writers of one image cannot mix their chunks. Two collections of
ours say what counts:

    blick_images    {_id: image id, file, length, chunk_size}    an object is there from the moment that this is
    blick_uploads   {_id: file, image, doomed}                   what is being written, or removed, or was left so

A writer whose entry in `blick_uploads` is doomed, or gone, has been cleaned away: it looks after committing, and takes
back what it did. Whoever cleans away dooms that entry first, and only then looks whether the object was committed. The
entry goes last, so that whatever dies on the way, something still tells of the data.
Everything here blocks.
"""

from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from pymongo import MongoClient, WriteConcern
from pymongo.collection import Collection
from pymongo.database import Database

from blick.model.errors import DataExists, RangeInvalid, StoreUnavailable
from blick.stores.legacy.gridfs_errors import as_store_errors
from blick.stores.legacy.keys import is_key

Document = dict[str, Any]

CHUNK_BYTES = 1 << 20
"""Four of GridFS's usual chunks: a round trip each is what a transfer waits for."""
_REMOVED_AT_ONCE = 256
"""Chunks that one command removes: it has to end within the time limit of a socket."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of the bucket that is an object."""

    key: str
    file_id: str
    size_bytes: int
    chunk_bytes: int
    stored_at: datetime | None


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What somebody is writing or removing, or left so."""

    key: str
    file_id: str
    began_at: datetime | None


class Bucket:
    """The bucket `fs` of a database, for the store `store`. Methods raise StoreUnavailable, StoreDenied, StoreError."""

    def __init__(self, store: str, client: MongoClient[Document], database: str) -> None:
        self._store = store
        self._client = client
        here: Database[Document] = client.get_database(database)
        lasting = WriteConcern("majority", j=True)
        self._files: Collection[Document] = here.get_collection("fs.files", write_concern=lasting)
        self._images: Collection[Document] = here.get_collection("blick_images", write_concern=lasting)
        self._uploads: Collection[Document] = here.get_collection("blick_uploads", write_concern=lasting)
        # Chunks need not be on the disk one by one: what is written behind them, and waited for, brings them there.
        self._chunks: Collection[Document] = here.get_collection("fs.chunks")

    def ping(self) -> None:
        """Ask for a sign of life, with our credentials."""
        with as_store_errors(self._store):
            self._images.find_one({}, {"_id": 1})

    def begin(self, key: str) -> str:
        """The id of a new file for the object `key`; what earlier writers of it left is removed."""
        with as_store_errors(self._store):
            for earlier in self._uploads_of(key):
                self._clean_away(key, earlier)
            file_id = f"{key}/{uuid4().hex}"
            self._uploads.insert_one({"_id": file_id, "image": key, "began": datetime.now(UTC)})
        return file_id

    def append(self, file_id: str, number: int, data: bytes) -> None:
        """Write the chunk of that number. Raises StoreFull."""
        with as_store_errors(self._store):
            self._chunks.insert_one({"files_id": file_id, "n": number, "data": data})

    def commit(self, key: str, file_id: str, size_bytes: int) -> None:
        """Make the file the object `key`. Raises DataExists, and StoreUnavailable if it was cleaned away."""
        entry = {"_id": file_id, "length": size_bytes, "chunkSize": CHUNK_BYTES, "uploadDate": datetime.now(UTC)}
        with as_store_errors(self._store):
            self._require_upload(file_id)
            if self._files.find_one({"_id": key}, {"_id": 1}) is not None:
                raise DataExists(self._store)
            self._files.insert_one({**entry, "filename": key})
            image = {"_id": key, "file": file_id, "length": size_bytes, "chunk_size": CHUNK_BYTES}
            self._images.insert_one({**image, "stored": entry["uploadDate"]})
            try:
                self._require_upload(file_id)
            except StoreUnavailable:
                self._images.delete_one({"_id": key, "file": file_id})
                raise

    def forget_upload(self, file_id: str) -> None:
        """It is committed, and known: nobody will clean it away any more."""
        with as_store_errors(self._store):
            self._uploads.delete_one({"_id": file_id, "doomed": {"$exists": False}})

    def abort(self, key: str, file_id: str) -> None:
        """Remove a file that was written for the object `key`, whether or not it was committed."""
        with as_store_errors(self._store):
            self._images.delete_one({"_id": key, "file": file_id})
            self._remove_file(file_id)

    def find(self, key: str) -> StoredFile | None:
        """The object `key`, None if there is none."""
        with as_store_errors(self._store):
            image = self._images.find_one({"_id": key})
            if image is not None:
                return _stored(image)
            entry = self._files.find_one({"_id": key})
            return None if entry is None else _stored_by_glance(entry)

    def chunk(self, file: StoredFile, number: int) -> bytes:
        """The bytes of the chunk of that number. Raises RangeInvalid if it is not there, or not whole."""
        with as_store_errors(self._store):
            found = self._chunks.find_one({"files_id": file.file_id, "n": number})
        data = b"" if found is None else bytes(found["data"])
        expected_bytes = min(file.chunk_bytes, file.size_bytes - number * file.chunk_bytes)
        if len(data) != expected_bytes:
            raise RangeInvalid(self._store, "the stored data ended early")
        return data

    def remove(self, key: str) -> bool:
        """Remove the object `key`, or finish doing so. False if there is nothing of it."""
        file = self.find(key)
        with as_store_errors(self._store):
            if file is not None:
                self._doom(key, file.file_id)
                self._images.delete_one({"_id": key, "file": file.file_id})
            doomed = [upload for upload in self._uploads.find({"image": key}) if upload.get("doomed")]
            for upload in doomed:
                self._remove_file(upload["_id"])
        return bool(doomed)

    def discard(self, key: str) -> None:
        """Remove everything that belongs to the object `key`, committed or not."""
        with as_store_errors(self._store):
            for upload in self._uploads_of(key):
                self._doom(key, upload)
        self.remove(key)
        with as_store_errors(self._store):
            self._remove_data(key)  # chunks that Glance left without a file

    def stored(self) -> Generator[StoredFile, None, None]:
        """Every object."""
        with as_store_errors(self._store):
            yield from map(_stored, self._images.find({}))
            for entry in self._files.find({}):
                # Files of others have ids that are no keys; so have our own, which were named above.
                if isinstance(entry["_id"], str) and is_key(entry["_id"]):
                    yield _stored_by_glance(entry)

    def unfinished(self) -> Generator[Unfinished, None, None]:
        """Every file that is being written or removed, or was left so."""
        with as_store_errors(self._store):
            for upload in self._uploads.find({}):
                image = self._images.find_one({"_id": upload["image"]})
                if image is None or image["file"] != upload["_id"]:
                    yield Unfinished(upload["image"], upload["_id"], upload.get("began"))

    def _uploads_of(self, key: str) -> list[str]:
        return [upload["_id"] for upload in self._uploads.find({"image": key})]

    def _require_upload(self, file_id: str) -> None:
        upload = self._uploads.find_one({"_id": file_id})
        if upload is None or upload.get("doomed"):
            raise StoreUnavailable(self._store, "the partial object was cleaned away, or begun anew, by somebody else")

    def _clean_away(self, key: str, file_id: str) -> None:
        """Stop another writer, and remove its file unless it is committed."""
        self._doom(key, file_id)
        image = self._images.find_one({"_id": key})
        if image is None or image["file"] != file_id:
            self._remove_data(file_id)
        self._uploads.delete_one({"_id": file_id})

    def _doom(self, key: str, file_id: str) -> None:
        self._uploads.update_one({"_id": file_id}, {"$set": {"image": key, "doomed": True}}, upsert=True)

    def _remove_file(self, file_id: str) -> None:
        """Its data, and last the note that it has to go."""
        self._remove_data(file_id)
        self._uploads.delete_one({"_id": file_id})

    def _remove_data(self, file_id: str) -> None:
        if self._files.find_one({"_id": file_id}, {"_id": 1}) is not None:
            self._files.delete_one({"_id": file_id})
        while (chunk := self._chunks.find_one({"files_id": file_id}, {"n": 1}, sort=[("n", 1)])) is not None:
            numbers = {"$gte": chunk["n"], "$lt": chunk["n"] + _REMOVED_AT_ONCE}
            self._chunks.delete_many({"files_id": file_id, "n": numbers})


def _stored(image: Document) -> StoredFile:
    return StoredFile(
        image["_id"], image["file"], int(image["length"]), int(image["chunk_size"]), _time(image, "stored")
    )


def _stored_by_glance(entry: Document) -> StoredFile:
    key = str(entry["_id"])
    return StoredFile(key, key, int(entry["length"]), int(entry["chunkSize"]), _time(entry, "uploadDate"))


def _time(document: Document, name: str) -> datetime | None:
    """MongoDB's times are in UTC, and come without saying so."""
    value = document.get(name)
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else None
