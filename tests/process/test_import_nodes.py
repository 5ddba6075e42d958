"""Imports on several hosts with one database: each is done once, by any of them, also when one dies or is stopped.

The hosts are processes of this machine with configuration, port and log of their own. They share their stores; staged
data is shared as well (a folder that all of them mount), or each has a folder of its own, and a name.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.support.databases import Databases, on_every_server
from tests.support.import_world import MIB, STORES, ImportWorld, caller, data_of, journalled
from tests.support.parts import OWN_MOUNTS, system_program
from tests.support.waiting import eventually
from tests.support.web_server import WebServer

pytestmark = on_every_server

FORMATS = {"disk_format": "raw", "container_format": "bare"}
OCTETS = {"Content-Type": "application/octet-stream"}
LOCK = "os_glance_import_task"
DATA = data_of(5, 3 * MIB + 17)
ONE_JOB = {"taskflow_executor": {"max_workers": 1}}
"""So that what several are doing cannot all be one's."""
on_two_and_three = pytest.mark.parametrize("count", [2, 3])


@dataclass(frozen=True)
class Site:
    """Where hosts come from, and what they have in common."""

    folder: Path
    url: str
    web: WebServer
    running: ExitStack

    def hosts(self, count: int, **options: Any) -> list[ImportWorld]:
        """So many of them, which run."""
        made = [self.host(f"host-{number}", **options) for number in range(count)]
        for host in made:
            host.start()
        return made

    def host(self, name: str, **options: Any) -> ImportWorld:
        usual: dict[str, Any] = {"workers": 1, "job_workers": 0, "shared": self.folder / "shared"}
        made = ImportWorld(self.folder / name, self.url, self.web, **{**usual, **options})
        self.running.callback(made.kill_all)
        return made


@pytest.fixture
def site(engine: str, databases: Databases, tmp_path: Path) -> Iterator[Site]:
    url = databases.untouched(engine, tmp_path)
    with journalled(url), WebServer() as web, ExitStack() as running:
        yield Site(tmp_path, url, web, running)


@contextmanager
def api(host: ImportWorld) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=host.url, headers=caller("p"), timeout=120, trust_env=False) as http:
        yield http


def create(host: ImportWorld) -> str:
    with api(host) as http:
        made: dict[str, Any] = http.post("/v2/images", json=FORMATS).raise_for_status().json()
        return str(made["id"])


def stage(host: ImportWorld, data: bytes = DATA) -> str:
    """An image with staged data."""
    image_id = create(host)
    with api(host) as http:
        http.put(f"/v2/images/{image_id}/stage", content=data, headers=OCTETS).raise_for_status()
    return image_id


def begin(host: ImportWorld, image_id: str, method: dict[str, str], stores: Sequence[str] = STORES) -> None:
    with api(host) as http:
        http.post(f"/v2/images/{image_id}/import", json={"method": method, "stores": list(stores)}).raise_for_status()


def show(host: ImportWorld, image_id: str) -> dict[str, Any]:
    with api(host) as http:
        found: dict[str, Any] = http.get(f"/v2/images/{image_id}").raise_for_status().json()
        return found


def from_web(host: ImportWorld, manner: str) -> str:
    """An image that is imported from the web."""
    image_id = create(host)
    begin(host, image_id, {"name": "web-download", "uri": host.web.put(DATA, manner)})
    return image_id


def await_end(host: ImportWorld, image_ids: Sequence[str]) -> None:
    """All are active, everywhere, with the right bytes, and nothing of their imports is left."""
    for image_id in image_ids:
        eventually(lambda image_id=image_id: LOCK not in show(host, image_id), what=lambda: host.log_texts()[-5000:])
        image = show(host, image_id)
        assert (image["status"], image["size"]) == ("active", len(DATA)), host.log_texts()[-5000:]
        assert sorted(image["stores"].split(",")) == sorted(STORES)
        for store in STORES:
            assert (host.store_folder(store) / image_id).read_bytes() == DATA
    eventually(lambda: not host.unfinished(), what=lambda: str(host.unfinished()))
    assert not host.staged()


