"""One bucket of an S3 server. Blocking; see objects_backend."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from urllib3.exceptions import HTTPError

from blick.model.blob import Location, StoredObject
from blick.model.errors import RangeUnsupported, StoreDenied, StoreUnavailable
from blick.stores.objects.backend import ObjectInfo, Place, is_key
from blick.stores.objects.lines import Scope
from blick.stores.s3.errors import NO_BUCKET, NO_UPLOAD, code_of
from blick.stores.s3.requests import S3Requests
from blick.stores.s3.upload import S3Upload

_log = logging.getLogger(__name__)


class S3Bucket:
    """See Backend. `uri_of` makes the URI of an object in the bucket from its name."""

    def __init__(
        self, requests: S3Requests, bucket: str, uri_of: Callable[[str], str], *, create_in: str | None = None
    ) -> None:
        """`create_in`: a missing bucket is created for the first object, in that region (empty: wherever)."""
        self._requests = requests
        self._bucket = bucket
        self._uri_of = uri_of
        self._create_in = create_in

    def scope(self) -> Scope:
        """See Backend."""
        return Scope(self._requests.lines)

    def begin(self, key: str) -> S3Upload:
        """See Backend."""
        try:
            return self._begin(key)
        except (ClientError, BotoCoreError) as error:
            if self._create_in is None or not _is_missing_bucket(error):
                raise self._requests.error(error) from error
        self._create_bucket(self._create_in)
        try:
            return self._begin(key)
        except (ClientError, BotoCoreError) as error:
            raise self._requests.error(error) from error

    def info(self, place: Place) -> ObjectInfo:
        """See Backend."""
        head = self._requests.head(place)
        return ObjectInfo(int(head["ContentLength"]), str(head.get("ETag", "")))

    def open(self, place: Place, offset_bytes: int, length_bytes: int | None, tag: str) -> "S3Body":
        """See Backend. Sends one request: the reader tries again."""
        parameters: dict[str, Any] = {"Bucket": place.bucket, "Key": place.key}
        if offset_bytes or length_bytes is not None:
            end = "" if length_bytes is None else offset_bytes + length_bytes - 1
            parameters["Range"] = f"bytes={offset_bytes}-{end}"
        if tag:
            parameters["IfMatch"] = tag
        try:
            answer = self._requests.call_once("get_object", **parameters)
        except (ClientError, BotoCoreError) as error:
            raise self._requests.error(error) from error
        return S3Body(self._requests.store, answer, offset_bytes)

    def delete(self, place: Place) -> None:
        """See Backend. Servers do not say whether anything was there, so it is looked for first."""
        self._requests.head(place)
        self._requests.remove(place)

    def discard(self, key: str) -> None:
        """See Backend. Uploads first: none of them can become the object afterwards."""
        try:
            self._call_off_all(key)
        except (ClientError, BotoCoreError) as error:
            if self._create_in is not None and _is_missing_bucket(error):
                return  # nothing was ever stored here
            raise self._requests.error(error) from error
        self._requests.remove(Place(self._bucket, key))

    def pages(self) -> Iterator[Sequence[StoredObject]]:
        """See Backend."""
        try:
            yield from self._pages_of_objects()
            for uploads in self._pages_of_uploads(""):
                yield [
                    StoredObject(upload["Key"], None, None, upload["Initiated"].timestamp())
                    for upload in uploads
                    if is_key(upload["Key"])
                ]
        except (ClientError, BotoCoreError) as error:
            if self._create_in is not None and _is_missing_bucket(error):
                return
            raise self._requests.error(error) from error

    def probe(self) -> None:
        """See Backend. A missing bucket that would be created is no trouble."""
        try:
            self._requests.call("head_bucket", Bucket=self._bucket)
        except (ClientError, BotoCoreError) as error:
            missing = isinstance(error, ClientError) and code_of(error) in ("404", NO_BUCKET)
            if missing and self._create_in is not None:
                return
            detail = "the bucket does not exist"
            raise (
                StoreUnavailable(self._requests.store, detail) if missing else self._requests.error(error)
            ) from error

    def sign(self, place: Place, ttl_s: int) -> str:
        """See Backend."""
        parameters = {"Bucket": place.bucket, "Key": place.key}
        return str(self._requests.client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=ttl_s))

    def close(self) -> None:
        """See Backend."""
        self._requests.close()

    def _begin(self, key: str) -> S3Upload:
        self._call_off_all(key)
        return S3Upload(self._requests, Place(self._bucket, key))

    def _call_off_all(self, key: str) -> None:
        for uploads in self._pages_of_uploads(key):
            for upload in uploads:
                if upload["Key"] == key:
                    self._requests.call_off(Place(self._bucket, key), upload["UploadId"])

    def _pages_of_uploads(self, prefix: str) -> Iterator[list[dict[str, Any]]]:
        more: dict[str, Any] = {}
        while True:
            try:
                answer = self._requests.call("list_multipart_uploads", Bucket=self._bucket, Prefix=prefix, **more)
            except ClientError as error:
                if code_of(error) == NO_UPLOAD:  # rclone's way of saying that there are none
                    return
                raise
            yield answer.get("Uploads", [])
            if not answer.get("IsTruncated"):
                return
            more = {"KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer["NextUploadIdMarker"]}

    def _pages_of_objects(self) -> Iterator[list[StoredObject]]:
        more: dict[str, Any] = {}
        while True:
            # What has a slash in its name is no object of ours, and is left out by the server.
            answer = self._requests.call("list_objects_v2", Bucket=self._bucket, Delimiter="/", **more)
            yield [self._stored(entry) for entry in answer.get("Contents", []) if is_key(entry["Key"])]
            if not answer.get("IsTruncated"):
                return
            more = {"ContinuationToken": answer["NextContinuationToken"]}

    def _stored(self, entry: dict[str, Any]) -> StoredObject:
        location = Location("", self._uri_of(entry["Key"]))
        return StoredObject(entry["Key"], location, int(entry["Size"]), entry["LastModified"].timestamp())

    def _create_bucket(self, region: str) -> None:
        # Amazon refuses its first region as a constraint: it is where buckets are without one.
        constrained = region not in ("", "us-east-1")
        parameters: dict[str, Any] = (
            {"CreateBucketConfiguration": {"LocationConstraint": region}} if constrained else {}
        )
        try:
            self._requests.call("create_bucket", Bucket=self._bucket, **parameters)
        except (ClientError, BotoCoreError) as error:
            code = code_of(error) if isinstance(error, ClientError) else ""
            if code == "BucketAlreadyOwnedByYou":
                return  # by another process, at the same moment
            if code == "BucketAlreadyExists":
                detail = "a bucket of that name belongs to somebody else"
                raise StoreDenied(self._requests.store, detail) from error
            raise self._requests.error(error) from error
        _log.info("store %s: created the bucket %s", self._requests.store, self._bucket)


class S3Body:
    """See Body."""

    def __init__(self, store: str, answer: Any, offset_bytes: int) -> None:
        self._store = store
        self._raw = answer["Body"].__enter__()  # urllib3's own response: it can be interrupted
        self._info = ObjectInfo(self._whole_bytes(answer, offset_bytes), str(answer.get("ETag", "")))

    @property
    def info(self) -> ObjectInfo:
        """See Body."""
        return self._info

    def readinto(self, buffer: memoryview) -> int:
        """See Body."""
        try:
            return int(self._raw.readinto(buffer))
        except (HTTPError, HTTPClientError, OSError, ValueError) as error:
            # ValueError: it was interrupted, and has no connection any more.
            raise StoreUnavailable(self._store, f"the connection broke ({type(error).__name__})") from error

    def interrupt(self) -> None:
        """See Body."""
        try:
            self._raw.shutdown()
        except (ValueError, RuntimeError, OSError):
            return  # the answer has come whole, or its connection is closed: nobody waits

    def close(self) -> None:
        """See Body. A connection with unread bytes cannot be used again."""
        self._raw.close()

    def _whole_bytes(self, answer: Any, offset_bytes: int) -> int:
        described = str(answer.get("ContentRange", ""))
        if described:
            return int(described.rpartition("/")[2])
        if offset_bytes:
            self._raw.close()
            raise RangeUnsupported(self._store)
        return int(answer["ContentLength"])


def _is_missing_bucket(error: Exception) -> bool:
    return isinstance(error, ClientError) and code_of(error) == NO_BUCKET
