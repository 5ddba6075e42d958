"""Taking over a database that Glance made, and refusing one that we would spoil.

The tables here are made after the specification; tests/peer/test_adoption.py takes those that Glance itself makes.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from blick.conf.settings import DatabaseSettings
from blick.db import adoption, tasks, upgrade
from blick.db.engine import Database, open_database
from blick.db.metadata import metadata
from blick.model.errors import StartRefused
from blick.model.task import Task
from tests.support.records import NOW

IMAGE = (
    "INSERT INTO images (id, status, min_disk, min_ram, created_at, deleted) "
    "VALUES ('x', 'queued', 0, 0, '2026-01-01 00:00:00', 0)"
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(DatabaseSettings(connection=f"sqlite:///{tmp_path}/glance.sqlite3"))
    yield opened
    opened.close()


def make_glance(database: Database, *revisions: str, task_origin: bool = True, cache: bool = True) -> None:
    """The tables that a Glance would have made, one image in them, and its revisions."""
    absent = set() if cache else {"cached_images", "node_reference"}
    glances = [table for name, table in metadata.tables.items() if not name.startswith("blick_") and name not in absent]
    with database.engine.begin() as connection:
        metadata.create_all(connection, glances)
        for table in glances:
            for index in inspect(connection).get_indexes(table.name):
                if str(index["name"]).startswith("blick_"):
                    connection.execute(text(f"DROP INDEX {index['name']}"))
        if not task_origin:
            connection.execute(text("DROP INDEX ix_tasks_image_id"))
            for column in ("image_id", "request_id", "user_id"):
                connection.execute(text(f"ALTER TABLE tasks DROP COLUMN {column}"))
        if revisions:
            connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        for revision in revisions:
            connection.execute(text(f"INSERT INTO alembic_version VALUES ('{revision}')"))
        connection.execute(text(IMAGE))


def definitions(database: Database) -> dict[str, str | None]:
    """Every table and index of a SQLite file, with the statement that made it."""
    engine = create_engine(database.engine.url)
    with engine.connect() as connection:
        found = {row.name: row.sql for row in connection.execute(text("SELECT name, sql FROM sqlite_master"))}
    engine.dispose()
    return found


def revisions(database: Database) -> list[str]:
    with database.engine.connect() as connection:
        return sorted(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())


@pytest.mark.parametrize("release", adoption.RELEASES)
def test_a_database_of_any_release_is_adopted(database: Database, release: str) -> None:
    """Its tables, rows and version stay as they are; only what is ours is added."""
    since = adoption.RELEASES.index(release)
    make_glance(database, f"{release}_contract01", task_origin=since >= 2, cache=since >= 7)
    before = definitions(database)
    assert upgrade.ensure_current(database)
    after = definitions(database)
    assert before.items() <= after.items()
    assert all("blick_" in name for name in after.keys() - before.keys())
    assert revisions(database) == [f"{release}_contract01"]
    with database.engine.connect() as connection:
        assert connection.execute(text("SELECT id, visibility, protected FROM images")).one() == ("x", "shared", 0)
    assert not upgrade.ensure_current(database)


def test_an_upgrade_that_glance_has_not_contracted_yet_is_no_hindrance(database: Database) -> None:
    make_glance(database, "2024_1_expand01", "train_contract01")
    assert upgrade.ensure_current(database)
    assert revisions(database) == ["2024_1_expand01", "train_contract01"]


@pytest.mark.parametrize(
    ("found", "text_"),
    [
        (("rocky_contract02",), r"older than Train \(revision rocky_contract02\).*Upgrade it with Glance first"),
        (("liberty",), r"older than Train \(revision liberty\)"),
        (("rocky_contract02", "2024_1_expand01"), r"older than Train \(revision rocky_contract02\)"),
        (("2024_1_expand01",), r"middle of an upgrade by Glance \(revision 2024_1_expand01\).*db contract"),
        (("2031_1_contract01",), r"revision 2031_1_contract01, which this release does not know"),
        (("ae1027a6acf",), r"another service"),
    ],
)
def test_other_revisions_are_refused(database: Database, found: tuple[str, ...], text_: str) -> None:
    make_glance(database, *found)
    before = definitions(database)
    with pytest.raises(StartRefused, match=text_):
        upgrade.ensure_current(database)
    assert definitions(database) == before


def test_tables_without_a_revision_are_refused(database: Database) -> None:
    make_glance(database)
    with pytest.raises(StartRefused, match=r"not their revision.*version_control"):
        upgrade.ensure_current(database)


def test_the_age_before_alembic_is_refused(database: Database) -> None:
    make_glance(database)
    with database.engine.begin() as connection:
        connection.execute(text("CREATE TABLE migrate_version (repository_id TEXT, version INTEGER)"))
        connection.execute(text("INSERT INTO migrate_version VALUES ('Glance Migrations', 45)"))
    with pytest.raises(StartRefused, match=r"version 45 in migrate_version.*Upgrade it with Glance"):
        upgrade.ensure_current(database)


def test_a_database_that_lacks_a_table_is_refused(database: Database) -> None:
    make_glance(database, "2024_1_contract01", cache=False)
    with pytest.raises(StartRefused, match="has no table cached_images, node_reference"):
        upgrade.ensure_current(database)


def test_a_later_start_looks_again(database: Database) -> None:
    """Glance may have had the database in between, and taken it further than we know."""
    make_glance(database, "2024_1_contract01")
    upgrade.ensure_current(database)
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '2031_1_contract01'"))
    with pytest.raises(StartRefused, match="does not know"):
        upgrade.ensure_current(database)


def test_a_database_made_here_is_marked_for_glance(database: Database) -> None:
    upgrade.ensure_current(database)
    assert revisions(database) == ["2024_1_contract01"]


def test_a_first_start_that_was_killed_goes_on(database: Database) -> None:
    """MariaDB keeps each table as it is made: here some are, and none of the marks."""
    some = [metadata.tables[name] for name in ("images", "tasks")]
    with database.engine.begin() as connection:
        connection.execute(text("CREATE TABLE blick_alembic_version (version_num VARCHAR(32) NOT NULL)"))
        metadata.create_all(connection, some)
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
    assert upgrade.ensure_current(database)
    assert metadata.tables.keys() <= set(inspect(database.engine).get_table_names())
    assert revisions(database) == ["2024_1_contract01"]


@pytest.mark.parametrize(
    ("task_origin", "cache", "wanted", "placed"),
    [
        (True, True, None, "2024_1_contract01"),
        (True, False, None, "2023_1_contract01"),
        (True, False, "xena_contract01", "xena_contract01"),
        (False, False, None, "ussuri_contract01"),
        (False, False, "train_contract01", "train_contract01"),
    ],
)
def test_tables_are_placed_under_control(
    database: Database, task_origin: bool, cache: bool, wanted: str | None, placed: str
) -> None:
    make_glance(database, task_origin=task_origin, cache=cache)
    assert database.write_now(adoption.place_at, wanted) == placed
    assert revisions(database) == [placed]
    assert upgrade.ensure_current(database)


def test_tables_are_not_placed_where_they_do_not_fit(database: Database) -> None:
    make_glance(database, "train_contract01", task_origin=False, cache=False)
    with pytest.raises(StartRefused, match="not those of 2024_1_contract01; they fit train_contract01, ussuri"):
        database.write_now(adoption.place_at, "2024_1_contract01")
    assert revisions(database) == ["train_contract01"]


def test_nothing_is_placed_in_an_empty_database(database: Database) -> None:
    with pytest.raises(StartRefused, match="db sync"):
        database.write_now(adoption.place_at, None)


@pytest.mark.parametrize("task_origin", [True, False])
def test_tasks_tell_their_origin_whatever_the_table_has(database: Database, task_origin: bool) -> None:
    revision = "2023_1_contract01" if task_origin else "train_contract01"
    make_glance(database, revision, task_origin=task_origin, cache=False)
    upgrade.ensure_current(database)
    for number, image_id in enumerate(("one", "two")):
        task = Task(f"t{number}", "location_import", "pending", "p1", image_id, "req-1", "u1", NOW, NOW, {"a": 1})
        database.write_now(tasks.add, task)
    assert database.read_now(tasks.get, "t0").image_id == "one"
    [found] = database.read_now(tasks.of_image, "two", "p1", NOW)
    assert (found.id, found.request_id, found.user_id, found.input) == ("t1", "req-1", "u1", {"a": 1})
    with database.engine.connect() as connection:
        beside = connection.execute(text("SELECT count(*) FROM blick_task_origins")).scalar()
    assert beside == (0 if task_origin else 2)
    for number, ends_at in ((0, NOW), (1, None)):
        database.write_now(tasks.set_status, f"t{number}", ("pending",), "success", NOW, expires_at=ends_at)
    assert database.write_now(tasks.expire, NOW) == 1
    assert database.read_now(tasks.get, "t0") is None
    with database.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM tasks")).scalar() == 2, "glance-manage purges them"
        left = connection.execute(text("SELECT task_id FROM blick_task_origins")).scalars().all()
    assert left == ([] if task_origin else ["t1"])
