"""`blick stores` on a site with several stores: what it prints, and how it ends."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from blick.cli.main import blick, run
from blick.conf.settings import DatabaseSettings
from blick.db import images, outbox
from blick.db.engine import open_database
from blick.model.image import ImageLocation
from tests.support.command import Call, Ended, ended
from tests.support.config_file import ini_text
from tests.support.records import NOW, image

DATA = b"the data of an image"
HASHES: dict[str, Any] = {
    "size": len(DATA),
    "checksum": hashlib.md5(DATA).hexdigest(),
    "os_hash_algo": "sha512",
    "os_hash_value": hashlib.sha512(DATA).hexdigest(),
}


@dataclass(frozen=True)
class Site:
    """A folder with a configuration file, a database and two stores, fast and slow."""

    folder: Path
    database_url: str

    def write(self, call: Any, *arguments: Any, **options: Any) -> Any:
        database = open_database(DatabaseSettings(connection=self.database_url))
        try:
            return database.write_now(call, *arguments, **options)
        finally:
            database.close()

    def add_image(self, *store_ids: str, data: bytes = DATA) -> str:
        """An active image with a copy in each of the stores."""
        image_id = str(uuid4())
        self.write(images.insert_image, image(image_id, status="active", **HASHES))
        for store_id in store_ids:
            path = self.folder / store_id / image_id
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
            self.write(images.add_location, image_id, f"file://{path}", {"store": store_id}, NOW)
        return image_id


@pytest.fixture
def site(tmp_path: Path, database_url: str) -> Site:
    for name in ("fast", "slow"):
        (tmp_path / name).mkdir()
    (tmp_path / "glance-api.conf").write_text(
        ini_text(
            {
                "DEFAULT": {"enabled_backends": "fast:file,slow:file,web:http"},
                "glance_store": {"default_backend": "fast"},
                "fast": {"filesystem_store_datadir": tmp_path / "fast", "weight": 10},
                "slow": {"filesystem_store_datadir": tmp_path / "slow"},
                "database": {"connection": database_url},
                "paste_deploy": {"flavor": "none"},
            }
        )
    )
    return Site(tmp_path, database_url)


@pytest.fixture
def stores(site: Site, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs `blick stores …` there."""

    def call(*arguments: str) -> Ended:
        return ended(blick, ["stores", *arguments, "--config-file", str(site.folder / "glance-api.conf")], capsys)

    return call


def test_list(site: Site, stores: Call) -> None:
    usual = {"status": "open", "read-only": False, "reason": None}
    assert stores("list", "--format", "json").document() == [
        {"id": "fast", "type": "file", "default": True, "weight": 10, **usual},
        {"id": "slow", "type": "file", "default": False, "weight": 0, **usual},
        {"id": "web", "type": "http", "default": False, "weight": 0, **usual, "read-only": True},
    ]
    table = stores("list")
    assert (table.code, table.err) == (0, "")
    assert "│ fast │ file │ yes     │ 10     │ open   │ no        │" in table.out


def test_list_tells_what_is_wrong(site: Site, stores: Call) -> None:
    (site.folder / "slow").rmdir()
    (site.folder / "slow").touch()
    [_, slow, _] = stores("list", "--format", "json").document()
    assert slow["status"] == "left out"
    assert "not a directory" in slow["reason"]


def test_deletes(site: Site, stores: Call) -> None:
    image_id = str(uuid4())
    places = [ImageLocation(f"file://{site.folder}/slow/{image_id}", {}), ImageLocation("gone://x", {"store": "old"})]
    site.write(outbox.add, image_id, places, 1_700_000_000_000)
    listed = stores("deletes", "--format", "json").document()
    assert [(entry["image"], entry["store"]) for entry in listed] == [(image_id, "slow"), (image_id, "old")]
    assert listed[0]["next try"] == "2023-11-14T22:13:20+00:00"
    assert (listed[0]["attempts"], listed[0]["last error"]) == (1, None)
    limited = stores("deletes", "--limit", "1")
    assert limited.out.count(image_id) == 1
    assert limited.err == "There are more than these 1: see --limit.\n"


def test_check_of_a_site_in_order(site: Site, stores: Call) -> None:
    site.add_image("fast")
    site.add_image("fast", "slow")
    (site.folder / "slow" / "notes.txt").touch()
    done = stores("check", "--verify", "--grace", "0", "--format", "json")
    assert (done.code, done.err) == (0, "")
    document = done.document()
    assert (document["status"], document["homeless"]) == (0, 0)
    nothing = dict.fromkeys(("missing", "mismatched", "orphaned", "repaired", "unreadable", "unhashed"), 0)
    nothing |= dict.fromkeys(("waiting", "busy", "young"), 0)
    assert document["stores"] == [
        {"store": "fast", "checked": 2, "objects": 2, "foreign": 0, **nothing, "trouble": None},
        {"store": "slow", "checked": 1, "objects": 2, "foreign": 1, **nothing, "trouble": None},
        {"store": "web", "checked": 0, "objects": None, "foreign": 0, **nothing, "trouble": None},
    ]
    [foreign] = document["findings"]
    assert (foreign["store"], foreign["finding"], foreign["image"]) == ("slow", "foreign", "notes.txt")


