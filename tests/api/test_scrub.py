"""Deletion that is delayed, and the scrubber (spec: image-model §10, commands)."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from sqlalchemy import select, update

from blick.conf.settings import ScrubSettings, Settings, StoreSettings
from blick.db import images as db_images
from blick.db import outbox
from blick.db.outbox import LocationDelete
from blick.db.tables import image_locations, images, location_deletes
from blick.model.errors import Conflict, NotFound
from blick.ops import cleanup, scrub
from blick.ops.cleanup import Worked
from blick.stores import registry
from tests.support.account_store import ENTRY_POINT as ACCOUNTS
from tests.support.account_store import AccountStore
from tests.support.clinging_store import ENTRY_POINT, ClingingStore
from tests.support.databases import on_every_engine
from tests.support.service import OCTETS, PATCH_2_1, Service
from tests.support.waiting import eventually_here

pytestmark = on_every_engine

SCRUB_TIME_S = 3600


@pytest.fixture(autouse=True)
def clinging_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    drivers = [*entry_points(group="blick.stores"), ENTRY_POINT, ACCOUNTS]
    monkeypatch.setattr(registry, "entry_points", lambda group: drivers)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    clinging = StoreSettings("clinging", "clinging", {"filesystem_store_datadir": str(tmp_path / "clinging")})
    accounts = StoreSettings("accounts", "accounts", {"filesystem_store_datadir": str(tmp_path / "accounts")})
    stores = replace(settings.stores, stores=(*settings.stores.stores, clinging, accounts), multi_store=True)
    return replace(
        settings,
        stores=stores,
        api=replace(settings.api, delayed_delete=True),
        scrub=ScrubSettings(scrub_time_s=SCRUB_TIME_S, pool_size=3),
    )


def clinging_store(service: Service) -> ClingingStore:
    store = service.services.stores.by_id("clinging")
    assert isinstance(store, ClingingStore)
    return store


async def deleted(service: Service, store_id: str = "file", data: bytes = b"data") -> str:
    """An image that waits for its deletion."""
    image_id: str = (await service.create(tags=["t"], custom="x"))["id"]
    headers = {**OCTETS, "x-image-meta-store": store_id}
    path = f"/v2/images/{image_id}"
    assert (await service.call("owner", "PUT", f"{path}/file", content=data, headers=headers)).status_code == 204
    assert (await service.call("owner", "POST", f"{path}/members", json={"member": "p2"})).status_code == 200
    assert (await service.call("owner", "DELETE", path)).status_code == 204
    return image_id


async def scrubbed(service: Service, *, after_s: float = SCRUB_TIME_S + 1, put_off_too: bool = True) -> Worked:
    """One pass of a scrubber that looks at its clock so much later."""
    now = service.services.now
    later = replace(service.services, now=lambda: now() + timedelta(seconds=after_s))
    return await scrub.run_once(later, put_off_too=put_off_too)


async def status(service: Service, image_id: str) -> str:
    found = select(images.c.status).where(images.c.id == image_id)
    return str(await service.services.database.read(lambda connection: connection.execute(found).scalar()))


async def waiting(service: Service) -> Sequence[LocationDelete]:
    return await service.services.database.read(outbox.entries, 0, 100)


async def test_gone_for_users_until_it_is_gone(service: Service) -> None:
    image_id = await deleted(service)
    path = f"/v2/images/{image_id}"
    for who in ("owner", "admin", "other"):
        for method, place in (("GET", ""), ("GET", "/file"), ("DELETE", ""), ("GET", "/members"), ("PUT", "/tags/x")):
            assert (await service.call(who, method, path + place)).status_code == 404
    for query in ("", "?status=pending_delete", "?visibility=all", "?tag=t"):
        assert (await service.call("admin", "GET", f"/v2/images{query}")).json()["images"] == []
    assert (await service.call("owner", "POST", "/v2/images", json={"id": image_id})).status_code == 409
    assert service.stored_files == [image_id]
    assert await scrubbed(service, after_s=SCRUB_TIME_S - 100) == Worked(0, 0)
    assert await cleanup.work_off_deletes(service.services) == 0  # the service leaves that to scrubbers
    assert (service.stored_files, await status(service, image_id)) == ([image_id], "pending_delete")
    assert await scrubbed(service) == Worked(1, 0)
    assert (service.stored_files, await status(service, image_id)) == ([], "deleted")
    assert await waiting(service) == []
    assert await scrubbed(service) == Worked(0, 0)


async def test_many_images_and_pages(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrub, "_PAGE", 2)
    monkeypatch.setattr(cleanup, "_BATCH", 2)
    ids = [await deleted(service) for _ in range(7)]
    kept = (await service.create_active())["id"]
    passes = await asyncio.gather(*(scrubbed(service) for _ in range(3)))
    assert sum(one.removed for one in passes) == len(ids)
    assert service.stored_files == [kept]
    assert {await status(service, image_id) for image_id in ids} == {"deleted"}
    assert await status(service, kept) == "active"


async def test_the_service_finishes_what_a_scrubber_began(service: Service) -> None:
    store = clinging_store(service)
    image_id = await deleted(service, "clinging")
    store.gate.clear()
    killed = asyncio.create_task(scrubbed(service))
    await eventually_here(lambda: store.asked)
    killed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await killed
    store.gate.set()
    [claimed] = await waiting(service)
    assert (claimed.attempts, claimed.last_error) == (1, None)
    assert await scrubbed(service) == Worked(0, 0)  # the claim has not lapsed
    await _until_due(service)
    assert await cleanup.work_off_deletes(service.services) == 1
    assert await status(service, image_id) == "deleted"


async def test_missing_data_is_fine(service: Service, tmp_path: Path) -> None:
    image_id = await deleted(service, "clinging")
    (tmp_path / "clinging" / image_id).unlink()
    assert await scrubbed(service) == Worked(1, 0)
    assert await status(service, image_id) == "deleted"


async def test_what_is_in_use_waits(service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The deletion itself is not refused where it is delayed: the data goes when nobody builds on it any more."""
    clinging_store(service).in_use = True
    image_id = await deleted(service, "clinging")
    other_id = await deleted(service)
    assert await scrubbed(service) == Worked(1, 1)
    assert await status(service, other_id) == "deleted"
    assert await status(service, image_id) == "pending_delete"
    assert f"cannot remove the data of deleted image {image_id} yet (attempt 1, the next in 2 s)" in caplog.text
    [entry] = await waiting(service)
    assert "somebody builds on it" in (entry.last_error or "")
    clinging_store(service).in_use = False
    assert await scrubbed(service, put_off_too=False) == Worked(0, 0)
    assert await scrubbed(service) == Worked(1, 0)
    assert await status(service, image_id) == "deleted"
    assert list((tmp_path / "clinging").iterdir()) == []


