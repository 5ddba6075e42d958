"""The store of type sheepdog, against a stand-in for a cluster and its command: the whole suite, and what it adds."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from blick.model.blob import ByteRange, Location
from blick.model.errors import (
    DataExists,
    DataInUse,
    DataNotFound,
    Invalid,
    StartRefused,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from blick.stores.base import Store
from blick.stores.conformance import MIB, StoreConformance, get, listed, new_key, put
from blick.stores.legacy.sheepdog import SheepdogStore
from tests.support.sheepdog import Sheepdog


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sheepdog]:
    with Sheepdog(tmp_path_factory.mktemp("sheepdog")) as started:
        yield started


@pytest.fixture(autouse=True)
def path(cluster: Sheepdog, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command `dog` is found, and nothing else."""
    monkeypatch.setenv("PATH", f"{cluster.bin}:/usr/bin:/bin")


def opened(cluster: Sheepdog, chunk_mib: int = 64) -> SheepdogStore:
    options = {"sheepdog_store_port": cluster.port, "sheepdog_store_chunk_size": chunk_mib}
    return SheepdogStore("sheep", {"sheepdog_store_address": "127.0.0.1", **options})


@pytest.fixture
async def store(cluster: Sheepdog) -> AsyncIterator[SheepdogStore]:
    made = opened(cluster, chunk_mib=1)
    yield made
    await made.aclose()


class TestEveryStore(StoreConformance):
    @pytest.fixture
    async def store(self, cluster: Sheepdog) -> AsyncIterator[Store]:
        made = opened(cluster, chunk_mib=4)
        yield made
        await made.aclose()


def vdis_of(cluster: Sheepdog, key: str) -> list[str]:
    """The names of all VDIs and snapshots that begin with `key`."""
    lines = cluster.dog("vdi", "list", "-r").decode().splitlines()
    return [name for name in (line.split(" ")[1] for line in lines) if name.startswith(key)]


async def test_an_image_is_a_vdi_of_its_name_and_exact_size(store: SheepdogStore, cluster: Sheepdog) -> None:
    key = new_key()
    location = await put(store, key, b"x" * MIB, b"yz")
    assert location == Location("sheep", f"sheepdog://127.0.0.1:{cluster.port}:{key}")
    assert vdis_of(cluster, key) == [key]
    assert cluster.dog("vdi", "read", key, "0", str(2 * MIB)) == b"x" * MIB + b"yz"


async def test_what_glance_stored_is_read_listed_and_removed(store: SheepdogStore, cluster: Sheepdog) -> None:
    key, data = new_key(), bytes(range(256)) * 10_000
    cluster.dog("vdi", "create", key, str(len(data)))
    cluster.dog("vdi", "write", key, "0", str(len(data)), data=data)
    old = Location("sheep", f"sheepdog://{key}")
    assert store.owns(old.uri)
    assert await get(store, old) == data
    assert await get(store, old, ByteRange(MIB - 5, 10)) == data[MIB - 5 : MIB + 5]
    with pytest.raises(DataExists):
        await put(store, key, b"again")
    (entry,) = await listed(store, key) or [None]
    assert entry is not None
    assert (entry.location, entry.size_bytes) == (Location("sheep", store.uri_of(key)), len(data))
    await store.delete(old)
    assert vdis_of(cluster, key) == []


async def test_only_the_configured_node_is_spoken_to(store: SheepdogStore, cluster: Sheepdog) -> None:
    key = new_key()
    await put(store, key, b"data")
    elsewhere = Location("sheep", f"sheepdog://192.0.2.1:7000:{key}")
    assert not store.owns(elsewhere.uri)
    assert await get(store, elsewhere) == b"data"
    for uri in ("sheepdog://", f"sheepdog://-x:{key}/..", f"http://{key}", "sheepdog://--help", "sheepdog://a b"):
        assert not store.owns(uri)
        with pytest.raises(DataNotFound):
            await store.size_bytes(Location("sheep", uri))
    for key in ("-r", "--help", "a+b", "a b", "a/b", ""):
        with pytest.raises(Invalid):
            await put(store, key)
        with pytest.raises(Invalid):
            await store.discard(key)


