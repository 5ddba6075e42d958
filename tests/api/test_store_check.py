"""Database and stores compared both ways: what is found, what is explained, what is told of stores themselves."""

import asyncio
import os
import time
from dataclasses import replace
from datetime import datetime
from importlib.metadata import entry_points
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Connection, update

from blick.conf.settings import Settings, StoreSettings
from blick.db import images, outbox, uploads
from blick.db.store_ledger import FOREIGN, HOMELESS, MISSING, ORPHANED, WRONG_DATA, WRONG_SIZE
from blick.db.tables import image_locations
from blick.db.tables import images as images_table
from blick.db.uploads import Lease
from blick.model.errors import Invalid
from blick.model.image import ImageLocation
from blick.stores import registry
from blick.stores.file.partial import partial_name
from tests.support.breaking_store import ENTRY_POINT
from tests.support.databases import on_every_engine
from tests.support.service import OCTETS, Service
from tests.support.store_checks import checked, record_copy, record_location, with_second_store

FAR_MS = 2**52
HOUR_S = 3600


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return with_second_store(settings, tmp_path / "second")


@pytest.fixture
def first(service: Service, tmp_path: Path) -> Path:
    """The first store's folder."""
    return tmp_path / "images"


@pytest.fixture
def second(service: Service, tmp_path: Path) -> Path:
    return tmp_path / "second"


def new_id() -> str:
    return str(uuid4())


def aged(path: Path, hours: float = 50) -> None:
    then = time.time() - hours * HOUR_S
    os.utime(path, (then, then))


@on_every_engine
async def test_all_is_well(service: Service) -> None:
    one = await service.create_active(b"one")
    two = await service.create_active(b"two")
    await record_copy(service, "second", two["id"], b"two")
    await service.create()
    for verify in (False, True):
        result = await checked(service.services, verify=verify)
        assert (result.status, result.seen) == (0, [])
        assert (result.tallies["file"].locations, result.tallies["second"].locations) == (2, 1)
        assert (result.tallies["file"].objects, result.tallies["second"].objects) == (2, 1)
    assert one["status"] == "active"


@on_every_engine
async def test_what_is_wrong_with_recorded_copies(service: Service, first: Path) -> None:
    missing, short, spoilt, good = [(await service.create_active(b"0123456789"))["id"] for _ in range(4)]
    (first / missing).unlink()
    (first / short).write_bytes(b"012345")
    (first / spoilt).write_bytes(b"012345678X")
    seen = [("file", MISSING, missing), ("file", WRONG_SIZE, short)]
    result = await checked(service.services)
    assert (result.status, result.seen) == (1, sorted(seen))
    assert result.tallies["file"].locations == 4
    verified = await checked(service.services, verify=True)
    assert (verified.status, verified.seen) == (1, sorted([*seen, ("file", WRONG_DATA, spoilt)]))
    assert (await service.show(missing))["status"] == "active"
    assert (first / good).exists()


async def test_a_deactivated_image_must_have_its_data_too(service: Service, first: Path) -> None:
    image_id = (await service.create_active())["id"]
    await service.call("admin", "POST", f"/v2/images/{image_id}/actions/deactivate")
    (first / image_id).unlink()
    assert (await checked(service.services)).seen == [("file", MISSING, image_id)]


@on_every_engine
async def test_what_nobody_needs(service: Service, first: Path, second: Path) -> None:
    never, gone = new_id(), (await service.create_active())["id"]
    await service.call("owner", "DELETE", f"/v2/images/{gone}")
    queued, elsewhere = (await service.create())["id"], (await service.create_active(b"data"))["id"]
    for name in (never, gone, queued):
        (first / name).write_bytes(b"left")
    (second / elsewhere).write_bytes(b"data")
    (second / partial_name(never)).write_bytes(b"part")
    (second / "README.old").write_text("not an image")
    result = await checked(service.services)
    orphans = [("file", ORPHANED, name) for name in (never, gone, queued)]
    orphans += [("second", ORPHANED, elsewhere), ("second", ORPHANED, never)]
    assert result.seen == sorted([*orphans, ("second", FOREIGN, "README.old")])
    assert result.status == 1
    parts = [found.detail for found in result.findings if found.uri is None]
    assert parts
    assert parts[0].startswith("part of an upload, 4 bytes")


