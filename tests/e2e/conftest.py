"""One running server for the whole tier, and its users with their clients. Tests make images of their own."""

import subprocess
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.clients import Clients
from tests.support.images_api import ImagesApi
from tests.support.parts import VENV_BIN
from tests.support.server import BlickServer

PARTNER_PASSWORD = "a partner of the demo project"


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlickServer]:
    with BlickServer(tmp_path_factory.mktemp("blick")) as running:
        yield running


@pytest.fixture(scope="package")
def demo(server: BlickServer) -> Clients:
    """The clients of user demo, by the clouds.yaml that the server wrote."""
    return clients_of(server, server.data_dir / "clouds.yaml", "blick")


@pytest.fixture(scope="package")
def admin(server: BlickServer) -> Clients:
    return clients_of(server, server.data_dir / "clouds.yaml", "blick-admin")


@pytest.fixture(scope="package")
def demo_by_openrc(server: BlickServer) -> Clients:
    """The clients of user demo, by the openrc that the server wrote; `glance` reads no clouds.yaml."""
    return Clients(server.environment | server.openrc())


@pytest.fixture(scope="package")
def partner_auth(server: BlickServer) -> dict[str, Any]:
    """The auth section of a second user, with a project of its own, both made with the server's own commands."""
    password_file = server.folder / "partner-password"
    password_file.write_text(PARTNER_PASSWORD + "\n")
    blick(server, "project", "create", "partner")
    blick(server, "user", "create", "partner", "--project", "partner", "--password-file", str(password_file))
    auth: dict[str, Any] = server.clouds()["blick"]["auth"]
    return auth | {"username": "partner", "project_name": "partner", "password": PARTNER_PASSWORD}


@pytest.fixture(scope="package")
def partner(server: BlickServer, partner_auth: dict[str, Any]) -> Clients:
    """The clients of a user in another project than demo's."""
    cloud = deepcopy(server.clouds()["blick"]) | {"auth": partner_auth}
    path = server.folder / "partner-clouds.yaml"
    path.write_text(yaml.safe_dump({"clouds": {"partner": cloud}}))
    return clients_of(server, path, "partner")


@pytest.fixture
def api(server: BlickServer) -> Iterator[ImagesApi]:
    """User demo without a client program, for what a test needs beside its subject."""
    with ImagesApi(server.url, server.clouds()["blick"]["auth"]) as client:
        yield client


def clients_of(server: BlickServer, clouds_file: Path, cloud: str) -> Clients:
    return Clients(server.environment | {"OS_CLIENT_CONFIG_FILE": str(clouds_file), "OS_CLOUD": cloud})


def blick(server: BlickServer, *arguments: str) -> str:
    """What `blick ARGUMENTS --data ...` prints."""
    done = subprocess.run(
        [str(VENV_BIN / "blick"), *arguments, "--data", str(server.data_dir)],
        env=server.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
