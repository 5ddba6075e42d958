"""`blick config check` and `blick config sample`."""

import json
import re
import subprocess
import sys
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
    place = f"{content['files'][0]}:3"
    assert {"group": "DEFAULT", "name": "bind_port", "value": 1234, "from": place} in content["options"]
    assert ("unknown-option", "wumm") in {(finding["kind"], finding["name"]) for finding in content["findings"]}


@pytest.mark.parametrize(
    ("line", "kind", "name", "said"),
    [
        ("wumm = 1", "unknown-option", "wumm", "is not an option that Blick knows."),
        ("image_cache_stall_time = 5", "not-yet", "image_cache_stall_time", "nothing works by it in this version"),
        ("show_multiple_locations = true", "deprecated", "show_multiple_locations", "is deprecated since"),
        ("log_config = /dev/null", "deprecated", "log_config", "is an old name; write log_config_append in [DEFAULT]."),
        ("registry_host = x", "retired", "registry_host", "was removed in"),
        ("digest_algorithm = md5", "ignored", "digest_algorithm", "has no effect"),
    ],
)
@pytest.mark.parametrize("format_", ["table", "json"])
def test_what_is_said_of_a_line_names_it(
    tmp_path: Path, line: str, kind: str, name: str, said: str, format_: str
) -> None:
    text = f"[database]\nconnection = sqlite:////x\n\n# What follows is doubtful.\n[DEFAULT]\n\n{line}\n"
    printed = _run("check", "--format", format_, text=text, folder=tmp_path).output
    place = f"{tmp_path}/glance-api.conf:7"
    if format_ == "table":
        assert place in "".join(printed.split())
        return
    found = {one["name"]: one for one in json.loads(printed)["findings"]}[name]
    assert (found["kind"], found["from"]) == (kind, place)
    assert said in found["text"]


def test_the_last_line_of_several_is_named(tmp_path: Path) -> None:
    text = "[DEFAULT]\nbind_port = 1\nworkers: 2\nbind_port =\n   5\n[x]\na = 1\n[DEFAULT]\nbacklog = 9\n" + _TEXT
    content = json.loads(_run("check", "--format", "json", text=text, folder=tmp_path).output)
    lines = {one["name"]: one["from"].rpartition(":")[2] for one in content["options"] + content["findings"]}
    assert (lines["workers"], lines["backlog"], lines[""]) == ("3", "9", "6")
    assert lines["bind_port"] == str(9 + 3)


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


def test_the_sample_is_a_configuration_without_anything_to_say_of_it(tmp_path: Path) -> None:
    text = CliRunner().invoke(config, ["sample"]).output
    content = json.loads(_run("check", "--format", "json", text=text, folder=tmp_path).output)
    assert content["options"] == []
    assert {one["name"] for one in content["findings"]} == {"connection"}  # which has no default


def test_the_sample_holds_every_option_as_the_generator_of_oslo_does(tmp_path: Path) -> None:
    made = tmp_path / "made.conf"
    generator = Path(sys.executable).with_name("oslo-config-generator")
    subprocess.run([generator, "--namespace", "blick", "--output-file", made], check=True, timeout=300)
    ours = CliRunner().invoke(config, ["sample"]).output
    assert _options_in(ours) == _options_in(made.read_text())


def _options_in(text: str) -> set[tuple[str, str]]:
    """(group, option) of every line that sets something, or would."""
    found, group = set(), ""
    for line in text.splitlines():
        if heading := re.fullmatch(r"\[(.+)\]", line):
            group = heading[1]
        elif option := re.match(r"#?([a-z]\w*) = ?", line):
            found.add((group, option[1]))
    return found
