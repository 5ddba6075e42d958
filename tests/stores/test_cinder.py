"""The store of type cinder, against a real Cinder with its volumes on a real Ceph: on demand, `make cinder`.

Everything takes seconds there. Attaching by os-brick: tests/unit/stores/test_cinder_brick.py.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from blick.model.blob import ByteRange, Location
from blick.model.context import RequestContext
from blick.model.errors import (
    CallerRefused,
    DataInUse,
    DataNotFound,
    StoreDenied,
    StoreFull,
    StoreUnavailable,
)
from blick.model.service_catalog import ServiceCatalog
from blick.stores.base import ActsForCaller
from blick.stores.cinder.store import CinderStore
from blick.stores.conformance import MIB, StoreConformance, get, listed, new_key, put
from tests.support.ceph import Ceph
from tests.support.cinder import Cinder
from tests.support.config_file import configured_server
from tests.support.images_api import ImagesApi
from tests.support.keystone import Keystone
from tests.support.mariadb import MariaDB
from tests.support.server import BlickServer, free_port
from tests.support.waiting import eventually
from tests.support.wire import Wire

pytestmark = pytest.mark.needs("cinder", "ceph", "rbd", "keystone", "mariadb")

GIB = 1 << 30
RAW = {"disk_format": "raw", "container_format": "bare"}
PASSWORD_OPTIONS = {
    "auth_url": "cinder_store_auth_address",
    "username": "cinder_store_user_name",
    "password": "cinder_store_password",
    "project_name": "cinder_store_project_name",
}


@pytest.fixture(scope="module")
def cinder(
    tmp_path_factory: pytest.TempPathFactory, ceph: Ceph, keystone: Keystone, mariadb: MariaDB
) -> Iterator[Cinder]:
    database_url = mariadb.create_database("cinder")
    with Cinder(tmp_path_factory.mktemp("cinder"), ceph, keystone, database_url) as server:
        yield server


@pytest.fixture
def options(cinder: Cinder, ceph: Ceph, keystone: Keystone) -> dict[str, Any]:
    """Of a store in the service's own project."""
    auth = keystone.auth("glance")
    account = {option: auth[name] for name, option in PASSWORD_OPTIONS.items()}
    return {**account, "cinder_ceph_conf": str(ceph.conf_path)}


@pytest.fixture
async def store(options: dict[str, Any]) -> AsyncIterator[CinderStore]:
    made = CinderStore("cinder", options)
    yield made
    await made.aclose()


async def keys_of(store: CinderStore) -> set[str]:
    async with aclosing(store.objects()) as found:
        return {entry.key async for entry in found}


class TestEveryStore(StoreConformance):
    names_objects_by_key = False


