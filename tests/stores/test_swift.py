"""The store of type swift through the suite for all stores, against a real Swift with its own log-in."""

from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import uuid4

import pytest

from blick.stores.base import Store
from blick.stores.conformance import StoreConformance
from blick.stores.limit import limited
from blick.stores.swift import SwiftStore
from tests.support.swift import Swift

pytestmark = pytest.mark.needs("swift")


def options_for(swift: Swift, **more: Any) -> dict[str, Any]:
    """Options of a store in a container of its own."""
    return {
        "swift_store_auth_address": swift.auth_url,
        "swift_store_user": swift.user,
        "swift_store_key": swift.key,
        "swift_store_container": f"images-{uuid4()}",
        "swift_store_create_container_on_put": True,
        **more,
    }


KINDS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "small segments": {"swift_store_large_object_size": 1, "swift_store_large_object_chunk_size": 1},
    "seeded": {"swift_store_multiple_containers_seed": 10},
    "limit": {},
}


class TestEveryStore(StoreConformance):
    @pytest.fixture(params=[*KINDS, "buffered"])
    async def store(self, request: pytest.FixtureRequest, swift: Swift, tmp_path: Any) -> AsyncIterator[Store]:
        buffered = {"swift_buffer_on_upload": True, "swift_upload_buffer_dir": str(tmp_path)}
        more = KINDS.get(request.param, {**KINDS["small segments"], **buffered})
        opened: Store = SwiftStore("swift", options_for(swift, **more))
        yield limited(opened, readers=4, writers=8) if request.param == "limit" else opened
        await opened.aclose()
