"""`blick user`, `blick project` and `blick role` on the database of a service."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from blick.cli.main import blick, run
from blick.db import identity as directory
from blick.identity.embedded.passwords import password_matches
from tests.support.identity import fill_database, identity_database

Command = Callable[..., str]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return fill_database(tmp_path_factory.mktemp("identity") / "blick.sqlite3").file.read_bytes()


@pytest.fixture
def data(tmp_path: Path, filled: bytes) -> Path:
    (tmp_path / "blick.sqlite3").write_bytes(filled)
    return tmp_path


@pytest.fixture
def command(data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command that must succeed, and gives what it printed."""
    monkeypatch.setenv("BLICK_DATA", str(data))

    def call(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            run(blick, args=list(arguments))
        captured = capsys.readouterr()
        assert ended.value.code == 0, captured.err
        assert captured.err == ""
        return captured.out

    return call


@pytest.fixture
def refusal(command: Command, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command that must fail, and gives its one line."""

    def call(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            run(blick, args=list(arguments))
        captured = capsys.readouterr()
        assert (ended.value.code, captured.out) == (1, "")
        assert captured.err.count("\n") == 1
        return captured.err

    return call


def as_json(command: Command, *arguments: str) -> Any:
    return json.loads(command(*arguments, "--format", "json"))


def matches(data: Path, name: str, password: str) -> bool:
    with identity_database(data / "blick.sqlite3") as database:
        return password_matches(database.read_now(directory.find_user, name).password_hash, password)


def test_a_user_is_created_with_a_password_that_is_shown_once(command: Command, data: Path) -> None:
    made = as_json(command, "user", "create", "eve", "--project", "demo", "--email", "eve@example.org")
    assert made["roles"] == ["member on demo"]
    assert matches(data, "eve", made.pop("password"))
    assert as_json(command, "user", "show", made["id"]) == made
    assert [user["name"] for user in as_json(command, "user", "list")] == ["admin", "demo", "eve"]
    assert [user["name"] for user in as_json(command, "user", "list", "--project", "demo")] == ["demo", "eve"]


def test_a_password_given_in_a_file_is_not_shown(command: Command, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("pass word ✓\r\nrest\n")
    made = as_json(command, "user", "create", "eve", "--role", "reader", "--password-file", str(file))
    assert "password" not in made
    assert made["roles"] == []
    assert matches(data, "eve", "pass word ✓")


def test_a_password_comes_from_standard_input(command: Command, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("typed\n"))
    command("user", "set", "demo", "--password-file", "-")
    assert matches(data, "demo", "typed")


def test_a_user_is_changed_and_deleted(command: Command, data: Path) -> None:
    changed = as_json(command, "user", "set", "demo", "--disable", "--email", "d@example.org", "--generate-password")
    assert (changed["enabled"], changed["email"]) == (False, "d@example.org")
    assert matches(data, "demo", changed["password"])
    assert as_json(command, "user", "set", "demo", "--enable", "--email", "")["email"] is None
    assert command("user", "delete", "demo") == "Deleted user demo.\n"
    assert [user["name"] for user in as_json(command, "user", "list")] == ["admin"]


def test_a_project_is_made_shown_changed_and_deleted(command: Command) -> None:
    made = as_json(command, "project", "create", "lab", "--description", "for trying")
    assert as_json(command, "project", "show", "lab") == made
    changed = as_json(command, "project", "set", "lab", "--name", "shed", "--description", "", "--disable")
    assert changed == {**made, "name": "shed", "description": "", "enabled": False}
    assert [one["name"] for one in as_json(command, "project", "list")] == ["admin", "demo", "shed"]
    assert as_json(command, "project", "show", "demo")["users"] == ["demo (member)"]
    assert command("project", "delete", made["id"]) == "Deleted project shed.\n"


def test_roles_are_given_listed_and_taken_back(command: Command) -> None:
    on = ("--user", "demo", "--project", "admin")
    assert command("role", "add", "reader", *on) == "demo is now reader on admin.\n"
    assert command("role", "add", "reader", *on) == "demo already was reader on admin.\n"
    assert as_json(command, "role", "list", "--project", "admin") == [
        {"user": "admin", "project": "admin", "role": "admin"},
        {"user": "demo", "project": "admin", "role": "reader"},
    ]
    assert len(as_json(command, "role", "list", "--user", "demo")) == 2
    assert command("role", "remove", "reader", *on) == "demo is no longer reader on admin.\n"
    assert command("role", "remove", "reader", *on) == "demo was not reader on admin.\n"


def test_roles_of_ones_own_are_made_and_deleted(command: Command, refusal: Command) -> None:
    assert as_json(command, "role", "create", "Auditor")["name"] == "auditor"
    command("role", "add", "auditor", "--user", "demo", "--project", "demo")
    assert "auditor on demo" in as_json(command, "user", "show", "demo")["roles"]
    assert "Somebody holds that role" in refusal("role", "delete", "auditor")
    command("role", "remove", "auditor", "--user", "demo", "--project", "demo")
    assert command("role", "delete", "auditor") == "Deleted role auditor.\n"


def test_the_three_formats_say_the_same(command: Command) -> None:
    arguments = ("project", "show", "demo")
    record = as_json(command, *arguments)
    assert msgspec.yaml.decode(command(*arguments, "-f", "yaml")) == record
    table = command(*arguments)
    assert all(str(record[field]) in table for field in ("id", "name", "description"))
    assert "demo (member)" in table


def test_names_are_printed_as_they_are(command: Command) -> None:
    command("project", "create", "[red]x :smile:", "--description", "y" * 300)
    table = command("project", "list")
    assert "[red]x :smile:" in table
    assert "y" * 300 in table


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("user", "create", "demo"), "There is a user called demo already."),
        (("user", "create", " x"), "A name has 1 to 255 printable characters"),
        (("user", "create", "x", "--email", "a\nb"), "A name has 1 to 255 printable characters"),
        (("user", "create", "x", "--project", "ghost"), "There is no project ghost."),
        (("user", "create", "x", "--project", "demo", "--role", "king"), "There is no role king."),
        (("user", "create", "x", "--password-file", "/dev/null"), "The password file must begin with a line"),
        (("user", "set", "demo", "--generate-password", "--password-file", "/dev/null"), "Give either"),
        (("user", "show", "ghost"), "There is no user ghost."),
        (("user", "set", "ghost", "--enable"), "There is no user ghost."),
        (("user", "delete", "ghost"), "There is no user ghost."),
        (("project", "create", "demo"), "There is a project called demo already."),
        (("project", "set", "demo", "--name", "admin"), "There is a project called admin already."),
        (("project", "create", "x", "--description", "y" * 1001), "A description has at most"),
        (("project", "delete", "ghost"), "There is no project ghost."),
        (("role", "add", "king", "--user", "demo", "--project", "demo"), "There is no role king."),
        (("role", "remove", "member", "--user", "ghost", "--project", "demo"), "There is no user ghost."),
        (("role", "create", "ADMIN"), "There is a role called admin already."),
    ],
)
def test_mistakes_are_told_in_one_line(
    refusal: Command, command: Command, arguments: tuple[str, ...], reason: str
) -> None:
    assert reason in refusal(*arguments)
    assert [user["name"] for user in as_json(command, "user", "list")] == ["admin", "demo"]


def test_a_folder_without_a_service_is_told(refusal: Command, tmp_path: Path) -> None:
    line = refusal("user", "list", "--data", str(tmp_path / "nowhere"))
    assert "There is no service in" in line
    assert not (tmp_path / "nowhere").exists()


def test_a_database_without_users_is_told(refusal: Command, tmp_path: Path) -> None:
    file = tmp_path / "glance-api.conf"
    file.write_text(f"[database]\nconnection = sqlite:///{tmp_path}/other.sqlite3\n")
    assert "no tables for users yet" in refusal("user", "list", "--config-file", str(file))


def test_the_database_may_be_named_by_a_configuration_file(command: Command, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "glance-api.conf"
    file.write_text(f"[database]\nconnection = sqlite:///{data}/blick.sqlite3\n")
    assert len(as_json(command, "user", "list", "--config-file", str(file))) == 2
