"""The store of type gridfs, against a server that speaks MongoDB's protocol: the whole suite, and what it adds."""

import asyncio
import datetime
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import gridfs
import pytest
from pymongo import MongoClient

from blick.model.blob import ByteRange, Location
from blick.model.errors import DataExists, DataNotFound, Invalid, RangeInvalid, StartRefused, StoreUnavailable
from blick.stores.base import Store
from blick.stores.conformance import MIB, StoreConformance, get, listed, new_key, put
from blick.stores.legacy.gridfs import GridFsStore
from tests.support.nx27017 import Nx27017
from tests.support.server import free_port

pytestmark = pytest.mark.needs("nx27017")

DATABASE = "mongodb"


@pytest.fixture(scope="module")
def mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nx27017]:
    with Nx27017(tmp_path_factory.mktemp("nx27017")) as server:
        yield server


@pytest.fixture
def client(mongo: Nx27017) -> "Iterator[MongoClient[dict[str, Any]]]":
    """What another program sees."""
    with MongoClient[dict[str, Any]](mongo.uri) as opened:
        yield opened


@pytest.fixture
async def store(mongo: Nx27017) -> AsyncIterator[GridFsStore]:
    opened = GridFsStore("mongo", {"mongodb_store_uri": mongo.uri, "mongodb_store_db": DATABASE})
    yield opened
    await opened.aclose()


class TestEveryStore(StoreConformance):
    @pytest.fixture
    async def store(self, mongo: Nx27017) -> AsyncIterator[Store]:
        opened = GridFsStore("mongo", {"mongodb_store_uri": mongo.uri})
        yield opened
        await opened.aclose()


def at(key: str) -> Location:
    return Location("mongo", f"gridfs://{key}")


async def test_the_uri_is_the_image_and_nothing_else(store: GridFsStore) -> None:
    key = new_key()
    assert await put(store, key, b"data") == at(key)
    for uri in ("gridfs://a/b", "gridfs://", "gridfs://.x", f"http://{key}"):
        assert not store.owns(uri)
        with pytest.raises(DataNotFound):
            await store.size_bytes(Location("mongo", uri))
        with pytest.raises(DataNotFound):
            await store.delete(Location("mongo", uri))
    with pytest.raises(Invalid):
        await put(store, "a/b")


async def test_what_glance_stored_is_read_listed_and_removed(
    store: GridFsStore, client: "MongoClient[dict[str, Any]]"
) -> None:
    key, data = new_key(), bytes(range(256)) * 4000  # four of GridFS's own chunks
    gridfs.GridFS(client[DATABASE]).put(data, _id=key)
    assert await store.size_bytes(at(key)) == len(data)
    assert await get(store, at(key)) == data
    assert await get(store, at(key), ByteRange(261_110, 300_000)) == data[261_110:561_110]
    assert [(entry.location, entry.size_bytes) for entry in await listed(store, key) or ()] == [(at(key), len(data))]
    with pytest.raises(DataExists):
        await put(store, key, b"again")
    assert await get(store, at(key)) == data
    await store.delete(at(key))
    assert await listed(store, key) == []
    assert client[DATABASE]["fs.chunks"].find_one({"files_id": key}) is None


async def test_other_programs_find_the_file_by_its_name(
    store: GridFsStore, client: "MongoClient[dict[str, Any]]"
) -> None:
    key = new_key()
    await put(store, key, b"a" * MIB, b"bc")
    file = gridfs.GridFS(client[DATABASE]).find_one({"filename": key})
    assert file is not None
    assert file.read() == b"a" * MIB + b"bc"


async def test_the_time_and_no_files_of_others_are_listed(
    store: GridFsStore, client: "MongoClient[dict[str, Any]]"
) -> None:
    gridfs.GridFS(client[DATABASE]).put(b"somebody's", filename="report.pdf")
    before = datetime.datetime.now(datetime.UTC).timestamp()
    key = new_key()
    await put(store, key, b"data")
    async with aclosing(store.objects()) as found:
        entries = {entry.key: entry async for entry in found}
    assert "report.pdf" not in entries
    modified_at_s = entries[key].modified_at_s
    assert modified_at_s is None or modified_at_s >= before - 1


