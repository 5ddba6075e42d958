"""Starting: what is printed, what is written for clients, and what stays the same from start to start."""

import importlib.metadata
import re
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from keystoneauth1 import session as keystone_session
from keystoneauth1.identity import v3

from tests.process.conftest import ServerFactory
from tests.support.command import run_command
from tests.support.config_file import config_text, configured_server
from tests.support.images_api import ImagesApi
from tests.support.server import BlickServer, free_port

# The client libraries warn about their own dependencies.
pytestmark = pytest.mark.filterwarnings("default")

WRITTEN = ("clouds.yaml", "openrc", "openrc-admin")


def session_of(auth: dict[str, Any]) -> keystone_session.Session:
    """What every client of the field does with the auth section of a cloud."""
    return keystone_session.Session(auth=v3.Password(**auth))


def test_the_first_start_tells_where_everything_is(server: BlickServer) -> None:
    said = server.log_text()
    assert f"Blick serves images at {server.url}\n" in said
    for name in ("clouds.yaml", "openrc"):
        assert str(server.data_dir / name) in said
    tries = re.findall(r"^  ((?:export|\S*openstack) .*)$", said, re.MULTILINE)
    assert len(tries) == 3
    assert f"OS_CLIENT_CONFIG_FILE={server.data_dir / 'clouds.yaml'} OS_CLOUD=blick" in tries[0]
    assert "Traceback" not in said
    assert "alembic" not in said, "how the tables are made is nobody's business"