def assert_each_was_done_once(hosts: Sequence[ImportWorld], image_ids: Sequence[str]) -> None:
    done = Counter(
        image_id
        for host in hosts
        for image_id in image_ids
        if f"import of image {image_id} is done" in host.log_texts()
    )
    assert done == Counter(image_ids)
    assert "Traceback" not in "".join(host.log_texts() for host in hosts)
    changes = Counter(change for change in hosts[0].journal() if change.what != "image")
    assert set(changes.values()) == {1}, changes.most_common(3)
    status, document, _ = hosts[0].check_stores()
    assert (status, document["findings"]) == (0, [])


def readers(hosts: Sequence[ImportWorld], web: WebServer) -> list[ImportWorld]:
    """The hosts that are connected to the web server now, each as often as it is."""
    return [
        host
        for host in hosts
        for process in host.server.processes()
        for line in _connections(process)
        if line.raddr and line.raddr.port == web.port and line.status == psutil.CONN_ESTABLISHED
    ]


def _connections(process: psutil.Process) -> Sequence[Any]:
    try:
        return process.net_connections("tcp")
    except psutil.NoSuchProcess:
        return ()


@on_two_and_three
def test_every_import_is_done_once(site: Site, count: int) -> None:
    """Staged here, asked for there, done by whoever is free."""
    hosts = site.hosts(count)
    image_ids = [stage(hosts[number % count]) for number in range(4 * count)]
    for number, image_id in enumerate(image_ids):
        begin(hosts[(number + 1) % count], image_id, {"name": "glance-direct"})
    await_end(hosts[-1], image_ids)
    assert_each_was_done_once(hosts, image_ids)


@on_two_and_three
def test_whoever_is_free_does_it(site: Site, count: int) -> None:
    """All are asked for at one host, which does one at a time: the others do the rest meanwhile."""
    hosts = site.hosts(count, groups=ONE_JOB)
    image_ids = [from_web(hosts[0], "waiting") for _ in range(count)]
    eventually(
        lambda: len(readers(hosts, site.web)) == count, what=lambda: f"{readers(hosts, site.web)} of {hosts} read"
    )
    assert {host.port for host in readers(hosts, site.web)} == {host.port for host in hosts}
    site.web.go.set()
    await_end(hosts[-1], image_ids)
    assert_each_was_done_once(hosts, image_ids)


@on_two_and_three
@pytest.mark.parametrize("way", ["kill", "terminate"])
def test_another_goes_on(site: Site, count: int, way: str) -> None:
    hosts = site.hosts(count, groups=ONE_JOB)
    image_id = from_web(hosts[0], "waiting")
    assert site.web.waiting.wait(120)
    eventually(lambda: len(readers(hosts, site.web)) == 1)
    (at_it,) = readers(hosts, site.web)
    if way == "kill":
        at_it.server.kill(signal.SIGKILL)
    else:
        assert at_it.server.stop() in (0, -signal.SIGTERM)
        (attempts,) = at_it.rows("SELECT attempts FROM blick_jobs WHERE outcome = ''")[0]
        assert attempts <= 1  # the next one's, if it is at it already
    site.web.go.set()
    left = [host for host in hosts if host is not at_it]
    await_end(left[0], [image_id])
    assert_each_was_done_once(left, [image_id])


@pytest.mark.needs("mounts")
def test_a_host_that_nobody_can_look_into_dies(site: Site) -> None:
    """Elsewhere nobody sees that a process is gone: what it had lapses."""
    far = system_program("unshare"), *OWN_MOUNTS, "--pid", "--fork", "--mount-proc", "--kill-child"
    hosts = site.hosts(2, groups=ONE_JOB, prefix=far)
    image_id = from_web(hosts[0], "waiting")
    assert site.web.waiting.wait(120)
    eventually(lambda: len(readers(hosts, site.web)) == 1)
    (at_it,) = readers(hosts, site.web)
    at_it.server.kill(signal.SIGKILL)
    site.web.go.set()
    left = next(host for host in hosts if host is not at_it)
    await_end(left, [image_id])
    assert_each_was_done_once([left], [image_id])