async def test_foreign_objects_are_no_fault(service: Service, second: Path) -> None:
    for number in range(150):
        (second / f"file-{number}").touch()
    result = await checked(service.services)
    assert (result.status, result.tallies["second"].foreign, len(result.findings)) == (0, 150, 100)


async def test_the_grace_time(service: Service, first: Path) -> None:
    young, old = new_id(), new_id()
    for name in (young, old):
        (first / name).touch()
    aged(first / old, hours=30)
    result = await checked(service.services, grace_s=24 * HOUR_S)
    assert (result.seen, result.tallies["file"].young) == ([("file", ORPHANED, old)], 1)
    assert result.findings[0].detail == "no record needs it, 0 bytes, 30.0 hours old"
    aged(first / old)
    details = [found.detail for found in (await checked(service.services)).findings if found.key == old]
    assert details == ["no record needs it, 0 bytes, 2 days old"]
    assert (await checked(service.services, grace_s=72 * HOUR_S)).status == 0


@on_every_engine
class TestExplained:
    """Objects and gaps that look wrong and are not."""

    async def test_by_an_upload_under_way(self, service: Service, first: Path) -> None:
        image_id = (await service.create())["id"]
        lease = Lease(image_id, "token", "another-machine/space/1/1", "file", FAR_MS)
        await service.services.database.write(uploads.begin, lease, service.services.now())
        for name in (image_id, partial_name(image_id)):
            (first / name).write_bytes(b"part")
        result = await checked(service.services)
        assert (result.seen, result.tallies["file"].busy) == ([], 2)

    async def test_by_an_upload_of_a_service_without_leases(self, service: Service, first: Path) -> None:
        image_id = (await service.create())["id"]
        now = service.services.now()
        await service.services.database.write(images.set_status, image_id, ("queued",), "saving", now)
        (first / image_id).write_bytes(b"part")
        assert (await checked(service.services, repair=True)).seen == []
        assert (first / image_id).exists()

    async def test_by_a_deletion_under_way(self, service: Service, first: Path) -> None:
        image_id = (await service.create_active())["id"]
        database, now = service.services.database, service.services.now()
        assert await database.write(image_deletion_of, image_id, now, FAR_MS)
        result = await checked(service.services)
        assert (result.seen, result.tallies["file"].waiting) == ([], 1)

    async def test_by_a_deletion_noted_under_another_spelling(self, service: Service, first: Path) -> None:
        name = new_id()
        (first / name).touch()
        place = ImageLocation(f"filesystem://{first}/{name}", {})
        await service.services.database.write(outbox.add, name, [place], FAR_MS)
        result = await checked(service.services)
        assert (result.seen, result.tallies["file"].waiting) == ([], 1)

    async def test_by_a_delayed_deletion(self, service: Service, first: Path) -> None:
        image_id = (await service.create_active())["id"]
        await service.services.database.write(delay_deletion, image_id)
        assert (await checked(service.services)).seen == []
        (first / image_id).unlink()
        result = await checked(service.services, repair=True)
        assert result.seen == [("file", MISSING, image_id)]
        assert result.outcomes == ["left: the image is pending_delete"]

    async def test_by_a_location_of_another_image(self, service: Service, first: Path) -> None:
        """Services register objects under names of their own."""
        name, image_id = new_id(), (await service.create_active(b"data"))["id"]
        (first / name).write_bytes(b"data")
        await record_location(service, image_id, f"file://{first}/{name}", "file")
        assert (await checked(service.services)).seen == []

    async def test_by_another_spelling(self, service: Service, first: Path) -> None:
        image_id = (await service.create_active(b"data"))["id"]

        def respell(connection: Connection) -> None:
            connection.execute(update(image_locations).values(value=f"filesystem://{first}/{image_id}"))

        await service.services.database.write(respell)
        assert (await checked(service.services, verify=True)).seen == []

    async def test_a_location_that_stands_for_nothing_yet(self, service: Service, first: Path) -> None:
        image_id = (await service.create())["id"]
        await record_location(service, image_id, f"file://{first}/{image_id}", "file")
        result = await checked(service.services)
        assert (result.seen, result.tallies["file"].locations) == ([], 0)

    async def test_a_copy_that_is_being_written_anew(self, service: Service, first: Path) -> None:
        image_id = (await service.create_active())["id"]
        lease = Lease(image_id, "token", "another-machine/space/1/1", "file", FAR_MS)
        await service.services.database.write(uploads.take, lease)
        (first / image_id).unlink()
        result = await checked(service.services)
        assert (result.seen, result.tallies["file"].busy) == ([], 1)


