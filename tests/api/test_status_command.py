"""`glance-status upgrade check`, `blick status`: what they notice, what they print, how they end (spec: commands)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from blick.cli.main import blick
from blick.cli.status import glance_status
from blick.conf.load import examine
from blick.conf.settings import DatabaseSettings
from blick.db.engine import open_database
from blick.db.upgrade import ensure_current
from blick.ops.upgrade_check.outcome import Result
from blick.ops.upgrade_check.surroundings import mounts
from tests.support.command import Ended, ended


class Checked(Ended):
    """How the command ended that prints what each check found."""

    def result(self, check: str) -> int:
        return int(self._of(check)["result"])

    def details(self, check: str) -> str:
        return str(self._of(check)["details"])

    def _of(self, check: str) -> dict[str, Any]:
        [found] = [one for one in self.document()["checks"] if one["check"] == check]
        return dict(found)


Check = Callable[..., Checked]


@pytest.fixture
def conf(tmp_path: Path, database_url: str) -> Path:
    """A configuration with which all is well."""
    for name in ("images", "staging"):
        (tmp_path / name).mkdir()
    file = tmp_path / "glance-api.conf"
    file.write_text(
        f"[DEFAULT]\nnode_staging_uri = file://{tmp_path}/staging\n"
        f"[database]\nconnection = {database_url}\n"
        f"[glance_store]\nfilesystem_store_datadir = {tmp_path}/images\n"
    )
    return file


@pytest.fixture
def check(conf: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Runs `glance-status upgrade check` with the configuration, after adding lines to its groups."""

    def call(*arguments: str, **lines: str) -> Checked:
        content = conf.read_text()
        for group, line in lines.items():
            heading = f"[{group}]\n"
            content = content.replace(heading, f"{heading}{line}\n") if heading in content else (
                f"{content}{heading}{line}\n"
            )  # fmt: skip
        conf.write_text(content)
        flags = arguments or ("--json",)
        done = ended(glance_status, ["--config-file", str(conf), "upgrade", "check", *flags], capsys)
        return Checked(done.code, done.out, done.err)

    return call