def spoilt(site: Site) -> tuple[str, str, str]:
    """What a repair can put right: a missing copy, a bad one, and an orphan."""
    missing, bad, orphan = site.add_image("fast", "slow"), site.add_image("slow", "fast"), str(uuid4())
    (site.folder / "slow" / missing).unlink()
    (site.folder / "fast" / bad).write_bytes(b"bad")
    (site.folder / "fast" / orphan).touch()
    return missing, bad, orphan


@pytest.mark.parametrize("format_name", ["json", "yaml"])
def test_check_and_repair(site: Site, stores: Call, format_name: str) -> None:
    missing, bad, orphan = spoilt(site)
    read = json.loads if format_name == "json" else lambda text: msgspec.yaml.decode(text)
    arguments = ("check", "--store", "fast", "--store", "slow", "--grace", "0", "--format", format_name)
    found = stores(*arguments)
    assert found.code == 1
    wrong = {("slow", "missing", missing), ("fast", "wrong size", bad), ("fast", "orphaned", orphan)}
    document = read(found.out)
    assert {(each["store"], each["finding"], each["image"]) for each in document["findings"]} == wrong
    assert {each["outcome"] for each in document["findings"]} == {None}
    fast, slow = document["stores"]
    assert (fast["mismatched"], fast["orphaned"], slow["missing"]) == (1, 1, 1)
    repaired = stores(*arguments, "--repair")
    assert (repaired.code, repaired.err) == (0, "")
    document = read(repaired.out)
    assert {each["outcome"] for each in document["findings"]} == {"repaired"}
    assert [(each["repaired"], each["missing"], each["orphaned"]) for each in document["stores"]] == [
        (2, 0, 0), (1, 0, 0),
    ]  # fmt: skip
    assert read(stores(*arguments).out)["findings"] == []


def test_tables(site: Site, stores: Call) -> None:
    missing, bad, orphan = spoilt(site)
    found = stores("check", "--grace", "0")
    assert (found.code, found.err) == (1, "")
    lines = found.out.splitlines()
    titles = [cell.strip() for cell in lines[1].split("│")[1:-1]]
    assert titles == ["store", "checked", "missing", "mismatched", "orphaned", "foreign", "repaired", "remarks"]
    assert f"file://{site.folder}/slow/{missing} │ there is nothing" in found.out
    assert f"{3} bytes instead of {len(DATA)}" in found.out
    assert orphan in found.out
    assert bad in found.out


def test_young_orphans_are_left_alone(site: Site, stores: Call) -> None:
    orphan = site.folder / "fast" / str(uuid4())
    orphan.touch()
    done = stores("check", "--repair")
    assert done.code == 0
    assert "1 unknown, but within the grace time" in done.out
    assert orphan.exists()


def test_what_cannot_be_checked(site: Site, stores: Call) -> None:
    (site.folder / "slow").rmdir()
    (site.folder / "slow").touch()
    done = stores("check")
    assert done.code == 2
    assert "not a directory" in done.out


def test_a_location_in_no_store(site: Site, stores: Call) -> None:
    image_id = site.add_image("fast")
    site.write(images.add_location, image_id, "s3://key:s/ecret@host/bucket/x?sig=1", {"store": "old"}, NOW)
    done = stores("check")
    assert done.code == 2
    assert "1 location(s) in no configured store." in done.out
    assert "s3://***@host/bucket/x?***" in done.out
    assert "ecret" not in done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("check", "--store", "third"), "ERROR: There is no store 'third' here.\n"),
        (("check", "--grace", "-1"), "Invalid value for '--grace'"),
        (("deletes", "--limit", "0"), "Invalid value for '--limit'"),
    ],
)
def test_mistakes(site: Site, stores: Call, arguments: tuple[str, ...], said: str) -> None:
    ended = stores(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert "Traceback" not in ended.err


def test_a_database_that_is_not_ready(tmp_path: Path, site: Site, stores: Call) -> None:
    config = site.folder / "glance-api.conf"
    config.write_text(config.read_text().replace(site.database_url, f"sqlite:///{tmp_path}/new.sqlite3"))
    ended = stores("check")
    assert ended.code == 2
    assert ended.err.startswith("ERROR: ")
    assert ended.err.count("\n") == 1
    assert stores("list").code == 1


def test_without_any_service(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run(blick, args=["stores", "check", "--data", str(tmp_path)])
    assert end.value.code == 2
    assert "There is no service in" in capsys.readouterr().err
