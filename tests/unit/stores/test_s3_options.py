"""The options of the s3 store, and what its URIs mean."""

from collections.abc import Mapping
from typing import Any

import pytest

from blick.model.errors import StartRefused
from blick.stores.objects.backend import Place
from blick.stores.s3.options import place_of, read_options, region_of, uri_of
from blick.stores.s3.uri import without_credentials

GIVEN: Mapping[str, Any] = {
    "s3_store_host": "https://objects.example:8443",
    "s3_store_access_key": "an access key",
    "s3_store_secret_key": "a secret key",
    "s3_store_bucket": "images",
}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"s3_store_host": None}, "s3_store_host"),
        ({"s3_store_host": "ftp://objects.example"}, "s3_store_host"),
        ({"s3_store_host": "https://key:secret@objects.example"}, "s3_store_host"),
        ({"s3_store_access_key": ""}, "s3_store_access_key"),
        ({"s3_store_secret_key": None}, "s3_store_secret_key"),
        ({"s3_store_bucket": None}, "s3_store_bucket"),
        ({"s3_store_bucket_url_format": "sideways"}, "s3_store_bucket_url_format"),
        ({"s3_store_bucket_url_format": "virtual", "s3_store_bucket": "My_Images"}, "s3_store_bucket_url_format"),
        ({"s3_store_large_object_chunk_size": 4}, "s3_store_large_object_chunk_size"),
        ({"s3_store_thread_pools": 0}, "s3_store_thread_pools"),
        ({"s3_store_cacert": "/nowhere"}, "s3_store_cacert"),
        ({"s3_store_signed_url_ttl": -1}, "s3_store_signed_url_ttl"),
        ({"s3_store_signed_url_ttl": 604_801}, "s3_store_signed_url_ttl"),
    ],
)
def test_what_makes_no_sense_is_named(change: Mapping[str, Any], named: str) -> None:
    with pytest.raises(StartRefused, match=named) as refused:
        read_options("objects", {**GIVEN, **change})
    assert "objects" in str(refused.value)
    assert "secret" not in str(refused.value).replace("s3_store_secret_key", "")


def test_secrets_are_not_in_what_is_printed() -> None:
    printed = repr(read_options("s3", GIVEN))
    assert "an access key" not in printed
    assert "a secret key" not in printed


@pytest.mark.parametrize(
    ("host", "uri"),
    [
        ("https://objects.example:8443", "s3+https://objects.example:8443/images/x"),
        ("http://objects.example/", "s3://objects.example/images/x"),
        ("objects.example:80", "s3://objects.example:80/images/x"),
    ],
)
def test_uris_tell_host_bucket_and_name(host: str, uri: str) -> None:
    options = read_options("s3", {**GIVEN, "s3_store_host": host})
    assert uri_of(options, "x") == uri
    assert place_of(options, uri) == Place("images", "x")


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("s3://objects.example:8443/images/x", Place("images", "x")),
        ("s3+http://objects.example:8443/images/x", Place("images", "x")),
        ("s3+https://OBJECTS.example:8443/images/x", Place("images", "x")),
        ("s3+https://objects.example:8443/earlier/x", Place("earlier", "x")),
        ("s3+https://key:secret@objects.example:8443/images/x", Place("images", "x")),
        ("s3://key:se/cr@et@objects.example:8443/images/x", Place("images", "x")),
        ("s3+https://objects.example/images/x", None),
        ("s3+https://objects.example:8443/images/", None),
        ("s3+https://objects.example:8443/x", None),
        ("s3+https://objects.example:8443//x", None),
        ("swift+https://objects.example:8443/images/x", None),
        ("s3", None),
    ],
)
def test_uris_of_all_times_are_read(uri: str, place: Place | None) -> None:
    assert place_of(read_options("s3", GIVEN), uri) == place


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://key:se/cr@et@host/bucket/x", "s3://host/bucket/x"),
        ("s3+https://key:secret@host/bucket/x", "s3+https://host/bucket/x"),
        ("s3+https://host/bucket/x", "s3+https://host/bucket/x"),
        ("http://user:password@host/x", "http://user:password@host/x"),
        ("", ""),
    ],
)
def test_credentials_are_left_out(uri: str, shown: str) -> None:
    assert without_credentials(uri) == shown


@pytest.mark.parametrize(
    ("endpoint", "region"),
    [
        ("https://s3.eu-central-1.amazonaws.com", "eu-central-1"),
        ("https://s3-eu-west-1.amazonaws.com", "eu-west-1"),
        ("https://S3.dualstack.ap-south-1.amazonaws.com", "ap-south-1"),
        ("https://s3.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("https://s3.amazonaws.com", "us-east-1"),
        ("https://objects.example", "us-east-1"),
    ],
)
def test_the_region_is_in_the_names_of_amazon_s_servers(endpoint: str, region: str) -> None:
    assert region_of(endpoint) == region
    assert read_options("s3", {**GIVEN, "s3_store_host": endpoint}).region == region
    assert read_options("s3", {**GIVEN, "s3_store_host": endpoint, "s3_store_region_name": "mine"}).region == "mine"


@pytest.mark.parametrize(
    ("protected", "request_checksums", "response_checksums", "expected"),
    [
        (False, "when_supported", "when_supported", ("when_required", "when_required")),
        (True, None, None, ("when_supported", "when_supported")),
        (True, "when_required", "when_required", ("when_supported", "when_supported")),
        (True, "when_supported", "when_required", ("when_supported", "when_required")),
        (True, "when_required", "when_supported", ("when_required", "when_supported")),
    ],
)
def test_checksums_are_made_only_where_protection_is_wanted(
    protected: bool, request_checksums: str | None, response_checksums: str | None, expected: tuple[str, str]
) -> None:
    given = {
        **GIVEN,
        "s3_store_enable_data_integrity_protection": protected,
        "s3_store_request_checksum_calculation": request_checksums,
        "s3_store_response_checksum_validation": response_checksums,
    }
    options = read_options("s3", given)
    assert (options.request_checksums, options.response_checksums) == expected
    assert not options.signs_payload  # TLS does what it would do
    assert read_options("s3", {**given, "s3_store_host": "objects.example"}).signs_payload == protected
