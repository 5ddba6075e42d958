"""Objects in a bucket of any server that speaks S3.

A URI is `s3+https://<host>/<bucket>/<image id>`, or `s3://…` where the server is spoken to without TLS; other services
parse it. The oldest ones carry credentials, which are never used, and never shown.
"""

from collections.abc import Mapping
from typing import Any

from blick.stores.objects.backend import Place
from blick.stores.objects.parts import MIB
from blick.stores.objects.store import SigningObjectStore
from blick.stores.s3.bucket import S3Bucket
from blick.stores.s3.options import place_of, read_options, uri_of
from blick.stores.s3.requests import S3Requests, make_client, make_lines


class S3Store(SigningObjectStore[S3Bucket]):
    """A store of type s3. Also OwnsUri, HasProperties, CanProbe, CanList, CanSignUrls.

    Connects nothing; raises StartRefused for options that make no sense. Has threads of its own, until `aclose`.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self._options = read_options(name, options)
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
        return place_of(self._options, uri)

    async def properties(self) -> Mapping[str, Any]:
        """See HasProperties."""
        return {
            "s3_store_large_object_size": self._options.large_object_mib * MIB,
            "s3_store_large_object_chunk_size": self._options.part_bytes,
            "s3_store_thread_pools": self._options.part_threads,
        }

    @property
    def signed_url_ttl_s(self) -> int:
        """See CanSignUrls."""
        return self._options.signed_url_ttl_s

    def _connect(self) -> S3Bucket:
        options = self._options
        create_in = options.region if options.create_bucket else None
        requests = S3Requests(self.name, make_client(options), make_lines(options))
        return S3Bucket(requests, options.bucket, self.uri_of, create_in=create_in)
