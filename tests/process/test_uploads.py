"""Uploads as they come over real sockets: whole, cut, wrong, slow, and several at once."""

import hashlib
import os
import threading
from collections.abc import Iterator

import pytest

from tests.support.config_file import configured_server
from tests.support.images_api import ImagesApi
from tests.support.remains import deletes, leases, stored_files
from tests.support.server import BlickServer
from tests.support.waiting import eventually
from tests.support.wire import Answer, Wire

RAW = {"disk_format": "raw", "container_format": "bare"}
MIB = 1 << 20


@pytest.fixture
def image_id(api: ImagesApi) -> str:
    """A queued image."""
    created: str = api.create(name="upload", **RAW)["id"]
    return created


def assert_untouched(server: BlickServer, api: ImagesApi, image_id: str) -> None:
    """The image is queued as if nothing had been sent, nothing of it is stored, and an upload works now."""
    eventually(lambda: api.show(image_id)["status"] == "queued", what="queued again")
    shown = api.show(image_id)
    assert (shown["size"], shown["checksum"], shown["os_hash_value"]) == (None, None, None)
    assert not [name for name in stored_files(server.data_dir) if image_id in name]
    assert put(server, api, image_id, b"good after all").status == 204
    assert api.show(image_id)["size"] == len(b"good after all")


def put(server: BlickServer, api: ImagesApi, image_id: str, data: bytes) -> Answer:
    with Wire(server.port) as wire:
        return wire.upload_head(api.token, image_id, content_length=str(len(data))).send(data).answer()


def test_a_body_with_a_length_arrives_as_it_was_sent(server: BlickServer, api: ImagesApi, image_id: str) -> None:
    data = os.urandom(5 * MIB + 12345)
    assert put(server, api, image_id, data).status == 204
    shown = api.show(image_id)
    assert shown["status"] == "active"
    assert shown["size"] == len(data)
    assert shown["checksum"] == hashlib.md5(data).hexdigest()
    assert shown["os_hash_value"] == hashlib.sha512(data).hexdigest()
    assert (server.data_dir / "images" / image_id).read_bytes() == data


@pytest.mark.parametrize("piece_bytes", [1, 1000, 65536, 3 * MIB])
def test_a_chunked_body_arrives_as_it_was_sent(
    server: BlickServer, api: ImagesApi, image_id: str, piece_bytes: int
) -> None:
    data = os.urandom(min(4 * MIB, 2000 * piece_bytes))
    with Wire(server.port) as wire:
        wire.upload_head(api.token, image_id, transfer_encoding="chunked")
        for begin in range(0, len(data), piece_bytes):
            wire.chunk(data[begin : begin + piece_bytes])
        assert wire.chunk(b"").answer().status == 204
    assert api.show(image_id)["os_hash_value"] == hashlib.sha512(data).hexdigest()


def test_the_connection_lives_on_after_an_upload(server: BlickServer, api: ImagesApi, image_id: str) -> None:
    with Wire(server.port) as wire:
        assert wire.upload_head(api.token, image_id, content_length="4").send(b"data").answer().status == 204
        answer = wire.head("GET", f"/v2/images/{image_id}/file", {"X-Auth-Token": api.token}).answer("GET")
    assert (answer.status, answer.body) == (200, b"data")


def test_a_client_that_sends_less_than_announced_and_ends(server: BlickServer, api: ImagesApi, image_id: str) -> None:
    with Wire(server.port) as wire:
        wire.upload_head(api.token, image_id, content_length=str(2 * MIB)).send(bytes(MIB))
        eventually(lambda: api.show(image_id)["status"] == "saving")
        wire.socket.shutdown(1)
        answer = wire.answer()
    assert answer.status == 400
    assert "complete" in answer.text
    assert_untouched(server, api, image_id)


def test_what_comes_behind_the_announced_length_is_not_data(server: BlickServer, api: ImagesApi, image_id: str) -> None:
    with Wire(server.port) as wire:
        wire.upload_head(api.token, image_id, content_length="4").send(b"dataand more\r\n\r\n")
        assert wire.answer().status == 204
        assert wire.answer().status == 400  # the rest was taken for a request
    assert api.show(image_id)["size"] == 4