async def test_an_object_that_lost_a_piece(store: GridFsStore, client: "MongoClient[dict[str, Any]]") -> None:
    key = new_key()
    location = await put(store, key, b"x" * (2 * MIB + 7))
    image = client[DATABASE]["blick_images"].find_one({"_id": key})
    assert image is not None
    client[DATABASE]["fs.chunks"].delete_many({"files_id": image["file"]})
    with pytest.raises(RangeInvalid):
        await get(store, location)
    await store.delete(location)
    assert await listed(store, key) == []


async def test_an_interrupted_removal_is_finished(store: GridFsStore, client: "MongoClient[dict[str, Any]]") -> None:
    """As if the process had died between taking the object away and removing its chunks."""
    key = new_key()
    location = await put(store, key, b"data")
    here = client[DATABASE]
    image = here["blick_images"].find_one({"_id": key})
    assert image is not None
    here["blick_uploads"].insert_one({"_id": image["file"], "image": key, "doomed": True})
    here["blick_images"].delete_one({"_id": key})
    assert [entry.location for entry in await listed(store, key) or ()] == [None]
    with pytest.raises(DataNotFound):
        await get(store, location)
    await store.delete(location)
    assert await listed(store, key) == []
    assert here["fs.chunks"].find_one({"files_id": image["file"]}) is None
    with pytest.raises(DataNotFound):
        await store.delete(location)


async def test_what_a_killed_writer_left_is_listed_and_discarded(
    store: GridFsStore, mongo: Nx27017, client: "MongoClient[dict[str, Any]]"
) -> None:
    key = new_key()
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.stores.test_gridfs", mongo.uri, key], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "written\n"
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=60)
    (left,) = await listed(store, key) or [None]
    assert left is not None
    assert (left.key, left.location) == (key, None)
    await store.discard(key)
    assert await listed(store, key) == []
    assert [chunk for chunk in client[DATABASE]["fs.chunks"].find({}) if str(chunk["files_id"]).startswith(key)] == []


async def test_a_server_that_goes_and_comes_back(tmp_path: Path) -> None:
    with Nx27017(tmp_path) as server:
        impatient = f"mongodb://{server.address}/?serverSelectionTimeoutMS=1000&socketTimeoutMS=1000"
        store = GridFsStore("mongo", {"mongodb_store_uri": impatient})
        location = await put(store, new_key(), b"data")
        server.pause()
        with pytest.raises(StoreUnavailable):
            await get(store, location)
        server.go_on()
        assert await get(store, location) == b"data"
        async with store.writer(new_key(), None) as writer:
            await writer.write(memoryview(b"more"))
            server.kill()
            with pytest.raises(StoreUnavailable) as gone:
                await writer.commit()
            assert "127.0.0.1" not in str(gone.value)
        calls = (store.probe(), get(store, location), store.delete(location), store.discard("key"))
        told = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(error) for error in told] == [StoreUnavailable] * 4
        server.start()
        await store.probe()
        assert await get(store, location) == b"data"
        await store.aclose()


async def test_nobody_there_at_start() -> None:
    uri = f"mongodb://user:secret@127.0.0.1:{free_port()}/?serverSelectionTimeoutMS=300"
    store = GridFsStore("mongo", {"mongodb_store_uri": uri})
    with pytest.raises(StoreUnavailable) as told:
        await store.probe()
    assert "secret" not in str(told.value)
    await store.aclose()


@pytest.mark.parametrize("uri", [None, "", "http://user:secret@host", "mongodb://", "mongodb://user:sec%ret@host/?x"])
def test_refuses_to_start_without_a_good_uri(uri: str | None) -> None:
    with pytest.raises(StartRefused, match="mongodb_store_uri") as refused:
        GridFsStore("mongo", {"mongodb_store_uri": uri})
    assert "sec" not in str(refused.value)


async def _write_without_end(uri: str, key: str) -> None:
    async with GridFsStore("mongo", {"mongodb_store_uri": uri}).writer(key, None) as writer:
        await writer.write(memoryview(bytes(3 * MIB)))
        print("written", flush=True)
        signal.pause()


if __name__ == "__main__":
    asyncio.run(_write_without_end(*sys.argv[1:]))
