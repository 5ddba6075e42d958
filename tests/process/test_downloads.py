"""Downloads over real sockets: whole and in parts, to quick, slow and vanishing clients."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
import pytest

from tests.support.images_api import ImagesApi
from tests.support.server import BlickServer
from tests.support.waiting import eventually
from tests.support.wire import Answer, Wire

RAW = {"disk_format": "raw", "container_format": "bare"}
MIB = 1 << 20
SIZE = 24 * MIB + 777
"""More than all socket buffers hold, so that a client that does not read stops the server."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An active image, and what is in it."""

    id: str
    data: bytes

    @property
    def path(self) -> str:
        return f"/v2/images/{self.id}/file"


@pytest.fixture(scope="module")
def stored(server: BlickServer) -> Stored:
    data = os.urandom(SIZE)
    with ImagesApi(server.url, server.clouds()["blick"]["auth"]) as api:
        image_id = api.create(name="stored", **RAW)["id"]
        assert api.http.put(
            f"/v2/images/{image_id}/file", content=data, headers={"Content-Type": "application/octet-stream"}
        ).is_success
    return Stored(image_id, data)


@pytest.fixture
def wire(server: BlickServer) -> Iterator[Wire]:
    with Wire(server.port) as opened:
        yield opened


def get(wire: Wire, api: ImagesApi, stored: Stored, **headers: str) -> Answer:
    return wire.head("GET", stored.path, {"X-Auth-Token": api.token} | headers).answer("GET")


def test_the_whole(wire: Wire, api: ImagesApi, stored: Stored) -> None:
    answer = get(wire, api, stored)
    assert answer.status == 200
    assert answer.headers["content-length"] == str(SIZE)
    assert answer.headers["content-md5"] == hashlib.md5(stored.data).hexdigest()
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.body == stored.data


@pytest.mark.parametrize(
    ("asked", "begin", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-999", 0, 1000),
        (f"bytes={MIB}-{3 * MIB}", MIB, 3 * MIB + 1),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
        ("bytes=-5", SIZE - 5, SIZE),
        (f"bytes=1000-{SIZE * 2}", 1000, SIZE),
    ],
)
def test_a_part(wire: Wire, api: ImagesApi, stored: Stored, asked: str, begin: int, end: int) -> None:
    answer = get(wire, api, stored, Range=asked)
    assert answer.status == 206
    assert answer.headers["content-range"] == f"bytes {begin}-{end - 1}/{SIZE}"
    assert answer.headers["content-length"] == str(end - begin)
    assert answer.body == stored.data[begin:end]


def test_a_part_outside(wire: Wire, api: ImagesApi, stored: Stored) -> None:
    answer = get(wire, api, stored, Range=f"bytes={SIZE}-")
    assert answer.status == 416
    assert answer.headers["content-range"] == f"bytes */{SIZE}"
    assert get(wire, api, stored, Range="bytes=0-3").body == stored.data[:4], "the connection lives on"


def test_part_after_part_on_one_connection(wire: Wire, api: ImagesApi, stored: Stored) -> None:
    step = SIZE // 10 + 1
    parts = [get(wire, api, stored, Range=f"bytes={begin}-{begin + step - 1}").body for begin in range(0, SIZE, step)]
    assert b"".join(parts) == stored.data


def test_requests_that_are_sent_ahead(wire: Wire, api: ImagesApi, stored: Stored) -> None:
    for begin in (0, MIB, 2 * MIB):
        wire.head("GET", stored.path, {"X-Auth-Token": api.token, "Range": f"bytes={begin}-{begin + MIB - 1}"})
    for begin in (0, MIB, 2 * MIB):
        assert wire.answer("GET").body == stored.data[begin : begin + MIB]


def test_a_client_that_reads_slowly(server: BlickServer, api: ImagesApi, stored: Stored) -> None:
    with Wire(server.port, receive_buffer_bytes=4096) as slow:
        slow.head("GET", stored.path, {"X-Auth-Token": api.token})
        assert slow.read_head().startswith(b"HTTP/1.1 200 ")
        begin = slow.read_exactly(1000)
        with Wire(server.port) as quick:
            assert get(quick, api, stored).body == stored.data
        assert begin + slow.read_exactly(SIZE - 1000) == stored.data


def test_many_clients_that_do_not_read_at_all(server: BlickServer, api: ImagesApi, stored: Stored) -> None:
    wires = [Wire(server.port, receive_buffer_bytes=4096) for _ in range(60)]
    try:
        for wire in wires:
            wire.head("GET", stored.path, {"X-Auth-Token": api.token})
        for wire in wires:
            assert wire.read_head().startswith(b"HTTP/1.1 200 ")
        assert api.http.get("/v2/images").status_code == 200
        with Wire(server.port) as quick:
            assert get(quick, api, stored).body == stored.data
    finally:
        for wire in wires:
            wire.reset()


def test_clients_that_vanish_leave_no_open_file(server: BlickServer, api: ImagesApi, stored: Stored) -> None:
    for _ in range(20):
        with Wire(server.port, receive_buffer_bytes=4096) as wire:
            wire.head("GET", stored.path, {"X-Auth-Token": api.token})
            assert wire.read_head().startswith(b"HTTP/1.1 200 ")
            wire.reset()
    process = psutil.Process(server.process.pid)
    eventually(lambda: not [file for file in process.open_files() if stored.id in file.path], what="all files closed")


def test_an_image_that_is_deleted_while_it_is_read(server: BlickServer, api: ImagesApi) -> None:
    data = os.urandom(SIZE)
    image_id = api.create(name="short-lived", **RAW)["id"]
    assert api.http.put(
        f"/v2/images/{image_id}/file", content=data, headers={"Content-Type": "application/octet-stream"}
    ).is_success
    with Wire(server.port, receive_buffer_bytes=4096) as wire:
        wire.head("GET", f"/v2/images/{image_id}/file", {"X-Auth-Token": api.token})
        assert wire.read_head().startswith(b"HTTP/1.1 200 ")
        api.delete(image_id)
        assert not (server.data_dir / "images" / image_id).exists()
        assert wire.read_exactly(SIZE) == data


def test_an_image_without_data(wire: Wire, api: ImagesApi) -> None:
    image_id = api.create(name="empty", **RAW)["id"]
    answer = wire.head("GET", f"/v2/images/{image_id}/file", {"X-Auth-Token": api.token}).answer("GET")
    assert (answer.status, answer.body) == (204, b"")
