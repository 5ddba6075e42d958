"""Objects in a bucket of Google Cloud Storage, over its XML interface, which is Amazon's in all that is needed here.

A URI is `gs://<bucket>/<image id>`, as everywhere at Google: the name of a bucket is the only one of its kind.
"""

from collections.abc import Mapping
from typing import Any

from botocore import UNSIGNED

from blick.stores.gcs.options import place_of, read_options, uri_of
from blick.stores.gcs.tokens import Tokens
from blick.stores.objects.backend import Place
from blick.stores.objects.store import SigningObjectStore
from blick.stores.s3.bucket import S3Bucket
from blick.stores.s3.options import S3Options
from blick.stores.s3.requests import S3Requests, make_client, make_lines


class GcsStore(SigningObjectStore[S3Bucket]):
    """A store of type gcs. Also OwnsUri, HasProperties, CanProbe, CanList, CanSignUrls.

    Connects nothing; raises StartRefused for options that make no sense. Has threads of its own, until `aclose`.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self._options = read_options(name, options)
        self._tokens = Tokens(name, self._options) if self._options.access_key is None else None
        super().__init__(name, self._connect, self._options.part_bytes, self._options.part_threads)

    @property
    def bucket(self) -> str:
        """See ObjectStore."""
        return self._options.bucket

    def uri_of(self, key: str) -> str:
        """See ObjectStore."""
        return uri_of(self._options, key)

    def place_of(self, uri: str) -> Place | None:
        """See ObjectStore."""
        return place_of(uri)

    async def properties(self) -> Mapping[str, Any]:
        """See HasProperties."""
        return {"bucket": self._options.bucket}

    @property
    def signed_url_ttl_s(self) -> int:
        """See CanSignUrls."""
        return self._options.signed_url_ttl_s

    async def aclose(self) -> None:
        """See Store.aclose."""
        await super().aclose()
        if self._tokens is not None:
            self._tokens.close()

    def _connect(self) -> S3Bucket:
        options = S3Options(
            endpoint=self._options.endpoint,
            access_key=self._options.access_key or "",
            secret_key=self._options.secret_key or "",
            bucket=self._options.bucket,
            region="auto",
            addressing="path",
            part_threads=self._options.part_threads,
            ca_file=self._options.ca_file,
        )
        client = make_client(options) if self._tokens is None else make_client(options, UNSIGNED)
        if self._tokens is not None:
            client.meta.events.register("before-call.s3", self._tokens.sign)
        # The request that ends an upload takes no conditions at Google: that nothing is there yet is looked up.
        requests = S3Requests(self.name, client, make_lines(options), knows_conditions=False)
        return S3Bucket(requests, self._options.bucket, self.uri_of)
