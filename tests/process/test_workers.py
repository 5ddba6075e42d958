"""`blick worker`: several processes share the work of one database, and whatever happens to them, it is done."""

import hashlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, select

from blick.db.tables import jobs
from tests.support.command import run_command
from tests.support.config_file import configured_server
from tests.support.databases import on_every_engine
from tests.support.images_api import ImagesApi
from tests.support.server import BlickServer
from tests.support.waiting import eventually
from tests.support.web_server import WebServer
from tests.support.workers import WorkerProcess, workers

RAW = {"disk_format": "raw", "container_format": "bare"}
DATA = os.urandom(3_000_000)
SHA512 = hashlib.sha512(DATA).hexdigest()
RIGHT = {"os_hash_algo": "sha512", "os_hash_value": SHA512}
WRONG = {"os_hash_algo": "sha512", "os_hash_value": "0" * 128}
LOCK = "os_glance_import_task"
KILLS = 6
WORKING_S = (0.1, 1.5)


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


@dataclass(frozen=True)
class Site:
    """A service that leaves jobs to workers, a client of it, and its database."""

    folder: Path
    server: BlickServer
    api: ImagesApi
    database_url: str

    @property
    def options(self) -> tuple[str, str]:
        """What commands need to find it."""
        return "--config-file", str(self.folder / "blick" / "glance-api.conf")

    def add(self, url: str, validation: Mapping[str, str] | None = None) -> str:
        """An image that is to get its data from there."""
        image_id: str = self.api.create(name="by location", **RAW)["id"]
        body: dict[str, Any] = {"url": url} | ({"validation_data": validation} if validation else {})
        assert self.api.http.post(f"/v2/images/{image_id}/locations", json=body).status_code == 202
        return image_id

    def job(self, image_id: str) -> dict[str, Any]:
        """The newest job of the image, as the API shows it."""
        found: dict[str, Any] = self.api.http.get(f"/v2/jobs?image_id={image_id}").json()["jobs"][0]
        return found

    def statuses(self) -> Counter[str]:
        """How many jobs have come to which end, or not."""
        engine = create_engine(self.database_url)
        try:
            with engine.connect() as connection:
                return Counter(connection.execute(select(jobs.c.outcome)).scalars())
        finally:
            engine.dispose()

    def assert_active(self, image_id: str) -> None:
        """It is, in the end, with its data, and nobody works on it."""
        eventually(
            lambda: self.job(image_id)["ended_at"] is not None, what=lambda: f"the job ends: {self.job(image_id)}"
        )
        image = self.api.show(image_id)
        assert (image["status"], image["size"], image["os_hash_value"]) == ("active", len(DATA), SHA512)
        assert LOCK not in image

    def assert_queued(self, image_id: str) -> None:
        """It is, in the end, as before, and nobody works on it."""
        eventually(
            lambda: self.job(image_id)["ended_at"] is not None, what=lambda: f"the job ends: {self.job(image_id)}"
        )
        image = self.api.show(image_id)
        assert (image["status"], image["size"], LOCK in image) == ("queued", None, False)


@pytest.fixture
def site(tmp_path: Path, web: WebServer, database_url: str) -> Iterator[Site]:
    groups: dict[str, dict[str, object]] = {
        "import_filtering_opts": {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{web.port}]"},
        "database": {"connection": database_url},
        "blick": {"jobs_in_api": "false"},
    }
    server = configured_server(tmp_path / "blick", groups)
    try:
        server.start()
        with ImagesApi(server.url, None) as api:
            yield Site(tmp_path, server, api, database_url)
        assert "Traceback" not in server.log_text()
    finally:
        server.kill_all()


def assert_quiet(*found: WorkerProcess) -> None:
    for worker in found:
        assert "Traceback" not in worker.log_text()
        assert "ERROR" not in worker.log_text()


@on_every_engine
def test_the_work_is_shared(site: Site, web: WebServer) -> None:
    """Nothing is done while only the API runs; then each job is done once, by whoever."""
    url = web.put(DATA)
    images = [site.add(url, RIGHT) for _ in range(12)]
    time.sleep(1)  # the API would have begun long ago
    assert {site.job(image_id)["status"] for image_id in images} == {"waiting"}
    with workers(site.folder, 2, *site.options) as running:
        for image_id in images:
            site.assert_active(image_id)
        assert {worker.stop() for worker in running} == {0}
        assert_quiet(*running)
    assert {site.job(image_id)["attempts"] for image_id in images} == {1}
    reads = Counter(method for method, _ in web.requests)
    assert reads["GET"] == len(images), "nothing was read twice"


