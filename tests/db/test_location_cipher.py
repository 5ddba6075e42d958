"""Locations in a database with `metadata_encryption_key`; that upstream reads ours: tests/peer/test_adoption.py."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import text

from blick.conf.settings import DatabaseSettings
from blick.db import image_pages, images, outbox
from blick.db.engine import Database, open_database
from blick.db.location_check import require_readable
from blick.db.location_cipher import LocationCipher
from blick.model.errors import StartRefused
from blick.model.image import ImageLocation
from blick.model.image_query import ImageQuery
from tests.support.databases import on_every_engine
from tests.support.records import ID, NOW, image

KEY, OTHER = b"0123456789abcdef", b"fedcba9876543210"
URI = "file:///images/ünï"
# Written by Glance 33 with the key above.
GLANCES = (
    "MCtH6MBd7F57n7Sd6PDqrtNFO79q3gNsEBSWq19H6ubljanmr8V5dZLCswFSjIUOehNhiRSZ0gNBvO2WxVHVxeTpowwW0rxp"
    "58_75vkzoywyrGQ2AGyUcrJ-ETBh0MyS"
)

Open = Callable[[bytes | None], Database]


@pytest.fixture
def opened(database_url: str) -> Iterator[Open]:
    """Opens the database with a key."""
    made: list[Database] = []

    def open_(key: bytes | None) -> Database:
        settings = DatabaseSettings(connection=database_url, sqlite_synchronous=False, location_key=key)
        made.append(open_database(settings))
        return made[-1]

    yield open_
    for database in made:
        database.close()


def stored(database: Database, column: str = "value", table: str = "image_locations") -> list[str]:
    with database.engine.connect() as connection:
        return list(connection.execute(text(f"SELECT {column} FROM {table} ORDER BY id")).scalars())


def located(database: Database, *uris: str) -> None:
    database.write_now(images.insert_image, image())
    for uri in uris:
        database.write_now(images.add_location, ID, uri, {"store": "fast"}, NOW)


def locations_of(database: Database) -> list[str]:
    found = database.read_now(images.get, ID, "p1")
    assert found is not None
    return [location.uri for location in found.locations]


@pytest.mark.parametrize("length", range(1, 40))
@pytest.mark.parametrize("key", [KEY, KEY + KEY[:8], KEY + KEY])
def test_there_and_back(length: int, key: bytes) -> None:
    cipher = LocationCipher(key)
    uri = "x:" + "ü" * length
    assert cipher.decrypt(cipher.encrypt(uri)) == uri
    assert cipher.encrypt(uri) != cipher.encrypt(uri)


def test_what_glance_wrote_is_read() -> None:
    assert LocationCipher(KEY).decrypt(GLANCES) == "file:///var/lib/glance/images/17cd0724-97ff-429d-a1b5-98f38ded4791"


@pytest.mark.parametrize("value", [GLANCES, GLANCES[:-8], "none", "", "YWJj"])
def test_what_does_not_open_stays_as_it_is(value: str) -> None:
    """Reading and writing it again, with whatever key, loses nothing."""
    cipher = LocationCipher(OTHER)
    assert not cipher.opens(value)
    assert cipher.decrypt(value) == value
    assert cipher.encrypt(value) == value


@on_every_engine
def test_written_encrypted_and_read_plainly(opened: Open) -> None:
    database = opened(KEY)
    located(database, URI, "https://host/second")
    assert not any(":" in value for value in stored(database))
    assert locations_of(database) == [URI, "https://host/second"]
    listed = database.read_now(image_pages.page, ImageQuery(limit=10), image_pages.Scope("p1", is_admin=False))
    assert [location.uri for location in listed[0].locations] == [URI, "https://host/second"]


@on_every_engine
def test_what_is_to_be_removed_is_encrypted_too(opened: Open) -> None:
    database = opened(KEY)
    located(database, URI)
    entries = database.write_now(outbox.delete_image, ID, NOW, 0)
    assert entries is not None
    assert [entry.location.uri for entry in entries] == [URI]
    assert ":" not in stored(database, "uri", "blick_location_deletes")[0]
    assert database.read_now(outbox.due, 1, 10)[0].location.uri == URI


@on_every_engine
def test_plain_values_are_read_beside_encrypted_ones(opened: Open) -> None:
    located(opened(None), "https://host/plain")
    database = opened(KEY)
    database.write_now(images.add_location, ID, URI, {}, NOW)
    assert locations_of(database) == ["https://host/plain", URI]
    assert stored(database)[0] == "https://host/plain"


@on_every_engine
def test_the_wrong_key_loses_nothing(opened: Open, caplog: pytest.LogCaptureFixture) -> None:
    right = opened(KEY)
    located(right, URI)
    before = stored(right)
    wrong = opened(OTHER)
    assert locations_of(wrong) == before
    assert locations_of(wrong) == before
    assert caplog.text.count("cannot be decrypted") == 1
    wrong.write_now(outbox.add, ID, [ImageLocation(before[0], {})], 0)
    assert stored(right, "uri", "blick_location_deletes") == before
    assert right.read_now(outbox.of_image, ID)[0].location.uri == URI


@on_every_engine
def test_a_start_is_refused_where_the_key_does_not_fit(opened: Open) -> None:
    require_readable(opened(None))
    located(opened(KEY), URI)
    require_readable(opened(KEY))
    with pytest.raises(StartRefused, match="cannot be decrypted with metadata_encryption_key"):
        require_readable(opened(OTHER))
    with pytest.raises(StartRefused, match="are encrypted: set metadata_encryption_key"):
        require_readable(opened(None))


@on_every_engine
def test_a_key_for_a_plain_database_is_welcome(opened: Open) -> None:
    located(opened(None), URI)
    require_readable(opened(KEY))