def image_deletion_of(connection: Connection, image_id: str, now: datetime, not_before_ms: int) -> bool:
    """The record's end, whose bytes nobody has removed yet."""
    places = images.live_locations(connection, image_id)
    connection.execute(update(images_table).values(deleted=True, status="deleted"))
    connection.execute(update(image_locations).values(deleted=True, status="deleted"))
    outbox.add(connection, image_id, places, not_before_ms)
    return bool(places)


def delay_deletion(connection: Connection, image_id: str) -> None:
    """As Glance leaves an image for its scrubber."""
    for table in (images_table, image_locations):
        connection.execute(update(table).values(deleted=True, status="pending_delete"))


class TestOldImages:
    async def test_without_hashes_there_is_nothing_to_verify(self, service: Service, first: Path) -> None:
        image_id = (await service.create_active(b"data"))["id"]
        await service.services.database.write(forget_hashes)
        (first / image_id).write_bytes(b"xxxx")
        result = await checked(service.services, verify=True)
        assert (result.seen, result.tallies["file"].unhashed) == ([], 1)

    async def test_a_checksum_is_enough(self, service: Service, first: Path) -> None:
        image_id = (await service.create_active(b"data"))["id"]
        await service.services.database.write(forget_hashes, keep_checksum=True)
        (first / image_id).write_bytes(b"xxxx")
        assert (await checked(service.services, verify=True)).seen == [("file", WRONG_DATA, image_id)]


def forget_hashes(connection: Connection, *, keep_checksum: bool = False) -> None:
    values = {"os_hash_algo": None, "os_hash_value": None} | ({} if keep_checksum else {"checksum": None})
    connection.execute(update(images_table).values(**values))


class TestStores:
    async def test_one_store_only(self, service: Service, first: Path, second: Path) -> None:
        for folder in (first, second):
            (folder / new_id()).touch()
        result = await checked(service.services, "second")
        assert [found.store for found in result.findings] == ["second"]
        assert list(result.tallies) == ["second"]

    async def test_one_that_there_is_not(self, service: Service) -> None:
        with pytest.raises(Invalid, match="no store 'third'"):
            await checked(service.services, "third")

    async def test_a_location_of_no_store(self, service: Service) -> None:
        image_id = (await service.create_active())["id"]
        await record_location(service, image_id, f"sheepdog://{image_id}", "of-old")
        result = await checked(service.services)
        assert (result.status, result.seen, result.homeless) == (2, [("", HOMELESS, image_id)], 1)
        assert (await checked(service.services, "file")).status == 0

    async def test_many_objects(self, service: Service, first: Path) -> None:
        """More than fit on a page, on both sides."""
        for number in range(30):
            await service.create_active(b"data", name=str(number))
        orphans = [new_id() for _ in range(1100)]
        for name in orphans:
            (first / name).touch()
        result = await checked(service.services)
        assert (result.tallies["file"].objects, result.tallies["file"].locations) == (1130, 30)
        assert [key for _, _, key in result.seen] == sorted(orphans)