class TestVolumes:
    async def test_what_cinder_is_told(self, cinder: Cinder, store: CinderStore, keystone: Keystone) -> None:
        key = new_key()
        acting = store.acting_for(RequestContext("request", project_id="the-owner"))
        async with acting.writer(key, GIB + 1) as writer:
            await writer.write(memoryview(b"data"))
            location = await writer.commit()
        [shown] = [volume for volume in cinder.volumes() if location.uri == f"cinder://{volume['id']}"]
        assert (shown["name"], shown["size"], shown["status"]) == (f"image-{key}", 2, "available")
        expected = {"glance_image_id": key, "image_size": "4", "image_owner": "the-owner", "readonly": "True"}
        assert expected.items() <= shown["metadata"].items()
        assert await store.properties() == {"volume_type": None, "use_multipath": False}
        await store.delete(location)
        assert location.uri not in [f"cinder://{volume['id']}" for volume in cinder.volumes()]

    @pytest.mark.parametrize("online", [False, True])
    async def test_grows_when_it_is_full(self, options: dict[str, Any], ceph: Ceph, online: bool) -> None:
        """Most of it is zeros, which take no room in the test's Ceph: they are written nevertheless."""
        store = CinderStore("cinder", options | {"cinder_do_extend_attached": online})
        buffer = memoryview(bytearray(64 * MIB))
        try:
            async with store.writer(new_key(), None) as writer:
                for _ in range(16):
                    await writer.write(buffer)
                await writer.write(memoryview(b"behind the first GiB"))
                location = await writer.commit()
            assert await store.size_bytes(location) == GIB + 20
            assert await get(store, location, ByteRange(GIB - 3, 23)) == b"\0\0\0behind the first GiB"
            await store.delete(location)
        finally:
            await store.aclose()

    async def test_uris_name_the_store_where_stores_have_ids(self, options: dict[str, Any]) -> None:
        store = CinderStore("fast", options | {"uri_names_store": True})
        location = await put(store, new_key(), b"data")
        assert location.uri.startswith("cinder://fast/")
        for uri in (location.uri, location.uri.replace("fast/", "")):
            assert store.owns(uri)
            assert await get(store, Location("fast", uri)) == b"data"
        assert not store.owns(location.uri.replace("fast", "slow"))
        await store.delete(location)
        await store.aclose()

    async def test_a_volume_that_is_attached_is_in_use(self, store: CinderStore) -> None:
        location = await put(store, new_key(), bytes(4 * MIB))
        async with aclosing(store.read(location)) as pieces:
            await anext(pieces)
            with pytest.raises(DataInUse):
                await store.delete(location)
        await store.delete(location)

    async def test_what_a_killed_process_left(self, options: dict[str, Any], store: CinderStore) -> None:
        """Another process's volume, still open there: fenced at once, removed as soon as it is not open any more."""
        key, other = new_key(), CinderStore("cinder", options)
        stalled = other.writer(key, None)
        writer = await stalled.__aenter__()
        await writer.write(memoryview(b"partial"))
        with pytest.raises(StoreUnavailable):
            await store.discard(key)
        location = await put(store, key, b"whole")
        assert [entry.location for entry in await listed(store, key) or []].count(location) == 1
        with pytest.raises(StoreUnavailable):
            await writer.commit()
        await stalled.__aexit__(None, None, None)
        assert [entry.location for entry in await listed(store, key) or []] == [location]
        assert await get(store, location) == b"whole"
        await store.delete(location)
        await other.aclose()

    @pytest.mark.filterwarnings("ignore:Using fork")  # eventlet's, of the commands that os-brick runs
    @pytest.mark.skipif(os.geteuid() != 0, reason="os-brick asks as root who this host is")
    async def test_volumes_on_ceph_without_saying_so(
        self, options: dict[str, Any], ceph: Ceph, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """os-brick says who we are; that the volume is on Ceph turns out when it is attached."""
        monkeypatch.setenv("CEPH_CONF", str(ceph.conf_path))
        store = CinderStore("cinder", options | {"cinder_ceph_conf": None})
        location = await put(store, new_key(), b"data")
        assert await get(store, location) == b"data"
        await store.delete(location)
        await store.aclose()

    async def test_what_is_no_volume(self, store: CinderStore) -> None:
        for uri in ("cinder://", "cinder://x", "cinder://../../etc", f"cinder://{uuid.uuid4()}", "rbd://a/b/c/d"):
            with pytest.raises(DataNotFound):
                await store.size_bytes(Location("cinder", uri))


class TestAccounts:
    async def test_volumes_of_callers(self, options: dict[str, Any], cinder: Cinder, keystone: Keystone) -> None:
        store = CinderStore("cinder", {"cinder_ceph_conf": options["cinder_ceph_conf"]})
        assert isinstance(store, ActsForCaller)
        demo = store.acting_for(caller_of(keystone, "demo", cinder.url))
        location = await put(demo, new_key(), b"demo's")
        assert await get(demo, location) == b"demo's"
        stranger = store.acting_for(caller_of(keystone, "alt", cinder.url))
        with pytest.raises(DataNotFound):
            await get(stranger, location)
        refused = store.acting_for(caller_of(keystone, "demo", cinder.url, token="not-a-token"))
        with pytest.raises(CallerRefused):
            await get(refused, location)
        await demo.delete(location)
        await store.probe()
        for call in (store.discard(new_key()), keys_of(store), put(store, new_key(), b"x")):
            with pytest.raises(StoreDenied, match="nobody is calling"):
                await call
        await store.aclose()

    async def test_callers_that_say_too_little(self, options: dict[str, Any], keystone: Keystone) -> None:
        store = CinderStore("cinder", {"cinder_ceph_conf": options["cinder_ceph_conf"]})
        for caller in (
            RequestContext("request"),
            RequestContext("request", auth_token="token"),
            RequestContext("request", auth_token="token", service_catalog=ServiceCatalog(b"[]")),
            RequestContext("request", auth_token="token", service_catalog=ServiceCatalog(b"{")),
        ):
            with pytest.raises(CallerRefused):
                store.acting_for(caller)
        await store.aclose()

    async def test_an_application_credential(self, options: dict[str, Any], keystone: Keystone) -> None:
        credential = keystone.application_credential("glance")
        store = CinderStore(
            "cinder",
            {
                "cinder_ceph_conf": options["cinder_ceph_conf"],
                "cinder_store_auth_address": options["cinder_store_auth_address"],
                "cinder_store_application_credential_id": credential.id,
                "cinder_store_application_credential_secret": credential.secret,
            },
        )
        await store.probe()
        await store.aclose()

    async def test_an_endpoint_instead_of_the_catalogs(self, options: dict[str, Any], cinder: Cinder) -> None:
        store = CinderStore("cinder", options | {"cinder_endpoint_template": f"{cinder.url}/%(project_id)s"})
        await store.probe()
        assert new_key() not in await keys_of(store)
        await store.aclose()


class TestFaults:
    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"cinder_store_password": "not-the-password"}, StoreDenied),
            ({"cinder_store_auth_address": f"http://127.0.0.1:{free_port()}/v3"}, StoreUnavailable),
            ({"cinder_endpoint_template": f"http://127.0.0.1:{free_port()}/v3"}, StoreUnavailable),
            ({"cinder_catalog_info": "volumev9::publicURL"}, StoreUnavailable),
            ({"cinder_volume_type": "nowhere"}, StoreUnavailable),
        ],
    )
    async def test_a_store_that_cannot_be_used(
        self, options: dict[str, Any], changes: dict[str, Any], error: type[Exception]
    ) -> None:
        store = CinderStore("cinder", options | {"cinder_http_retries": 0} | changes)
        with pytest.raises(error) as refused:
            await store.probe()
        assert "not-the-password" not in str(refused.value)
        await store.aclose()

    async def test_a_quota_that_is_used_up(self, cinder: Cinder, keystone: Keystone, store: CinderStore) -> None:
        with cinder.quota(keystone.project_id("service"), gigabytes=0), pytest.raises(StoreFull):
            await put(store, new_key(), b"x")

    async def test_a_volume_service_that_is_away(self, options: dict[str, Any], cinder: Cinder) -> None:
        """The volume is never made: the writer gives up, and what it left goes when Cinder gets to it."""
        store = CinderStore("cinder", options | {"cinder_state_transition_timeout": 1})
        assert cinder.volume is not None
        key = new_key()
        cinder.volume.pause()
        try:
            with pytest.raises(StoreUnavailable):
                await put(store, key, b"x")
        finally:
            cinder.volume.go_on()
        await store.aclose()
        patient = CinderStore("cinder", options)
        await patient.discard(key)
        assert await listed(patient, key) == []
        await patient.aclose()

    async def test_a_reader_may_be_cancelled_while_it_attaches(self, store: CinderStore) -> None:
        location = await put(store, new_key(), b"data")
        for pause_s in (0, 0.05, 0.2, 0.5):
            reading = asyncio.create_task(get(store, location))
            await asyncio.sleep(pause_s)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        await store.delete(location)


