"""The schema: Glance's tables as its release 33 makes them, ours beside them, and how a database gets there."""

from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

import blick.db
from blick.conf.settings import DatabaseSettings
from blick.db import upgrade
from blick.db.engine import Database, open_database
from blick.model.errors import StartRefused
from tests.support.databases import Databases, on_every_engine
from tests.support.records import race

# Column: type, and ! where it must have a value, # where it is (part of) the key, > what it points to, = its default.
# Types are SQLite's; INTEGER stands for BIGINT where the engines count in that.
STAMPS = "created_at:DATETIME! updated_at:DATETIME"
SOFT = f"{STAMPS} deleted_at:DATETIME deleted:BOOLEAN!"
GLANCE = {
    "images": "id:VARCHAR(36)!# name:VARCHAR(255) disk_format:VARCHAR(20) container_format:VARCHAR(20) size:INTEGER "
    "virtual_size:INTEGER status:VARCHAR(30)! visibility:VARCHAR(9)!=shared checksum:VARCHAR(32) "
    "os_hash_algo:VARCHAR(64) os_hash_value:VARCHAR(128) min_disk:INTEGER! min_ram:INTEGER! owner:VARCHAR(255) "
    f"protected:BOOLEAN!=false os_hidden:BOOLEAN!=false {SOFT}",
    "node_reference": "node_reference_id:INTEGER!# node_reference_url:VARCHAR(255)!",
    "tasks": "id:VARCHAR(36)!# type:VARCHAR(30)! status:VARCHAR(30)! owner:VARCHAR(255)! expires_at:DATETIME "
    f"image_id:VARCHAR(36) request_id:VARCHAR(64) user_id:VARCHAR(64) {SOFT}",
    "cached_images": "id:INTEGER!# image_id:VARCHAR(36)! last_accessed:DATETIME! last_modified:DATETIME! size:BIGINT! "
    "hits:INTEGER! checksum:VARCHAR(32) node_reference_id:INTEGER!>node_reference.node_reference_id",
    "image_locations": "id:INTEGER!# image_id:VARCHAR(36)!>images.id value:TEXT! meta_data:TEXT "
    f"status:VARCHAR(30)!=active {SOFT}",
    "image_members": "id:INTEGER!# image_id:VARCHAR(36)!>images.id member:VARCHAR(255)! can_share:BOOLEAN! "
    f"status:VARCHAR(20)!=pending {SOFT}",
    "image_properties": f"id:INTEGER!# image_id:VARCHAR(36)!>images.id name:VARCHAR(255)! value:TEXT {SOFT}",
    "image_tags": f"id:INTEGER!# image_id:VARCHAR(36)!>images.id value:VARCHAR(255)! {SOFT}",
    "task_info": "task_id:VARCHAR(36)!#>tasks.id input:TEXT result:TEXT message:TEXT",
    "metadef_namespaces": "id:INTEGER!# namespace:VARCHAR(80)! display_name:VARCHAR(80) description:TEXT "
    f"visibility:VARCHAR(32) protected:BOOLEAN owner:VARCHAR(255)! {STAMPS}",
    "metadef_resource_types": f"id:INTEGER!# name:VARCHAR(80)! protected:BOOLEAN! {STAMPS}",
    "metadef_namespace_resource_types": "resource_type_id:INTEGER!#>metadef_resource_types.id "
    f"namespace_id:INTEGER!#>metadef_namespaces.id properties_target:VARCHAR(80) prefix:VARCHAR(80) {STAMPS}",
    "metadef_objects": "id:INTEGER!# namespace_id:INTEGER!>metadef_namespaces.id name:VARCHAR(80)! description:TEXT "
    f"required:TEXT json_schema:TEXT! {STAMPS}",
    "metadef_properties": "id:INTEGER!# namespace_id:INTEGER!>metadef_namespaces.id name:VARCHAR(80)! "
    f"json_schema:TEXT! {STAMPS}",
    "metadef_tags": f"id:INTEGER!# namespace_id:INTEGER!>metadef_namespaces.id name:VARCHAR(80)! {STAMPS}",
}
INDEXES = {
    "images": "os_hidden_image_idx:os_hidden visibility_image_idx:visibility checksum_image_idx:checksum "
    "os_hash_value_image_idx:os_hash_value ix_images_deleted:deleted owner_image_idx:owner "
    "created_at_image_idx:created_at updated_at_image_idx:updated_at",
    "tasks": "ix_tasks_status:status ix_tasks_type:type ix_tasks_deleted:deleted ix_tasks_updated_at:updated_at "
    "ix_tasks_owner:owner ix_tasks_image_id:image_id",
    "image_locations": "ix_image_locations_deleted:deleted ix_image_locations_image_id:image_id",
    "image_members": "ix_image_members_deleted:deleted ix_image_members_image_id:image_id "
    "ix_image_members_image_id_member:image_id,member",
    "image_properties": "ix_image_properties_deleted:deleted ix_image_properties_image_id:image_id",
    "image_tags": "ix_image_tags_image_id_tag_value:image_id,value ix_image_tags_image_id:image_id",
    "metadef_namespaces": "ix_metadef_namespaces_owner:owner",
    "metadef_namespace_resource_types": "ix_metadef_ns_res_types_namespace_id:namespace_id",
    "metadef_objects": "ix_metadef_objects_name:name",
    "metadef_properties": "ix_metadef_properties_name:name",
    "metadef_tags": "ix_metadef_tags_name:name",
}
UNIQUE = {
    "node_reference": "uq_node_reference_node_reference_url:node_reference_url",
    "cached_images": "ix_cached_images_image_id_node_reference_id:image_id,node_reference_id",
    "image_members": "image_members_image_id_member_deleted_at_key:image_id,member,deleted_at",
    "image_properties": "ix_image_properties_image_id_name:image_id,name",
    "metadef_namespaces": "uq_metadef_namespaces_namespace:namespace",
    "metadef_resource_types": "uq_metadef_resource_types_name:name",
    "metadef_objects": "uq_metadef_objects_namespace_id_name:namespace_id,name",
    "metadef_properties": "uq_metadef_properties_namespace_id_name:namespace_id,name",
    "metadef_tags": "uq_metadef_tags_namespace_id_name:namespace_id,name",
}


