"""clouds.yaml and openrc."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from blick.identity.embedded.bootstrap import FirstUsers
from blick.identity.embedded.client_files import write_client_files

URL = "http://127.0.0.1:9292/identity/v3"
FIRST = FirstUsers(admin_password="admin-secret", demo_password="demo-secret")
NAMES = ("clouds.yaml", "openrc", "openrc-admin")


def _clouds(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "clouds.yaml").read_text())["clouds"]


def _sourced(file: Path) -> dict[str, str]:
    shown = subprocess.run(["sh", "-c", f". {file}; env"], capture_output=True, text=True, check=True, env={})
    return dict(line.split("=", 1) for line in shown.stdout.splitlines())


def test_a_first_start_writes_files_for_the_owner_only(tmp_path: Path) -> None:
    files = write_client_files(tmp_path, URL, FIRST)
    assert (files.clouds_yaml, files.openrc, files.openrc_admin) == tuple(tmp_path / name for name in NAMES)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)
    assert all((tmp_path / name).stat().st_mode & 0o777 == 0o600 for name in NAMES)


def test_the_files_say_what_clients_ask_for(tmp_path: Path) -> None:
    write_client_files(tmp_path, URL, FIRST)
    clouds = _clouds(tmp_path)
    assert set(clouds) == {"blick", "blick-admin"}
    assert clouds["blick"]["auth"] == {
        "auth_url": URL,
        "username": "demo",
        "password": "demo-secret",
        "project_name": "demo",
        "user_domain_id": "default",
        "project_domain_id": "default",
    }
    assert clouds["blick-admin"]["auth"]["password"] == "admin-secret"
    assert (clouds["blick"]["region_name"], clouds["blick"]["identity_api_version"]) == ("RegionOne", 3)
    environment = _sourced(tmp_path / "openrc-admin")
    assert (environment["OS_USERNAME"], environment["OS_PASSWORD"]) == ("admin", "admin-secret")
    assert _sourced(tmp_path / "openrc")["OS_AUTH_URL"] == URL


def test_later_starts_leave_the_files_alone(tmp_path: Path) -> None:
    write_client_files(tmp_path, URL, FIRST)
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in NAMES}
    files = write_client_files(tmp_path, URL, None)
    assert files.openrc == tmp_path / "openrc"
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in NAMES} == before


def test_a_new_port_is_followed_and_a_password_set_by_hand_is_kept(tmp_path: Path) -> None:
    write_client_files(tmp_path, URL, FIRST)
    for name in NAMES:
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text.replace("demo-secret", "by-hand"))
    write_client_files(tmp_path, URL.replace("9292", "8080"), None)
    auth = _clouds(tmp_path)["blick"]["auth"]
    assert (auth["auth_url"], auth["password"]) == (URL.replace("9292", "8080"), "by-hand")
    environment = _sourced(tmp_path / "openrc")
    assert (environment["OS_AUTH_URL"], environment["OS_PASSWORD"]) == (auth["auth_url"], "by-hand")


@pytest.mark.parametrize("text", ["", "clouds: {}\n", "auth_url: [\n", "\xff\xfe", "password: 1\nauth_url: 2\n"])
def test_a_file_of_somebody_else_is_not_touched(tmp_path: Path, text: str) -> None:
    write_client_files(tmp_path, URL, FIRST)
    (tmp_path / "clouds.yaml").write_text(text, encoding="latin-1")
    (tmp_path / "openrc").unlink()
    files = write_client_files(tmp_path, URL.replace("9292", "8080"), None)
    assert (tmp_path / "clouds.yaml").read_text(encoding="latin-1") == text
    assert files.openrc is None


def test_new_first_users_keep_the_file_of_somebody_else_beside_the_new_one(tmp_path: Path) -> None:
    (tmp_path / "clouds.yaml").write_text("clouds: {mine: {}}\n")
    write_client_files(tmp_path, URL, FIRST)
    assert (tmp_path / "clouds.yaml.before").read_text() == "clouds: {mine: {}}\n"
    assert "blick" in _clouds(tmp_path)


def test_odd_characters_survive(tmp_path: Path) -> None:
    odd = FirstUsers(admin_password='it\'s "x" $HOME', demo_password="a: b # c\\")
    write_client_files(tmp_path, URL, odd)
    assert _clouds(tmp_path)["blick"]["auth"]["password"] == odd.demo_password
    assert _sourced(tmp_path / "openrc-admin")["OS_PASSWORD"] == odd.admin_password
    write_client_files(tmp_path, "http://other/identity/v3", None)
    assert _sourced(tmp_path / "openrc-admin")["OS_AUTH_URL"] == "http://other/identity/v3"
