"""A running Blick with users to talk to it: its own, or a Keystone's. What the real clients are given of it."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.clients import Clients
from tests.support.config_file import configured_server
from tests.support.keystone import Keystone
from tests.support.parts import VENV_BIN
from tests.support.server import BlickServer

PARTNER_PASSWORD = "a partner of the demo project"

on_every_identity = pytest.mark.parametrize(
    "site", ["standalone", pytest.param("keystone", marks=pytest.mark.needs("keystone"))], indirect=True
)
"""For a module's `pytestmark`: run it with Blick's own users, and with a Keystone's."""


@dataclass(frozen=True, slots=True)
class Site:
    """`demo` and `partner` are users of two projects, `admin` an administrator: a file of clouds and a name in it each.

    `demo_openrc` are the settings of demo for clients that read no such file.
    """

    server: BlickServer
    clouds: Mapping[str, tuple[Path, str]]
    demo_openrc: Mapping[str, str]

    def auth(self, user: str) -> dict[str, Any]:
        """The auth section of a user's cloud."""
        path, name = self.clouds[user]
        auth: dict[str, Any] = yaml.safe_load(path.read_text())["clouds"][name]["auth"]
        return auth

    def clients(self, user: str) -> Clients:
        path, name = self.clouds[user]
        return Clients(self.server.environment | {"OS_CLIENT_CONFIG_FILE": str(path), "OS_CLOUD": name})


@contextmanager
def standalone_site(folder: Path) -> Iterator[Site]:
    """With the users and the files that Blick makes at its first start; the partner by its own commands."""
    with BlickServer(folder) as server:
        own = server.data_dir / "clouds.yaml"
        clouds = {"demo": (own, "blick"), "admin": (own, "blick-admin"), "partner": (_partner(server), "partner")}
        yield Site(server, clouds, server.openrc())


@contextmanager
def keystone_site(folder: Path) -> Iterator[Site]:
    """With a Keystone's users and clouds, as an operator configures it."""
    with Keystone(folder / "keystone") as keystone:
        identity = {
            "paste_deploy": {"flavor": "keystone"},
            "keystone_authtoken": keystone.authtoken_options(),
        }
        with configured_server(folder / "blick", identity) as server:
            keystone.set_image_url(server.url)
            users = {"demo": "demo", "admin": "admin", "partner": "alt"}
            clouds = {user: (keystone.clouds_yaml, account) for user, account in users.items()}
            openrc = {f"OS_{name.upper()}": str(value) for name, value in keystone.auth("demo").items()}
            yield Site(server, clouds, openrc | {"OS_IDENTITY_API_VERSION": "3"})


@contextmanager
def sdk_connection(site: Site, user: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """openstacksdk as a user of the site, with nothing of this process's own settings."""
    import openstack

    for name, value in site.server.environment.items():
        monkeypatch.setenv(name, value)
    path, cloud = site.clouds[user]
    config = openstack.config.OpenStackConfig(config_files=[str(path)], load_envvars=False)
    with openstack.connection.Connection(config=config.get_one(cloud=cloud)) as connection:
        yield connection


def _partner(server: BlickServer) -> Path:
    """Makes a user in a project of its own with the server's commands, and a file with its cloud."""
    password_file = server.folder / "partner-password"
    password_file.write_text(PARTNER_PASSWORD + "\n")
    _blick(server, "project", "create", "partner")
    _blick(server, "user", "create", "partner", "--project", "partner", "--password-file", str(password_file))
    demo = server.clouds()["blick"]
    auth = demo["auth"] | {"username": "partner", "project_name": "partner", "password": PARTNER_PASSWORD}
    path = server.folder / "partner-clouds.yaml"
    path.write_text(yaml.safe_dump({"clouds": {"partner": demo | {"auth": auth}}}))
    return path


def _blick(server: BlickServer, *arguments: str) -> None:
    """Runs `blick ARGUMENTS --data ...`."""
    done = subprocess.run(
        [str(VENV_BIN / "blick"), *arguments, "--data", str(server.data_dir)],
        env=server.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
