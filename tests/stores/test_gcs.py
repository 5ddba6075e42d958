"""The store of type gcs: the suite for all stores, through the seam between Google's interface and Amazon's."""

import asyncio
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from blick.model.errors import StartRefused, StoreDenied, StoreUnavailable
from blick.stores.base import Store
from blick.stores.conformance import StoreConformance, get, new_key, put
from blick.stores.gcs.store import GcsStore
from tests.support import s3
from tests.support.google_storage import GoogleStorage
from tests.support.moto import Moto
from tests.support.server import free_port

pytestmark = pytest.mark.needs("moto")


@pytest.fixture(scope="module")
def google(request: pytest.FixtureRequest) -> Iterator[GoogleStorage]:
    moto: Moto = request.getfixturevalue("moto")
    with GoogleStorage(moto.address).running() as storage:
        yield storage


@pytest.fixture(scope="module")
def bucket(request: pytest.FixtureRequest) -> str:
    return s3.new_bucket(request.getfixturevalue("moto"))


@pytest.fixture
def with_file(google: GoogleStorage, bucket: str, tmp_path: Path) -> dict[str, Any]:
    """Options of a store that logs in as a service account."""
    file = google.write_credentials(tmp_path / "account.json")
    return {
        "gcs_store_bucket": bucket,
        "gcs_store_credentials_file": str(file),
        "gcs_store_endpoint": google.endpoint,
    }


@pytest.fixture
def with_keys(moto: Moto, bucket: str) -> dict[str, Any]:
    """Options of a store that signs with an HMAC key, as at Amazon."""
    return {
        "gcs_store_bucket": bucket,
        "gcs_store_access_key": moto.s3_access_key,
        "gcs_store_secret_key": moto.s3_secret_key,
        "gcs_store_endpoint": moto.s3_endpoint,
    }


class TestGcs(StoreConformance):
    @pytest.fixture(params=["with_file"])
    async def store(self, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
        store = GcsStore("gcs", request.getfixturevalue(request.param))
        yield store
        await store.aclose()


async def test_logs_in_once_and_again_when_needed(with_file: dict[str, Any], google: GoogleStorage) -> None:
    before = google.tokens_issued
    store = GcsStore("gcs", with_file)
    assert google.tokens_issued == before
    location = await put(store, new_key(), b"data")
    assert location.uri.startswith(f"gs://{with_file['gcs_store_bucket']}/")
    assert await get(store, location) == b"data"
    assert google.tokens_issued == before + 1
    await store.aclose()


async def test_credentials_that_are_refused(with_file: dict[str, Any], google: GoogleStorage) -> None:
    store = GcsStore("gcs", with_file)
    google.accepts_assertions = False
    for call in (store.probe(), put(store, new_key(), b"data"), store.discard(new_key())):
        with pytest.raises(StoreDenied):
            await call
    google.accepts_assertions = True
    await store.probe()
    google.expire_tokens()
    with pytest.raises(StoreDenied):
        await store.probe()
    await store.aclose()


async def test_nobody_there(with_file: dict[str, Any], with_keys: dict[str, Any], google: GoogleStorage) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    for options in (with_file, with_keys):
        store = GcsStore("gcs", {**options, "gcs_store_endpoint": nowhere})
        with pytest.raises(StoreUnavailable):
            await store.probe()
        await store.aclose()


async def test_a_signed_url_needs_nobody_s_credentials(with_keys: dict[str, Any]) -> None:
    store = GcsStore("gcs", {**with_keys, "gcs_store_signed_url_ttl": 60})
    location = await put(store, new_key(), b"0123456789")
    assert store.signed_url_ttl_s == 60
    url = await store.signed_url(location, store.signed_url_ttl_s)
    request = urllib.request.Request(url, headers={"Range": "bytes=2-4"})
    with await asyncio.to_thread(urllib.request.urlopen, request) as answer:
        assert answer.read() == b"234"
    await store.aclose()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"gcs_store_bucket": ""}, "gcs_store_bucket"),
        ({"gcs_store_credentials_file": "/nowhere"}, "gcs_store_credentials_file"),
        ({"gcs_store_credentials_file": __file__}, "gcs_store_credentials_file"),
        ({"gcs_store_access_key": "only"}, "gcs_store_secret_key"),
        ({"gcs_store_access_key": "both", "gcs_store_secret_key": "x"}, "exclude"),
        ({"gcs_store_endpoint": "ftp://somewhere"}, "gcs_store_endpoint"),
        ({"gcs_store_signed_url_ttl": 60}, "gcs_store_signed_url_ttl"),
        ({"gcs_store_signed_url_ttl": 10**7}, "gcs_store_signed_url_ttl"),
        ({"gcs_store_chunk_size": 4}, "gcs_store_chunk_size"),
        ({"gcs_store_cacert": "/nowhere"}, "gcs_store_cacert"),
    ],
)
def test_options_that_make_no_sense(with_file: dict[str, Any], change: dict[str, Any], named: str) -> None:
    with pytest.raises(StartRefused, match=named):
        GcsStore("gcs", {**with_file, **change})


async def test_knows_its_uris(with_file: dict[str, Any]) -> None:
    store = GcsStore("gcs", with_file)
    bucket = with_file["gcs_store_bucket"]
    assert [
        uri
        for uri in (f"gs://{bucket}/x", "gs://other/x", f"gs://{bucket}/x/y", f"gs://{bucket}/", "gs://")
        if store.owns(uri)
    ] == [f"gs://{bucket}/x"]
    await store.aclose()
