"""The rbd store while its cluster is down, hangs, dies in the middle, or is full."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path

import pytest

from blick.model.blob import Location
from blick.model.errors import StoreError, StoreFull, StoreUnavailable
from blick.stores.conformance import MIB, get, new_key, put, require_missing
from blick.stores.rbd.reader import PIECE_BYTES
from blick.stores.rbd.store import RbdStore
from tests.stores.rbd_store import names_in, open_store
from tests.support.ceph import Ceph
from tests.support.daemon import Daemon

pytestmark = [pytest.mark.needs("ceph", "rbd"), pytest.mark.alone]

TIMEOUT_S = 5
PATIENCE_S = 120
"""For several calls of TIMEOUT_S, one after the other."""
PIECES = [os.urandom(MIB)] * 48


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    """A cluster of our own, to be broken; every test leaves it whole."""
    with Ceph(tmp_path_factory.mktemp("broken-ceph")) as made:
        yield made


@pytest.fixture
async def store(cluster: Ceph) -> AsyncIterator[RbdStore]:
    """One that soon gives up."""
    opened = open_store(cluster.conf_path, rados_connect_timeout=TIMEOUT_S)
    yield opened
    await opened.aclose()


@pytest.fixture
async def patient(cluster: Ceph) -> AsyncIterator[RbdStore]:
    """One as operators have it."""
    opened = open_store(cluster.conf_path)
    yield opened
    await opened.aclose()


async def require_unavailable(work: Awaitable[object]) -> None:
    """Fail unless it gives up by itself."""
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(work, PATIENCE_S)


async def require_works(store: RbdStore, cluster: Ceph, key: str) -> None:
    """The next attempt under the same key, and nothing else is left."""
    location = await put(store, key, *PIECES)
    assert await get(store, location) == b"".join(PIECES)
    await store.discard(key)
    assert {key, f"{key}*"}.isdisjoint(names_in(cluster))


@contextmanager
def paused(daemon: Daemon) -> Iterator[None]:
    """It hangs in the body."""
    daemon.pause()
    try:
        yield
    finally:
        daemon.go_on()


@contextmanager
def hanging_osd(cluster: Ceph) -> Iterator[None]:
    """The osd hangs in the body, and is started anew after it: one that hung for longer than its lease on reading may
    keep delaying operations on what was under way then."""
    cluster.osd.pause()
    try:
        yield
    finally:
        cluster.osd.kill()
        cluster.restart_osd()


async def begin_upload(store: RbdStore, key: str) -> asyncio.Task[None]:
    """An upload without end that is under way."""
    under_way = asyncio.Event()

    async def upload() -> None:
        async with store.writer(key, None) as writer:
            while True:
                await writer.write(memoryview(PIECES[0]))
                under_way.set()

    task, begun = asyncio.create_task(upload()), asyncio.create_task(under_way.wait())
    await asyncio.wait([task, begun], return_when=asyncio.FIRST_COMPLETED)
    begun.cancel()
    if task.done():
        await task
    return task


async def test_a_cluster_that_is_down_at_start_comes_back_by_itself(tmp_path: Path) -> None:
    cluster = Ceph(tmp_path / "ceph")
    with cluster:
        pass
    store = open_store(cluster.conf_path, rados_connect_timeout=TIMEOUT_S)
    key = new_key()
    missing = Location("rbd", f"rbd://{cluster.fsid}/images/{key}/snap")
    attempts = (store.probe(), put(store, key, b"x"), store.delete(missing), store.properties(), get(store, missing))
    await asyncio.gather(*[require_unavailable(attempt) for attempt in attempts])
    with cluster:
        await store.probe()
        await require_missing(store, missing)
        await require_works(store, cluster, key)
    await require_unavailable(store.probe())
    await store.aclose()


async def test_an_osd_that_hangs_in_an_upload(store: RbdStore, patient: RbdStore, cluster: Ceph) -> None:
    key = new_key()
    uploading = await begin_upload(store, key)
    with hanging_osd(cluster):
        await require_unavailable(uploading)
    await require_works(patient, cluster, key)


async def test_an_osd_that_dies_in_an_upload(store: RbdStore, patient: RbdStore, cluster: Ceph) -> None:
    key = new_key()
    uploading = await begin_upload(store, key)
    cluster.osd.kill()
    await require_unavailable(uploading)
    cluster.restart_osd()
    await require_works(patient, cluster, key)


async def test_an_osd_that_hangs_in_a_commit(store: RbdStore, patient: RbdStore, cluster: Ceph) -> None:
    key = new_key()
    async with store.writer(key, None) as writer:
        await writer.write(memoryview(PIECES[0]))
        with hanging_osd(cluster):
            await require_unavailable(writer.commit())
    await require_works(patient, cluster, key)


async def test_an_osd_that_hangs_in_a_download(store: RbdStore, patient: RbdStore, cluster: Ceph) -> None:
    location = await put(patient, new_key(), *PIECES)
    async with aclosing(store.read(location)) as pieces:
        assert await anext(pieces) == b"".join(PIECES)[:PIECE_BYTES]
        with paused(cluster.osd):
            await require_unavailable(read_on(pieces))
    with hanging_osd(cluster):
        await require_unavailable(store.size_bytes(location))
        await require_unavailable(store.delete(location))
    assert await get(store, location) == b"".join(PIECES)
    await patient.delete(location)


async def read_on(pieces: AsyncIterator[memoryview]) -> None:
    async for _ in pieces:
        pass


async def test_a_download_goes_on_when_the_osd_is_back_in_time(patient: RbdStore, cluster: Ceph) -> None:
    location = await put(patient, new_key(), *PIECES)
    async with aclosing(patient.read(location)) as pieces:
        received = [bytes(await anext(pieces))]
        cluster.osd.kill()
        cluster.restart_osd()
        received += [bytes(piece) async for piece in pieces]
    assert b"".join(received) == b"".join(PIECES)
    await patient.delete(location)


async def test_a_cancelled_upload_to_an_osd_that_hangs_ends(store: RbdStore, patient: RbdStore, cluster: Ceph) -> None:
    key = new_key()
    uploading = await begin_upload(store, key)
    with hanging_osd(cluster):
        uploading.cancel()
        _, unfinished = await asyncio.wait([uploading], timeout=PATIENCE_S)
        assert not unfinished
    await require_works(patient, cluster, key)


async def test_a_monitor_that_hangs_stops_nobody(store: RbdStore, patient: RbdStore, cluster: Ceph) -> None:
    location = await put(patient, new_key(), *PIECES)
    await store.probe()
    with paused(cluster.mon):
        assert await get(store, location) == b"".join(PIECES)
        await require_unavailable(put(store, new_key(), b"x"))  # a snapshot takes a decision of the monitors
    await patient.delete(location)


async def test_a_full_cluster(store: RbdStore, patient: RbdStore, cluster: Ceph) -> None:
    location, key = await put(patient, new_key(), *PIECES), new_key()
    removed = await put(patient, new_key(), *PIECES)
    uploading = await begin_upload(store, key)
    await asyncio.to_thread(cluster.make_full)  # the upload goes on meanwhile
    with pytest.raises(StoreFull):
        await asyncio.wait_for(uploading, PATIENCE_S)
    assert {key, f"{key}*"}.isdisjoint(names_in(cluster))
    with pytest.raises(StoreFull):
        await put(store, key, *PIECES)
    assert await get(store, location) == b"".join(PIECES)
    await store.delete(removed)
    await require_missing(store, removed)
    cluster.make_room()
    await require_works(patient, cluster, key)
    await patient.delete(location)


async def test_a_client_that_the_cluster_shut_out_connects_anew(store: RbdStore, cluster: Ceph) -> None:
    location, key = await put(store, new_key(), *PIECES), new_key()
    uploading = await begin_upload(store, key)
    for address in watchers(cluster, key):
        cluster.command("osd", "blocklist", "add", address)
    await require_unavailable(uploading)
    give_up_at_s = time.monotonic() + PATIENCE_S
    while True:
        with suppress(StoreError):
            assert await get(store, location) == b"".join(PIECES)
            break
        assert time.monotonic() < give_up_at_s, "no new connection"
    await require_works(store, cluster, key)
    await store.delete(location)


def watchers(cluster: Ceph, key: str) -> list[str]:
    """The addresses of the clients that have this image open."""
    lines = cluster.rbd("status", f"images/{key}").splitlines()
    return [line.split("watcher=")[1].split()[0] for line in lines if "watcher=" in line]