@on_every_engine
def test_a_killed_worker_is_replaced(site: Site, web: WebServer) -> None:
    image_id = site.add(web.put(DATA, "waiting"), RIGHT)
    with workers(site.folder, 1, *site.options) as [first]:
        assert web.waiting.wait(120)
        assert site.api.show(image_id)["status"] == "importing"
        with workers(site.folder / "others", 1, *site.options) as [second]:
            first.kill()
            web.go.set()
            site.assert_active(image_id)
            assert second.stop() == 0
            assert_quiet(second)
    job = site.job(image_id)
    assert (job["status"], job["attempts"]) == ("success", 2)


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stopped_worker_gives_back(site: Site, web: WebServer, signal_number: int) -> None:
    image_id = site.add(web.put(DATA, "waiting"), RIGHT)
    with workers(site.folder, 1, *site.options) as [worker]:
        assert web.waiting.wait(120)
        assert worker.stop(signal_number) == 0
        job = site.job(image_id)
        assert (job["status"], job["step"], job["attempts"]) == ("waiting", "hashing", 0)
        assert_quiet(worker)
        web.go.set()
        worker.start()
        site.assert_active(image_id)


@on_every_engine
def test_an_operator_ends_a_job(site: Site, web: WebServer) -> None:
    """With `blick job`, which talks to the database only; its worker finds out while the source hangs."""
    image_id = site.add(web.put(DATA, "waiting"), RIGHT)
    with workers(site.folder, 1, *site.options) as [worker]:
        assert web.waiting.wait(120)
        job_id = site.job(image_id)["id"]
        done = run_command(site.folder, "job", "cancel", job_id, "--watch", *site.options)
        assert (done.returncode, done.stdout.splitlines()) == (
            0,
            [f"Job {job_id} is to be cancelled.", f"Job {job_id}: cancelled"],
        )
        site.assert_queued(image_id)
        web.go.set()
        done = run_command(site.folder, "job", "retry", job_id, "--watch", *site.options)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith(": success\n")
        site.assert_active(image_id)
        listed = run_command(site.folder, "job", "list", "--image", image_id, *site.options)
        assert (listed.returncode, listed.stdout.count("location_import")) == (0, 2)
        assert_quiet(worker)


@on_every_engine
def test_workers_that_are_killed_at_random(site: Site, web: WebServer) -> None:
    """Two of them, one of which is always being killed; right data, wrong data, and what is cancelled meanwhile."""
    moments = random.Random(11)
    url = web.put(DATA)
    right: list[str] = []
    wrong: list[str] = []
    cancelled: list[str] = []
    with workers(site.folder, 2, *site.options) as running:
        for number in range(KILLS):
            right += [site.add(url, RIGHT), site.add(url, RIGHT)]
            wrong.append(site.add(url, WRONG))
            cancelled.append(site.add(url, WRONG))
            job_id = site.job(cancelled[-1])["id"]
            asked = site.api.http.post(f"/v2/jobs/{job_id}/actions/cancel").status_code
            assert asked in (202, 409)
            time.sleep(moments.uniform(*WORKING_S))
            victim = running[number % 2]
            victim.kill()
            victim.start()
        for image_id in right:
            site.assert_active(image_id)
        for image_id in (*wrong, *cancelled):
            site.assert_queued(image_id)
        assert_quiet(*running)
    found = site.statuses()
    assert found["success"] == len(right)
    assert found["failure"] + found["cancelled"] == len(wrong) + len(cancelled)
    assert found[""] == 0


def test_without_a_service(tmp_path: Path) -> None:
    for arguments, says in (
        (("--data", tmp_path / "nothing"), "There is no service in"),
        (("--config-file", tmp_path / "nothing.conf"), "does not exist"),
    ):
        ended = run_command(tmp_path, "worker", *arguments)
        assert ended.returncode in (1, 2)
        assert says in ended.stderr
        assert "Traceback" not in ended.stderr
    (tmp_path / "new.conf").write_text(f"[database]\nconnection = sqlite:///{tmp_path}/new.sqlite3\n")
    ended = run_command(tmp_path, "worker", "--config-file", tmp_path / "new.conf")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "not at this release's revision" in ended.stderr


def test_beside_a_standalone_service(tmp_path: Path) -> None:
    """As a user of `blick serve` starts it, with the folder's name only."""
    data_dir = tmp_path / "alone" / "blick-data"
    with (
        BlickServer(tmp_path / "alone"),
        workers(tmp_path, 1, "--data", str(data_dir), "--at-once", "2") as [worker],
    ):
        assert "at most 2 jobs at once" in worker.log_text()
        assert worker.stop() == 0
        assert_quiet(worker)