def caller_of(keystone: Keystone, user: str, cinder_url: str, token: str | None = None) -> RequestContext:
    fresh, record = keystone.token_record(user)
    endpoint = f'{{"interface": "public", "region": "RegionOne", "url": "{cinder_url}"}}'
    catalog = ServiceCatalog(f'[{{"type": "volumev3", "name": "cinder", "endpoints": [{endpoint}]}}]'.encode())
    return RequestContext(
        "request", project_id=record["project"]["id"], auth_token=token or fresh, service_catalog=catalog
    )


@pytest.fixture
def service(options: dict[str, Any], tmp_path: Path) -> Iterator[BlickServer]:
    """With an id for its store."""
    groups = {
        "DEFAULT": {"enabled_backends": "fast:cinder"},
        "glance_store": {"default_backend": "fast"},
        "fast": options,
        "os_glance_staging_store": {"filesystem_store_datadir": tmp_path / "staging"},
        "os_glance_tasks_store": {"filesystem_store_datadir": tmp_path / "tasks"},
    }
    server = configured_server(tmp_path / "blick", groups)
    try:
        yield server.start()
    finally:
        server.kill_all()


class TestService:
    def test_an_image_of_a_service(self, cinder: Cinder, service: BlickServer) -> None:
        data = bytes(range(256)) * 40_000
        with ImagesApi(service.url, None) as api:
            image_id = api.create(name="volume", **RAW)["id"]
            headers = {"Content-Type": "application/octet-stream"}
            assert api.http.put(f"/v2/images/{image_id}/file", content=data, headers=headers).status_code == 204
            [volume] = [volume for volume in cinder.volumes() if volume["name"] == f"image-{image_id}"]
            assert volume["metadata"]["image_size"] == str(len(data))
            assert api.http.get(f"/v2/images/{image_id}/file").content == data
            part = api.http.get(f"/v2/images/{image_id}/file", headers={"Range": "bytes=1000-1999"})
            assert (part.status_code, part.content) == (206, data[1000:2000])
            api.delete(image_id)
        eventually(lambda: volume["id"] not in [left["id"] for left in cinder.volumes()])

    def test_a_killed_service_leaves_nothing(self, cinder: Cinder, service: BlickServer) -> None:
        with ImagesApi(service.url, None) as api:
            image_id = api.create(name="broken off", **RAW)["id"]
        name = f"image-{image_id}"
        with Wire(service.port) as wire:
            wire.upload_head("", image_id, transfer_encoding="chunked").chunk(bytes(MIB))
            eventually(lambda: (name, "in-use") in [(volume["name"], volume["status"]) for volume in cinder.volumes()])
            service.kill_all()
        service.start()
        with ImagesApi(service.url, None) as api:
            eventually(lambda: api.show(image_id)["status"] == "queued")
            # Ceph takes a killed client for gone after half a minute; until then the volume cannot be removed.
            eventually(lambda: name not in [volume["name"] for volume in cinder.volumes()])
