"""Stopping and reloading: what runs may finish within the grace, what does not leaves nothing behind."""

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from blick.ops.cleanup import LEASE_RENEWAL_S
from tests.process.conftest import ServerFactory
from tests.process.test_crashes import workers
from tests.support.config_file import configured_server
from tests.support.images_api import ImagesApi
from tests.support.remains import leases, stored_files
from tests.support.server import BlickServer
from tests.support.waiting import eventually
from tests.support.wire import Wire

RAW = {"disk_format": "raw", "container_format": "bare"}
MIB = 1 << 20
IDLE_STOP_S = 8.0
"""By when an idle service has to be gone; the field's scripts wait so long."""


def log_in(server: BlickServer) -> ImagesApi:
    return ImagesApi(server.url, server.clouds()["blick"]["auth"])


def is_listening(server: BlickServer) -> bool:
    with suppress(OSError), Wire(server.port):
        return True
    return False


@pytest.mark.parametrize("arguments", [[], ["--workers", "2"]])
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_ends_at_once(
    make_server: ServerFactory, arguments: list[str], signal_number: signal.Signals
) -> None:
    server = make_server(arguments=arguments).start()
    processes = server.processes()
    with log_in(server) as api, Wire(server.port):  # connections that are kept alive, or were never used
        api.http.get("/v2/images")
        server.process.send_signal(signal_number)
        server.process.wait(timeout=IDLE_STOP_S)
    _, alive = psutil.wait_procs(processes, timeout=IDLE_STOP_S)
    assert alive == []
    assert server.process.returncode in (0, -signal.SIGTERM)
    assert "Traceback" not in server.log_text()
    assert "Aborted" not in server.log_text()
    assert not is_listening(server)


@pytest.mark.parametrize("ready", [True, False])
def test_ctrl_c_at_a_terminal_reaches_all_processes_at_once(make_server: ServerFactory, ready: bool) -> None:
    server = make_server(arguments=["--workers", "2"])
    if ready:
        server.start()
    else:
        server.launch()
    eventually(lambda: len(workers(server)) == 2)
    os.killpg(server.process.pid, signal.SIGINT)
    server.process.wait(timeout=IDLE_STOP_S)
    assert "Traceback" not in server.log_text()


@pytest.mark.parametrize("arguments", [[], ["--workers", "2"]])
def test_a_transfer_may_finish(make_server: ServerFactory, arguments: list[str]) -> None:
    server = make_server(arguments=arguments).start()
    with log_in(server) as api, Wire(server.port) as upload, Wire(server.port, receive_buffer_bytes=4096) as download:
        sent, fetched = (api.create(name=name, **RAW)["id"] for name in ("sent", "fetched"))
        data = os.urandom(16 * MIB)
        assert api.http.put(
            f"/v2/images/{fetched}/file", content=data, headers={"Content-Type": "application/octet-stream"}
        ).is_success
        download.head("GET", f"/v2/images/{fetched}/file", {"X-Auth-Token": api.token})
        assert download.read_head().startswith(b"HTTP/1.1 200 ")
        upload.upload_head(api.token, sent, content_length=str(2 * MIB)).send(bytes(MIB))
        eventually(lambda: api.show(sent)["status"] == "saving")
        server.process.terminate()
        eventually(lambda: not is_listening(server), what="nobody new is let in")
        assert upload.send(bytes(MIB)).answer().status == 204
        assert download.read_exactly(len(data)) == data
        server.process.wait(timeout=IDLE_STOP_S)
    server.start()
    with log_in(server) as api:
        assert (api.show(sent)["status"], api.show(sent)["size"]) == ("active", 2 * MIB)
    assert stored_files(server.data_dir) == sorted([sent, fetched])


@pytest.mark.parametrize("workers_count", [1, 2])
def test_a_transfer_that_does_not_finish_leaves_nothing(make_server: ServerFactory, workers_count: int) -> None:
    server = make_server(arguments=["--workers", str(workers_count), "--grace", "1"]).start()
    with log_in(server) as api, Wire(server.port) as upload:
        image_id = api.create(name="unfinished", **RAW)["id"]
        upload.upload_head(api.token, image_id, content_length=str(2 * MIB)).send(bytes(MIB))
        eventually(lambda: api.show(image_id)["status"] == "saving")
        server.process.terminate()
        server.process.wait(timeout=60)
        with suppress(OSError):
            assert upload.answer().status >= 500
    assert stored_files(server.data_dir) == []
    assert leases(server.data_dir) == 0
    assert "Traceback" not in server.log_text()
    server.start()
    with log_in(server) as api:
        assert api.show(image_id)["status"] == "queued"


def test_a_reload_replaces_the_workers_without_a_refused_request(tmp_path: Path) -> None:
    server = configured_server(tmp_path, {"DEFAULT": {"workers": 2}})
    try:
        server.start()
        _reload_under_way(server)
    finally:
        server.kill_all()


