"""The store of type azure, through the suite for all stores and what is its own, on Microsoft's emulator."""

import asyncio
import urllib.request
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.storage.blob import BlobServiceClient, ContainerSasPermissions, generate_container_sas

from blick.model.blob import Location
from blick.model.errors import DataExists, StartRefused, StoreDenied, StoreUnavailable
from blick.stores.azure.store import AzureStore
from blick.stores.base import Store
from blick.stores.conformance import DATA, MIB, StoreConformance, get, listed, new_key, put, require_missing
from tests.support.azurite import Azurite
from tests.support.breaking_line import breaking_line
from tests.support.server import free_port

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


def behind(server: Azurite) -> BlobServiceClient:
    return BlobServiceClient(server.endpoint, credential={"account_name": server.account, "account_key": server.key})


async def write(store: AzureStore, key: str, pieces: Sequence[bytes], last: Callable[[], None]) -> Location:
    """Store an object; `last` is called before the commit."""
    async with store.writer(key, None) as writer:
        for piece in pieces:
            await writer.write(memoryview(piece))
        last()
        return await writer.commit()


@pytest.fixture
async def store(azurite: Azurite) -> AsyncIterator[AzureStore]:
    made = AzureStore("azure", options_of(azurite))
    yield made
    await made.aclose()


async def test_wrong_credentials(azurite: Azurite) -> None:
    wrong = b64encode(b"another key").decode()
    store = AzureStore("azure", options_of(azurite, azure_store_key=wrong))
    for call in (store.probe(), put(store, new_key(), DATA), store.discard(new_key())):
        with pytest.raises(StoreDenied) as refused:
            await call
        assert wrong not in str(refused.value)
    await store.aclose()


async def test_the_container_is_missing(azurite: Azurite) -> None:
    missing = options_of(azurite, "is-not-there", azure_store_create_container_on_put=False)
    store = AzureStore("azure", missing)
    place = Location("azure", store.uri_of("x"))
    for call in (store.probe(), put(store, new_key(), DATA), get(store, place), store.delete(place)):
        with pytest.raises(StoreUnavailable, match="container"):
            await call
    await store.aclose()


async def test_nobody_there(azurite: Azurite) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/{azurite.account}"
    store = AzureStore("azure", options_of(azurite, azure_store_endpoint=nowhere))
    for call in (store.probe(), put(store, new_key(), DATA), store.discard(new_key())):
        with pytest.raises(StoreUnavailable):
            await call
    await store.aclose()


async def test_the_server_goes_before_the_commit(azurite: Azurite, store: AzureStore) -> None:
    key = new_key()
    with breaking_line(azurite.port) as line:
        there = f"http://{line.address}/{azurite.account}"
        far = AzureStore("azure", options_of(azurite, azure_store_endpoint=there))
        with pytest.raises(StoreUnavailable):
            await write(far, key, [bytes(MIB)] * 20, line.cut)
        await far.aclose()
    [left] = await listed(store, key) or []
    assert left.location is None
    await require_missing(store, Location("azure", store.uri_of(key)))
    location = await put(store, key, DATA)
    assert await get(store, location) == DATA


async def test_a_read_goes_on_where_it_broke(azurite: Azurite, store: AzureStore) -> None:
    pieces = [bytes([number]) * MIB for number in range(20)]
    location = await put(store, new_key(), *pieces)
    with breaking_line(azurite.port) as line:
        there = f"http://{line.address}/{azurite.account}"
        far = AzureStore("azure", options_of(azurite, azure_store_endpoint=there))
        line.reset_after(9 * MIB)
        assert await get(far, location) == b"".join(pieces)
        await far.aclose()


async def test_an_object_that_appears_while_it_is_written(azurite: Azurite, store: AzureStore) -> None:
    key = new_key()
    with behind(azurite) as client:
        blob = client.get_blob_client("blick-tests", key)
        with pytest.raises(DataExists):
            await write(store, key, [DATA], lambda: blob.upload_blob(b"somebody else's", overwrite=True) and None)
    assert await get(store, Location("azure", store.uri_of(key))) == b"somebody else's"


async def test_a_signed_url_needs_nobody_s_credentials(azurite: Azurite) -> None:
    store = AzureStore("azure", options_of(azurite, azure_store_signed_url_ttl=60))
    location = await put(store, new_key(), DATA)
    url = await store.signed_url(location, store.signed_url_ttl_s)
    request = urllib.request.Request(url, headers={"Range": "bytes=2-4"})
    with await asyncio.to_thread(urllib.request.urlopen, request) as answer:
        assert answer.read() == DATA[2:5]
    await store.aclose()


async def test_a_token_instead_of_the_key(azurite: Azurite, store: AzureStore) -> None:
    await put(store, new_key(), DATA)  # makes the container
    token = generate_container_sas(
        azurite.account,
        "blick-tests",
        account_key=azurite.key,
        permission=ContainerSasPermissions(read=True, write=True, delete=True, list=True, create=True, add=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    with_token = AzureStore("azure", options_of(azurite, azure_store_key=None, azure_store_sas_token=f"?{token}"))
    await with_token.probe()
    location = await put(with_token, new_key(), DATA)
    assert await get(with_token, location) == DATA
    await with_token.delete(location)
    await with_token.aclose()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"azure_store_account": None}, "azure_store_account"),
        ({"azure_store_account": "Not_A_Name"}, "azure_store_account"),
        ({"azure_store_container": "x"}, "azure_store_container"),
        ({"azure_store_key": None}, "azure_store_key"),
        ({"azure_store_sas_token": "both"}, "azure_store_sas_token"),
        ({"azure_store_endpoint": "ftp://somewhere"}, "azure_store_endpoint"),
        ({"azure_store_key": None, "azure_store_sas_token": "x", "azure_store_signed_url_ttl": 9}, "signed_url_ttl"),
        ({"azure_store_chunk_size": 4}, "azure_store_chunk_size"),
        ({"azure_store_cacert": "/nowhere"}, "azure_store_cacert"),
    ],
)
def test_options_that_make_no_sense(azurite: Azurite, change: dict[str, Any], named: str) -> None:
    with pytest.raises(StartRefused, match=named):
        AzureStore("azure", options_of(azurite) | change)


def test_knows_its_uris(store: AzureStore) -> None:
    ours = "azure://blicktests/blick-tests/x"
    others = ["azure://another/blick-tests/x", "azure://blicktests/other/x", "azure://blicktests/blick-tests/x/y"]
    assert [uri for uri in (ours, *others, "azure://", "s3://x/y/z") if store.owns(uri)] == [ours]


async def test_parts_of_giants_wait_in_files(store: AzureStore) -> None:
    pieces = [bytes([number]) * MIB for number in range(40)]
    async with store.writer(new_key(), 300 << 30) as writer:  # as if it went on to 300 GiB: parts of 31 MiB
        for piece in pieces:
            await writer.write(memoryview(piece))
        location = await writer.commit()
    assert await get(store, location) == b"".join(pieces)
