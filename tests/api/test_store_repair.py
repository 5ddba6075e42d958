"""Repairs of stores: what is written anew, what is removed or left alone, and what a death in the middle leaves."""

import asyncio
import os
import random
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Connection, update

from blick.conf.settings import Settings
from blick.db import store_check, store_repair, uploads
from blick.db.store_ledger import MISSING, ORPHANED, REPAIRED, WRONG_DATA, WRONG_SIZE
from blick.db.tables import image_locations
from blick.db.tables import images as images_table
from blick.db.uploads import Lease
from blick.stores.file.partial import partial_name
from tests.support.databases import on_every_engine
from tests.support.service import Service
from tests.support.store_checks import checked, record_copy, record_location, with_second_store

DATA = os.urandom(3_000_000)
FAR_MS = 2**52


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


async def with_two_copies(service: Service) -> str:
    image_id: str = (await service.create_active(DATA))["id"]
    await record_copy(service, "second", image_id, DATA)
    return image_id


async def is_idle(service: Service) -> bool:
    return await service.services.database.read(uploads.all_leases) == []


async def assert_whole(service: Service, image_id: str, folders: tuple[Path, Path]) -> None:
    for folder in folders:
        assert (folder / image_id).read_bytes() == DATA
        assert not (folder / partial_name(image_id)).exists()
    assert (await checked(service.services, verify=True)).status == 0
    assert await is_idle(service)


@on_every_engine
@pytest.mark.parametrize("damage", [MISSING, WRONG_SIZE, WRONG_DATA])
async def test_a_copy_is_written_anew(service: Service, first: Path, second: Path, damage: str) -> None:
    image_id = await with_two_copies(service)
    spoil(first / image_id, damage)
    before = await service.show(image_id)
    result = await checked(service.services, verify=True, repair=True)
    assert (result.status, result.seen, result.outcomes) == (0, [("file", damage, image_id)], [REPAIRED])
    await assert_whole(service, image_id, (first, second))
    assert await service.show(image_id) == before


def spoil(path: Path, damage: str) -> None:
    match damage:
        case "missing":
            path.unlink()
        case "wrong size":
            path.write_bytes(DATA[:-1])
        case _:
            path.write_bytes(DATA[:-1] + bytes([DATA[-1] ^ 1]))


@pytest.mark.parametrize("damage", [MISSING, WRONG_SIZE, WRONG_DATA])
async def test_the_last_copy_is_never_touched(service: Service, first: Path, damage: str) -> None:
    image_id = (await service.create_active(DATA))["id"]
    spoil(first / image_id, damage)
    left = (first / image_id).read_bytes() if damage != MISSING else None
    result = await checked(service.services, verify=True, repair=True)
    assert (result.status, result.outcomes) == (1, ["left: there is no other copy of this image"])
    assert left is None or (first / image_id).read_bytes() == left
    assert (await service.show(image_id))["status"] == "active"
    assert await is_idle(service)


@pytest.mark.parametrize("damage", [MISSING, WRONG_DATA])
async def test_a_bad_copy_is_no_source(service: Service, first: Path, second: Path, damage: str) -> None:
    """Found bad only while it is read: the check has looked at sizes."""
    image_id = await with_two_copies(service)
    spoil(first / image_id, damage)
    spoil(second / image_id, WRONG_DATA)
    result = await checked(service.services, "file", verify=True, repair=True)
    assert result.seen == [("file", damage, image_id)]
    assert "the copy in store second is no better: MD5 is" in (result.outcomes[0] or "")
    assert (first / image_id).exists() == (damage == WRONG_DATA)
    assert (second / image_id).exists()
    assert not (first / partial_name(image_id)).exists()
    assert await is_idle(service)


async def test_the_first_good_one_is_the_source(service: Service, first: Path, second: Path) -> None:
    image_id = await with_two_copies(service)
    spoil(first / image_id, WRONG_SIZE)
    spoil(second / image_id, MISSING)
    result = await checked(service.services, repair=True)
    assert sorted(result.outcomes, key=str) == sorted(
        ["left: second: Nothing is stored at that location.", "left: the copy in store file is no better: "
         f"{len(DATA) - 1} bytes instead of {len(DATA)}"]
    )  # fmt: skip
    assert (first / image_id).exists()
    assert await is_idle(service)


async def test_without_a_hash_nothing_bad_is_replaced(service: Service, first: Path, second: Path) -> None:
    """Of two copies that differ, either could be the good one; of one that is missing there is no doubt."""
    image_id = await with_two_copies(service)
    await service.services.database.write(forget_hashes)
    spoil(first / image_id, WRONG_SIZE)
    result = await checked(service.services, repair=True)
    assert result.outcomes == ["left: no hash is recorded to tell a good copy by"]
    spoil(first / image_id, MISSING)
    result = await checked(service.services, repair=True)
    assert result.outcomes == [REPAIRED]
    assert (first / image_id).read_bytes() == DATA