def _reload_under_way(server: BlickServer) -> None:
    eventually(lambda: len(workers(server)) == 2)
    before = {worker.pid for worker in workers(server)}
    failures: list[BaseException | int] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                status = httpx.get(f"{server.url}/healthcheck", timeout=60).status_code
            except httpx.TransportError as error:
                failures.append(error)
            else:
                failures.extend([status] if status != 200 else [])

    asking = threading.Thread(target=ask)
    with ImagesApi(server.url, None) as api, Wire(server.port) as upload:
        image_id = api.create(name="during a reload", **RAW)["id"]
        upload.upload_head(api.token, image_id, content_length=str(2 * MIB)).send(bytes(MIB))
        eventually(lambda: api.show(image_id)["status"] == "saving")
        asking.start()
        try:
            server.process.send_signal(signal.SIGHUP)
            eventually(lambda: not before >= {worker.pid for worker in workers(server)}, what="a new worker")
            assert upload.send(bytes(MIB)).answer().status == 204
            eventually(
                lambda: len(now := {worker.pid for worker in workers(server)}) == 2 and not now & before,
                what="only new workers",
            )
        finally:
            stop.set()
            asking.join()
    assert failures == []
    with ImagesApi(server.url, None) as api:
        assert api.show(image_id)["status"] == "active"


def test_a_hangup_ends_a_standalone_server_in_order(make_server: ServerFactory) -> None:
    server = make_server().start()
    with log_in(server) as api, Wire(server.port) as upload:
        image_id = api.create(name="at the end", **RAW)["id"]
        upload.upload_head(api.token, image_id, content_length=str(2 * MIB)).send(bytes(MIB))
        eventually(lambda: api.show(image_id)["status"] == "saving")
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: not is_listening(server))
        assert upload.send(bytes(MIB)).answer().status == 204
        server.process.wait(timeout=60)
    assert stored_files(server.data_dir) == [image_id]


def test_a_server_of_one_process_reloads_itself(tmp_path: Path) -> None:
    server = configured_server(tmp_path, {"DEFAULT": {"workers": 1, "image_size_cap": 4 * MIB}})
    file = tmp_path / "glance-api.conf"
    try:
        server.start()
        with ImagesApi(server.url, None) as api, Wire(server.port) as upload:
            large, going_on = (api.create(name=name, **RAW)["id"] for name in ("large", "going on"))
            upload.upload_head(api.token, going_on, content_length=str(2 * MIB)).send(bytes(MIB))
            eventually(lambda: api.show(going_on)["status"] == "saving")

            file.write_text(file.read_text().replace(f"image_size_cap = {4 * MIB}", "image_size_cap = ten"))
            server.process.send_signal(signal.SIGHUP)
            eventually(lambda: "not reloaded: DEFAULT.image_size_cap" in server.log_text())
            file.write_text(file.read_text().replace("image_size_cap = ten", "image_size_cap = 10"))
            server.process.send_signal(signal.SIGHUP)
            eventually(lambda: "reloaded; " in server.log_text())

            assert put(api, large, bytes(20)) == 413
            assert put(api, large, bytes(10)) == 204
            time.sleep(LEASE_RENEWAL_S * 1.5)  # a round of housekeeping, which must not think the upload dead
            assert api.show(going_on)["status"] == "saving"
            assert upload.send(bytes(MIB)).answer().status == 204  # by the settings that it began with
            assert api.show(going_on)["status"] == "active"
        server.process.terminate()
        server.process.wait(timeout=IDLE_STOP_S)
        assert "Traceback" not in server.log_text()
    finally:
        server.kill_all()


def test_a_reload_reads_the_configuration_again(tmp_path: Path) -> None:
    server = configured_server(tmp_path, {"DEFAULT": {"workers": 2, "image_size_cap": 10}})
    file = tmp_path / "glance-api.conf"
    try:
        server.start()
        with ImagesApi(server.url, None) as api:
            image_id = api.create(name="large", **RAW)["id"]
            assert put(api, image_id, b"12345678901234567890") == 413
            before = {worker.pid for worker in workers(server)}

            file.write_text(file.read_text().replace("image_size_cap = 10", "image_size_cap = ten"))
            server.process.send_signal(signal.SIGHUP)
            eventually(lambda: "not reloaded: DEFAULT.image_size_cap" in server.log_text())
            assert {worker.pid for worker in workers(server)} == before

            file.write_text(file.read_text().replace("image_size_cap = ten", "image_size_cap = 100"))
            server.process.send_signal(signal.SIGHUP)
            eventually(
                lambda: len(now := {worker.pid for worker in workers(server)}) == 2 and not now & before,
                what="only new workers",
            )
        with ImagesApi(server.url, None) as api:
            assert put(api, image_id, b"12345678901234567890") == 204
    finally:
        server.kill_all()


def put(api: ImagesApi, image_id: str, data: bytes) -> int:
    headers = {"Content-Type": "application/octet-stream"}
    return api.http.put(f"/v2/images/{image_id}/file", content=data, headers=headers).status_code
