"""The s3 driver's options, read and checked; and what its URIs mean."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from blick.model.errors import StartRefused
from blick.stores.objects.backend import Place
from blick.stores.objects.options import ca_file, number, signed_url_ttl_s
from blick.stores.objects.parts import MIB
from blick.stores.s3.uri import scheme_of, without_credentials

_FORMATS = ("auto", "virtual", "path")
_DEFAULT_REGION = "us-east-1"  # what servers that know no regions expect in a signature
_AWS = re.compile(r"s3[.-](?:dualstack\.|fips\.)?(?:(?P<region>[a-z0-9-]+)\.)?amazonaws\.com(?:\.cn)?")
_DNS_SAFE = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,61})[a-z0-9]")


@dataclass(frozen=True, slots=True)
class S3Options:
    """What the operator said. `endpoint` is a URL without a path at its end."""

    endpoint: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    bucket: str
    region: str
    create_bucket: bool = False
    addressing: str = "auto"
    large_object_mib: int = 100
    part_mib: int = 10
    part_threads: int = 10
    ca_file: str | None = None
    request_checksums: str = "when_required"
    response_checksums: str = "when_required"
    signs_payload: bool = False
    signed_url_ttl_s: int = 0

    @property
    def host(self) -> str:
        """As it stands in URIs: with its port, and without a scheme."""
        return self.endpoint.partition("://")[2]

    @property
    def part_bytes(self) -> int:
        """How large the operator wants parts to be."""
        return self.part_mib * MIB


def read_options(store: str, options: Mapping[str, Any]) -> S3Options:
    """The options `s3_*` of one store. Raises StartRefused, naming the option and what is wrong with it."""
    for name in ("s3_store_host", "s3_store_access_key", "s3_store_secret_key", "s3_store_bucket"):
        if not options.get(name):
            raise StartRefused(f"Store {store}: {name} is not set.")
    endpoint = _endpoint(store, str(options["s3_store_host"]))
    given = str(options.get("s3_store_region_name") or "")
    protected = bool(options.get("s3_store_enable_data_integrity_protection"))
    request, response = _checksums(options) if protected else ("when_required", "when_required")
    return S3Options(
        endpoint=endpoint,
        access_key=str(options["s3_store_access_key"]),
        secret_key=str(options["s3_store_secret_key"]),
        bucket=str(options["s3_store_bucket"]),
        region=given or region_of(endpoint),
        create_bucket=bool(options.get("s3_store_create_bucket_on_put")),
        addressing=_addressing(store, options),
        large_object_mib=number(store, options, "s3_store_large_object_size", 100, 0),
        part_mib=number(store, options, "s3_store_large_object_chunk_size", 10, 5),
        part_threads=number(store, options, "s3_store_thread_pools", 10, 1),
        ca_file=ca_file(store, "s3_store_cacert", options),
        request_checksums=request,
        response_checksums=response,
        # TLS protects the bytes already; without it, hashing them into the signature does.
        signs_payload=protected and endpoint.startswith("http://"),
        signed_url_ttl_s=signed_url_ttl_s(store, "s3_store_signed_url_ttl", options),
    )


def region_of(endpoint: str) -> str:
    """The region that a server of Amazon's has in its name; for others what they usually expect."""
    found = _AWS.fullmatch((urlsplit(endpoint).hostname or "").lower())
    return (found and found["region"]) or _DEFAULT_REGION


def uri_of(options: S3Options, key: str) -> str:
    """The URI of an object in the configured bucket, as it is recorded: it never carries credentials."""
    scheme = "s3+https" if options.endpoint.startswith("https://") else "s3"
    return f"{scheme}://{options.host}/{options.bucket}/{key}"


def place_of(options: S3Options, uri: str) -> Place | None:
    """The object that `uri` means, if it is one of the configured server's.

    Credentials in front of the host, as very old URIs have them, do not matter. A server is known by its host alone:
    operators have switched TLS on.
    """
    scheme = scheme_of(uri)
    if scheme is None:
        return None
    server, _, key = without_credentials(uri).removeprefix(scheme).rpartition("/")
    host, _, bucket = server.rpartition("/")
    if host.lower() != options.host.lower() or not bucket or not key:
        return None
    return Place(bucket, key)


def _endpoint(store: str, host: str) -> str:
    endpoint = (host if "://" in host else f"http://{host}").rstrip("/")
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise StartRefused(f"Store {store}: s3_store_host is not the name or the http(s) URL of a server.")
    if parts.username is not None or parts.query or parts.fragment:
        raise StartRefused(f"Store {store}: s3_store_host must be a plain URL, without credentials or a query.")
    return endpoint


def _addressing(store: str, options: Mapping[str, Any]) -> str:
    wanted = str(options.get("s3_store_bucket_url_format") or "auto")
    if wanted not in _FORMATS:
        raise StartRefused(f"Store {store}: s3_store_bucket_url_format is none of {', '.join(_FORMATS)}.")
    if wanted == "virtual" and not _DNS_SAFE.fullmatch(str(options["s3_store_bucket"])):
        raise StartRefused(
            f"Store {store}: s3_store_bucket_url_format is virtual, but s3_store_bucket cannot be part of a host name "
            "(small letters, digits and dashes only)."
        )
    return wanted


def _checksums(options: Mapping[str, Any]) -> tuple[str, str]:
    """Requests' and responses'. Protection that is switched on and says nothing of either means both."""
    names = ("s3_store_request_checksum_calculation", "s3_store_response_checksum_validation")
    request, response = (str(options.get(name) or "when_required") for name in names)
    if "when_supported" in (request, response):
        return request, response
    return "when_supported", "when_supported"