def forget_hashes(connection: Connection) -> None:
    connection.execute(update(images_table).values(os_hash_algo=None, os_hash_value=None, checksum=None))


@on_every_engine
async def test_a_location_follows_its_bytes(service: Service, first: Path, second: Path) -> None:
    image_id = await with_two_copies(service)

    def misspell(connection: Connection) -> None:
        changed = update(image_locations).where(image_locations.c.value == f"file://{first}/{image_id}")
        values = {"value": f"filesystem://{first}/{image_id}", "meta_data": '{"note": "kept"}'}
        assert connection.execute(changed.values(values)).rowcount == 1

    await service.services.database.write(misspell)
    (first / image_id).unlink()
    assert (await checked(service.services, repair=True)).outcomes == [REPAIRED]
    copies = await service.services.database.read(store_check.of_image, image_id)
    assert [(copy.place.uri, copy.place.metadata) for copy in copies] == [
        (f"file://{first}/{image_id}", {"note": "kept", "store": "file"}),
        (f"file://{second}/{image_id}", {"store": "second"}),
    ]
    await assert_whole(service, image_id, (first, second))


class TestLeftAlone:
    async def test_where_another_location_may_be_the_same_data(self, service: Service, first: Path) -> None:
        image_id = await with_two_copies(service)
        await record_location(service, image_id, f"file://{first}/another", "file")
        (first / image_id).rename(first / "another")
        result = await checked(service.services, repair=True)
        assert result.seen == [("file", MISSING, image_id)]
        assert "another location in this store" in (result.outcomes[0] or "")
        assert (first / "another").read_bytes() == DATA

    async def test_where_an_object_of_that_name_lies_elsewhere(self, service: Service, first: Path) -> None:
        """Its listing tells that the data was moved within the store: it may be all that is left."""
        image_id = await with_two_copies(service)

        def move(connection: Connection) -> None:
            changed = update(image_locations).where(image_locations.c.value == f"file://{first}/{image_id}")
            connection.execute(changed.values(value=f"file://{first}/moved-{image_id}"))

        await service.services.database.write(move)
        result = await checked(service.services, repair=True)
        assert result.outcomes == ["left: an object of this name lies elsewhere in the store"]
        assert (first / image_id).read_bytes() == DATA

    async def test_what_two_images_share(self, service: Service, first: Path) -> None:
        image_id = await with_two_copies(service)
        other_id = (await service.create_active(DATA[:-1]))["id"]
        await record_location(service, other_id, f"file://{first}/{image_id}", "file")
        spoil(first / image_id, WRONG_SIZE)
        result = await checked(service.services, repair=True)
        assert result.outcomes == ["left: another location is the same place"]
        assert (first / image_id).read_bytes() == DATA[:-1]

    async def test_an_orphan_that_may_be_all_that_is_left(self, service: Service, first: Path, second: Path) -> None:
        image_id = (await service.create_active(DATA))["id"]
        (first / image_id).rename(second / image_id)
        result = await checked(service.services, repair=True)
        assert result.seen == [("file", MISSING, image_id), ("second", ORPHANED, image_id)]
        assert result.outcomes == [
            "left: there is no other copy of this image",
            "left, because no other copy of this image is whole",
        ]
        assert (second / image_id).read_bytes() == DATA

    async def test_a_store_full_of_what_the_database_does_not_know(self, service: Service, first: Path) -> None:
        await service.create_active(DATA)
        for _ in range(11):
            (first / new_id()).touch()
        result = await checked(service.services, repair=True, force=False)
        assert result.status == 1
        assert all("is it the right database" in (outcome or "") for outcome in result.outcomes)
        assert len(list(first.iterdir())) == 12
        assert (await checked(service.services, repair=True)).status == 0
        assert len(list(first.iterdir())) == 1


@on_every_engine
class TestOrphans:
    async def test_whatever_they_are(self, service: Service, first: Path, second: Path) -> None:
        never, deleted = new_id(), (await service.create_active(b"data"))["id"]
        await service.call("owner", "DELETE", f"/v2/images/{deleted}")
        queued, elsewhere = (await service.create())["id"], (await service.create_active(DATA))["id"]
        for path in (first / never, first / deleted, second / queued, second / elsewhere, first / partial_name(queued)):
            path.write_bytes(b"left")
        (first / "notes.txt").touch()
        result = await checked(service.services, repair=True)
        assert (result.status, set(result.outcomes)) == (0, {REPAIRED, None})
        assert sorted(path.name for path in first.iterdir()) == sorted([elsewhere, "notes.txt"])
        assert list(second.iterdir()) == []
        assert await is_idle(service)
        assert (await service.show(queued))["status"] == "queued"

    async def test_a_queued_image_takes_data_again(self, service: Service, first: Path) -> None:
        image_id = (await service.create())["id"]
        (first / image_id).write_bytes(b"in the way")
        path, headers = f"/v2/images/{image_id}/file", {"content-type": "application/octet-stream"}
        assert (await service.call("owner", "PUT", path, content=b"data", headers=headers)).status_code == 409
        assert (await checked(service.services, repair=True)).outcomes == [REPAIRED]
        assert (await service.call("owner", "PUT", path, content=b"data", headers=headers)).status_code == 204


