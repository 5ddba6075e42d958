"""Locations that are verified in the background, while processes die: each image ends right, none is stuck."""

import hashlib
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.config_file import configured_server
from tests.support.images_api import ImagesApi
from tests.support.remains import deletes, open_jobs
from tests.support.server import BlickServer
from tests.support.waiting import eventually
from tests.support.web_server import WebServer

RAW = {"disk_format": "raw", "container_format": "bare"}
DATA = os.urandom(5_000_000)
SHA512, MD5 = hashlib.sha512(DATA).hexdigest(), hashlib.md5(DATA).hexdigest()
RIGHT = {"os_hash_algo": "sha512", "os_hash_value": SHA512}
WRONG = {"os_hash_algo": "sha512", "os_hash_value": "0" * 128}
LOCK = "os_glance_import_task"
KILLS = 8
WORKING_S = (0.02, 1.0)


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


@pytest.fixture(params=[1, 2])
def server(request: pytest.FixtureRequest, tmp_path: Path, web: WebServer) -> Iterator[BlickServer]:
    """One that may read from the web server of the test, with one or two workers; everybody is an administrator."""
    groups = {
        "DEFAULT": {"workers": request.param},
        "import_filtering_opts": {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{web.port}]"},
    }
    made = configured_server(tmp_path / "blick", groups)
    try:
        yield made.start()
    finally:
        made.kill_all()


def log_in(server: BlickServer) -> ImagesApi:
    return ImagesApi(server.url, None)


def add(api: ImagesApi, url: str, validation: dict[str, str] | None) -> str:
    image_id: str = api.create(name="by location", **RAW)["id"]
    body: dict[str, Any] = {"url": url} | ({"validation_data": validation} if validation else {})
    assert api.http.post(f"/v2/images/{image_id}/locations", json=body).status_code == 202
    return image_id


def statuses_of_tasks(api: ImagesApi, image_id: str) -> list[str]:
    return [task["status"] for task in api.http.get(f"/v2/images/{image_id}/tasks").json()["tasks"]]


def assert_verified(api: ImagesApi, image_id: str) -> None:
    eventually(lambda: LOCK not in api.show(image_id), what=lambda: f"the lock is gone: {api.show(image_id)}")
    image = api.show(image_id)
    assert (image["status"], image["size"]) == ("active", len(DATA))
    assert (image["checksum"], image["os_hash_algo"], image["os_hash_value"]) == (MD5, "sha512", SHA512)
    assert statuses_of_tasks(api, image_id) == ["success"]
    assert api.http.get(f"/v2/images/{image_id}/file").content == DATA


def reader_of(server: BlickServer, web: WebServer) -> psutil.Process:
    """The process of the server that is connected to the web server."""
    for process in server.processes():
        if any(line.raddr and line.raddr.port == web.port for line in process.net_connections("tcp")):
            return process
    raise AssertionError("nobody reads")


@pytest.mark.parametrize("validation", [RIGHT, None], ids=["validated", "not validated"])
def test_kill_everything_while_hashing(server: BlickServer, web: WebServer, validation: dict[str, str] | None) -> None:
    with log_in(server) as api:
        image_id = add(api, web.put(DATA, "waiting"), validation)
        assert web.waiting.wait(120)
        assert api.show(image_id)["status"] == ("importing" if validation else "active")
        server.kill(signal.SIGKILL)
    web.go.set()
    server.start()
    with log_in(server) as api:
        assert_verified(api, image_id)
    assert open_jobs(server.data_dir) == 0


def test_kill_who_is_hashing(server: BlickServer, web: WebServer) -> None:
    """Its neighbour, or its successor, goes on; nobody has to start anything."""
    with log_in(server) as api:
        image_id = add(api, web.put(DATA, "waiting"), RIGHT)
        assert web.waiting.wait(120)
    reader = reader_of(server, web)
    reader.kill()
    web.go.set()
    if reader.pid == server.process.pid:
        server.process.wait(60)
        server.start()
    with log_in(server) as api:
        assert_verified(api, image_id)


def test_terminate_while_hashing(server: BlickServer, web: WebServer) -> None:
    with log_in(server) as api:
        image_id = add(api, web.put(DATA, "waiting"), RIGHT)
        assert web.waiting.wait(120)
    assert server.stop() in (0, -signal.SIGTERM)
    assert "Traceback" not in server.log_text()
    web.go.set()
    server.start()
    with log_in(server) as api:
        assert_verified(api, image_id)


def test_delete_while_hashing(server: BlickServer, web: WebServer) -> None:
    with log_in(server) as api:
        image_id = add(api, web.put(DATA, "waiting"), RIGHT)
        assert web.waiting.wait(120)
        api.delete(image_id)
        web.go.set()
        eventually(lambda: open_jobs(server.data_dir) == 0, what="the job is over")
    assert deletes(server.data_dir) == 0
    assert "Traceback" not in server.log_text()


def test_kill_at_random_moments(server: BlickServer, web: WebServer) -> None:
    """Right ones, wrong ones and unverified ones: whenever it is killed, each ends as it should, once."""
    moments = random.Random(5)
    added: dict[str, dict[str, str] | None] = {}
    url = web.put(DATA)
    for _ in range(KILLS):
        with log_in(server) as api:
            for validation in (RIGHT, WRONG, None):
                added[add(api, url, validation)] = validation
            time.sleep(moments.uniform(*WORKING_S))
            server.kill(signal.SIGKILL)
        server.start()
    with log_in(server) as api:
        for image_id, validation in added.items():
            if validation is not WRONG:
                assert_verified(api, image_id)
                continue
            eventually(lambda image_id=image_id: LOCK not in api.show(image_id), what="the lock is gone")
            image = api.show(image_id)
            assert (image["status"], image["size"], image["checksum"]) == ("queued", None, None)
            assert statuses_of_tasks(api, image_id) == ["failure"]
    assert open_jobs(server.data_dir) == 0
