"""One container of Azure Blob Storage. Blocking; see objects_backend."""

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from azure.core.exceptions import AzureError, ResourceExistsError
from azure.storage.blob import (
    BlobProperties,
    BlobSasPermissions,
    generate_blob_sas,
)

from blick.model.blob import Location, StoredObject
from blick.model.errors import DataNotFound, StoreUnavailable
from blick.stores.azure.options import AzureOptions
from blick.stores.azure.requests import AzureRequests, code_of, status_of, unchanged
from blick.stores.azure.upload import AzureUpload, is_partial
from blick.stores.objects.backend import ObjectInfo, Place, is_key
from blick.stores.objects.lines import Scope

_log = logging.getLogger(__name__)

_NO_CONTAINER = "ContainerNotFound"
_OUTSIDE = 416  # the HTTP status of a range that begins behind the end
_CLOCKS_DIFFER_S = 300  # a signature of now may lie in the future of the server


class AzureContainer:
    """See Backend. `uri_of` makes the URI of an object in the container from its name."""

    def __init__(self, requests: AzureRequests, options: AzureOptions, uri_of: Callable[[str], str]) -> None:
        self._requests = requests
        self._options = options
        self._uri_of = uri_of

    def scope(self) -> Scope:
        """See Backend."""
        return Scope(self._requests.lines)

    def begin(self, key: str) -> AzureUpload:
        """See Backend."""
        place = Place(self._options.container, key)
        try:
            return AzureUpload(self._requests, place)
        except AzureError as error:
            if code_of(error) != _NO_CONTAINER or not self._options.create_container:
                raise self._requests.error(error) from error
        self._create_container()
        try:
            return AzureUpload(self._requests, place)
        except AzureError as error:
            raise self._requests.error(error) from error

    def info(self, place: Place) -> ObjectInfo:
        """See Backend."""
        found = self._requests.properties(place)
        if is_partial(found):
            raise DataNotFound(self._requests.store)
        return ObjectInfo(int(found.size), str(found.etag))

    def open(self, place: Place, offset_bytes: int, length_bytes: int | None, tag: str) -> "AzureBody":
        """See Backend. Sends one request: the reader tries again."""
        condition = unchanged(tag) if tag else {}
        try:
            answer = self._requests.blob(place).download_blob(offset_bytes, length_bytes, encoding=None, **condition)
        except AzureError as error:
            if status_of(error) == _OUTSIDE and self.info(place).size_bytes == 0 and length_bytes is None:
                # The library asks for a range even of what may be empty.
                return AzureBody(self._requests, ObjectInfo(0, tag), iter(()))
            raise self._requests.error(error) from error
        if is_partial(answer.properties):
            raise DataNotFound(self._requests.store)
        described = str(answer.properties.content_range)  # "bytes 0-9/10"
        info = ObjectInfo(int(described.rpartition("/")[2]), str(answer.properties.etag))
        return AzureBody(self._requests, info, answer.chunks())

    def delete(self, place: Place) -> None:
        """See Backend."""
        if is_partial(self._requests.properties(place)):
            raise DataNotFound(self._requests.store)
        self._delete(place)

    def discard(self, key: str) -> None:
        """See Backend. The blob of an upload, without which it cannot end, and an object have the same name."""
        try:
            self._delete(Place(self._options.container, key))
        except DataNotFound:
            return
        except StoreUnavailable as error:
            if self._options.create_container and code_of(error.__cause__ or error) == _NO_CONTAINER:
                return  # nothing was ever stored here
            raise

    def pages(self) -> Iterator[Sequence[StoredObject]]:
        """See Backend."""
        try:
            found = self._requests.container(self._options.container).list_blobs(include=["metadata"])
            for page in found.by_page():
                yield [self._stored(entry) for entry in page if is_key(entry.name)]
        except AzureError as error:
            if self._options.create_container and code_of(error) == _NO_CONTAINER:
                return
            raise self._requests.error(error) from error

    def probe(self) -> None:
        """See Backend. A missing container that would be created is no trouble."""
        container = self._requests.container(self._options.container)
        try:
            # The properties of a container are out of reach for a SAS token of that container; a list is not.
            next(iter(self._requests.call(lambda: container.list_blobs(results_per_page=1).by_page())), None)
        except AzureError as error:
            if self._options.create_container and code_of(error) == _NO_CONTAINER:
                return
            raise self._requests.error(error) from error

    def sign(self, place: Place, ttl_s: int) -> str:
        """See Backend."""
        now = datetime.now(UTC)
        token = generate_blob_sas(
            self._options.account,
            place.bucket,
            place.key,
            account_key=self._options.key,
            permission=BlobSasPermissions(read=True),
            start=now - timedelta(seconds=_CLOCKS_DIFFER_S),
            expiry=now + timedelta(seconds=ttl_s),
        )
        return f"{self._options.endpoint}/{place.bucket}/{place.key}?{token}"

    def close(self) -> None:
        """See Backend."""
        self._requests.service.close()
        self._requests.lines.close()

    def _delete(self, place: Place) -> None:
        try:
            self._requests.call(self._requests.blob(place).delete_blob)
        except AzureError as error:
            raise self._requests.error(error) from error

    def _stored(self, entry: BlobProperties) -> StoredObject:
        modified_at_s = entry.last_modified.timestamp() if entry.last_modified is not None else None
        if is_partial(entry):
            return StoredObject(str(entry.name), None, None, modified_at_s)
        location = Location("", self._uri_of(str(entry.name)))
        return StoredObject(str(entry.name), location, int(entry.size), modified_at_s)

    def _create_container(self) -> None:
        try:
            self._requests.call(self._requests.container(self._options.container).create_container)
        except ResourceExistsError:
            return  # by another process, at the same moment
        except AzureError as error:
            raise self._requests.error(error) from error
        _log.info("store %s: created the container %s", self._requests.store, self._options.container)


class AzureBody:
    """See Body. The library asks for some MiB at a time."""

    def __init__(self, requests: AzureRequests, info: ObjectInfo, chunks: Iterator[bytes]) -> None:
        self._requests = requests
        self._info = info
        self._chunks = chunks
        self._chunk = memoryview(b"")

    @property
    def info(self) -> ObjectInfo:
        """See Body."""
        return self._info

    def readinto(self, buffer: memoryview) -> int:
        """See Body."""
        if not self._chunk:
            self._chunk = memoryview(self._next())
        count = min(len(buffer), len(self._chunk))
        buffer[:count] = self._chunk[:count]
        self._chunk = self._chunk[count:]
        return count

    def interrupt(self) -> None:
        """See Body. The scope breaks off a request; one whose answer has begun ends by its time-out."""

    def close(self) -> None:
        """See Body. Connections are given back after each request."""
        self._chunk = memoryview(b"")

    def _next(self) -> bytes:
        try:
            return next(self._chunks, b"")
        except AzureError as error:
            raise self._requests.error(error) from error