@pytest.mark.parametrize(("announced", "word"), [(3, "longer"), (5, "shorter")])
def test_an_announced_image_size_that_is_wrong(
    server: BlickServer, api: ImagesApi, image_id: str, announced: int, word: str
) -> None:
    with Wire(server.port) as wire:
        wire.upload_head(api.token, image_id, transfer_encoding="chunked", x_openstack_image_size=str(announced))
        answer = wire.chunk(b"data").chunk(b"").answer()
    assert answer.status == 400
    assert word in answer.text
    assert_untouched(server, api, image_id)


def test_an_announced_image_size_other_than_the_length(server: BlickServer, api: ImagesApi, image_id: str) -> None:
    with Wire(server.port) as wire:
        wire.upload_head(api.token, image_id, content_length="4", x_openstack_image_size="4000").send(b"data")
        assert wire.answer().status == 400
    assert_untouched(server, api, image_id)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"5\r\nhello\r\nnot hex\r\n", id="no size"),
        pytest.param(b"5\r\nhello, world\r\n0\r\n\r\n", id="longer than its size"),
        pytest.param(b"-5\r\nhello\r\n0\r\n\r\n", id="negative size"),
        pytest.param(b"5\nhello\n0\n\n", id="bare line feeds"),
        pytest.param(b"ffffffffffffffffffff\r\nhello", id="absurd size"),
    ],
)
def test_broken_chunks(server: BlickServer, api: ImagesApi, image_id: str, body: bytes) -> None:
    with Wire(server.port) as wire:
        answer = wire.upload_head(api.token, image_id, transfer_encoding="chunked").send(body).answer()
        assert answer.status == 400
        assert wire.is_closed_by_server()
    assert_untouched(server, api, image_id)


def test_chunks_that_stop_before_their_end(server: BlickServer, api: ImagesApi, image_id: str) -> None:
    with Wire(server.port) as wire:
        wire.upload_head(api.token, image_id, transfer_encoding="chunked").chunk(bytes(MIB))
        wire.socket.shutdown(1)
        assert wire.answer().status == 400
    assert_untouched(server, api, image_id)


def test_the_body_is_asked_for_only_when_it_is_wanted(server: BlickServer, api: ImagesApi, image_id: str) -> None:
    with Wire(server.port) as wire:
        wire.upload_head(api.token, image_id, content_length="4", expect="100-continue")
        assert wire.read_head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert api.show(image_id)["status"] == "saving"
        assert wire.send(b"data").answer().status == 204
    with Wire(server.port) as wire:
        answer = wire.upload_head(api.token, image_id, content_length="4", expect="100-continue").answer()
        assert answer.status == 409
    assert api.show(image_id)["size"] == 4


@pytest.mark.parametrize("path", ["no-such-image", "00000000-0000-4000-8000-000000000000"])
def test_an_upload_to_nothing_is_not_read(server: BlickServer, api: ImagesApi, path: str) -> None:
    with Wire(server.port) as wire:
        answer = wire.upload_head(api.token, path, content_length=str(100 << 30), expect="100-continue").answer()
    assert answer.status == 404


def test_a_conflict_can_be_read_by_a_client_that_goes_on_sending(
    server: BlickServer, api: ImagesApi, image_id: str
) -> None:
    assert put(server, api, image_id, b"first").status == 204
    with Wire(server.port) as wire:
        wire.upload_head(api.token, image_id, content_length=str(64 * MIB))
        for _ in range(64):
            wire.send(bytes(MIB))
        answer = wire.answer()
    assert answer.status == 409
    assert "active" in answer.text
    with Wire(server.port) as wire:
        wire.upload_head(api.token, image_id, transfer_encoding="chunked")
        for _ in range(64):
            wire.chunk(bytes(MIB))
        assert wire.chunk(b"").answer().status == 409
    assert (server.data_dir / "images" / image_id).read_bytes() == b"first"


def test_two_uploads_to_one_image_at_once(server: BlickServer, api: ImagesApi, image_id: str) -> None:
    with Wire(server.port) as first, Wire(server.port) as second:
        first.upload_head(api.token, image_id, content_length="8").send(b"fir")
        second.upload_head(api.token, image_id, content_length="8").send(b"sec")
        for wire in (first, second):
            wire.send_as_long_as_taken(b"-----")
        statuses = [first.answer().status, second.answer().status]
    assert sorted(statuses) == [204, 409]
    winner = b"fir-----" if statuses[0] == 204 else b"sec-----"
    assert (server.data_dir / "images" / image_id).read_bytes() == winner
    assert leases(server.data_dir) == 0


