"""The store of type s3, through the suite for all stores: on a lenient server, and on a strict one."""

from collections.abc import AsyncIterator, Callable
from functools import cache

import pytest

from blick.stores.base import Store
from blick.stores.conformance import StoreConformance
from blick.stores.s3 import S3Store
from tests.support import s3


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