async def test_half_of_it_removed(service: Service, tmp_path: Path) -> None:
    """An image with two copies of which one stays for now."""
    image = await service.create_active()
    second = tmp_path / "clinging" / image["id"]
    second.write_bytes(b"data")
    place = f"file://{second}", {"store": "clinging"}
    await service.services.database.write(db_images.add_location, image["id"], *place, service.services.now())
    assert (await service.call("owner", "DELETE", f"/v2/images/{image['id']}")).status_code == 204
    clinging_store(service).in_use = True
    assert await scrubbed(service) == Worked(1, 1)
    assert (service.stored_files, second.exists()) == ([], True)
    assert await status(service, image["id"]) == "pending_delete"
    with pytest.raises(Conflict, match="glance-scrubber is already running"):
        await scrub.restore(service.services, image["id"])
    clinging_store(service).in_use = False
    assert await scrubbed(service) == Worked(1, 0)
    assert await status(service, image["id"]) == "deleted"


async def test_data_that_no_store_here_knows_is_not_forgotten(service: Service) -> None:
    """A scrubber with other stores than the service must not take for gone what it cannot see."""
    lost, web = await deleted(service), await deleted(service)

    async def move(image_id: str, uri: str) -> None:
        moved = update(image_locations).where(image_locations.c.image_id == image_id).values(value=uri, meta_data="{}")
        await service.services.database.write(lambda connection: connection.execute(moved).rowcount)

    await move(lost, f"rbd://fsid/pool/{lost}/snap")
    await move(web, "http://nobody.example/image")
    assert await scrubbed(service) == Worked(1, 1)
    assert await status(service, web) == "deleted"
    assert await status(service, lost) == "pending_delete"
    [entry] = await waiting(service)
    assert "no configured store keeps this location" in (entry.last_error or "")


