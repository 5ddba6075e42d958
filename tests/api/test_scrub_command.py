"""`glance-scrubber` and `blick scrub`: flags, files, texts and exit codes (spec: commands)."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from blick.cli.main import blick
from blick.cli.scrub import glance_scrubber
from blick.conf.settings import DatabaseSettings
from blick.db import images, outbox
from blick.db.engine import Database, open_database
from blick.db.tables import images as table
from tests.support.command import Call, Ended, ended
from tests.support.records import ID, NOW, image

OTHER = "0" + ID[1:]


@pytest.fixture
def folder(tmp_path: Path, database_url: str) -> Path:
    """A configuration file, a database and a store with nothing in it."""
    (tmp_path / "images").mkdir()
    (tmp_path / "scrubber.conf").write_text(
        f"[DEFAULT]\nlog_file = {tmp_path / 'scrubber.log'}\n"
        f"[database]\nconnection = {database_url}\n"
        f"[glance_store]\nstores = file\nfilesystem_store_datadir = {tmp_path / 'images'}\n"
    )
    return tmp_path


@pytest.fixture
def scrubber(folder: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs glance-scrubber with the configuration file."""

    def call(*arguments: str) -> Ended:
        return ended(glance_scrubber, ["--config-file", str(folder / "scrubber.conf"), *arguments], capsys)

    return call


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = open_database(DatabaseSettings(connection=database_url))
    yield opened
    opened.close()


def deleted(database: Database, folder: Path, image_id: str = ID, **attributes: object) -> Path:
    """An image that waits for its deletion, and where its data is."""
    place = folder / "images" / image_id
    place.write_bytes(b"data")
    database.write_now(images.insert_image, image(image_id, **{"status": "active", **attributes}))
    database.write_now(images.add_location, image_id, f"file://{place}", {}, NOW)
    database.write_now(outbox.delete_image, image_id, NOW, 0, delayed=True)
    return place


def statuses(database: Database) -> list[str]:
    return database.read_now(lambda connection: list(connection.execute(select(table.c.status)).scalars()))


def test_once(scrubber: Call, database: Database, folder: Path) -> None:
    places = [deleted(database, folder, image_id) for image_id in (ID, OTHER)]
    assert scrubber() == Ended(0, "", "")
    assert [place.exists() for place in places] == [False, False]
    assert statuses(database) == ["deleted", "deleted"]
    assert "2 removed, 0 to be tried again" in (folder / "scrubber.log").read_text()
    assert scrubber() == Ended(0, "", "")


@pytest.fixture
def elsewhere(folder: Path) -> Callable[[], object]:
    """The configuration names another folder than the service's, until this is called."""
    conf = folder / "scrubber.conf"
    right = conf.read_text()
    conf.write_text(right.replace(str(folder / "images"), str(folder / "elsewhere")))
    return lambda: conf.write_text(right)


def test_what_fails_is_no_failure_of_the_command(
    scrubber: Call, database: Database, folder: Path, elsewhere: Callable[[], object]
) -> None:
    place = deleted(database, folder)
    assert scrubber() == Ended(0, "", "")
    assert (statuses(database), place.exists()) == (["pending_delete"], True)
    log = (folder / "scrubber.log").read_text()
    assert f"cannot remove the data of deleted image {ID} yet" in log
    assert "no configured store keeps this location" in log
    elsewhere()
    assert scrubber() == Ended(0, "", "")  # at once, whenever the service would have tried again
    assert (statuses(database), place.exists()) == (["deleted"], False)


def test_options_of_the_file(scrubber: Call, database: Database, folder: Path) -> None:
    long_ago_s = int(timedelta(days=365 * 100).total_seconds())
    with (folder / "scrubber.conf").open("a") as file:
        file.write(f"[DEFAULT]\nscrub_time = {long_ago_s}\nscrub_pool_size = 4\n")
    place = deleted(database, folder)
    assert scrubber() == Ended(0, "", "")
    assert (statuses(database), place.exists()) == (["pending_delete"], True)


def test_restore(scrubber: Call, database: Database, folder: Path) -> None:
    place = deleted(database, folder)
    assert scrubber("--restore", ID) == Ended(0, "", "")
    assert (statuses(database), place.exists()) == (["active"], True)
    refused = "cannot restore the image from active to active (wanted from_state=pending_delete)"
    assert scrubber("--restore", ID) == Ended(1, "", f"ERROR: {refused}\n")
    assert scrubber("--restore", "nope") == Ended(1, "", "ERROR: No image found with ID nope\n")
    assert scrubber() == Ended(0, "", "")
    assert place.exists()


@pytest.mark.usefixtures("elsewhere")
def test_no_restore_once_scrubbing_has_begun(scrubber: Call, database: Database, folder: Path) -> None:
    deleted(database, folder)
    scrubber()
    refused = scrubber("--restore", ID)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("ERROR: glance-scrubber is already running")
    assert statuses(database) == ["pending_delete"]


@pytest.mark.parametrize("flag", ["--daemon", "-D"])
def test_usage(scrubber: Call, database: Database, folder: Path, flag: str) -> None:
    both = "The restore and daemon options should not be set together. Please use either of them in one request."
    assert scrubber("--restore", ID, flag) == Ended(1, "", f"ERROR: {both}\n")
    assert scrubber("--nosuch").code == 2
    assert scrubber("--version") == Ended(0, "33.0.0\n", "")
    assert scrubber("-h").code == 0
    with (folder / "scrubber.conf").open("a") as file:
        file.write("[DEFAULT]\ndaemon = true\n")
    assert scrubber("--restore", ID) == Ended(1, "", f"ERROR: {both}\n")
    assert scrubber("--nodaemon") == Ended(0, "", "")


def test_a_database_that_cannot_be_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conf = folder / "scrubber.conf"
    conf.write_text(f"[database]\nconnection = sqlite:///{folder}/new.sqlite\n")
    refused = ended(glance_scrubber, ["--config-file", str(conf)], capsys)
    assert (refused.code, refused.out) == (1, "")
    assert "ERROR: The database is not at this release's revision." in refused.err
    conf.write_text(f"[database]\nconnection = sqlite:///{folder}/no/such/folder.sqlite\n")
    refused = ended(glance_scrubber, ["--config-file", str(conf)], capsys)
    assert (refused.code, refused.out) == (1, "")
    assert "cannot be used: unable to open database file" in refused.err
    missing = ended(glance_scrubber, ["--config-file", str(folder / "no.conf")], capsys)
    assert (missing.code, missing.err) == (1, f"ERROR: {folder}/no.conf: no such configuration file.\n")


def test_blick_scrub_is_the_same_and_tells(
    database: Database, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ["scrub", "--config-file", str(folder / "scrubber.conf")]
    place = deleted(database, folder)
    assert ended(blick, [*at, "--restore", ID], capsys) == Ended(0, f"Image {ID} is active again.\n", "")
    database.write_now(outbox.delete_image, ID, NOW, 0, delayed=True)
    assert ended(blick, at, capsys) == Ended(0, "Removed: 1. To be tried again: 0.\n", "")
    assert not place.exists()
    nowhere = ended(blick, ["scrub", "--data", str(folder / "nowhere")], capsys)
    assert nowhere.err.startswith("ERROR: There is no service in")
