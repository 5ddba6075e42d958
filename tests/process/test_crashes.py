"""kill -9 at the worst moments: afterwards no image is stuck, nothing is left behind, nothing that was done is lost."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import httpx
import psutil
import pytest

from tests.process.conftest import ServerFactory
from tests.support.images_api import ImagesApi
from tests.support.remains import deletes, leases, stored_files
from tests.support.server import BlickServer
from tests.support.waiting import eventually
from tests.support.wire import Wire

RAW = {"disk_format": "raw", "container_format": "bare"}
MIB = 1 << 20
UPLOADS = 50
KILLS_AT_START = 8
KILLS_AT_WORK = 10
WORKING_S = (0.05, 0.8)
"""For how long the server may work before it is killed: from before the first request to a few dozen images later."""


def log_in(server: BlickServer) -> ImagesApi:
    return ImagesApi(server.url, server.clouds()["blick"]["auth"])


def statuses(api: ImagesApi, ids: Sequence[str]) -> set[str]:
    return {api.show(image_id)["status"] for image_id in ids}


def upload(server: BlickServer, api: ImagesApi, image_id: str, data: bytes) -> int:
    with Wire(server.port) as wire:
        return wire.upload_head(api.token, image_id, content_length=str(len(data))).send(data).answer().status


@contextmanager
def uploads_under_way(server: BlickServer, api: ImagesApi, ids: Sequence[str]) -> Iterator[list[Wire]]:
    """One upload to each image, of which the server holds the first mebibytes; half of them with a length."""
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(server.port)) for _ in ids]
        for number, (wire, image_id) in enumerate(zip(wires, ids, strict=True)):
            if number % 2:
                wire.upload_head(api.token, image_id, content_length=str(64 * MIB)).send(os.urandom(2 * MIB))
            else:
                wire.upload_head(api.token, image_id, transfer_encoding="chunked").chunk(os.urandom(2 * MIB))
        eventually(
            lambda: statuses(api, ids) == {"saving"},
            what=lambda: f"every upload has begun: {statuses(api, ids)}\n{server.log_text()[-8000:]}",
        )
        eventually(lambda: len(stored_files(server.data_dir)) == len(ids), what="partial files of every upload")
        yield wires


def assert_nothing_happened(server: BlickServer, api: ImagesApi, ids: Sequence[str]) -> None:
    """All images are queued with nothing recorded and nothing stored, and every one can be uploaded to."""
    eventually(lambda: statuses(api, ids) == {"queued"}, what="all images are queued")
    assert stored_files(server.data_dir) == []
    assert leases(server.data_dir) == 0
    for image_id in ids:
        shown = api.show(image_id)
        assert (shown["size"], shown["checksum"], shown["os_hash_value"]) == (None, None, None)
        assert upload(server, api, image_id, b"again") == 204
    assert statuses(api, ids) == {"active"}
    assert stored_files(server.data_dir) == sorted(ids)


@pytest.mark.parametrize("workers", [1, 2])
def test_kill_in_the_middle_of_fifty_uploads(make_server: ServerFactory, workers: int) -> None:
    server = make_server(arguments=["--workers", str(workers)]).start()
    with log_in(server) as api:
        ids = [api.create(name=f"image {number}", **RAW)["id"] for number in range(UPLOADS)]
        with uploads_under_way(server, api, ids):
            server.kill(signal.SIGKILL)
    assert len(stored_files(server.data_dir)) == UPLOADS  # it had no chance to clean up
    server.start()
    with log_in(server) as api:
        assert_nothing_happened(server, api, ids)


def test_a_killed_worker_leaves_the_others_serving(make_server: ServerFactory) -> None:
    server = make_server(arguments=["--workers", "2"]).start()
    with log_in(server) as api:
        eventually(lambda: len(workers(server)) == 2)
        ids = [api.create(name=f"image {number}", **RAW)["id"] for number in range(8)]
        with uploads_under_way(server, api, ids) as wires:
            victim = next(worker for worker in workers(server) if uploads_of(worker))
            lost = uploads_of(victim)
            victim.kill()
            for _ in range(20):
                assert httpx.get(f"{server.url}/healthcheck", timeout=60).status_code == 200
            eventually(lambda: statuses(api, lost) == {"queued"}, what="the victim's images are queued")
            kept = [image_id for image_id in ids if image_id not in lost]
            assert kept == [] or statuses(api, kept) == {"saving"}
            for wire in wires:
                wire.reset()
        assert_nothing_happened(server, api, ids)
        eventually(lambda: len(workers(server)) == 2, what="the victim has a successor")


def workers(server: BlickServer) -> list[psutil.Process]:
    """The worker processes: those that listen, without the first process."""
    found = []
    for process in server.processes()[1:]:
        try:
            if "spawn_main" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue  # it ended meanwhile
    return found


def uploads_of(worker: psutil.Process) -> list[str]:
    """The images whose partial files the worker holds open."""
    names = (os.path.basename(file.path) for file in worker.open_files())
    return [name.removeprefix(".blick-").removesuffix(".part") for name in names if name.endswith(".part")]


def test_workers_end_with_their_supervisor(make_server: ServerFactory) -> None:
    server = make_server(arguments=["--workers", "2"]).start()
    eventually(lambda: len(workers(server)) == 2)
    orphans = workers(server)
    server.process.kill()
    server.process.wait()
    _, alive = psutil.wait_procs(orphans, timeout=60)
    assert alive == []
    server.start()  # port and data folder are free again


def test_kill_while_starting_for_the_first_time(make_server: ServerFactory) -> None:
    """Whenever the first start is killed, the next one works, and the passwords that it tells of are valid."""
    whole_s = _start_time_s(make_server("measured"))
    moments = random.Random(2)
    for number in range(KILLS_AT_START):
        server = make_server(f"first-{number}")
        server.launch()
        time.sleep(moments.uniform(0.3, 1.1) * whole_s)
        server.kill_all()
        server.start()
        try:
            with log_in(server) as api:
                api.create(name="after the kill", **RAW)
            with ImagesApi(server.url, server.clouds()["blick-admin"]["auth"]) as admin:
                assert len(admin.http.get("/v2/images").json()["images"]) == 1
            assert not list(server.data_dir.glob(".*")), "temporary files are left"
            assert server.openrc()["OS_PASSWORD"] == server.clouds()["blick"]["auth"]["password"]
        finally:
            server.kill_all()


def _start_time_s(server: BlickServer) -> float:
    began_s = time.monotonic()
    server.start()
    took_s = time.monotonic() - began_s
    server.kill_all()
    return took_s


def test_kill_at_random_moments_of_work(make_server: ServerFactory) -> None:
    """Clients upload and delete until the server is killed, again and again; then everything has to add up."""
    server = make_server().start()
    moments = random.Random(3)
    done: dict[str, bytes] = {}
    try:
        for _ in range(KILLS_AT_WORK):
            with ExitStack() as stack:
                apis = [stack.enter_context(log_in(server)) for _ in range(3)]
                clients = [threading.Thread(target=_work, args=(server, api, done)) for api in apis]
                for client in clients:
                    client.start()
                time.sleep(moments.uniform(*WORKING_S))
                server.kill(signal.SIGKILL)
                for client in clients:
                    client.join()
            server.start()
        with log_in(server) as api:
            _assert_everything_adds_up(server, api, done)
    finally:
        server.kill_all()


def _work(server: BlickServer, api: ImagesApi, done: dict[str, bytes]) -> None:
    """Create, upload, delete every third, until the server is gone. `done`: what was confirmed, by image."""
    number = 0
    try:
        while True:
            number += 1
            data = os.urandom(number * 50_000)
            image_id = api.create(name="work", **RAW)["id"]
            if upload(server, api, image_id, data) == 204:
                done[image_id] = data
            if number % 3 == 0:
                done.pop(image_id, None)  # from here on either outcome is right
                api.delete(image_id)
    except (OSError, httpx.TransportError):
        return


def _assert_everything_adds_up(server: BlickServer, api: ImagesApi, done: dict[str, bytes]) -> None:
    eventually(lambda: deletes(server.data_dir) == leases(server.data_dir) == 0, within_s=120, what="all cleaned up")
    images = {image["id"]: image for image in _all_images(api)}
    assert {image["status"] for image in images.values()} <= {"active", "queued"}
    active = sorted(image_id for image_id, image in images.items() if image["status"] == "active")
    assert stored_files(server.data_dir) == active
    assert done.keys() <= images.keys()
    assert len(done) > KILLS_AT_WORK, "the clients hardly got to work"
    for image_id, data in done.items():
        assert images[image_id]["status"] == "active"
        assert api.http.get(f"/v2/images/{image_id}/file").content == data
    for image_id in active:
        assert images[image_id]["size"] == (server.data_dir / "images" / image_id).stat().st_size
    queued = images.keys() - set(active)
    for image_id in queued:
        assert upload(server, api, image_id, b"again") == 204


def _all_images(api: ImagesApi) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    path = "/v2/images?limit=500"
    while path:
        page = api.http.get(path).json()
        found += page["images"]
        path = page.get("next", "")
    return found
