"""What the database tells of stored bytes, and the transactions around repairs."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Connection, update

from blick.db import images, import_lock, jobs, outbox, store_check, store_repair, uploads
from blick.db.engine import Database
from blick.db.jobs import NewJob
from blick.db.store_check import RecordedCopy, Standing
from blick.db.tables import image_locations
from blick.db.tables import images as images_table
from blick.db.uploads import Lease
from blick.model.blob import Digests, Location
from blick.model.errors import Conflict, Gone
from blick.model.image import ImageLocation
from tests.support.records import ID, NOW, image, race

OTHER = "9f1f4d5e-9c4b-4d42-8a5f-2c4f9d3b7a11"
LEASE = Lease(ID, "token", "holder", "fast", 1000)
HASHES: dict[str, Any] = {"size": 4, "checksum": "c" * 32, "os_hash_algo": "sha512", "os_hash_value": "h" * 128}


def in_fast(uri: str, metadata: Mapping[str, Any]) -> bool:
    return metadata.get("store") == "fast"


@pytest.fixture
def copies(database: Database) -> list[RecordedCopy]:
    """An active image with a copy in the store `fast` and one in `slow`."""
    database.write_now(images.insert_image, image(status="active", **HASHES))
    for store in ("fast", "slow"):
        database.write_now(images.add_location, ID, f"x://{store}/{ID}", {"store": store}, NOW)
    return database.read_now(store_check.of_image, ID)


def test_locations_are_walked_in_pages(database: Database, copies: list[RecordedCopy]) -> None:
    database.write_now(images.insert_image, image(OTHER))
    for number in range(3):
        database.write_now(images.add_location, OTHER, f"x://{number}", {}, NOW)
    seen: list[RecordedCopy] = []
    while page := database.read_now(store_check.recorded, seen[-1].place.id or 0 if seen else 0, 2):
        seen += page
    assert seen[:2] == copies
    assert [(copy.image_id, copy.status, copy.has_data) for copy in seen[2:]] == [(OTHER, "queued", False)] * 3
    assert copies[0].place == ImageLocation(f"x://fast/{ID}", {"store": "fast"}, copies[0].place.id)
    assert {name: getattr(copies[0], name) for name in ("checksum", "os_hash_algo")} == {
        "checksum": "c" * 32, "os_hash_algo": "sha512",
    }  # fmt: skip
    assert database.read_now(store_check.newest_location) == seen[-1].place.id
    assert database.read_now(store_check.again, seen[-1].place.id or 0) == seen[-1]


def test_what_is_deleted_stands_for_nothing(database: Database, copies: list[RecordedCopy]) -> None:
    database.write_now(images.drop_locations, ID, NOW)
    assert database.read_now(store_check.recorded, 0, 10) == []
    assert database.read_now(store_check.again, copies[0].place.id or 0) is None
    assert database.read_now(store_check.standings, [ID]) == {ID: Standing("active")}


def test_what_waits_for_the_scrubber_still_stands(database: Database, copies: list[RecordedCopy]) -> None:
    database.write_now(delay_deletion)
    [copy, _] = database.read_now(store_check.recorded, 0, 10)
    assert copy == replace(copies[0], status="pending_delete")
    assert copy.has_data
    assert len(database.read_now(store_check.standings, [ID])[ID].places) == 2


def delay_deletion(connection: Connection) -> None:
    for table in (images_table, image_locations):
        connection.execute(update(table).values(deleted=True, status="pending_delete"))


def test_standings(database: Database, copies: list[RecordedCopy]) -> None:
    unknown = str(uuid4())
    database.write_now(images.insert_image, image(OTHER))
    database.write_now(uploads.begin, replace(LEASE, image_id=OTHER), NOW)
    database.write_now(images.set_properties, OTHER, {import_lock.PROPERTY: "task"}, NOW)
    database.write_now(outbox.add, unknown, [ImageLocation("x://gone", {})], 0)
    found = database.read_now(store_check.standings, [ID, OTHER, unknown.upper()])
    assert found[ID] == Standing("active", tuple(copy.place for copy in copies))
    assert found[OTHER] == Standing("saving", holder="holder", expires_at_ms=1000, is_importing=True)
    assert [place.uri for place in database.read_now(store_check.standings, [unknown])[unknown].deletes] == ["x://gone"]


def test_who_names_a_place_since(database: Database, copies: list[RecordedCopy]) -> None:
    before, last = copies[0].place.id or 0, copies[1]
    assert database.read_now(store_check.is_named_since, last.place.uri, before)
    assert not database.read_now(store_check.is_named_since, copies[0].place.uri, before)
    database.write_now(images.drop_locations, ID, NOW)
    assert not database.read_now(store_check.is_named_since, last.place.uri, before)


def claim_orphan(database: Database, image_id: str = ID, uri: str | None = None, since: int = 0) -> None:
    lease = replace(LEASE, image_id=image_id)
    database.write_now(store_repair.claim_orphan, lease, in_fast, uri, since)


class TestClaimingAnOrphan:
    def test_of_nobody(self, database: Database) -> None:
        claim_orphan(database)
        assert database.read_now(uploads.all_leases) == [LEASE]
        database.write_now(uploads.give_back, LEASE, NOW)
        assert database.read_now(uploads.all_leases) == []

    def test_keeps_uploads_away(self, database: Database) -> None:
        database.write_now(images.insert_image, image())
        claim_orphan(database)
        with pytest.raises(Conflict, match="still being cleaned up"):
            database.write_now(uploads.begin, replace(LEASE, token="other"), NOW)
        database.write_now(uploads.give_back, LEASE, NOW)
        found = database.read_now(images.get, ID, None)
        assert found is not None
        assert found.status == "queued"

    def test_of_an_image_that_is_elsewhere(self, database: Database, copies: list[RecordedCopy]) -> None:
        database.write_now(store_repair.claim_orphan, LEASE, lambda uri, _: uri.startswith("y://"), None, 0)

    @pytest.mark.parametrize("why", ["location in this store", "removal already", "a job", "is importing", "is saving"])
    def test_of_somebody(self, database: Database, why: str) -> None:
        database.write_now(images.insert_image, image(status=why.split()[-1] if why.startswith("is ") else "queued"))
        if why == "location in this store":
            database.write_now(images.add_location, ID, "x://1", {"store": "fast"}, NOW)
        if why == "removal already":
            database.write_now(outbox.add, ID, [ImageLocation("x://1", {"store": "fast"})], 0)
        if why == "a job":
            database.write_now(jobs.add, NewJob(OTHER, "kind", {}, image_id=ID), 0)
        with pytest.raises(Conflict, match=why):
            claim_orphan(database)
        assert database.read_now(uploads.all_leases) == []

    def test_during_an_import(self, database: Database) -> None:
        database.write_now(images.insert_image, image())
        database.write_now(images.set_properties, ID, {import_lock.PROPERTY: "task"}, NOW)
        with pytest.raises(Conflict, match="a job"):
            claim_orphan(database)

    def test_named_by_another_image_since(self, database: Database, copies: list[RecordedCopy]) -> None:
        place = copies[1].place
        with pytest.raises(Conflict, match="another image"):
            claim_orphan(database, OTHER, place.uri, since=(place.id or 0) - 1)
        claim_orphan(database, OTHER, "x://else", since=(place.id or 0) - 1)

    def test_by_exactly_one(self, database: Database) -> None:
        outcomes = race([lambda: claim_orphan(database) for _ in range(6)])
        assert sum(outcome is None for outcome in outcomes) == 1
        assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 5


class TestClaimingACopy:
    def test_and_finishing(self, database: Database, copies: list[RecordedCopy]) -> None:
        database.write_now(store_repair.claim_copy, LEASE, copies[0], in_fast)
        new = Location("fast", "x://fast/new", {"store": "fast", "more": ["x"]})
        database.write_now(store_repair.finish_copy, LEASE, copies[0], new, NOW)
        moved, other = database.read_now(store_check.of_image, ID)
        assert (moved.place, other) == (ImageLocation(new.uri, new.metadata, copies[0].place.id), copies[1])
        assert database.read_now(uploads.all_leases) == []

    def test_leaves_what_did_not_move(self, database: Database, copies: list[RecordedCopy]) -> None:
        database.write_now(store_repair.claim_copy, LEASE, copies[0], in_fast)
        place = copies[0].place
        database.write_now(store_repair.finish_copy, LEASE, copies[0], Location("fast", place.uri, place.metadata), NOW)
        assert database.read_now(store_check.of_image, ID) == copies

    def test_while_somebody_is_at_it(self, database: Database, copies: list[RecordedCopy]) -> None:
        database.write_now(uploads.take, replace(LEASE, token="other"))
        with pytest.raises(Conflict):
            database.write_now(store_repair.claim_copy, LEASE, copies[0], in_fast)

    def test_that_was_deleted(self, database: Database, copies: list[RecordedCopy]) -> None:
        database.write_now(images.drop_locations, ID, NOW)
        with pytest.raises(Conflict, match="changed meanwhile"):
            database.write_now(store_repair.claim_copy, LEASE, copies[0], in_fast)

    def test_with_another_one_in_the_store(self, database: Database, copies: list[RecordedCopy]) -> None:
        with pytest.raises(Conflict, match="another location in this store"):
            database.write_now(store_repair.claim_copy, LEASE, copies[0], lambda uri, metadata: True)

    def test_with_a_deletion_under_way(self, database: Database, copies: list[RecordedCopy]) -> None:
        database.write_now(outbox.add, ID, [ImageLocation("x://1", {"store": "fast"})], 0)
        with pytest.raises(Conflict, match="waits for its removal"):
            database.write_now(store_repair.claim_copy, LEASE, copies[0], in_fast)

    @pytest.mark.parametrize("what", ["the lease", "the location", "the image"])
    def test_lost_before_the_end(self, database: Database, copies: list[RecordedCopy], what: str) -> None:
        database.write_now(store_repair.claim_copy, LEASE, copies[0], in_fast)
        if what == "the lease":
            database.write_now(uploads.take_over, LEASE, "other", "holder", 1)
        elif what == "the location":
            database.write_now(images.drop_locations, ID, NOW)
        else:
            database.write_now(delay_deletion)
        leases = database.read_now(uploads.all_leases)
        with pytest.raises(Gone):
            database.write_now(store_repair.finish_copy, LEASE, copies[0], Location("fast", "x://new", {}), NOW)
        assert database.read_now(uploads.all_leases) == leases

    def test_is_deactivated_meanwhile(self, database: Database, copies: list[RecordedCopy]) -> None:
        database.write_now(store_repair.claim_copy, LEASE, copies[0], in_fast)
        database.write_now(images.set_status, ID, ("active",), "deactivated", NOW)
        database.write_now(store_repair.finish_copy, LEASE, copies[0], Location("fast", "x://new", {}), NOW)
        assert database.read_now(store_check.of_image, ID)[0].place.uri == "x://new"


def test_an_upload_that_ends_while_its_object_is_claimed(database: Database) -> None:
    """Either the claim finds the lease, or it finds the location: never neither."""
    database.write_now(images.insert_image, image())
    lease = replace(LEASE, token="upload")
    database.write_now(uploads.begin, lease, NOW)
    finished = threading.Event()

    def finish_slowly(connection: Connection) -> None:
        place = Location("fast", "x://fast", {"store": "fast"})
        uploads.finish(connection, lease, place, Digests(1, "c", "sha512", "h"), None, NOW)
        finished.set()
        threading.Event().wait(0.5)  # the claim begins meanwhile

    def claim() -> None:
        finished.wait(60)
        claim_orphan(database)

    uploaded, claimed = race([lambda: database.write_now(finish_slowly), claim])
    assert uploaded is None
    assert isinstance(claimed, Conflict)
    assert database.read_now(uploads.all_leases) == []


@pytest.mark.parametrize(
    ("digests", "fault"),
    [
        (Digests(4, "c" * 32, "sha512", "h" * 128), None),
        (Digests(5, "c" * 32, "sha512", "h" * 128), "5 bytes instead of 4"),
        (Digests(4, "d" * 32, "sha512", "h" * 128), "MD5 is"),
        (Digests(4, "c" * 32, "sha512", "i" * 128), "sha512 is"),
        (Digests(4, "c" * 32, "sha256", "i" * 64), None),
    ],
)
def test_what_is_wrong_with_bytes(
    database: Database, copies: list[RecordedCopy], digests: Digests, fault: str | None
) -> None:
    found = copies[0].fault(digests)
    assert (found is None) if fault is None else (found or "").startswith(fault)
