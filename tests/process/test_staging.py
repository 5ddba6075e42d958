"""Staging in a real server: killed, filled up, left alone by its clients, and started anew (spec: addendum)."""

import os
import signal
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.process.conftest import ServerFactory
from tests.support.confined import obeying_permissions, with_files_up_to, with_small_disk_at
from tests.support.databases import Databases, on_every_engine
from tests.support.images_api import ImagesApi
from tests.support.import_world import STORES, ImportWorld, caller
from tests.support.remains import STAGING, leases, rows, staged_files, stored_files
from tests.support.server import HOST, BlickServer
from tests.support.waiting import eventually
from tests.support.web_server import WebServer
from tests.support.wire import Answer, Wire

RAW = {"disk_format": "raw", "container_format": "bare"}
MIB = 1 << 20
DISK_BYTES = 8 * MIB
AT_ONCE = 12


def log_in(server: BlickServer) -> ImagesApi:
    return ImagesApi(server.url, server.clouds()["blick"]["auth"])


def begin(wire: Wire, api: ImagesApi, image_id: str, **headers: str) -> Wire:
    """The head of a request that stages data; `headers` as in Wire.upload_head."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    usual = {"X-Auth-Token": api.token, "Content-Type": "application/octet-stream"}
    return wire.head("PUT", f"/v2/images/{image_id}/stage", usual | named)


def stage(server: BlickServer, api: ImagesApi, image_id: str, data: bytes) -> Answer:
    """Stage with a length."""
    with Wire(server.port) as wire:
        return begin(wire, api, image_id, content_length=str(len(data))).send(data).answer()


def stage_chunked(server: BlickServer, api: ImagesApi, image_id: str, data: bytes) -> Answer:
    """Stage without saying how much it will be."""
    with Wire(server.port) as wire:
        begin(wire, api, image_id, transfer_encoding="chunked")
        for start in range(0, len(data), MIB):
            wire.chunk(data[start : start + MIB])
        return wire.chunk(b"").answer()


def statuses(api: ImagesApi, ids: Sequence[str]) -> set[str]:
    return {api.show(image_id)["status"] for image_id in ids}


@contextmanager
def stagings_under_way(
    server: BlickServer, api: ImagesApi, ids: Sequence[str], *, beside: int = 0
) -> Iterator[list[Wire]]:
    """One staging of each image, of which the server holds the first mebibytes; half of them with a length.

    `beside`: so many images are staged already.
    """
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(server.port)) for _ in ids]
        for number, (wire, image_id) in enumerate(zip(wires, ids, strict=True)):
            if number % 2:
                begin(wire, api, image_id, content_length=str(64 * MIB)).send(os.urandom(3 * MIB))
            else:
                begin(wire, api, image_id, transfer_encoding="chunked").chunk(os.urandom(3 * MIB))
        eventually(lambda: statuses(api, ids) == {"uploading"}, what="every staging has begun")
        eventually(lambda: len(staged_files(server.data_dir)) == len(ids) + beside, what="a partial file of each")
        yield wires


def assert_nothing_happened(server: BlickServer, api: ImagesApi, ids: Sequence[str]) -> None:
    """All images are queued with nothing recorded and nothing staged, and take data."""
    eventually(lambda: statuses(api, ids) == {"queued"}, what="all images are queued")
    eventually(lambda: staged_files(server.data_dir) == [], what="nothing is left")
    assert leases(server.data_dir) == 0
    for image_id in ids:
        assert api.show(image_id)["size"] is None
        assert stage(server, api, image_id, b"again").status == 204
    assert staged_files(server.data_dir) == sorted(ids)


@pytest.mark.parametrize("workers", [1, 2])
def test_kill_in_the_middle(make_server: ServerFactory, workers: int) -> None:
    server = make_server(arguments=["--workers", str(workers)]).start()
    with log_in(server) as api:
        ids = [api.create(name=f"image {number}", **RAW)["id"] for number in range(AT_ONCE)]
        staged = api.create(name="staged", **RAW)["id"]
        assert stage(server, api, staged, b"data").status == 204
        staged_path = server.data_dir / STAGING / staged
        with stagings_under_way(server, api, ids, beside=1):
            server.kill(signal.SIGKILL)
    assert len(staged_files(server.data_dir)) == AT_ONCE + 1  # it had no chance to clean up
    server.start()
    with log_in(server) as api:
        eventually(lambda: statuses(api, ids) == {"queued"}, what="all images are queued")
        eventually(lambda: staged_files(server.data_dir) == [staged], what="only what was staged is left")
        assert staged_path.read_bytes() == b"data"
        assert (api.show(staged)["status"], api.show(staged)["size"]) == ("uploading", 4)
        api.delete(staged)
        assert_nothing_happened(server, api, ids)


def test_clients_that_go_away(make_server: ServerFactory) -> None:
    server = make_server().start()
    with log_in(server) as api:
        ids = [api.create(name=f"image {number}", **RAW)["id"] for number in range(AT_ONCE)]
        with stagings_under_way(server, api, ids) as wires:
            for number, wire in enumerate(wires):
                if number % 3:
                    wire.reset()
                else:
                    wire.close()
            assert_nothing_happened(server, api, ids)


def test_a_server_that_is_stopped(make_server: ServerFactory) -> None:
    server = make_server().start()
    with log_in(server) as api:
        ids = [api.create(name=f"image {number}", **RAW)["id"] for number in range(4)]
        with stagings_under_way(server, api, ids):
            server.stop()
    assert staged_files(server.data_dir) == []
    server.start()
    with log_in(server) as api:
        assert_nothing_happened(server, api, ids)


def with_limit(folder: Path) -> list[str]:
    return with_files_up_to(DISK_BYTES)


def with_disk(folder: Path) -> list[str]:
    return with_small_disk_at(folder, DISK_BYTES)


@pytest.mark.parametrize("send", [stage, stage_chunked])
@pytest.mark.parametrize(
    "confine",
    [pytest.param(with_limit, id="limit"), pytest.param(with_disk, id="disk", marks=pytest.mark.needs("mounts"))],
)
def test_a_full_disk(
    make_server: ServerFactory,
    confine: Callable[[Path], list[str]],
    send: Callable[[BlickServer, ImagesApi, str, bytes], Answer],
) -> None:
    server = make_server()
    (server.data_dir / STAGING).mkdir(parents=True)
    server.prefix = tuple(confine(server.data_dir / STAGING))
    server.start()
    seen = Path(f"/proc/{server.process.pid}/root{server.data_dir}")
    with log_in(server) as api:
        image_id = api.create(name="too large", **RAW)["id"]
        answer = send(server, api, image_id, b"\1" * (2 * DISK_BYTES))
        assert answer.status == 413
        assert str(server.data_dir) not in answer.text
        eventually(lambda: api.show(image_id)["status"] == "queued")
        assert api.show(image_id)["size"] is None
        assert staged_files(seen) == []
        assert leases(server.data_dir) == 0
        assert send(server, api, image_id, b"fits").status == 204
        assert (seen / STAGING / image_id).read_bytes() == b"fits"


def test_a_folder_that_may_not_be_written(make_server: ServerFactory) -> None:
    server = make_server(prefix=obeying_permissions()).start()
    folder = server.data_dir / STAGING
    with log_in(server) as api:
        image_id = api.create(name="refused", **RAW)["id"]
        folder.chmod(0o500)
        try:
            for send in (stage, stage_chunked):
                answer = send(server, api, image_id, b"data" * MIB)
                assert answer.status == 503
                assert str(server.data_dir) not in answer.text
                eventually(lambda: api.show(image_id)["status"] == "queued")
                assert leases(server.data_dir) == 0
        finally:
            folder.chmod(0o700)
        assert stage(server, api, image_id, b"data").status == 204


def test_what_is_left_over_goes_at_the_start(make_server: ServerFactory) -> None:
    server = make_server().start()
    with log_in(server) as api:
        live, dead = [api.create(name="x", **RAW)["id"] for _ in range(2)]
        assert stage(server, api, live, b"live").status == 204
        api.delete(dead)
    server.stop()
    folder = server.data_dir / STAGING
    unknown = str(uuid.uuid4())
    for name in (dead, f"{dead}.qcow2", f"{dead}.uc", f".blick-{dead}.part", unknown, f"{unknown}.qcow2"):
        (folder / name).write_bytes(b"x")
    foreign = ["notes.txt", f"{unknown}-copy", "lost+found"]
    for name in foreign:
        (folder / name).write_bytes(b"x")
    (folder / f"{live}.uc").write_bytes(b"x")
    server.start()
    kept = sorted([live, f"{live}.uc", *foreign])
    eventually(lambda: staged_files(server.data_dir) == kept, what=lambda: str(staged_files(server.data_dir)))
    assert (folder / live).read_bytes() == b"live"
    with log_in(server) as api:
        assert api.show(live)["status"] == "uploading"
        assert api.http.delete(f"/v2/images/{live}").status_code == 204
    assert live not in staged_files(server.data_dir)
    assert stored_files(server.data_dir) == []
    assert rows(server.data_dir, "blick_staged_data") == 0


@on_every_engine
def test_nodes_that_stage_in_a_store(engine: str, databases: Databases, tmp_path: Path) -> None:
    """What one node staged the other imports, without asking it; what a killed one left is gone, and no orphan."""
    url = databases.fresh(engine, tmp_path)
    groups = {"blick": {"staging_store": STORES[0], "trusted_proxies": HOST}}
    with WebServer() as web, ExitStack() as running:

        def host(name: str) -> ImportWorld:
            made = ImportWorld(
                tmp_path / name, url, web, workers=1, job_workers=0, shared=tmp_path / "shared", groups=groups,
                shares_staging=False,
            )  # fmt: skip
            running.callback(made.kill_all)
            made.start()
            return made

        here, there = host("here"), host("there")
        folder = here.store_folder(STORES[0])
        headers = caller("p") | {"Content-Type": "application/octet-stream"}
        with httpx.Client(base_url=there.url, headers=caller("p"), timeout=120, trust_env=False) as api:
            ids = [api.post("/v2/images", json=RAW).json()["id"] for _ in range(3)]
            staged, broken = ids[0], ids[1:]
            with httpx.Client(base_url=here.url, headers=headers, timeout=120, trust_env=False) as other:
                assert other.put(f"/v2/images/{staged}/stage", content=b"data").status_code == 204
            wires = [running.enter_context(Wire(here.port)) for _ in broken]
            for wire, image_id in zip(wires, broken, strict=True):
                wire.head("PUT", f"/v2/images/{image_id}/stage", headers | {"Transfer-Encoding": "chunked"})
                wire.chunk(os.urandom(3 * MIB))
            eventually(lambda: len(list(folder.iterdir())) == 3, what="one whole object and two partial ones")
            here.server.kill(signal.SIGKILL)
            direct = {"method": {"name": "glance-direct"}, "stores": [STORES[1]]}
            assert api.post(f"/v2/images/{staged}/import", json=direct).status_code == 202
            eventually(lambda: api.get(f"/v2/images/{staged}").json()["status"] == "active", what=there.log_texts)
            assert api.get(f"/v2/images/{staged}/file").content == b"data"
            # The neighbour cleans up behind the dead one.
            eventually(lambda: {api.get(f"/v2/images/{each}").json()["status"] for each in broken} == {"queued"})
            eventually(lambda: list(folder.iterdir()) == [], what="nothing that was staged is left")
            eventually(lambda: there.count("SELECT count(*) FROM blick_staged_data") == 0)
            status, document, _ = there.check_stores()
            assert (status, document["findings"]) == (0, [])
            assert not here.staged()
