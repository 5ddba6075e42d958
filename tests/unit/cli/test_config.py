"""`blick config check` and `blick config sample`."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from blick.cli.config import config
from blick.model.errors import StartRefused

_TEXT = """
[DEFAULT]
bind_port = 1234
enabled_import_methods = [web-download]
wumm = secret-of-an-unknown
[database]
connection = mysql://user:hidden@host/db
"""


def _run(*arguments: str, text: str = _TEXT, folder: Path) -> Result:
    path = folder / "glance-api.conf"
    path.write_text(text)
    return CliRunner(env={"COLUMNS": "200"}).invoke(config, [*arguments, str(path)], catch_exceptions=False)


def test_table(tmp_path: Path) -> None:
    result = _run("check", folder=tmp_path)
    assert result.exit_code == 0
    assert "DEFAULT.bind_port" in result.output
    assert "[web-download]" in result.output
    assert "0 error(s), 1 warning(s). The service would start." in result.output


@pytest.mark.parametrize("format_", ["table", "json", "yaml"])
def test_secrets_are_masked(tmp_path: Path, format_: str) -> None:
    result = _run("check", "--format", format_, folder=tmp_path)
    assert "hidden" not in result.output
    assert "secret-of-an-unknown" not in result.output
    assert "***" in result.output


@pytest.mark.parametrize(("format_", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_document(tmp_path: Path, format_: str, read: object) -> None:
    content = read(_run("check", "--format", format_, folder=tmp_path).output)  # type: ignore[operator]
    assert content["starts"] is True
    assert content["files"] == [str(tmp_path / "glance-api.conf")]
    assert {"group": "DEFAULT", "name": "bind_port", "value": 1234, "from": content["files"][0]} in content["options"]
    assert ("unknown-option", "wumm") in {(finding["kind"], finding["name"]) for finding in content["findings"]}


def test_errors_exit_with_one(tmp_path: Path) -> None:
    result = _run("check", "--format", "json", text="[DEFAULT]\nbind_port = x\nbacklog = y\n", folder=tmp_path)
    assert result.exit_code == 1
    content = json.loads(result.output)
    assert content["starts"] is False
    assert {finding["name"] for finding in content["findings"] if finding["level"] == "error"} == {
        "bind_port", "backlog", "connection",
    }  # fmt: skip


def test_file_that_cannot_be_read_is_the_operators_mistake(tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match="no such configuration file"):
        CliRunner().invoke(config, ["check", str(tmp_path / "absent.conf")], catch_exceptions=False)


def test_folder(tmp_path: Path) -> None:
    (tmp_path / "10.conf").write_text(_TEXT)
    result = CliRunner().invoke(config, ["check", "--config-dir", str(tmp_path), "--format", "json"])
    assert json.loads(result.output)["files"] == [str(tmp_path / "10.conf")]


def test_sample(tmp_path: Path) -> None:
    printed = CliRunner().invoke(config, ["sample"]).output
    assert "\n[DEFAULT]\n" in printed
    assert "\n#bind_port = 9292\n" in printed
    assert CliRunner().invoke(config, ["sample", "--output", str(tmp_path / "s.conf")]).output == ""
    assert (tmp_path / "s.conf").read_text() == printed


def test_sample_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match="No such file"):
        CliRunner().invoke(config, ["sample", "--output", str(tmp_path / "no" / "s")], catch_exceptions=False)