class TestDeathInTheMiddle:
    """What a killed repair leaves is finished by the next one, with or without a service in between."""

    @pytest.mark.parametrize("progress", ["claimed", "half written", "written"])
    async def test_of_a_copy(self, service: Service, first: Path, second: Path, progress: str) -> None:
        image_id = await with_two_copies(service)
        [wanted, _] = await service.services.database.read(store_check.of_image, image_id)
        lease = Lease(image_id, "token", service.dead_holder, "file", FAR_MS)
        await service.services.database.write(store_repair.claim_copy, lease, wanted, in_first)
        spoil(first / image_id, WRONG_DATA)
        if progress != "claimed":
            (first / image_id).unlink()
        if progress == "half written":
            (first / partial_name(image_id)).write_bytes(DATA[:1000])
        if progress == "written":
            (first / image_id).write_bytes(DATA)
        result = await checked(service.services, verify=True, repair=True)
        assert (result.status, result.seen, result.outcomes) == (0, [("file", MISSING, image_id)], [REPAIRED])
        await assert_whole(service, image_id, (first, second))

    @pytest.mark.parametrize("is_discarded", [False, True])
    async def test_of_a_removal(self, service: Service, first: Path, is_discarded: bool) -> None:
        name = new_id()
        (first / name).touch()
        lease = Lease(name, "token", service.dead_holder, "file", FAR_MS)
        uri = f"file://{first}/{name}"
        await service.services.database.write(store_repair.claim_orphan, lease, in_first, uri, 0)
        if is_discarded:
            (first / name).unlink()
        assert (await checked(service.services)).seen == []
        assert (await checked(service.services, repair=True)).seen == []
        assert list(first.iterdir()) == []
        assert await is_idle(service)

    async def test_cancelled_at_any_moment(self, service: Service, first: Path, second: Path) -> None:
        """As Ctrl-C does: nothing is left half done, and nothing is lost."""
        ids = [await with_two_copies(service) for _ in range(4)]
        moments = random.Random(7)
        for number in range(25):
            for image_id in ids:
                spoil(first / image_id, moments.choice([WRONG_SIZE, WRONG_DATA, MISSING]))
                (second / new_id()).touch()
            task = asyncio.create_task(checked(service.services, verify=True, repair=True))
            await asyncio.sleep(moments.uniform(0, 0.3))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert await is_idle(service), number
            assert all((second / image_id).read_bytes() == DATA for image_id in ids)
            assert not [path for folder in (first, second) for path in folder.glob(".blick-*")]
            await checked(service.services, verify=True, repair=True)
        assert (await checked(service.services, verify=True)).status == 0
        assert sorted(path.name for path in second.iterdir()) == sorted(ids)


def in_first(uri: str, metadata: object) -> bool:
    return "/images/" in uri


class TestRaces:
    async def test_with_a_deletion_of_the_image(self, service: Service, first: Path, second: Path) -> None:
        """The image goes while its copy is written: nothing stays behind."""
        for _ in range(10):
            image_id = await with_two_copies(service)
            (first / image_id).unlink()
            delete = service.call("owner", "DELETE", f"/v2/images/{image_id}")
            _, answer = await asyncio.gather(checked(service.services, repair=True), delete)
            assert answer.status_code == 204
            await checked(service.services, repair=True)
            assert (list(first.iterdir()), list(second.iterdir())) == ([], [])
            assert await is_idle(service)

    async def test_with_itself(self, service: Service, first: Path, second: Path) -> None:
        ids = [await with_two_copies(service) for _ in range(6)]
        for image_id in ids:
            spoil(first / image_id, WRONG_DATA)
            (second / new_id()).touch()
        await asyncio.gather(*[checked(service.services, verify=True, repair=True) for _ in range(3)])
        for image_id in ids:
            await assert_whole(service, image_id, (first, second))
        assert sorted(path.name for path in second.iterdir()) == sorted(ids)

    async def test_with_an_upload_to_a_queued_image(self, service: Service, first: Path) -> None:
        """An orphan is in the way of the upload, or it is removed before; never is the upload's data."""
        headers = {"content-type": "application/octet-stream"}
        for _ in range(15):
            image_id = (await service.create())["id"]
            (first / image_id).write_bytes(b"old")
            put = service.call("owner", "PUT", f"/v2/images/{image_id}/file", content=DATA, headers=headers)
            _, answer = await asyncio.gather(checked(service.services, repair=True), put)
            assert answer.status_code in (204, 409)
            shown = await service.show(image_id)
            assert shown["status"] == ("active" if answer.status_code == 204 else "queued")
            if shown["status"] == "active":
                assert (first / image_id).read_bytes() == DATA
            assert (await checked(service.services, repair=True)).status == 0