def test_many_uploads_to_one_image_at_once_leave_one_whole(server: BlickServer, api: ImagesApi, image_id: str) -> None:
    bodies = [bytes([number]) * MIB for number in range(8)]
    answers: dict[int, int] = {}
    barrier = threading.Barrier(len(bodies))

    def upload(number: int) -> None:
        barrier.wait()
        answers[number] = put(server, api, image_id, bodies[number]).status

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers.values()) == [204] + [409] * (len(bodies) - 1)
    (winner,) = (number for number, status in answers.items() if status == 204)
    assert (server.data_dir / "images" / image_id).read_bytes() == bodies[winner]


def test_an_image_that_is_deleted_while_its_data_comes(server: BlickServer, api: ImagesApi, image_id: str) -> None:
    with Wire(server.port) as wire:
        wire.upload_head(api.token, image_id, content_length=str(2 * MIB)).send(bytes(MIB))
        eventually(lambda: api.show(image_id)["status"] == "saving")
        api.delete(image_id)
        assert api.http.get(f"/v2/images/{image_id}").status_code == 404
        answer = wire.send(bytes(MIB)).answer()
    assert answer.status == 410
    assert not [name for name in stored_files(server.data_dir) if image_id in name]
    assert leases(server.data_dir) == deletes(server.data_dir) == 0


@pytest.mark.parametrize("framing", [{"content_length": str(8 * MIB)}, {"transfer_encoding": "chunked"}])
def test_a_client_that_vanishes(server: BlickServer, api: ImagesApi, image_id: str, framing: dict[str, str]) -> None:
    with Wire(server.port) as wire:
        wire.upload_head(api.token, image_id, **framing)
        (wire.chunk if "transfer_encoding" in framing else wire.send)(bytes(3 * MIB))
        eventually(lambda: api.show(image_id)["status"] == "saving")
        wire.reset()
    assert_untouched(server, api, image_id)
    assert leases(server.data_dir) == 0


def test_slow_clients_keep_nobody_waiting(server: BlickServer, api: ImagesApi) -> None:
    slow = [api.create(name=f"slow {number}", **RAW)["id"] for number in range(60)]
    wires = [Wire(server.port) for _ in slow]
    try:
        for wire, image_id in zip(wires, slow, strict=True):
            wire.upload_head(api.token, image_id, content_length="3").send(b"a")
        eventually(lambda: all(api.show(image_id)["status"] == "saving" for image_id in slow))
        assert api.http.get("/v2/images").status_code == 200
        quick = api.create(name="quick", **RAW)["id"]
        assert put(server, api, quick, bytes(4 * MIB)).status == 204
        for wire in wires:
            wire.send(b"b")
        for wire in wires:
            assert wire.send(b"c").answer().status == 204
    finally:
        for wire in wires:
            wire.close()
    for image_id in slow:
        assert (server.data_dir / "images" / image_id).read_bytes() == b"abc"


@pytest.fixture(scope="module")
def capped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BlickServer, ImagesApi]]:
    """A server that takes images of 1 MiB at most."""
    folder = tmp_path_factory.mktemp("capped")
    with (
        configured_server(folder, {"DEFAULT": {"image_size_cap": MIB}}) as server,
        ImagesApi(server.url, None) as api,
    ):
        yield server, api


def test_a_hundred_gigabytes_are_refused_before_they_are_sent(capped: tuple[BlickServer, ImagesApi]) -> None:
    server, api = capped
    image_id = api.create(name="too large", **RAW)["id"]
    with Wire(server.port) as wire:
        wire.upload_head("", image_id, content_length=str(100 << 30))
        wire.send(bytes(64 * MIB))  # and more would follow
        answer = wire.answer()
    assert answer.status == 413
    assert str(MIB) in answer.text
    assert_untouched(server, api, image_id)


def test_a_body_of_unknown_size_is_refused_once_it_is_too_large(capped: tuple[BlickServer, ImagesApi]) -> None:
    server, api = capped
    image_id = api.create(name="too large", **RAW)["id"]
    with Wire(server.port) as wire:
        wire.upload_head("", image_id, transfer_encoding="chunked")
        for _ in range(64):
            wire.chunk(bytes(MIB))
        assert wire.chunk(b"").answer().status == 413
    assert_untouched(server, api, image_id)


def test_an_image_as_large_as_is_allowed(capped: tuple[BlickServer, ImagesApi]) -> None:
    server, api = capped
    image_id = api.create(name="just right", **RAW)["id"]
    assert put(server, api, image_id, bytes(MIB)).status == 204
    assert api.show(image_id)["size"] == MIB