def test_workers_do_what_the_api_does_not(site: Site) -> None:
    """An API that leaves jobs alone, and a worker elsewhere, which is killed and replaced."""
    front = site.hosts(1, groups={"blick": {"jobs_in_api": False}})[0]
    image_id = stage(front)
    begin(front, image_id, {"name": "glance-direct"})
    from_the_web = from_web(front, "waiting")
    behind = site.host("behind", job_workers=2)
    for worker in behind.job_workers:
        worker.start()
    assert site.web.waiting.wait(120)
    for worker in behind.job_workers:
        worker.kill(signal.SIGKILL)
    assert LOCK in show(front, from_the_web)
    site.web.go.set()
    behind.job_workers[0].start()
    await_end(front, [image_id, from_the_web])
    assert "is done" not in front.server.log_text()


class TestStagingOfItsOwn:
    """Each host has a disk of its own for staged data; the stores are everybody's."""

    @on_two_and_three
    def test_is_imported_where_it_is(self, site: Site, count: int) -> None:
        hosts = site.hosts(count, shares_staging=False)
        image_ids = [stage(host) for host in hosts for _ in range(2)]
        for number, image_id in enumerate(image_ids):
            begin(hosts[number % count], image_id, {"name": "glance-direct"})
        await_end(hosts[0], image_ids)
        assert not any(host.staged() for host in hosts)
        assert_each_was_done_once(hosts, image_ids)
        for number, image_id in enumerate(image_ids):
            assert f"import of image {image_id} is done" in hosts[number // 2].log_texts()

    def test_its_host_is_killed_and_comes_back(self, site: Site) -> None:
        here, there = site.hosts(2, shares_staging=False)
        image_ids = [stage(here) for _ in range(6)]
        for image_id in image_ids:
            begin(here, image_id, {"name": "glance-direct"})
        here.server.kill(signal.SIGKILL)
        time.sleep(1)  # the other host might do what it must not
        here.server.start()
        await_end(there, image_ids)
        assert not any(f"import of image {each} is done" in there.log_texts() for each in image_ids)

    def test_another_import_goes_on_elsewhere(self, site: Site) -> None:
        """What comes from the web may be fetched again by anybody."""
        hosts = site.hosts(2, shares_staging=False, groups=ONE_JOB)
        image_id = from_web(hosts[0], "waiting")
        assert site.web.waiting.wait(120)
        eventually(lambda: len(readers(hosts, site.web)) == 1)
        (at_it,) = readers(hosts, site.web)
        at_it.server.kill(signal.SIGKILL)
        site.web.go.set()
        left = next(host for host in hosts if host is not at_it)
        await_end(left, [image_id])
        at_it.server.start()
        eventually(lambda: not at_it.staged(), what=lambda: f"left there: {at_it.staged()}")
        assert os.listdir(left.staging) == []

    def test_deleted_elsewhere(self, site: Site) -> None:
        here, there = site.hosts(2, shares_staging=False)
        image_id = stage(here)
        with api(there) as http:
            assert http.delete(f"/v2/images/{image_id}").status_code == 204
            assert http.get(f"/v2/images/{image_id}").status_code == 404
        eventually(lambda: not here.staged(), what=lambda: f"left there: {here.staged()}")

    def test_its_host_is_down(self, site: Site) -> None:
        """Nobody else can import it, which is said at once; deleting works."""
        here, there = site.hosts(2, shares_staging=False)
        image_id, other = stage(here), stage(here)
        here.server.kill(signal.SIGKILL)
        with api(there) as http:
            answer = http.post(f"/v2/images/{image_id}/import", json={"method": {"name": "glance-direct"}})
            assert answer.status_code == 504
            assert http.delete(f"/v2/images/{other}").status_code == 204
        here.server.start()
        begin(there, image_id, {"name": "glance-direct"})
        await_end(there, [image_id])
        eventually(lambda: not here.staged(), what=lambda: f"left there: {here.staged()}")
