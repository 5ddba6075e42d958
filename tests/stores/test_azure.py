"""The store of type azure, through the suite for all stores and what is its own, on Microsoft's emulator."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from blick.stores.azure import AzureStore
from blick.stores.base import Store
from blick.stores.conformance import StoreConformance
from tests.support.azurite import Azurite

pytestmark = pytest.mark.needs("azurite")


def options_of(server: Azurite, container: str = "blick-tests", **more: Any) -> dict[str, Any]:
    return {
        "azure_store_account": server.account,
        "azure_store_key": server.key,
        "azure_store_container": container,
        "azure_store_endpoint": server.endpoint,
        "azure_store_create_container_on_put": True,
        **more,
    }


class TestAzure(StoreConformance):
    @pytest.fixture
    async def store(self, azurite: Azurite) -> AsyncIterator[Store]:
        store = AzureStore("azure", options_of(azurite))
        yield store
        await store.aclose()
