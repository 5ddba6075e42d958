"""What a process leaves behind when it dies in the middle of an upload (spec: addendum; design: crash safety)."""

import asyncio
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert

from blick.conf.settings import Settings, StoreSettings
from blick.db import uploads
from blick.db.tables import location_deletes
from blick.db.uploads import Lease
from blick.model.errors import CallerRefused, StoreDenied, StoreUnavailable
from blick.ops import cleanup
from blick.stores import registry
from blick.stores.file.partial import partial_name
from blick.stores.file.store import FileStore
from blick.stores.registry import Stores
from tests.support.clinging_store import ENTRY_POINT, ClingingStore
from tests.support.databases import on_every_engine
from tests.support.service import OCTETS, Service

pytestmark = on_every_engine

FAR_MS = 2**52


async def broken_off(
    service: Service, holder: str, expires_at_ms: int = FAR_MS, store: str = "file", committed: bool = False
) -> tuple[str, Lease]:
    """An image as an upload leaves it whose process was killed, and the lease of that upload."""
    image_id = (await service.create())["id"]
    lease = Lease(image_id, service.services.new_token(), holder, store, expires_at_ms)
    await service.services.database.write(uploads.begin, lease, service.services.now())
    folder = Path(service.services.settings.stores.stores[0].options["filesystem_store_datadir"])
    (folder / (image_id if committed else partial_name(image_id))).write_bytes(b"half of it")
    return image_id, lease


@pytest.mark.parametrize("committed", [False, True])
async def test_a_dead_process_is_cleaned_up_behind(service: Service, committed: bool) -> None:
    """Also where it died between making the object visible and recording it."""
    image_id, _ = await broken_off(service, service.dead_holder, committed=committed)
    assert await cleanup.take_over_dead_uploads(service.services) == 1
    shown = await service.show(image_id)
    assert (shown["status"], shown["size"], shown["checksum"]) == ("queued", None, None)
    assert service.stored_files == []
    assert await cleanup.take_over_dead_uploads(service.services) == 0
    path = f"/v2/images/{image_id}/file"
    assert (await service.call("owner", "PUT", path, content=b"data", headers=OCTETS)).status_code == 204


async def test_a_process_elsewhere_is_given_its_time(service: Service) -> None:
    image_id, lease = await broken_off(service, "another-machine/space/1/1")
    await cleanup.one_round(service.services)
    assert (await service.show(image_id))["status"] == "saving"
    assert len(service.stored_files) == 1
    await service.services.database.write(uploads.renew, (lease.token,), 0)
    await cleanup.one_round(service.services)
    assert (await service.show(image_id))["status"] == "queued"
    assert service.stored_files == []


async def test_a_running_upload_is_left_alone_and_renewed(service: Service) -> None:
    image_id, lease = await broken_off(service, service.services.holder, expires_at_ms=0)
    service.services.running_uploads.add(lease.token)
    await cleanup.one_round(service.services)
    assert (await service.show(image_id))["status"] == "saving"
    [renewed] = await service.services.database.read(uploads.all_leases)
    assert renewed.token == lease.token
    assert renewed.expires_at_ms > service.services.now_ms()


async def test_an_image_deleted_meanwhile_stays_deleted(service: Service) -> None:
    image_id, _ = await broken_off(service, service.dead_holder)
    assert (await service.call("owner", "DELETE", f"/v2/images/{image_id}")).status_code == 204
    await cleanup.one_round(service.services)
    assert (await service.call("admin", "GET", f"/v2/images/{image_id}")).status_code == 404
    assert service.stored_files == []
    assert await service.services.database.read(uploads.all_leases) == []


async def test_a_store_that_is_not_configured_any_more(service: Service) -> None:
    image_id, _ = await broken_off(service, service.dead_holder, store="of-old")
    await cleanup.one_round(service.services)
    assert (await service.show(image_id))["status"] == "queued"