@pytest.mark.parametrize("name", [*WRITTEN, "blick.sqlite3"])
def test_passwords_are_for_the_owner_only(server: BlickServer, name: str) -> None:
    assert stat.S_IMODE((server.data_dir / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(server.data_dir.stat().st_mode) == 0o700


@pytest.mark.parametrize("cloud", ["blick", "blick-admin"])
def test_what_is_written_logs_a_real_client_in(server: BlickServer, cloud: str) -> None:
    session = session_of(server.clouds()[cloud]["auth"])
    answer = session.get("/v2/images", endpoint_filter={"service_type": "image", "interface": "public"})
    assert answer.status_code == 200
    assert answer.json()["images"] == []
    access = session.auth.get_access(session)
    assert ("admin" in access.role_names) == (cloud == "blick-admin")


def test_openrc_says_the_same_as_clouds_yaml(server: BlickServer) -> None:
    for file, cloud in (("openrc", "blick"), ("openrc-admin", "blick-admin")):
        auth, variables = server.clouds()[cloud]["auth"], server.openrc(file)
        assert variables["OS_AUTH_URL"] == auth["auth_url"] == f"{server.url}/identity/v3"
        assert (variables["OS_USERNAME"], variables["OS_PASSWORD"]) == (auth["username"], auth["password"])


def test_a_second_start_keeps_users_and_images(make_server: ServerFactory) -> None:
    server = make_server().start()
    before = {name: (server.data_dir / name).read_text() for name in WRITTEN}
    with ImagesApi(server.url, server.clouds()["blick"]["auth"]) as api:
        image_id = api.create(name="kept")["id"]
    server.restart()
    assert {name: (server.data_dir / name).read_text() for name in WRITTEN} == before
    with ImagesApi(server.url, server.clouds()["blick"]["auth"]) as api:
        assert api.show(image_id)["name"] == "kept"


def test_a_start_on_another_port_tells_the_clients(make_server: ServerFactory) -> None:
    server = make_server().start()
    password = server.clouds()["blick"]["auth"]["password"]
    server.stop()
    server.port = free_port()
    server.start()
    auth = server.clouds()["blick"]["auth"]
    assert auth["auth_url"] == f"{server.url}/identity/v3"
    assert auth["password"] == password
    assert server.openrc()["OS_AUTH_URL"] == auth["auth_url"]
    assert session_of(auth).get("/v2/images", endpoint_filter={"service_type": "image"}).status_code == 200


def test_a_file_that_the_user_has_changed_is_left_alone(make_server: ServerFactory) -> None:
    server = make_server().start()
    server.stop()
    own = yaml.safe_dump({"clouds": {"mine": {"auth": {"auth_url": "http://elsewhere"}}}})
    (server.data_dir / "clouds.yaml").write_text(own)
    server.start()
    assert (server.data_dir / "clouds.yaml").read_text() == own


def test_the_data_folder_can_be_named_in_the_environment(make_server: ServerFactory, tmp_path: Path) -> None:
    server = make_server(environment={"BLICK_DATA": str(tmp_path / "by environment")}, name_data=False)
    server.start()
    assert (tmp_path / "by environment" / "clouds.yaml").exists()
    assert not server.data_dir.exists()


def test_version_and_help(tmp_path: Path) -> None:
    version = run_command(tmp_path, "--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert importlib.metadata.version("blick") in version.stdout
    for arguments in (["--help"], ["serve", "--help"], ["serve", "-h"]):
        helped = run_command(tmp_path, *arguments)
        assert helped.returncode == 0
        assert helped.stdout.startswith("Usage: blick")
    assert "--config-file" in helped.stdout
    assert run_command(tmp_path, "--version", program="glance-api").returncode == 0
    assert run_command(tmp_path, "no-such-command").returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_glance_api_takes_the_flags_that_all_commands_have(tmp_path: Path) -> None:
    server = configured_server(tmp_path, program="glance-api")
    log = tmp_path / "named.log"
    server.arguments = ("--log-file", str(log), "--debug", "--use-json")
    try:
        server.start()
        assert '"levelname": "INFO"' in log.read_text()
    finally:
        server.kill_all()


@pytest.mark.parametrize("program", ["blick", "glance-api"])
def test_a_start_from_glances_configuration(tmp_path: Path, program: str) -> None:
    server = configured_server(tmp_path, program=program)
    try:
        server.start()
        with ImagesApi(server.url, None) as api:
            image_id = api.create(name="configured", disk_format="raw", container_format="bare")["id"]
            assert api.http.put(
                f"/v2/images/{image_id}/file", content=b"data", headers={"Content-Type": "application/octet-stream"}
            ).is_success
        assert (server.data_dir / "images" / image_id).read_bytes() == b"data"
        assert not (server.data_dir / "clouds.yaml").exists(), "that belongs to a standalone start"
        assert f"127.0.0.1:{server.port}" in server.log_text()
    finally:
        server.kill_all()


def test_odd_options_are_warned_of_once(tmp_path: Path) -> None:
    groups = {
        "DEFAULT": {"workers": 2, "no_such_option": "1", "registry_host": "192.0.2.1", "bind_hots": "typo"},
        "no_such_group": {"a": 1, "b": 2},
    }
    server = configured_server(tmp_path, groups)
    try:
        server.start()
        said = server.log_text()
    finally:
        server.kill_all()
    for name in ("no_such_option", "registry_host", "bind_hots", "no_such_group"):
        assert len(re.findall(rf"^warning: .*\b{name}\b", said, re.MULTILINE)) == 1, name
        assert said.count(name) == 1, name


def test_command_line_options_beat_the_configuration(tmp_path: Path) -> None:
    server = configured_server(tmp_path)
    configured_port, server.port = server.port, free_port()
    server.arguments = ("--port", str(server.port))
    try:
        server.start()
        assert f":{configured_port}" not in server.log_text()
    finally:
        server.kill_all()


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        ("DEFAULT", "bind_port", "ninety"),
        ("DEFAULT", "bind_port", "70000"),
        ("DEFAULT", "workers", "some"),
        ("DEFAULT", "image_size_cap", "-1"),
        ("DEFAULT", "hashing_algorithm", "rot13"),
        ("glance_store", "default_store", "nowhere"),
        ("paste_deploy", "flavor", "vanilla"),
        ("database", "connection", "oracle://nobody@nowhere/nothing"),
        ("database", "connection", "no URL"),
    ],
)
def test_a_wrong_value_stops_the_start(tmp_path: Path, group: str, name: str, value: str) -> None:
    file = tmp_path / "glance-api.conf"
    file.write_text(config_text(tmp_path, free_port(), {group: {name: value}}))
    refused = run_command(tmp_path, "serve", "--config-file", file)
    assert refused.returncode == 1
    (line,) = [line for line in refused.stderr.splitlines() if not line.startswith("warning:")]
    assert line.startswith("ERROR: ")
    assert name in line
    assert refused.stdout == ""


def test_glance_api_refuses_a_wrong_value_too(tmp_path: Path) -> None:
    file = tmp_path / "glance-api.conf"
    file.write_text(config_text(tmp_path, free_port(), {"DEFAULT": {"workers": "some"}}))
    refused = run_command(tmp_path, "--config-file", file, program="glance-api")
    assert refused.returncode == 1
    assert refused.stderr.startswith("ERROR: DEFAULT.workers")


def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    for name in ("absent.conf", "."):
        refused = run_command(tmp_path, "serve", "--config-file", name)
        assert refused.returncode in (1, 2)
        assert "Traceback" not in refused.stderr
        assert name in refused.stderr


def test_glance_api_without_any_configuration(tmp_path: Path) -> None:
    environment = {"OS_GLANCE_CONFIG_DIR": str(tmp_path / "etc")}
    refused = run_command(tmp_path, program="glance-api", environment=environment)
    assert refused.returncode == 1
    assert refused.stderr.startswith("ERROR: No configuration file found")


def test_users_of_its_own_by_a_configuration_file(tmp_path: Path) -> None:
    """It makes no users up, for want of a place to leave their passwords, and says how the first one is made."""
    with configured_server(tmp_path, {"paste_deploy": {"flavor": "standalone"}}) as server:
        assert "nobody can log in yet: `blick project create`" in server.log_text()
        file = ("--config-file", tmp_path / "glance-api.conf")
        assert run_command(tmp_path, "project", "create", "first", *file).returncode == 0
        (tmp_path / "password").write_text("not a secret\n")
        named = ("operator", "--project", "first", "--role", "admin", "--password-file", tmp_path / "password")
        made = run_command(tmp_path, "user", "create", *named, *file)
        assert made.returncode == 0, made.stderr
        account = {"auth_url": f"{server.url}/identity/v3", "username": "operator", "password": "not a secret"}
        domains = {"user_domain_id": "default", "project_domain_id": "default"}
        session = session_of({**account, "project_name": "first", **domains})
        assert session.get(f"{server.url}/v2/images").json()["images"] == []
        server.stop()
        roles = run_command(tmp_path, "role", "list", "--format", "json", *file).stdout
        server.start()
        assert server.log_text().count("nobody can log in yet") == 1
        assert run_command(tmp_path, "role", "list", "--format", "json", *file).stdout == roles
