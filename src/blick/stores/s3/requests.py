"""Single requests to an S3 server, through botocore. Blocking.

botocore signs and parses; it is told not to try again, since when to do so is known here: never for an upload that
was called off, and after a look at what is there where the answer to the last request of an upload was lost.
"""

from threading import Event
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from blick.model.errors import DataNotFound, StoreError, StoreUnavailable
from blick.stores.objects.backend import Place
from blick.stores.objects.lines import CONNECT_TIMEOUT_S, READ_TIMEOUT_S
from blick.stores.objects.retry import sent_again
from blick.stores.s3.errors import NO_UPLOAD, code_of, is_transient, status_of, store_error
from blick.stores.s3.lines import S3Lines
from blick.stores.s3.options import S3Options

_OTHER_THREADS = 16  # connections for everything but parts

_NEVER = Event()


def make_client(options: S3Options, signature: Any = "s3v4") -> Any:
    """The library's client for these options. Takes a tenth of a second; connects nothing."""
    # Time-outs and the file of authorities count for requests through a proxy: the others go over our own lines.
    config = Config(
        region_name=options.region,
        signature_version=signature,
        s3={"addressing_style": options.addressing, "payload_signing_enabled": options.signs_payload},
        request_checksum_calculation=options.request_checksums,
        response_checksum_validation=options.response_checksums,
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"total_max_attempts": 1},
    )
    return Session().create_client(
        "s3",
        endpoint_url=options.endpoint,
        aws_access_key_id=options.access_key,
        aws_secret_access_key=options.secret_key,
        verify=options.ca_file,
        config=config,
    )


def make_lines(options: S3Options) -> S3Lines:
    """The connections for these options; as many are kept as there are threads."""
    return S3Lines(options.ca_file, options.part_threads + _OTHER_THREADS)


class S3Requests:
    """What is asked of a server for the store `store`. Safe to use from many threads."""

    def __init__(self, store: str, client: Any, lines: S3Lines, *, knows_conditions: bool = True) -> None:
        self.store = store
        self.client = client
        self.lines = lines
        client.meta.events.register("before-send.s3", lines.send)
        self.knows_conditions = knows_conditions
        """Whether the server takes "only if there is none yet"; false once it said that it does not."""

    def call(self, operation: str, ended: Event = _NEVER, **parameters: Any) -> Any:
        """One request, sent again a few times where that may help and `ended` is not set. Raises the library's."""
        return sent_again(
            lambda: self.call_once(operation, **parameters), (ClientError, BotoCoreError), is_transient, ended
        )

    def call_once(self, operation: str, **parameters: Any) -> Any:
        """One request, sent once. Raises the library's errors."""
        return getattr(self.client, operation)(**parameters)

    def head(self, place: Place, ended: Event = _NEVER) -> Any:
        """The library's answer for an object. Raises DataNotFound, StoreDenied, StoreUnavailable."""
        try:
            return self.call("head_object", ended, Bucket=place.bucket, Key=place.key)
        except (ClientError, BotoCoreError) as error:
            found = self.error(error)
        if isinstance(found, DataNotFound):
            self.require_bucket(place.bucket)  # the answer to HEAD has no body to say what is missing
        raise found

    def require_bucket(self, bucket: str) -> None:
        """Raises StoreUnavailable if there is no such bucket, or no answer; StoreDenied."""
        try:
            self.call("head_bucket", Bucket=bucket)
        except (ClientError, BotoCoreError) as error:
            found = self.error(error)
            if isinstance(found, DataNotFound):
                raise StoreUnavailable(self.store, "the bucket does not exist") from error
            raise found from error

    def remove(self, place: Place) -> None:
        """Remove an object; nothing there is no error. Raises StoreDenied, StoreUnavailable."""
        try:
            self.call("delete_object", Bucket=place.bucket, Key=place.key)
        except (ClientError, BotoCoreError) as error:
            found = self.error(error)
            if not isinstance(found, DataNotFound):
                raise found from error

    def call_off(self, place: Place, upload_id: str, ended: Event = _NEVER) -> None:
        """Abort an upload; none there is no error. Raises the library's errors."""
        try:
            self.call("abort_multipart_upload", ended, Bucket=place.bucket, Key=place.key, UploadId=upload_id)
        except ClientError as error:
            if code_of(error) != NO_UPLOAD and status_of(error) != 404:
                raise

    def close(self) -> None:
        """Give connections back."""
        self.lines.close()
        self.client.close()

    def error(self, error: Exception) -> StoreError:
        """The error of ours for one of the library's."""
        return store_error(self.store, error)