class TestStoresInTrouble:
    @pytest.fixture
    def settings(self, settings: Settings, tmp_path: Path) -> Settings:
        (tmp_path / "not-a-folder").touch()
        broken = StoreSettings("broken", "file", {"filesystem_store_datadir": str(tmp_path / "not-a-folder")})
        web = StoreSettings("web", "http", {})
        return replace(settings, stores=replace(settings.stores, stores=(*settings.stores.stores, broken, web)))

    async def test_one_that_is_not_open(self, service: Service, first: Path) -> None:
        image_id = (await service.create_active())["id"]
        await record_location(service, image_id, "file:///anywhere", "broken")
        result = await checked(service.services)
        assert (result.status, result.seen, result.homeless) == (2, [], 0)
        assert "not a directory" in (result.tallies["broken"].trouble or "")

    async def test_one_that_is_only_read_has_nothing_of_ours_to_list(self, service: Service) -> None:
        result = await checked(service.services, "web")
        assert (result.status, result.tallies["web"].trouble) == (0, None)

    async def test_one_that_went_away(self, service: Service, second: Path) -> None:
        image_id = (await service.create_active(b"data"))["id"]
        await record_copy(service, "second", image_id, b"data")
        second.rename(second.with_name("away"))
        result = await checked(service.services, "file", "second", repair=True)
        assert (result.status, result.seen) == (2, [])
        assert result.tallies["second"].trouble


class TestBadLine:
    """A store that falls silent after some bytes of each reading, and cannot list."""

    @pytest.fixture
    def settings(self, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
        drivers = [*entry_points(group="blick.stores"), ENTRY_POINT]
        monkeypatch.setattr(registry, "entry_points", lambda group: drivers)
        options = {"filesystem_store_datadir": str(tmp_path / "breaking"), "readable_bytes": 700_000}
        breaking = StoreSettings("breaking", "breaking", options)
        return replace(settings, stores=replace(settings.stores, stores=(*settings.stores.stores, breaking)))

    async def test_reading_goes_on_where_it_broke(self, service: Service) -> None:
        data = os.urandom(1_500_000)
        image_id = (await service.create_active(data))["id"]
        await record_copy(service, "breaking", image_id, data)
        result = await checked(service.services, "breaking", verify=True)
        assert (result.seen, result.tallies["breaking"].locations) == ([], 1)
        assert "cannot list" in (result.tallies["breaking"].trouble or "")
        assert result.status == 2


async def test_nothing_is_wrong_while_much_goes_on(service: Service) -> None:
    """Images come and go during checks and repairs that take everything for old: none of it looks wrong."""
    stop = asyncio.Event()
    workers = [asyncio.create_task(upload_and_delete(service, store_id, stop)) for store_id in ("file", "second") * 2]
    try:
        for number in range(30):
            result = await checked(service.services, verify=number % 3 == 0, repair=number % 2 == 0)
            assert (result.status, result.seen) == (0, [])
    finally:
        stop.set()
        counts = await asyncio.gather(*workers)
    assert sum(counts) > 20


async def upload_and_delete(service: Service, store_id: str, stop: asyncio.Event) -> int:
    """Again and again; gives how often."""
    count = 0
    while not stop.is_set():
        image_id = (await service.create())["id"]
        headers = {**OCTETS, "x-image-meta-store": store_id}
        path = f"/v2/images/{image_id}"
        answer = await service.call("owner", "PUT", f"{path}/file", content=os.urandom(1000), headers=headers)
        assert answer.status_code == 204, answer.text
        assert (await service.call("owner", "GET", f"{path}/file")).status_code == 200
        assert (await service.call("owner", "DELETE", path)).status_code == 204
        count += 1
    return count
