"""The store of type swift through the suite for all stores, against a real Swift with its own log-in."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from blick.stores.base import Store
from blick.stores.conformance import StoreConformance
from blick.stores.swift.store import SwiftStore
from tests.stores.swift_fixtures import SMALL_SEGMENTS, options_for
from tests.support.swift import Swift

pytestmark = pytest.mark.needs("swift")


KINDS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "small segments": SMALL_SEGMENTS,
    "seeded": {"swift_store_multiple_containers_seed": 10},
}


class TestEveryStore(StoreConformance):
    @pytest.fixture(params=[*KINDS, "buffered"])
    async def store(self, request: pytest.FixtureRequest, swift: Swift, tmp_path: Any) -> AsyncIterator[Store]:
        buffered = {"swift_buffer_on_upload": True, "swift_upload_buffer_dir": str(tmp_path)}
        more = KINDS.get(request.param, {**SMALL_SEGMENTS, **buffered})
        opened = SwiftStore("swift", options_for(swift, **more))
        yield opened
        await opened.aclose()
