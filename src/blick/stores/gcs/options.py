"""The gcs driver's options, read and checked; and what its URIs mean."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from blick.model.errors import StartRefused
from blick.stores.objects.backend import Place
from blick.stores.objects.options import ca_file, number, readable_file, signed_url_ttl_s
from blick.stores.objects.parts import MIB

DEFAULT_ENDPOINT = "https://storage.googleapis.com"
_SCHEME = "gs://"


@dataclass(frozen=True, slots=True)
class GcsOptions:
    """What the operator said. Either both keys are set, or a file, or nothing: the machine's own identity."""

    bucket: str
    endpoint: str = DEFAULT_ENDPOINT
    credentials_file: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    part_mib: int = 10
    part_threads: int = 10
    ca_file: str | None = None
    signed_url_ttl_s: int = 0

    @property
    def part_bytes(self) -> int:
        """How large the operator wants parts to be."""
        return self.part_mib * MIB


def read_options(store: str, options: Mapping[str, Any]) -> GcsOptions:
    """The options `gcs_*` of one store. Raises StartRefused, naming the option and what is wrong with it."""
    if not options.get("gcs_store_bucket"):
        raise StartRefused(f"Store {store}: gcs_store_bucket is not set.")
    access_key = options.get("gcs_store_access_key") or None
    secret_key = options.get("gcs_store_secret_key") or None
    file = readable_file(store, "gcs_store_credentials_file", options.get("gcs_store_credentials_file") or None)
    if (access_key is None) != (secret_key is None):
        raise StartRefused(f"Store {store}: set gcs_store_access_key and gcs_store_secret_key both, or neither.")
    if access_key is not None and file is not None:
        raise StartRefused(f"Store {store}: gcs_store_credentials_file and gcs_store_access_key exclude each other.")
    ttl_s = signed_url_ttl_s(store, "gcs_store_signed_url_ttl", options)
    if ttl_s and access_key is None:
        raise StartRefused(f"Store {store}: gcs_store_signed_url_ttl needs gcs_store_access_key, which signs.")
    return GcsOptions(
        bucket=str(options["gcs_store_bucket"]),
        endpoint=_endpoint(store, options),
        credentials_file=file,
        access_key=access_key,
        secret_key=secret_key,
        part_mib=number(store, options, "gcs_store_chunk_size", 10, 5),
        part_threads=number(store, options, "gcs_store_thread_pools", 10, 1),
        ca_file=ca_file(store, "gcs_store_cacert", options),
        signed_url_ttl_s=ttl_s,
    )


def uri_of(options: GcsOptions, key: str) -> str:
    """The URI of an object in the configured bucket."""
    return f"{_SCHEME}{options.bucket}/{key}"


def place_of(uri: str) -> Place | None:
    """The object that `uri` means; names of buckets are Google's, so there is one server only."""
    if not uri.startswith(_SCHEME):
        return None
    bucket, _, key = uri.removeprefix(_SCHEME).partition("/")
    return Place(bucket, key) if bucket and key and "/" not in key else None


def _endpoint(store: str, options: Mapping[str, Any]) -> str:
    endpoint = str(options.get("gcs_store_endpoint") or DEFAULT_ENDPOINT).rstrip("/")
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or parts.query:
        raise StartRefused(f"Store {store}: gcs_store_endpoint is not the plain http(s) URL of a server.")
    return endpoint
