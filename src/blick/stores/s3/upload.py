"""One upload to an S3 server, in parts whatever its size.

An upload in parts is known to the server before its first byte, and to everybody who asks. So another process can
call it off, and its last request then fails: the server itself keeps a writer out that was given up for dead. Each
upload puts a mark of its own on its object, by which a lost answer, and a cancelled commit, can be told from others'.
"""

from secrets import token_hex
from threading import Event, Lock
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from blick.model.errors import DataExists, DataNotFound
from blick.stores.objects.backend import Place
from blick.stores.objects.lines import CLEANING_TIMEOUT_S, Scope
from blick.stores.objects.parts import PartData
from blick.stores.s3.errors import NO_UPLOAD, code_of, is_transient, status_of
from blick.stores.s3.requests import S3Requests

_MARK = "blick-upload"
_ATTEMPTS = 3
_PAUSE_S = 0.5
_CONDITION = {"IfNoneMatch": "*"}


class S3Upload:
    """See Upload. Making one creates the upload on the server; raises the library's errors."""

    def __init__(self, requests: S3Requests, place: Place) -> None:
        self._requests = requests
        self._place = place
        self._mark = token_hex(16)
        self._ended = Event()
        self._scope = Scope(requests.lines)
        self._lock = Lock()
        self._parts: dict[int, dict[str, Any]] = {}
        self._may_be_published = False
        answer = requests.call(
            "create_multipart_upload",
            Bucket=place.bucket,
            Key=place.key,
            ContentType="application/octet-stream",
            Metadata={_MARK: self._mark},
        )
        self._id = answer["UploadId"]

    def put_part(self, number: int, data: PartData) -> None:
        """See Upload."""
        parameters = {**self._names(), "PartNumber": number, "Body": data.content()}
        try:
            answer = self._scope.run(self._requests.call, "upload_part", self._ended, **parameters)
        except (ClientError, BotoCoreError) as error:
            raise self._requests.error(error) from error
        # Checksums, where they are switched on, have to be repeated in the last request.
        checksums = {name: value for name, value in answer.items() if name.startswith("Checksum")}
        with self._lock:
            self._parts[number] = {"PartNumber": number, "ETag": answer["ETag"], **checksums}

    def finish(self) -> None:
        """See Upload."""
        if self._mark_of_object() is not None:
            raise DataExists(self._requests.store)
        self._may_be_published = True
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._complete()
                return
            except (ClientError, BotoCoreError) as error:
                if self._is_done_all_the_same(error):
                    return
                if attempt == _ATTEMPTS or not is_transient(error) or self._ended.wait(_PAUSE_S * attempt):
                    raise self._requests.error(error) from error

    def abort(self) -> None:
        """See Upload."""
        self.call_off()
        Scope(self._requests.lines, CLEANING_TIMEOUT_S).run(self._clean)

    def call_off(self) -> None:
        """See Upload."""
        self._ended.set()
        self._scope.interrupt()

    def _clean(self) -> None:
        try:
            self._requests.call_off(self._place, self._id, self._ended)
        except (ClientError, BotoCoreError) as error:
            raise self._requests.error(error) from error
        if self._may_be_published and self._mark_of_object() == self._mark:
            self._requests.remove(self._place)

    def _complete(self) -> None:
        parts = [self._parts[number] for number in sorted(self._parts)]
        parameters = {**self._names(), "MultipartUpload": {"Parts": parts}}
        if not self._requests.knows_conditions:
            self._send_complete(parameters)
            return
        try:
            self._send_complete({**parameters, **_CONDITION})
        except ClientError as error:
            if status_of(error) != 501 and code_of(error) != "NotImplemented":
                raise
            self._requests.knows_conditions = False
            self._send_complete(parameters)

    def _send_complete(self, parameters: dict[str, Any]) -> None:
        self._requests.call_once("complete_multipart_upload", **parameters)

    def _is_done_all_the_same(self, error: Exception) -> bool:
        """After a refused or unanswered last request. Raises DataExists for an object of somebody else's."""
        exists = isinstance(error, ClientError) and status_of(error) in (409, 412)
        if not exists and not is_transient(error) and not _is_unknown_upload(error):
            return False
        mark = self._mark_of_object()
        if mark == self._mark:
            return True
        if mark is not None and not _is_unknown_upload(error):
            raise DataExists(self._requests.store) from error
        return False

    def _mark_of_object(self) -> str | None:
        """Of whatever has the upload's name now: empty for an object without one, None if there is no object."""
        try:
            headers = self._requests.head(self._place, self._ended)["ResponseMetadata"]["HTTPHeaders"]
        except DataNotFound:
            return None
        # x-amz-meta-…, or another server's own word in place of amz.
        return next((str(value) for name, value in headers.items() if name.lower().endswith(f"-meta-{_MARK}")), "")

    def _names(self) -> dict[str, str]:
        return {"Bucket": self._place.bucket, "Key": self._place.key, "UploadId": self._id}


def _is_unknown_upload(error: Exception) -> bool:
    return isinstance(error, ClientError) and (code_of(error) == NO_UPLOAD or status_of(error) == 404)