@pytest.fixture
def sqlite(tmp_path: Path) -> Any:
    opened = open_database(DatabaseSettings(connection=f"sqlite:///{tmp_path}/new.sqlite3", sqlite_synchronous=False))
    yield opened
    opened.close()


def columns_of(database: Database, table: str) -> str:
    """The table's columns, in the notation above."""
    seen = inspect(database.engine)
    points = {
        key["constrained_columns"][0]: f">{key['referred_table']}.{key['referred_columns'][0]}"
        for key in seen.get_foreign_keys(table)
    }
    keys = seen.get_pk_constraint(table)["constrained_columns"]
    told = []
    for column in seen.get_columns(table):
        name, default = column["name"], column["default"]
        default = {"0": "false", None: None}.get(default, default)
        told.append(
            f"{name}:{column['type']}"
            + ("" if column["nullable"] else "!")
            + ("#" if name in keys else "")
            + points.get(name, "")
            + ("" if default is None else f"={default.strip(chr(39))}")
        )
    return " ".join(told)


@pytest.mark.parametrize("table", GLANCE)
def test_glances_tables_are_what_glance_makes(sqlite: Database, table: str) -> None:
    upgrade.ensure_current(sqlite)
    assert columns_of(sqlite, table).split() == GLANCE[table].split()
    seen = inspect(sqlite.engine)
    indexes = {f"{index['name']}:{','.join(map(str, index['column_names']))}" for index in seen.get_indexes(table)}
    assert {index for index in indexes if not index.startswith("blick_")} == set(INDEXES.get(table, "").split())
    unique = {f"{each['name']}:{','.join(each['column_names'])}" for each in seen.get_unique_constraints(table)}
    assert unique == set(UNIQUE.get(table, "").split())


def test_everything_else_is_named_ours(sqlite: Database) -> None:
    upgrade.ensure_current(sqlite)
    others = set(inspect(sqlite.engine).get_table_names()) - GLANCE.keys()
    assert {"blick_leases", "blick_location_deletes", "blick_alembic_version"} <= others
    assert all(name.startswith("blick_") for name in others - {"alembic_version"})


def test_the_known_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(blick.db.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_heads() == [upgrade.HEAD]


def test_once_is_enough(sqlite: Database) -> None:
    assert sqlite.read_now(upgrade.current_revision) is None
    assert upgrade.ensure_current(sqlite)
    assert sqlite.read_now(upgrade.current_revision) == upgrade.HEAD
    assert not upgrade.ensure_current(sqlite)


def test_several_at_once(sqlite: Database, tmp_path: Path) -> None:
    settings = DatabaseSettings(connection=f"sqlite:///{tmp_path}/new.sqlite3", sqlite_synchronous=False)
    databases = [open_database(settings) for _ in range(4)]
    outcomes = race([lambda each=each: upgrade.ensure_current(each) for each in databases])  # type: ignore[misc]
    for each in databases:
        each.close()
    assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []
    assert sqlite.read_now(upgrade.current_revision) == upgrade.HEAD


def test_a_newer_database_is_refused(sqlite: Database) -> None:
    upgrade.ensure_current(sqlite)
    with sqlite.engine.begin() as connection:
        connection.execute(text("UPDATE blick_alembic_version SET version_num = '9999'"))
    with pytest.raises(StartRefused, match=r"revision 9999.*newer"):
        upgrade.ensure_current(sqlite)
    assert sqlite.read_now(upgrade.current_revision) == "9999"


@on_every_engine
def test_first_starts_at_once(engine: str, databases: Databases, tmp_path: Path) -> None:
    settings = DatabaseSettings(databases.untouched(engine, tmp_path), sqlite_synchronous=False)
    opened = [open_database(settings) for _ in range(4)]
    outcomes = race([lambda each=each: upgrade.ensure_current(each) for each in opened])  # type: ignore[misc]
    assert sorted(outcomes, key=bool) == [False, False, False, True]
    assert not upgrade.ensure_current(opened[0])
    for each in opened:
        each.close()


@on_every_engine
def test_a_migration_that_was_killed_is_done_anew(engine: str, databases: Databases, tmp_path: Path) -> None:
    """MariaDB keeps what was made before the death: a version without a row, some tables, some without indexes."""
    whole, half = (
        open_database(DatabaseSettings(databases.untouched(engine, tmp_path), sqlite_synchronous=False))
        for _ in range(2)
    )
    for each in (whole, half):
        upgrade.ensure_current(each)
    with half.engine.begin() as connection:
        connection.execute(text("DELETE FROM blick_alembic_version"))
        connection.execute(text("DROP TABLE alembic_version"))
        connection.execute(text("DROP TABLE image_tags"))
        connection.execute(text("DROP TABLE blick_leases"))
        on_table = " ON images" if engine == "mariadb" else ""
        for index in ("checksum_image_idx", "created_at_image_idx"):
            connection.execute(text(f"DROP INDEX {index}{on_table}"))
    assert upgrade.ensure_current(half)
    for table in inspect(whole.engine).get_table_names():
        assert names_of_indexes(half, table) == names_of_indexes(whole, table), table
    for each in (whole, half):
        each.close()


def names_of_indexes(database: Database, table: str) -> set[str | None]:
    return {index["name"] for index in inspect(database.engine).get_indexes(table)}