async def test_a_driver_with_a_fault_is_in_nobody_s_way(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    clinging_store(service).error = ZeroDivisionError("a fault of the driver")
    faulty = await deleted(service, "clinging")
    fine = [await deleted(service) for _ in range(4)]
    assert await scrubbed(service) == Worked(4, 1)
    assert {await status(service, image_id) for image_id in fine} == {"deleted"}
    assert await status(service, faulty) == "pending_delete"
    [entry] = await waiting(service)
    assert entry.last_error == "ZeroDivisionError"
    assert "a fault of the driver" in caplog.text


async def test_a_claim_is_renewed_while_a_store_takes_its_time(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup, "CLAIM_MS", 30)
    store = clinging_store(service)
    image_id = await deleted(service, "clinging")
    store.gate.clear()
    slow = asyncio.create_task(scrubbed(service))
    await eventually_here(lambda: store.asked)
    [claimed] = await waiting(service)
    while (await waiting(service))[0].not_before_ms <= claimed.not_before_ms:
        await asyncio.sleep(0.005)
    assert (await waiting(service))[0].attempts == claimed.attempts
    store.gate.set()
    assert await slow == Worked(1, 0)
    assert await status(service, image_id) == "deleted"


async def test_two_at_the_same_object_do_no_harm(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """One was cut off from the database for so long that another took over; then both remove."""
    store = clinging_store(service)
    image_id = await deleted(service, "clinging")
    store.gate.clear()
    slow = asyncio.create_task(scrubbed(service))
    await eventually_here(lambda: store.asked)
    await _until_due(service)
    other = asyncio.create_task(scrubbed(service))
    await eventually_here(lambda: len(store.asked) == 2)
    store.gate.set()
    assert await asyncio.gather(slow, other) == [Worked(1, 0), Worked(1, 0)]
    assert await status(service, image_id) == "deleted"
    assert await waiting(service) == []


async def test_restored(service: Service) -> None:
    image = await service.create_active(b"precious", tags=["t"], custom="x")
    await service.call("owner", "POST", f"/v2/images/{image['id']}/members", json={"member": "p2"})
    before = await service.show(image["id"])
    await service.call("owner", "DELETE", f"/v2/images/{image['id']}")
    await scrub.restore(service.services, image["id"])
    after = await service.show(image["id"])
    assert after | {"updated_at": None} == before | {"updated_at": None}
    assert (await service.call("owner", "GET", f"/v2/images/{image['id']}/file")).content == b"precious"
    members = (await service.call("owner", "GET", f"/v2/images/{image['id']}/members")).json()["members"]
    assert [member["member_id"] for member in members] == ["p2"]
    assert await scrubbed(service) == Worked(0, 0)
    with pytest.raises(Conflict, match="from active to active"):
        await scrub.restore(service.services, image["id"])
    with pytest.raises(NotFound, match="No image found with ID nope"):
        await scrub.restore(service.services, "nope")


async def test_a_daemon_outlives_its_troubles(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(scrub, "_SHORTEST_PAUSE_S", 0.01)
    settings = replace(service.services.settings, scrub=ScrubSettings(wakeup_time_s=0))
    spoiled = {"image_id": "x", "uri": "file:///x", "meta_data": "no JSON", "attempts": 1, "not_before_ms": 0}
    await service.services.database.write(lambda connection: connection.execute(location_deletes.insert(), [spoiled]))
    image_id = await deleted(service)
    now = service.services.now
    later = replace(service.services, settings=settings, now=lambda: now() + timedelta(seconds=5))
    daemon = asyncio.create_task(scrub.run_forever(later))
    while "scrubbing failed and will be tried again" not in caplog.text:
        await asyncio.sleep(0.01)
    await service.services.database.write(lambda connection: connection.execute(location_deletes.delete()).rowcount)
    while await status(service, image_id) != "deleted":
        await asyncio.sleep(0.01)
    daemon.cancel()
    with pytest.raises(asyncio.CancelledError):
        await daemon


class TestTheServiceItself:
    """Deletion without delay."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, api=replace(settings.api, delayed_delete=False))

    async def test_an_image_in_use_is_kept(self, service: Service, tmp_path: Path) -> None:
        store = clinging_store(service)
        store.in_use = True
        image_id: str = (await service.create())["id"]
        path, headers = f"/v2/images/{image_id}", {**OCTETS, "x-image-meta-store": "clinging"}
        await service.call("owner", "PUT", f"{path}/file", content=b"data", headers=headers)
        refused = await service.call("owner", "DELETE", path)
        assert refused.status_code == 409
        assert "somebody builds on it" in refused.text
        assert (await service.show(image_id))["status"] == "active"
        assert await waiting(service) == []
        assert (await service.call("owner", "GET", f"{path}/file")).content == b"data"
        store.in_use = False
        assert (await service.call("owner", "DELETE", path)).status_code == 204
        assert list((tmp_path / "clinging").iterdir()) == []

    async def test_removed_in_the_name_of_the_caller(self, service: Service) -> None:
        image_id: str = (await service.create())["id"]
        path, headers = f"/v2/images/{image_id}", {**OCTETS, "x-image-meta-store": "accounts"}
        assert (await service.call("owner", "PUT", f"{path}/file", content=b"x", headers=headers)).status_code == 204
        store = service.services.stores.by_id("accounts")
        assert isinstance(store, AccountStore)
        store.callers.clear()
        assert (await service.call("admin", "DELETE", path)).status_code == 204
        assert store.callers
        assert set(store.callers) == {"admin"}
        assert await waiting(service) == []

    async def test_a_store_that_hangs_holds_up_nothing_else(self, service: Service) -> None:
        store = clinging_store(service)
        slow = asyncio.create_task(deleted(service, "clinging"))
        store.gate.clear()
        await eventually_here(lambda: store.asked)
        await _until_due(service)
        housekeeping = asyncio.create_task(cleanup.delete_forever(service.services))
        await eventually_here(lambda: len(store.asked) == 2)
        due = {"image_id": "another", "meta_data": "{}", "uri": "http://web/x", "attempts": 0, "not_before_ms": 0}
        await service.services.database.write(lambda connection: connection.execute(location_deletes.insert(), [due]))
        assert await cleanup.work_off_deletes(service.services) == 1
        store.gate.set()
        await slow
        housekeeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await housekeeping


class TestLocationsInUse:
    """A location that somebody builds on is not taken off its image."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, api=replace(settings.api, show_multiple_locations=True))

    async def test_patch(self, service: Service, tmp_path: Path) -> None:
        image = await service.create_active(b"data")
        second = tmp_path / "clinging" / image["id"]
        second.write_bytes(b"data")
        place = f"file://{second}", {"store": "clinging"}
        await service.services.database.write(db_images.add_location, image["id"], *place, service.services.now())
        clinging_store(service).in_use = True
        change = [{"op": "remove", "path": "/locations/1"}]

        async def patch() -> int:
            path = f"/v2/images/{image['id']}"
            return (await service.call("admin", "PATCH", path, json=change, headers=PATCH_2_1)).status_code

        assert await patch() == 409
        assert len((await service.show(image["id"]))["locations"]) == 2
        clinging_store(service).in_use = False
        assert await patch() == 200
        assert not second.exists()
        assert len((await service.show(image["id"]))["locations"]) == 1


async def _until_due(service: Service) -> None:
    """Let every claim lapse."""
    lapsed = update(location_deletes).values(not_before_ms=0)
    await service.services.database.write(lambda connection: connection.execute(lapsed).rowcount)
