"""Conversions in a real server that is killed, stopped or told to cancel: qemu-img goes with it, and nothing stays."""

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support import images
from tests.support.config_file import configured_server
from tests.support.hostile_images import repeating_qcow2
from tests.support.images import MIB
from tests.support.images_api import ImagesApi
from tests.support.remains import open_jobs, staged_files
from tests.support.server import BlickServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.needs("qemu")

QCOW2 = {"disk_format": "qcow2", "container_format": "bare"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[BlickServer]:
    """One that converts what is imported to raw; everybody is an administrator."""
    groups = {"image_import_opts": {"image_import_plugins": "image_decompression,image_conversion"}}
    made = configured_server(tmp_path / "blick", groups)
    try:
        yield made.start()
    finally:
        made.kill_all()


def log_in(server: BlickServer) -> ImagesApi:
    return ImagesApi(server.url, None)


def begin_import(api: ImagesApi, path: Path) -> str:
    image_id: str = api.create(name="converted", **QCOW2)["id"]
    octets = {"Content-Type": "application/octet-stream"}
    staged = api.http.put(f"/v2/images/{image_id}/stage", content=path.read_bytes(), headers=octets)
    assert staged.status_code == 204, staged.text
    asked = api.http.post(f"/v2/images/{image_id}/import", json={"method": {"name": "glance-direct"}})
    assert asked.status_code == 202, asked.text
    return image_id


def converters(server: BlickServer) -> list[psutil.Process]:
    """The processes of a server that convert, not those that only look at a disk."""
    found = []
    for process in server.processes():
        try:
            if process.name() == "qemu-img" and "convert" in process.cmdline():
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def begin_endless(server: BlickServer, api: ImagesApi, folder: Path) -> tuple[str, psutil.Process]:
    """An import that is being converted, and will be for half an hour; the process that does it."""
    image_id = begin_import(api, repeating_qcow2(folder / "endless", 256 << 30, b"", compressed=True))
    eventually(lambda: converters(server), what="a conversion runs")
    return image_id, converters(server)[0]


def is_over(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_a_conversion_ends_with_its_server_and_is_done_again(
    server: BlickServer, tmp_path: Path, signal_number: signal.Signals
) -> None:
    with log_in(server) as api:
        image_id, converter = begin_endless(server, api, tmp_path)
        worker = converter.parent()
        assert worker is not None
        for process in {server.process.pid, worker.pid}:
            psutil.Process(process).send_signal(signal_number)
        eventually(lambda: is_over(converter), what="qemu-img has ended")
        eventually(lambda: server.process.poll() is not None, what="the server has ended")
    server.start()
    with log_in(server) as api:
        eventually(lambda: converters(server), what="it is converted again")
        assert api.show(image_id)["status"] == "importing"
        converters(server)[0].kill()
        eventually(lambda: api.show(image_id)["status"] == "queued", what="the import has failed")
        task = api.http.get(f"/v2/images/{image_id}/tasks").json()["tasks"][-1]
        assert (task["status"], task["message"]) == ("failure", "The image cannot be converted: it was broken off.")
        eventually(lambda: staged_files(server.data_dir) == [], what="nothing is left")
        assert open_jobs(server.data_dir) == 0


def test_a_cancelled_conversion_ends(server: BlickServer, tmp_path: Path) -> None:
    with log_in(server) as api:
        image_id, converter = begin_endless(server, api, tmp_path)
        job = next(job for job in api.http.get("/v2/jobs").json()["jobs"] if job["image_id"] == image_id)
        answer = api.http.post(f"/v2/jobs/{job['id']}/actions/cancel")
        assert answer.is_success, answer.text
        eventually(lambda: is_over(converter), what="qemu-img has ended")
        eventually(lambda: api.show(image_id)["status"] == "queued", what="the import has ended")
        eventually(lambda: staged_files(server.data_dir) == [], what="nothing is left")


def test_deleting_the_image_ends_its_conversion(server: BlickServer, tmp_path: Path) -> None:
    with log_in(server) as api:
        image_id, converter = begin_endless(server, api, tmp_path)
        api.delete(image_id)
        eventually(lambda: is_over(converter), what="qemu-img has ended")
        eventually(lambda: staged_files(server.data_dir) == [], what="nothing is left")
        eventually(lambda: open_jobs(server.data_dir) == 0, what="no job is left")


def test_an_image_that_is_fine_is_converted(server: BlickServer, tmp_path: Path) -> None:
    raw = images.fill(tmp_path / "raw", 3 * MIB)
    qcow2 = images.convert(raw, "raw", tmp_path / "disk", images.QCOW2).path
    with log_in(server) as api:
        image_id = begin_import(api, qcow2)
        eventually(lambda: api.show(image_id)["status"] == "active", what=lambda: str(api.show(image_id)))
        image = api.show(image_id)
        assert (image["disk_format"], image["virtual_size"]) == ("raw", 3 * MIB)
        assert api.download(image_id, tmp_path / "fetched").read_bytes() == raw.read_bytes()
        assert staged_files(server.data_dir) == []
