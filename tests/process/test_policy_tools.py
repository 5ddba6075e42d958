"""oslo.policy's own commands find our rules, and the policy file that the service follows."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from blick.policy.rules import ALL
from tests.support.command import run_command

DEFAULTS = {rule.name: rule.default for rule in ALL}
REDUNDANT = f'get_images: "{DEFAULTS["get_images"]}"\n'
NAMESPACE = ("--namespace", "glance")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Has a configuration whose policy file lies beside it, under a name that is not the usual one."""
    (tmp_path / "glance-api.conf").write_text("[oslo_policy]\npolicy_file = rules.yaml\n")
    return tmp_path


def tool(folder: Path, name: str, *arguments: object, status: int = 0) -> str:
    done = run_command(folder, *arguments, program=f"oslopolicy-{name}")
    assert done.returncode == status, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stdout


def configured(folder: Path) -> tuple[object, ...]:
    return (*NAMESPACE, "--config-file", folder / "glance-api.conf")


@pytest.mark.parametrize("namespace", ["glance", "blick"])
def test_sample_generator(folder: Path, namespace: str) -> None:
    tool(folder, "sample-generator", "--namespace", namespace, "--output-file", "sample.yaml")
    text = (folder / "sample.yaml").read_text()
    assert yaml.safe_load(text) is None  # comments, all of it
    shown = [line[1:] for line in text.splitlines() if line.startswith('#"')]
    assert yaml.safe_load("\n".join(shown)) == DEFAULTS
    assert "# DELETE  /v2/images/{image_id}/members/{member_id}\n" in text
    assert "# Intended scope(s): project\n" in text
    assert '"add_image":"rule:default" has been deprecated' in text
    assert '"modify_task" has been deprecated since W.' in text


def test_sample_without_what_is_on_its_way_out_as_json(folder: Path) -> None:
    text = tool(folder, "sample-generator", *NAMESPACE, "--exclude-deprecated")
    assert "has been deprecated" not in text
    as_json = tool(folder, "sample-generator", *NAMESPACE, "--format", "json", status=2)
    assert as_json == ""  # this release of the tool writes YAML only


def test_policy_generator(folder: Path) -> None:
    (folder / "rules.yaml").write_text('publicize_image: "role:publisher"\nmine: "rule:publicize_image"\n')
    tool(folder, "policy-generator", *configured(folder), "--output-file", "effective.yaml")
    effective = yaml.safe_load((folder / "effective.yaml").read_text())
    assert effective == {**DEFAULTS, "publicize_image": "role:publisher", "mine": "rule:publicize_image"}


def test_policy_generator_without_a_configuration(folder: Path) -> None:
    """The file that glance-api would read counts."""
    home = folder / ".glance"
    home.mkdir()
    (home / "glance-api.conf").write_text("[oslo_policy]\npolicy_file = others.yaml\n")
    (home / "others.yaml").write_text('publicize_image: "role:publisher"\n')
    assert yaml.safe_load(tool(folder, "policy-generator", *NAMESPACE))["publicize_image"] == "role:publisher"


def test_list_redundant(folder: Path) -> None:
    (folder / "rules.yaml").write_text(REDUNDANT + 'publicize_image: "role:publisher"\n')
    told = tool(folder, "list-redundant", *configured(folder))
    assert told.splitlines() == [f'"get_images": "{DEFAULTS["get_images"]}"']


@pytest.mark.parametrize(
    ("text", "complaints"),
    [
        ('publicize_image: "role:publisher"\n', []),
        ('nowhere: "@"\n', ["Unknown rule found in policy file: nowhere"]),
        ('get_image: "rule:nowhere"\n', ["Invalid rules found"]),
        ('get_image: "rule:get_images"\nget_images: "rule:get_image"\n', ["Invalid rules found"]),
        ('get_image: "role:x and ("\n', ["Failed to parse rule: role:x and ("]),
    ],
)
def test_validator(folder: Path, text: str, complaints: list[str]) -> None:
    (folder / "rules.yaml").write_text(text)
    assert tool(folder, "validator", *configured(folder), status=bool(complaints)).splitlines() == complaints


def test_validator_misses_the_file(folder: Path) -> None:
    assert "not found" in tool(folder, "validator", *configured(folder), status=1)


def test_checker(folder: Path) -> None:
    """What the service follows, as another tool wrote it, for a token as Keystone gives it out."""
    (folder / "rules.yaml").write_text('publicize_image: "role:member"\n')
    tool(folder, "policy-generator", *configured(folder), "--output-file", "effective.yaml")
    token: dict[str, Any] = {"user": {"id": "u"}, "project": {"id": "p"}, "roles": [{"name": "member"}]}
    (folder / "token.json").write_text(json.dumps({"token": token}))
    (folder / "image.json").write_text('{"project_id": "q", "owner": "q", "visibility": "public"}')

    def check(rule: str, *more: object) -> str:
        given = ("--policy", "effective.yaml", "--access", "token.json", "--rule", rule)
        return tool(folder, "checker", *given, "--enforcer_config", folder / "glance-api.conf", *more).strip()

    assert check("publicize_image") == "passed: publicize_image"
    assert check("modify_image") == "passed: modify_image"
    assert check("modify_image", "--target", "image.json") == "failed: modify_image"
    assert check("download_image", "--target", "image.json") == "passed: download_image"
    assert check("context_is_admin", "--is_admin") == "failed: context_is_admin"


def test_policy_upgrade(folder: Path) -> None:
    """No rule has ever been renamed: the file stays as it is."""
    rules = {"publicize_image": "role:publisher", "mine": "@"}
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    tool(folder, "policy-upgrade", *NAMESPACE, "--policy", "rules.yaml", "--output-file", "upgraded.yaml")
    assert yaml.safe_load((folder / "upgraded.yaml").read_text()) == rules


def test_convert_json_to_yaml(folder: Path) -> None:
    rules = {"get_images": DEFAULTS["get_images"], "publicize_image": "role:publisher", "mine": "@"}
    (folder / "policy.json").write_text(json.dumps(rules))
    tool(folder, "convert-json-to-yaml", *NAMESPACE, "--policy-file", "policy.json", "--output-file", "policy.yaml")
    text = (folder / "policy.yaml").read_text()
    assert yaml.safe_load(text) == {"publicize_image": "role:publisher", "mine": "@"}
    assert '#"get_images"' in text