class TestSeveralStores:
    """One of them makes trouble."""

    @pytest.fixture(autouse=True)
    def clinging_driver(self, monkeypatch: pytest.MonkeyPatch) -> None:
        drivers = [*entry_points(group="blick.stores"), ENTRY_POINT]
        monkeypatch.setattr(registry, "entry_points", lambda group: drivers)

    @pytest.fixture
    def settings(self, settings: Settings, tmp_path: Path) -> Settings:
        clinging = StoreSettings("clinging", "clinging", {"filesystem_store_datadir": str(tmp_path / "clinging")})
        lost = StoreSettings("lost", "type-without-a-driver", {})
        stores = (*settings.stores.stores, clinging, lost)
        return replace(settings, stores=replace(settings.stores, stores=stores, multi_store=True))

    async def test_what_cannot_be_opened_keeps_its_upload_until_it_can(self, service: Service) -> None:
        image_id, _ = await broken_off(service, service.dead_holder, store="lost")
        for _ in range(2):
            await cleanup.one_round(service.services)
            assert (await service.show(image_id))["status"] == "saving"
            [lease] = await service.services.database.read(uploads.all_leases)
            assert (lease.image_id, lease.store) == (image_id, "lost")
        back = FileStore("lost", service.services.settings.stores.stores[0].options)
        stores = Stores(back, [back])
        await cleanup.one_round(replace(service.services, stores=stores))
        assert (await service.show(image_id))["status"] == "queued"
        assert service.stored_files == []

    @pytest.mark.parametrize(
        "error", [ZeroDivisionError("a fault"), StoreUnavailable("clinging"), StoreDenied("clinging")]
    )
    async def test_trouble_with_one_upload_is_not_the_others(self, service: Service, error: Exception) -> None:
        store = service.services.stores.by_id("clinging")
        assert isinstance(store, ClingingStore)
        store.error = error
        troubled = [(await broken_off(service, service.dead_holder, store="clinging"))[0] for _ in range(2)]
        fine = [(await broken_off(service, service.dead_holder))[0] for _ in range(2)]
        await cleanup.one_round(service.services)
        assert {(await service.show(image_id))["status"] for image_id in fine} == {"queued"}
        assert {(await service.show(image_id))["status"] for image_id in troubled} == {"saving"}
        assert sorted(store.asked) == sorted(troubled)
        store.error = None
        await cleanup.one_round(service.services)
        assert {(await service.show(image_id))["status"] for image_id in troubled} == {"queued"}

    async def test_a_store_that_hangs_keeps_only_its_own_uploads(self, service: Service) -> None:
        store = service.services.stores.by_id("clinging")
        assert isinstance(store, ClingingStore)
        store.gate.clear()
        hanging, _ = await broken_off(service, service.dead_holder, store="clinging")
        fine, _ = await broken_off(service, service.dead_holder)
        housekeeping = asyncio.create_task(cleanup.run_forever(service.services))
        while (await service.show(fine))["status"] != "queued":
            await asyncio.sleep(0.01)
        assert (await service.show(hanging))["status"] == "saving"
        store.gate.set()
        while (await service.show(hanging))["status"] != "queued":
            await asyncio.sleep(0.01)
        housekeeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await housekeeping

    async def test_what_only_its_user_may_remove(self, service: Service, caplog: pytest.LogCaptureFixture) -> None:
        """The image does not wait in `saving` for somebody who never comes."""
        store = service.services.stores.by_id("clinging")
        assert isinstance(store, ClingingStore)
        store.error = CallerRefused("clinging", "no token came along")
        image_id, _ = await broken_off(service, service.dead_holder, store="clinging")
        await cleanup.one_round(service.services)
        assert (await service.show(image_id))["status"] == "queued"
        assert await service.services.database.read(uploads.all_leases) == []
        assert "stays in its user's account" in caplog.text

    async def test_refused_content_leaves_nothing(self, service: Service, tmp_path: Path) -> None:
        image = await service.create(disk_format="qcow2")
        path = f"/v2/images/{image['id']}/file"
        for store in ("file", "clinging"):
            headers = {**OCTETS, "x-image-meta-store": store}
            assert (await service.call("owner", "PUT", path, content=b"x" * 999, headers=headers)).status_code == 415
            assert (await service.show(image["id"]))["status"] == "queued"
        assert service.stored_files == []
        assert list((tmp_path / "clinging").iterdir()) == []
        assert await service.services.database.read(uploads.all_leases) == []


async def test_new_data_waits_for_the_cleaning_up(service: Service) -> None:
    image_id, _ = await broken_off(service, "another-machine/space/1/1")
    path = f"/v2/images/{image_id}/file"
    assert (await service.call("owner", "PUT", path, content=b"data", headers=OCTETS)).status_code == 409
    assert (await service.call("owner", "GET", path)).status_code == 204


async def test_no_unforeseen_error_ends_the_housekeeping(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    def spoil(connection: Connection) -> None:
        values = {"image_id": "x", "uri": "file:///x", "meta_data": "no JSON", "attempts": 1, "not_before_ms": 0}
        connection.execute(insert(location_deletes), values)

    await service.services.database.write(spoil)
    task = asyncio.create_task(cleanup.delete_forever(service.services))
    try:
        while "removing data of deleted images failed and will be tried again" not in caplog.text:
            await asyncio.sleep(0.01)
        assert not task.done()
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
