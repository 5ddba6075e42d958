"""`glance-manage db purge` and `purge_images_table`, and the same as `blick db` (spec: commands)."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Table, func, insert, select

from blick.cli.main import blick
from blick.cli.manage import glance_manage
from blick.conf.settings import DatabaseSettings
from blick.db.engine import Database, open_database
from blick.db.tables import image_tags, images, tasks
from blick.db.upgrade import ensure_current

LONG_AGO = datetime(2020, 1, 1)  # noqa: DTZ001 - times in the database are naive UTC
DEAD: Mapping[str, Any] = {"created_at": LONG_AGO, "deleted": True, "deleted_at": LONG_AGO}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "glance-api.conf"
    file.write_text(f"[database]\nconnection = sqlite:///{tmp_path}/images.sqlite\n")
    return file


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(DatabaseSettings(connection=f"sqlite:///{tmp_path}/images.sqlite"))
    ensure_current(opened)
    yield opened
    opened.close()


def manage(config: Path, *words: str) -> Result:
    return CliRunner().invoke(glance_manage, ["--config-file", str(config), "db", *words], catch_exceptions=False)


def friendly(config: Path, *words: str) -> Result:
    return CliRunner().invoke(blick, ["db", "--config-file", str(config), *words], catch_exceptions=False)


def fill(database: Database, count: int, **stamp: Any) -> None:
    """So many images with a tag each, and as many tasks."""
    stamps = {**DEAD, **stamp}
    for number in range(count):
        image = {"id": f"i{number}", "status": "deleted", "min_disk": 0, "min_ram": 0, **stamps}
        task = {"id": f"t{number}", "type": "import", "status": "success", "owner": "p", **stamps}
        for table, row in (
            (images, image),
            (tasks, task),
            (image_tags, {"image_id": f"i{number}", "value": "t", **stamps}),
        ):
            database.write_now(lambda connection, table=table, row=row: connection.execute(insert(table), row))


def counts(database: Database) -> list[int]:
    """Of tags, tasks and images."""

    def of(table: Table) -> int:
        wanted = select(func.count()).select_from(table)
        return int(database.read_now(lambda connection: connection.execute(wanted).scalar_one()))

    return [of(table) for table in (image_tags, tasks, images)]


def test_usual_age_and_limit(config: Path, database: Database) -> None:
    fill(database, 103)
    done = manage(config, "purge")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "removed 100 row(s) of image_tags that were deleted more than 30 day(s) ago" in done.stderr
    assert "removed 100 row(s) of tasks that" in done.stderr
    assert counts(database) == [3, 3, 103]
    assert manage(config, "purge", "--max_rows", "-1").exit_code == 0
    assert counts(database) == [0, 0, 103]
    assert manage(config, "purge_images_table").exit_code == 0
    assert counts(database) == [0, 0, 3]


@pytest.mark.parametrize(
    "words",
    [
        ["--age_in_days", "5", "--max_rows", "2"],
        ["--age-in-days=5", "--max-rows=2"],
        ["5", "2"],
        ["5", "--max_rows", "2"],
    ],
)
def test_ways_to_say_it(config: Path, database: Database, words: list[str]) -> None:
    fill(database, 3)
    assert manage(config, "purge", *words).exit_code == 0
    assert counts(database) == [1, 1, 3]


def test_a_limit_below_zero_as_a_word(config: Path, database: Database) -> None:
    fill(database, 3)
    assert manage(config, "purge", "5", "-1").exit_code == 0
    assert counts(database) == [0, 0, 3]


@pytest.mark.parametrize(("age", "left"), [("9", [0, 0, 1]), ("11", [1, 1, 1])])
def test_the_age_counts(config: Path, database: Database, age: str, left: list[int]) -> None:
    fill(database, 1, deleted_at=datetime.now(UTC).replace(tzinfo=None) - timedelta(days=10))
    assert manage(config, "purge", "--age_in_days", age).exit_code == 0
    assert counts(database) == left


@pytest.mark.parametrize("action", ["purge", "purge_images_table"])
@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["x"], "Invalid int value for age_in_days: x\n"),
        (["5", "x"], "Invalid int value for max_rows: x\n"),
        (["-5"], "Must supply a non-negative value for age.\n"),
        (["--age_in_days", "-1"], "Must supply a non-negative value for age.\n"),
        (["--age_in_days", "99999"], "Maximal age is count of days since epoch.\n"),
        (["--max_rows", "-2"], "Minimal rows limit is -1.\n"),
        (["5", "6", "7"], "There are more than two words: 5 6 7\n"),
    ],
)
def test_what_makes_no_sense(config: Path, database: Database, action: str, words: list[str], text: str) -> None:
    fill(database, 1)
    refused = manage(config, action, *words)
    assert (refused.exit_code, refused.stdout, refused.stderr) == (1, "", text)
    assert counts(database) == [1, 1, 1]


@pytest.mark.parametrize("words", [["--age_in_days", "x"], ["--max_rows", "x"], ["--nosuch"], ["-z"]])
def test_usage(config: Path, words: list[str]) -> None:
    assert manage(config, "purge", *words).exit_code == 2


def test_rows_that_belong_to_images(config: Path, database: Database) -> None:
    fill(database, 2)
    held = manage(config, "purge_images_table")
    assert held.exit_code == 1
    assert held.stderr.splitlines()[-1].startswith(
        "ERROR: 2 image(s) stay, because rows of other tables belong to them"
    )
    assert counts(database) == [2, 2, 2]


def test_a_database_without_our_tables(config: Path) -> None:
    refused = CliRunner().invoke(glance_manage, ["--config-file", str(config), "db", "purge"])
    assert str(refused.exception) == "The database is not up to date. Run `glance-manage db sync` first."


def test_for_people(config: Path, database: Database) -> None:
    fill(database, 2)
    done = friendly(config, "purge", "--max_rows", "1", "--format", "json")
    assert done.exit_code == 0
    found = {row["table"]: row["removed"] for row in json.loads(done.stdout)}
    assert found == {
        "image_properties": 0, "image_members": 0, "image_tags": 1, "image_locations": 0, "blick_jobs": 0, "tasks": 1,
        "task_info": 0,
    }  # fmt: skip
    held = friendly(config, "purge_images_table", "--format", "yaml")
    assert held.exit_code == 1
    assert "table: images" in held.stdout
    assert counts(database) == [1, 1, 1]
