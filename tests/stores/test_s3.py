"""The store of type s3, through the suite for all stores, on a lenient server and strict ones; and what is its own."""

import asyncio
import urllib.request
from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path

import pytest

from blick.model.blob import ByteRange, Location
from blick.model.errors import DataNotFound, StoreDenied, StoreUnavailable
from blick.stores.base import Store
from blick.stores.conformance import DATA, MIB, StoreConformance, get, new_key, put
from blick.stores.s3.store import S3Store
from tests.support import s3
from tests.support.certificates import make_certificate
from tests.support.moto import Moto


@pytest.fixture(scope="session")
def bucket_of() -> Callable[[s3.S3Server], str]:
    """One bucket on each server is enough: every test has keys of its own."""
    return cache(s3.new_bucket)


class Conformance(StoreConformance):
    @pytest.fixture
    async def store(self, server: s3.S3Server, bucket_of: Callable[[s3.S3Server], str]) -> AsyncIterator[Store]:
        store = S3Store("s3", s3.options(server, bucket_of(server)))
        yield store
        await store.aclose()


@pytest.mark.needs("moto")
class TestMoto(Conformance):
    @pytest.fixture
    def server(self, request: pytest.FixtureRequest) -> s3.S3Server:
        return request.getfixturevalue("moto")


@pytest.mark.needs("ceph", "radosgw")
class TestRadosGw(Conformance):
    @pytest.fixture
    def server(self, request: pytest.FixtureRequest) -> s3.S3Server:
        return request.getfixturevalue("radosgw")


@pytest.mark.needs("swift")
class TestSwift(Conformance):
    @pytest.fixture
    def server(self, request: pytest.FixtureRequest) -> s3.S3Server:
        return request.getfixturevalue("swift")


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.needs(name)) for name in ("moto", "swift")])
def server(request: pytest.FixtureRequest) -> s3.S3Server:
    """A lenient one, and a strict one."""
    return request.getfixturevalue(request.param)


async def test_with_integrity_protection(server: s3.S3Server, bucket_of: Callable[[s3.S3Server], str]) -> None:
    options = s3.options(server, bucket_of(server), s3_store_enable_data_integrity_protection=True)
    store = S3Store("s3", options)
    pieces = [bytes([number]) * MIB for number in range(13)]
    location = await put(store, new_key(), *pieces)
    assert await get(store, location) == b"".join(pieces)
    assert await get(store, location, ByteRange(MIB, 3)) == b"\1\1\1"
    assert await get(store, await put(store, new_key())) == b""
    await store.aclose()


async def test_a_signed_url_needs_nobody_s_credentials(
    server: s3.S3Server, bucket_of: Callable[[s3.S3Server], str]
) -> None:
    store = S3Store("s3", s3.options(server, bucket_of(server), s3_store_signed_url_ttl=60))
    location = await put(store, new_key(), DATA)
    url = await store.signed_url(location, store.signed_url_ttl_s)
    assert server.s3_secret_key not in url
    request = urllib.request.Request(url, headers={"Range": "bytes=2-4"})
    with await asyncio.to_thread(urllib.request.urlopen, request) as answer:
        assert answer.read() == DATA[2:5]
    with pytest.raises(StoreDenied):
        await store.signed_url(Location("s3", "s3://elsewhere/bucket/x"), 60)
    await store.aclose()


async def test_an_old_location_in_another_bucket(server: s3.S3Server, bucket_of: Callable[[s3.S3Server], str]) -> None:
    earlier = S3Store("s3", s3.options(server, s3.new_bucket(server)))
    location = await put(earlier, new_key(), DATA)
    await earlier.aclose()
    store = S3Store("s3", s3.options(server, bucket_of(server)))
    old = Location("s3", location.uri.replace("://", "://key:sec/ret@"))
    assert not store.owns(old.uri)
    assert await get(store, old) == DATA
    await store.delete(old)
    with pytest.raises(DataNotFound):
        await store.size_bytes(old)
    await store.aclose()


async def test_properties_are_those_that_services_look_up(server: s3.S3Server) -> None:
    store = S3Store("s3", s3.options(server, "bucket"))
    assert await store.properties() == {
        "s3_store_large_object_size": 100 * MIB,
        "s3_store_large_object_chunk_size": 10 * MIB,
        "s3_store_thread_pools": 10,
    }
    await store.aclose()


@pytest.mark.needs("moto")
async def test_verifies_the_server(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, ("localhost",))
    with Moto(tmp_path / "moto", tls=(certificate, key)) as server:
        bucket = s3.new_bucket(server, ca_file=str(certificate))
        options = s3.options(server, bucket)
        trusting = S3Store("s3", {**options, "s3_store_cacert": str(certificate)})
        location = await put(trusting, new_key(), DATA)
        assert location.uri.startswith(f"s3+https://localhost:{server.port}/")
        assert await get(trusting, location) == DATA
        await trusting.aclose()
        by_address = options["s3_store_host"].replace("localhost", "127.0.0.1")
        for change in ({}, {"s3_store_cacert": str(certificate), "s3_store_host": by_address}):
            doubting = S3Store("s3", {**options, **change})
            with pytest.raises(StoreUnavailable):
                await doubting.probe()
            await doubting.aclose()


async def test_parts_of_giants_wait_in_files(server: s3.S3Server, bucket_of: Callable[[s3.S3Server], str]) -> None:
    store = S3Store("s3", s3.options(server, bucket_of(server)))
    pieces = [bytes([number]) * MIB for number in range(40)]
    async with store.writer(new_key(), 300 << 30) as writer:  # as if it went on to 300 GiB: parts of 31 MiB
        for piece in pieces:
            await writer.write(memoryview(piece))
        location = await writer.commit()
    assert await get(store, location) == b"".join(pieces)
    await store.aclose()


@pytest.mark.parametrize(
    ("form", "begins"),
    [("virtual", "https://images.objects.example:8443/x?"), ("path", "https://objects.example:8443/images/x?")],
)
async def test_the_bucket_is_in_the_host_s_name_or_in_the_path(form: str, begins: str) -> None:
    options = {
        "s3_store_host": "https://objects.example:8443",
        "s3_store_access_key": "key",
        "s3_store_secret_key": "secret",
        "s3_store_bucket": "images",
        "s3_store_bucket_url_format": form,
    }
    store = S3Store("s3", options)
    assert (await store.signed_url(Location("s3", store.uri_of("x")), 60)).startswith(begins)
    await store.aclose()
