"""`glance-manage` and `blick db` on a database of their own (spec: commands)."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from blick.cli.main import blick
from blick.cli.manage import glance_manage
from blick.db import upgrade
from tests.support.command import Call, Ended, ended

UP_TO_DATE = "Database is up to date. No migrations needed.\n"
ADDED = f"Upgraded database to: blick {upgrade.HEAD}, current revision(s): 2024_1_contract01\n"
ACTIONS = [
    "check", "contract", "expand", "export_metadefs", "load_metadefs", "migrate", "purge", "purge_images_table",
    "sync", "unload_metadefs", "upgrade", "version", "version_control",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration file, and no database yet."""
    (tmp_path / "glance-api.conf").write_text(
        f"[database]\nconnection = sqlite:///{tmp_path}/images.sqlite\n[DEFAULT]\nworkers = many\n"
    )
    return tmp_path


@pytest.fixture
def manage(folder: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs glance-manage with the configuration file; nothing but its database options is looked at."""

    def call(*arguments: str) -> Ended:
        return ended(glance_manage, ["--config-file", str(folder / "glance-api.conf"), *arguments], capsys)

    return call


def execute(folder: Path, *statements: str) -> None:
    with closing(sqlite3.connect(folder / "images.sqlite")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_sync(manage: Call) -> None:
    assert manage("db", "sync") == Ended(0, f"{ADDED}Database is synced successfully.\n", "")
    assert manage("db", "sync") == Ended(0, UP_TO_DATE, "")
    assert manage("db", "sync", "--version", "train_contract01") == Ended(0, UP_TO_DATE, "")
    assert manage("db_sync", "train_contract01") == Ended(0, UP_TO_DATE, "")


def test_phases_in_order(manage: Call) -> None:
    expand_needed = manage("db", "check")
    assert (expand_needed.code, expand_needed.out) == (
        3,
        "Your database is not up to date. Your first step is to run `glance-manage db expand`.\n",
    )
    assert manage("db_expand") == Ended(0, ADDED, "")
    assert manage("db", "migrate") == Ended(0, UP_TO_DATE, "")
    assert manage("db_contract") == Ended(0, UP_TO_DATE, "")
    assert manage("db", "expand") == Ended(0, UP_TO_DATE, "")
    assert manage("db_check") == Ended(0, "Database is up to date. No upgrades needed.\n", "")


@pytest.mark.parametrize(("action", "phase"), [("migrate", "Data migration"), ("contract", "Database contraction")])
def test_phases_out_of_order(manage: Call, action: str, phase: str) -> None:
    refused = manage("db", action)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith(f"{phase} did not run. {phase} cannot be run before database expansion.")


def test_version(manage: Call) -> None:
    unmanaged = manage("db", "version")
    assert unmanaged.code == 0
    assert 'please run "glance-manage db sync"' in unmanaged.out
    manage("db", "sync")
    assert manage("db", "version") == Ended(0, "2024_1_contract01\n", "")
    assert manage("db_version") == Ended(0, "2024_1_contract01\n", "")


def test_upgrade(manage: Call) -> None:
    assert manage("db", "upgrade") == Ended(0, "Upgraded database, current revision(s): 2024_1_contract01\n", "")
    for arguments in (["db", "upgrade", "--version", "zed_expand01"], ["db_upgrade", "zed_expand01"]):
        assert manage(*arguments).out == "Upgraded database to: zed_expand01, current revision(s): 2024_1_contract01\n"
    assert manage("db_upgrade", "nosuch") == Ended(1, "", "ERROR: There is no revision 'nosuch' of Glance's.\n")


def test_glances_own_upgrades_are_not_ours_to_run(manage: Call, folder: Path) -> None:
    manage("db", "sync")
    execute(folder, "UPDATE alembic_version SET version_num = '2023_1_contract01'")
    assert manage("db", "upgrade", "2023_1_contract01").code == 0
    refused = manage("db", "upgrade", "2024_1_contract01")
    assert (refused.code, refused.out) == (1, "")
    assert "Only Glance's own `glance-manage db sync` takes them to 2024_1_contract01" in refused.err


def test_version_control(manage: Call, folder: Path) -> None:
    assert manage("db", "version_control").code == 1
    manage("db", "sync")
    execute(folder, "DROP TABLE blick_alembic_version", "DROP TABLE alembic_version")
    refused = manage("db", "sync")
    assert refused.err.startswith("Failed to sync database: ERROR: The database holds Glance's tables, but not their")
    placed = manage("db", "version_control", "--version", "2024_1_contract01")
    assert placed == Ended(0, "Placed database under migration control at revision: 2024_1_contract01\n", "")
    assert manage("db", "sync").code == 0


@pytest.mark.parametrize("action", ["check", "expand", "migrate", "contract", "upgrade"])
def test_a_database_that_is_too_old_is_refused(manage: Call, folder: Path, action: str) -> None:
    execute(
        folder,
        "CREATE TABLE alembic_version (version_num VARCHAR(32))",
        "INSERT INTO alembic_version VALUES ('queens_contract01')",
    )
    refused = manage("db", action)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("ERROR: The database was made by a Glance older than Train (revision queens_")
    assert manage("db", "version").out == "queens_contract01\n"


def test_usage(manage: Call) -> None:
    listed = manage("db")
    assert listed.code == 2
    assert [line.split(" - ")[0] for line in listed.out.splitlines()[1:]] == [f"\t{name}" for name in ACTIONS]
    assert manage().code == 2
    assert manage("db", "nosuch").code == 2
    assert manage("db_nosuch").code == 2
    assert manage("--version") == Ended(0, "33.0.0\n", "")
    assert manage("-h").code == 0
    assert "_completion() {" in manage("--shell_completion", "zsh").out


def test_flags_win_over_the_file(manage: Call, folder: Path) -> None:
    log = folder / "manage.log"
    log.touch()
    assert manage("-d", "--log-file", str(log), "--use-json", "--nouse-syslog", "db", "sync").code == 0
    assert manage("--log-dir", str(folder / "nowhere"), "db", "version").code == 1


def test_without_a_database(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tmp_path / "glance-api.conf"
    config.write_text("[DEFAULT]\n")
    refused = ended(glance_manage, ["--config-file", str(config), "db", "sync"], capsys)
    assert (refused.code, refused.err) == (
        1,
        "ERROR: database.connection: is not set; Blick needs to know its database.\n",
    )
    missing = ended(glance_manage, ["--config-file", str(tmp_path / "no.conf"), "db", "sync"], capsys)
    assert (missing.code, missing.err) == (1, f"ERROR: {tmp_path}/no.conf: no such configuration file.\n")


def test_blick_db_is_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder.joinpath("glance-api.conf").write_text(f"[database]\nconnection = sqlite:///{folder}/images.sqlite\n")
    at = ["db", "--config-file", str(folder / "glance-api.conf")]
    assert ended(blick, [*at, "sync"], capsys).out.endswith("Database is synced successfully.\n")
    assert ended(blick, [*at, "check"], capsys).code == 0
    assert ended(blick, at, capsys).code == 2
    assert ended(blick, ["db", "--data", str(folder / "nowhere"), "check"], capsys).err.startswith("ERROR: There is no")