def test_all_is_well(check: Check, conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = check()
    assert (done.code, done.err) == (0, "")
    document = json.loads(done.out)
    assert document["name"] == "glance"
    assert {one["result"] for one in document["checks"]} == {0}
    assert {one["details"] for one in document["checks"]} == {None}
    assert ended(blick, ["status", "--config-file", str(conf)], capsys).code == 0


def test_the_table(check: Check, conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(DEFAULT="registry_host = x")
    done = ended(glance_status, ["--config-file", str(conf), "upgrade", "check"], capsys)
    lines = done.out.splitlines()
    assert done.code == 1
    assert {len(line) for line in lines} == {len(lines[0])}
    assert lines[1].startswith("| Upgrade Check Results ")
    assert [line.split()[1:] for line in lines[3:6]] == [
        ["Check:", "Sheepdog", "Driver", "Removal", "|"], ["Result:", "Success", "|"], ["Details:", "None", "|"],
    ]  # fmt: skip
    assert "Result: Warning" in done.out
    assert "DEFAULT.registry_host" in done.out


@pytest.mark.parametrize(
    ("lines", "name", "result"),
    [
        ({"DEFAULT": "nonsense = 1"}, "Unknown Options", 1),
        ({"nonsense": "a = 1"}, "Unknown Options", 1),
        ({"DEFAULT": "registry_host = x"}, "Deprecated and Ignored Options", 1),
        ({"DEFAULT": "owner_is_tenant = false"}, "Owner Is Tenant", 2),
        ({"DEFAULT": "bind_port = many"}, "Option Values", 2),
        ({"oslo_policy": "policy_file = policy.json"}, "Policy File JSON to YAML Migration", 2),
        ({"DEFAULT": "property_protection_file = nowhere.conf"}, "Policies", 2),
        ({"glance_store": "stores = file,sheepdog"}, "Sheepdog Driver Removal", 2),
        ({"glance_store": "stores = file,swift"}, "Stores", 1),
        ({"glance_store": "stores = file,nonsense"}, "Stores", 1),
        ({"glance_store": "filesystem_store_require_mount = true"}, "Stores", 2),
    ],
)
def test_what_is_wrong_is_noticed(check: Check, lines: dict[str, str], name: str, result: int) -> None:
    done = check(**lines)
    assert done.result(name) == result
    assert done.details(name) != "None"
    assert done.code >= result


def test_what_would_fail_hides_no_other_check(check: Check) -> None:
    done = check(DEFAULT="owner_is_tenant = false\nnonsense = 1")
    assert done.code == 2
    assert (done.result("Unknown Options"), done.result("Database"), done.result("Stores")) == (1, 0, 0)
    unknown = check(DEFAULT="bind_port = many")
    assert unknown.details("Database").startswith("Not looked at")


def test_a_policy_file_in_json_beside_none_in_yaml(check: Check, conf: Path) -> None:
    (conf.parent / "policy.json").write_text("{}")
    assert check().result("Policy File JSON to YAML Migration") == 2
    (conf.parent / "policy.yaml").write_text("{}")
    assert check().result("Policy File JSON to YAML Migration") == 0


def test_a_policy_file_that_makes_no_sense(check: Check, conf: Path) -> None:
    (conf.parent / "policy.yaml").write_text("get_image: 'rule:get_images'\nget_images: 'rule:get_image'\n")
    done = check()
    assert (done.code, done.result("Policies")) == (2, 2)


def test_a_database_that_is_not_there_is_not_made(check: Check, conf: Path, database_url: str) -> None:
    file = conf.parent / "none.sqlite"
    conf.write_text(conf.read_text().replace(database_url, f"sqlite:///{file}"))
    done = check()
    assert (done.code, done.result("Database")) == (1, 1)
    assert str(file) in done.details("Database")
    assert not file.exists()


def test_databases_at_other_revisions(check: Check, database_url: str) -> None:
    database = open_database(DatabaseSettings(connection=database_url))
    try:
        ensure_current(database)
        for revision, result in (("0001", 1), ("9999", 2)):
            set_to = text("UPDATE blick_alembic_version SET version_num = :revision")
            database.write_now(lambda connection, to=revision, sql=set_to: connection.execute(sql, {"revision": to}))  # type: ignore[misc]
            assert check().result("Database") == result
    finally:
        database.close()


def test_a_database_server_that_does_not_answer(check: Check, conf: Path, database_url: str) -> None:
    conf.write_text(conf.read_text().replace(database_url, "mysql+pymysql://glance:secret@127.0.0.1:1/glance"))
    done = check()
    assert done.result("Database") == 2
    assert "secret" not in done.out + done.err


def test_a_folder_that_is_not_there_is_not_made(check: Check, conf: Path) -> None:
    (conf.parent / "images").rmdir()
    done = check()
    assert (done.code, done.result("Stores")) == (1, 1)
    assert not (conf.parent / "images").exists()


def test_no_folder_for_staged_data(check: Check, conf: Path) -> None:
    (conf.parent / "staging").rmdir()
    done = check()
    assert (done.code, done.result("Staging")) == (1, 1)
    assert check(DEFAULT="enabled_import_methods = []").result("Staging") == 0


def test_mounts_without_a_guard(conf: Path, tmp_path: Path) -> None:
    fstab = tmp_path / "fstab"
    fstab.write_text(f"# a comment\nserver:/images {tmp_path}/images nfs defaults 0 0\nnone swap swap sw 0 0\n")
    settings = examine([conf]).settings
    found = mounts(settings, fstab)
    assert (found.result, "nothing is mounted" in str(found.details)) == (Result.WARNING, True)
    assert mounts(settings, tmp_path / "none").result is Result.SUCCESS
    conf.write_text(conf.read_text().replace(f"{tmp_path}/images", "/proc"))  # which is a mount point everywhere
    found = mounts(examine([conf]).settings, tmp_path / "none")
    assert (found.result, "filesystem_store_require_mount" in str(found.details)) == (Result.WARNING, True)
    conf.write_text(conf.read_text() + "filesystem_store_require_mount = true\n")
    assert mounts(examine([conf]).settings, fstab).result is Result.SUCCESS


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--config-dir", "/nowhere", "upgrade", "check"], 1),
        (["--config-file", "/nowhere/glance-api.conf", "upgrade", "check"], 1),
        (["upgrade", "check", "--config-file", "/nowhere"], 2),
        (["upgrade", "dance"], 2),
    ],
)
def test_mistakes(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int) -> None:
    assert ended(glance_status, arguments, capsys).code == code


def test_formats_of_blick_status(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conf.write_text(conf.read_text().replace("[DEFAULT]", "[DEFAULT]\nnonsense = 1"))
    done = ended(blick, ["status", "--config-file", str(conf), "--format", "json"], capsys)
    assert done.code == 1
    [found] = [one for one in json.loads(done.out) if one["check"] == "Unknown Options"]
    assert found["result"] == "warning"
    assert "DEFAULT.nonsense" in found["details"]