async def test_a_vdi_in_use_is_not_removed(store: SheepdogStore, cluster: Sheepdog) -> None:
    key = new_key()
    location = await put(store, key, b"data")
    cluster.dog("vdi", "lock", key)
    with pytest.raises(DataInUse):
        await store.delete(location)
    assert await get(store, location) == b"data"
    cluster.dog("vdi", "lock", key)
    await store.delete(location)
    assert vdis_of(cluster, key) == []


async def test_others_snapshots_and_strange_names_are_left_alone(store: SheepdogStore, cluster: Sheepdog) -> None:
    key = new_key()
    location = await put(store, key, b"data")
    cluster.dog("vdi", "snapshot", "-s", "mine", key)
    cluster.dog("vdi", "create", f"disk of {key}", "512")
    await store.delete(location)
    with pytest.raises(DataNotFound):
        await get(store, location)
    assert await listed(store, key) == []
    async with aclosing(store.objects()) as found:
        assert not [entry async for entry in found if "disk" in entry.key]
    await store.discard(key)
    assert vdis_of(cluster, key) == [key]
    cluster.dog("vdi", "delete", "-s", "mine", key)


async def test_a_full_cluster(tmp_path: Path) -> None:
    with Sheepdog(tmp_path, room_mib=4) as small:
        store = opened(small, chunk_mib=1)
        key = new_key()
        with pytest.raises(StoreFull):
            await put(store, key, *[b"x" * MIB] * 5)
        assert vdis_of(small, "") == []
        assert await get(store, await put(store, key, b"fits")) == b"fits"
        await store.aclose()


async def test_a_node_that_goes_and_one_that_hangs(tmp_path: Path) -> None:
    with Sheepdog(tmp_path) as own:
        store = opened(own)
        location = await put(store, new_key(), b"data")
        own.pause()
        reading = asyncio.create_task(get(store, location))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        own.go_on()
        await store.probe()
        async with store.writer(new_key(), None) as writer:
            await writer.write(memoryview(b"more"))
            own.kill()
            with pytest.raises(StoreUnavailable) as gone:
                await writer.commit()
            assert "127.0.0.1" not in str(gone.value)
        calls = (store.probe(), get(store, location), store.delete(location), store.discard("key"), put(store, "key"))
        told = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(error) for error in told] == [StoreUnavailable] * 5
        own.start()
        assert await get(store, await put(store, "key", b"new")) == b"new"
        await store.aclose()


async def test_what_a_killed_writer_left_is_listed_and_discarded(store: SheepdogStore, cluster: Sheepdog) -> None:
    key = new_key()
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.stores.test_sheepdog", str(cluster.port), key], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "written\n"
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=60)
    assert [entry.location for entry in await listed(store, key) or ()] == [None]
    with pytest.raises(DataNotFound):
        await get(store, Location("sheep", store.uri_of(key)))
    await store.discard(key)
    assert vdis_of(cluster, key) == []


async def test_no_process_is_left(store: SheepdogStore) -> None:
    location = await put(store, new_key(), b"x" * 3 * MIB)
    async with aclosing(store.read(location)) as pieces:
        await anext(pieces)
    async with aclosing(store.objects()) as found:
        await anext(found)
    with pytest.raises(StoreError):
        await store.size_bytes(Location("sheep", f"sheepdog://{new_key()}"))
    children = Path("/proc/self/task").glob("*/children")
    running = [Path(f"/proc/{pid}/cmdline").read_text() for each in children for pid in each.read_text().split()]
    assert not [command for command in running if "dog" in command]


def test_refuses_to_start_without_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StartRefused, match="dog"):
        SheepdogStore("sheep", {})


async def _write_without_end(port: str, key: str) -> None:
    store = SheepdogStore("sheep", {"sheepdog_store_port": int(port), "sheepdog_store_chunk_size": 1})
    async with store.writer(key, None) as writer:
        await writer.write(memoryview(bytes(3 * MIB)))
        print("written", flush=True)
        signal.pause()


if __name__ == "__main__":
    asyncio.run(_write_without_end(*sys.argv[1:]))
