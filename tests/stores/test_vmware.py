"""The store of type vmware, against a vCenter simulator: the whole suite, and what only this one does."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest

from blick.model.blob import ByteRange, Location
from blick.model.errors import (
    DataExists,
    DataNotFound,
    Invalid,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from blick.stores.base import Store
from blick.stores.conformance import MIB, StoreConformance, get, listed, new_key, put
from blick.stores.vmware.files import Files
from blick.stores.vmware.options import read_options
from blick.stores.vmware.store import VmwareStore
from tests.support.config_file import configured_server
from tests.support.confined import with_small_disk_at
from tests.support.images_api import ImagesApi
from tests.support.server import BlickServer
from tests.support.vcsim import PASSWORD, Vcsim
from tests.support.waiting import eventually
from tests.support.wire import Wire

pytestmark = pytest.mark.needs("vcsim")

RAW = {"disk_format": "raw", "container_format": "bare"}


@pytest.fixture(scope="module")
def vcsim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vcsim]:
    with Vcsim(tmp_path_factory.mktemp("vcsim")) as server:
        yield server


@pytest.fixture
def own_vcsim(tmp_path: Path) -> Iterator[Vcsim]:
    """One to stop and to fill."""
    with Vcsim(tmp_path / "vcsim") as server:
        yield server


@pytest.fixture
async def store(vcsim: Vcsim) -> AsyncIterator[VmwareStore]:
    made = VmwareStore("vsphere", vcsim.options())
    yield made
    await made.aclose()


class Opened:
    """A store of these options, for as long as an `async with` lasts."""

    def __init__(self, vcsim: Vcsim, **changes: Any) -> None:
        self._store = VmwareStore("vsphere", vcsim.options(**changes))

    async def __aenter__(self) -> VmwareStore:
        return self._store

    async def __aexit__(self, *_: object) -> None:
        await self._store.aclose()


def partials(vcsim: Vcsim) -> list[str]:
    return [name for name in vcsim.files() if ".blick-" in name]


class TestVmware(StoreConformance):
    @pytest.fixture
    async def store(self, vcsim: Vcsim) -> AsyncIterator[Store]:
        store = VmwareStore("vsphere", vcsim.options())
        yield store
        await store.aclose()
        assert partials(vcsim) == []


class TestPlaces:
    async def test_locations_are_what_nova_reads(self, vcsim: Vcsim, store: VmwareStore) -> None:
        key = new_key()
        location = await put(store, key, b"data")
        host = vcsim.options()["vmware_server_host"]
        prefix = f"vsphere://{host}/folder/openstack_glance/{key}?dcPath=DC0&dsName=LocalDS_"
        assert location.uri.removeprefix(prefix) in ("0", "1")
        assert await store.properties() == {}

    async def test_the_heaviest_datastore_with_room_is_taken(self, vcsim: Vcsim) -> None:
        for heavy, light in (("LocalDS_0", "LocalDS_1"), ("LocalDS_1", "LocalDS_0")):
            async with Opened(vcsim, vmware_datastores=[f"/DC0:{light}", f"DC0:{heavy}:7"]) as store:
                key = new_key()
                assert (await put(store, key, b"x")).uri.endswith(f"dcPath=DC0&dsName={heavy}")
                assert (vcsim.datastore(heavy) / "openstack_glance" / key).read_bytes() == b"x"

    async def test_a_datastore_that_takes_nothing_new_is_still_read(self, vcsim: Vcsim) -> None:
        async with Opened(vcsim, vmware_datastores=["DC0:LocalDS_1"]) as store:
            location = await put(store, new_key(), b"old")
        async with Opened(vcsim, vmware_datastores=["DC0:LocalDS_0"]) as store:
            assert store.owns(location.uri)
            assert await get(store, location) == b"old"
            await store.delete(location)

    async def test_an_object_in_another_datastore_is_not_doubled(self, vcsim: Vcsim) -> None:
        key = new_key()
        async with Opened(vcsim, vmware_datastores=["DC0:LocalDS_1"]) as store:
            first = await put(store, key, b"first")
        async with Opened(vcsim, vmware_datastores=["DC0:LocalDS_0:1", "DC0:LocalDS_1"]) as store:
            with pytest.raises(DataExists):
                await put(store, key, b"second")
            assert await get(store, first) == b"first"
            await store.discard(key)
            with pytest.raises(DataNotFound):
                await store.size_bytes(first)

    async def test_what_does_not_fit_is_refused(self, store: VmwareStore) -> None:
        with pytest.raises(StoreFull):
            async with store.writer(new_key(), await store.free_bytes() * 2):
                pass

    @pytest.mark.parametrize("wrong", ["DC0:nowhere", "nowhere:LocalDS_0", "DC0/vm:LocalDS_0"])
    async def test_a_datastore_that_is_not_there(self, vcsim: Vcsim, wrong: str) -> None:
        async with Opened(vcsim, vmware_datastores=[wrong]) as store:
            with pytest.raises(StoreUnavailable, match="there is no data"):
                await store.probe()
            with pytest.raises(StoreUnavailable, match="there is no data"):
                await put(store, new_key(), b"x")

    async def test_a_folder_of_several_levels(self, vcsim: Vcsim) -> None:
        async with Opened(vcsim, vmware_store_image_dir="/one/two & three/") as store:
            location = await put(store, new_key(), b"deep")
            assert "/folder/one/two%20%26%20three/" in location.uri
            assert store.owns(location.uri)
            assert await get(store, location, ByteRange(1, 2)) == b"ee"
            await store.delete(location)

    async def test_a_folder_that_was_removed(self, own_vcsim: Vcsim) -> None:
        async with Opened(own_vcsim, vmware_datastores=["DC0:LocalDS_0"]) as store:
            await store.delete(await put(store, new_key(), b"x"))
            (own_vcsim.datastore("LocalDS_0") / "openstack_glance").rmdir()
            assert [entry async for entry in store.objects()] == []
            await store.discard(new_key())
            assert await get(store, await put(store, new_key(), b"y")) == b"y"

    async def test_lists_what_can_be_an_object(self, own_vcsim: Vcsim) -> None:
        async with Opened(own_vcsim) as store:
            assert [entry async for entry in store.objects()] == []
            location = await put(store, "Ubuntu_24.04", b"four")
            folder = next(own_vcsim.folder.glob("data/*/openstack_glance"))
            (folder / "a folder").mkdir()
            (folder / "subfolder").mkdir()
            (folder / "not an image.iso").write_bytes(b"x")
            [entry] = [entry async for entry in store.objects()]
            assert (entry.key, entry.location, entry.size_bytes) == ("Ubuntu_24.04", location, 4)
            assert entry.modified_at_s is not None
            assert abs(entry.modified_at_s - (folder / "Ubuntu_24.04").stat().st_mtime) < 2

    @pytest.mark.parametrize("key", ["", "../x", "a/b", "a*", ".hidden", "a?b", "[x]"])
    async def test_names_that_mean_something_else(self, store: VmwareStore, key: str) -> None:
        with pytest.raises(Invalid):
            async with store.writer(key, None):
                pass
        with pytest.raises(Invalid):
            await store.discard(key)


class TestSessions:
    async def test_an_ended_session_is_replaced(self, vcsim: Vcsim, store: VmwareStore) -> None:
        location = await put(store, new_key(), b"data")
        for call in (store.free_bytes, store.probe, lambda: store.size_bytes(location), lambda: get(store, location)):
            vcsim.end_sessions()
            await call()
        vcsim.end_sessions()
        await put(store, new_key(), b"data")
        vcsim.end_sessions()
        await store.delete(location)

    async def test_a_session_may_end_during_an_upload(self, vcsim: Vcsim, store: VmwareStore) -> None:
        async with store.writer(new_key(), None) as writer:
            await writer.write(memoryview(b"one"))
            vcsim.end_sessions()
            await writer.write(memoryview(b"two"))
            location = await writer.commit()
        assert await get(store, location) == b"onetwo"

    @pytest.mark.parametrize("sent_mib", [0, 64])
    async def test_a_session_that_ends_as_an_upload_begins(self, vcsim: Vcsim, sent_mib: int) -> None:
        """What was sent cannot be sent again: it is an error that says so, early or at the end."""
        options = read_options("vsphere", vcsim.options())
        files = Files("vsphere", options)
        place = options.place(next(iter(options.weights)), new_key())
        exchange, _ = await files.begin(lambda line, _cookie: line.begin_put(place, "vmware_soap_session=old", None))

        async def send_all() -> None:
            for _ in range(sent_mib):
                await files.step(exchange, exchange.send, memoryview(bytes(MIB)))
            await files.step(exchange, exchange.finish_put)

        with pytest.raises(StoreUnavailable):
            await send_all()
        await files.run(exchange.abandon)
        with pytest.raises(DataNotFound):
            await files.size_bytes(place)
        await files.aclose()

    async def test_many_find_out_at_once(self, vcsim: Vcsim, store: VmwareStore) -> None:
        location = await put(store, new_key(), b"data")
        vcsim.end_sessions()
        assert await asyncio.gather(*[get(store, location) for _ in range(8)]) == [b"data"] * 8

    async def test_wrong_credentials(self, vcsim: Vcsim) -> None:
        async with Opened(vcsim, vmware_server_password="not-the-password") as store:
            for call in (store.probe(), put(store, new_key(), b"x"), store.discard(new_key())):
                with pytest.raises(StoreDenied) as refused:
                    await call
                assert "not-the-password" not in str(refused.value)

    async def test_the_server_is_verified(self, vcsim: Vcsim) -> None:
        for wrong in ({"vmware_ca_file": None}, {"vmware_ca_file": "/nowhere"}):
            async with Opened(vcsim, **wrong) as store:
                with pytest.raises(StoreUnavailable):
                    await store.probe()
        async with Opened(vcsim, vmware_ca_file=None, vmware_insecure=True) as store:
            assert await get(store, await put(store, new_key(), b"x")) == b"x"
        # A file of authorities counts, whatever else is said.
        async with Opened(vcsim, vmware_ca_file="/nowhere", vmware_insecure=True) as store:
            with pytest.raises(StoreUnavailable):
                await store.probe()


class TestFaults:
    async def test_nobody_there(self, own_vcsim: Vcsim) -> None:
        async with Opened(own_vcsim) as store:
            location = await put(store, new_key(), b"data")
            own_vcsim.kill()
            calls = (store.probe(), store.free_bytes(), get(store, location), store.delete(location))
            for call in (*calls, put(store, new_key(), b"x"), store.discard(new_key())):
                with pytest.raises(StoreUnavailable) as refused:
                    await call
                assert PASSWORD not in str(refused.value)
            own_vcsim.start()
            await store.probe()
            assert await get(store, await put(store, new_key(), b"data")) == b"data"

    async def test_asks_again_until_the_server_is_back(self, own_vcsim: Vcsim) -> None:
        async with Opened(own_vcsim, vmware_api_retry_count=1000) as store:
            await store.probe()
            own_vcsim.kill()
            asked = asyncio.create_task(store.free_bytes())
            done, _ = await asyncio.wait({asked}, timeout=0.2)
            assert not done
            await asyncio.to_thread(own_vcsim.start)
            assert await asked > 0

    async def test_killed_during_an_upload(self, own_vcsim: Vcsim) -> None:
        async with Opened(own_vcsim) as store:
            with pytest.raises(StoreUnavailable):
                await _write_without_end(store, own_vcsim.kill)

    async def test_killed_during_a_download(self, own_vcsim: Vcsim) -> None:
        async with Opened(own_vcsim) as store:
            location = await put(store, new_key(), *[bytes(MIB)] * 64)
            async with aclosing(store.read(location)) as pieces:
                await anext(pieces)
                own_vcsim.kill()
                with pytest.raises(StoreError):
                    assert [len(piece) async for piece in pieces] == []

    async def test_a_silent_server_does_not_hold_the_cancelled(self, own_vcsim: Vcsim) -> None:
        async with Opened(own_vcsim) as store:
            location = await put(store, new_key(), *[bytes(MIB)] * 64)
            reading = asyncio.create_task(get(store, location))
            writing = asyncio.create_task(_write_without_end(store))
            await asyncio.sleep(0)
            own_vcsim.pause()
            try:
                reading.cancel()
                writing.cancel()
                for task in (reading, writing):
                    with suppress(asyncio.CancelledError):
                        await asyncio.wait_for(task, 100)
            finally:
                own_vcsim.go_on()

    @pytest.mark.parametrize("sent_bytes", [0, 9, 11])
    async def test_a_length_that_was_not_true(self, vcsim: Vcsim, store: VmwareStore, sent_bytes: int) -> None:
        key = new_key()
        with pytest.raises(StoreError, match="than was announced"):
            await _put_sized(store, key, 10, [bytes(sent_bytes)])
        assert await listed(store, key) == []
        assert partials(vcsim) == []

    @pytest.mark.needs("mounts")
    @pytest.mark.parametrize("is_announced", [True, False])
    async def test_a_full_datastore(self, tmp_path: Path, is_announced: bool) -> None:
        """The simulator takes a full disk for a success: what it kept has to be looked at."""
        vcsim = Vcsim(tmp_path / "vcsim")
        vcsim.prepare()
        vcsim.prefix = with_small_disk_at(vcsim.folder / "data", 8 * MIB)
        with vcsim:
            async with Opened(vcsim) as store:
                key = new_key()
                with pytest.raises((StoreFull, StoreUnavailable)):
                    await _put_sized(store, key, 16 * MIB if is_announced else None, [bytes(MIB)] * 16)
                assert await listed(store, key) == []
                assert await get(store, await put(store, key, b"fits")) == b"fits"

    async def test_what_a_killed_process_left(self, vcsim: Vcsim, store: VmwareStore) -> None:
        key = new_key()
        stalled = store.writer(key, None)
        writer = await stalled.__aenter__()
        await writer.write(memoryview(b"partial"))
        for entry in await listed(store, key) or [None]:
            assert entry is not None
            assert entry.location is None
        async with Opened(vcsim) as other:
            await other.discard(key)
        assert await listed(store, key) == []
        with pytest.raises(StoreUnavailable, match="somebody else"):
            await writer.commit()
        await stalled.__aexit__(None, None, None)
        assert partials(vcsim) == []

    async def test_what_is_somewhere_else(self, store: VmwareStore) -> None:
        for uri in ("vsphere://other/folder/openstack_glance/x?dcPath=DC0&dsName=LocalDS_0", "file:///etc/passwd"):
            for call in (store.size_bytes, store.delete, lambda location: get(store, location)):
                with pytest.raises(DataNotFound):
                    await call(Location("vsphere", uri))


async def _write_without_end(store: Store, then: Callable[[], None] | None = None) -> None:
    async with store.writer(new_key(), None) as writer:
        await writer.write(memoryview(bytes(MIB)))
        if then is not None:
            then()
        while True:
            await writer.write(memoryview(bytes(MIB)))


async def _put_sized(store: Store, key: str, size_bytes: int | None, pieces: list[bytes]) -> None:
    async with store.writer(key, size_bytes) as writer:
        for piece in pieces:
            await writer.write(memoryview(piece))
        await writer.commit()


@pytest.fixture
def service(vcsim: Vcsim, tmp_path: Path) -> Iterator[BlickServer]:
    options = vcsim.options()
    options["vmware_datastores"] = options["vmware_datastores"][0]
    groups = {"glance_store": {"stores": "vmware", "default_store": "vsphere", **options}}
    server = configured_server(tmp_path / "blick", groups)
    try:
        yield server.start()
    finally:
        server.kill_all()


class TestService:
    def test_an_image_of_a_service(self, vcsim: Vcsim, service: BlickServer) -> None:
        data = bytes(range(256)) * 40_000
        with ImagesApi(service.url, None) as api:
            image_id = api.create(name="vsphere", **RAW)["id"]
            headers = {"Content-Type": "application/octet-stream"}
            assert api.http.put(f"/v2/images/{image_id}/file", content=data, headers=headers).status_code == 204
            assert image_id in vcsim.files()
            assert api.http.get(f"/v2/images/{image_id}/file").content == data
            part = api.http.get(f"/v2/images/{image_id}/file", headers={"Range": "bytes=1000-1999"})
            assert (part.status_code, part.content) == (206, data[1000:2000])
            api.delete(image_id)
        eventually(lambda: image_id not in vcsim.files())

    def test_a_killed_service_leaves_nothing(self, vcsim: Vcsim, service: BlickServer) -> None:
        with ImagesApi(service.url, None) as api:
            image_id = api.create(name="broken off", **RAW)["id"]
        with Wire(service.port) as wire:
            wire.upload_head("", image_id, transfer_encoding="chunked")
            for _ in range(8):
                wire.chunk(bytes(range(256)) * 4096)
            eventually(lambda: [name for name in partials(vcsim) if name.startswith(image_id)])
            service.kill_all()
        service.start()
        with ImagesApi(service.url, None) as api:
            eventually(lambda: api.show(image_id)["status"] == "queued")
            eventually(lambda: not [name for name in vcsim.files() if name.startswith(image_id)])
