"""Storage quotas of a real server with two workers, and kill -9 in between (spec: image-model §8)."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.config_file import configured_server
from tests.support.member import MIB, OCTETS, Member
from tests.support.remains import leases, stored_files
from tests.support.server import BlickServer
from tests.support.waiting import eventually
from tests.support.wire import Wire


@pytest.fixture
def small(tmp_path: Path) -> Iterator[BlickServer]:
    options = {"DEFAULT": {"user_storage_quota": "4MB", "workers": 2}, "paste_deploy": {"flavor": "trusted-headers"}}
    server = configured_server(tmp_path, options)
    with server:
        yield server
    server.kill_all()


@pytest.fixture
def caller(small: BlickServer) -> Iterator[Member]:
    with Member(small, "p1") as member:
        yield member


def test_kill_during_an_upload_gives_its_reservation_back(small: BlickServer, caller: Member) -> None:
    first, second = caller.image_id(), caller.image_id()
    head = {**caller.headers, **OCTETS, "Content-Length": str(4 * MIB)}
    with Wire(small.port) as wire:
        wire.head("PUT", f"/v2/images/{first}/file", head).send(b"x" * 3 * MIB)
        eventually(lambda: leases(small.data_dir) == 1, what="the upload has begun")
        assert caller.put(second, 1).status_code == 413
        small.kill()
    small.start()
    eventually(
        lambda: caller.http.get(f"/v2/images/{first}").json()["status"] == "queued",
        what="the image is queued again",
    )
    eventually(lambda: leases(small.data_dir) == 0, what="the lease has ended")
    assert stored_files(small.data_dir) == []
    assert caller.put(second, 4 * MIB).status_code == 204
    assert caller.put(first, 1).status_code == 413


def test_a_client_that_goes_away_gives_its_reservation_back(small: BlickServer, caller: Member) -> None:
    first, second = caller.image_id(), caller.image_id()
    head = {**caller.headers, **OCTETS, "Content-Length": str(4 * MIB)}
    with Wire(small.port) as wire:
        wire.head("PUT", f"/v2/images/{first}/file", head).send(b"x" * MIB)
        eventually(lambda: leases(small.data_dir) == 1, what="the upload has begun")
        assert caller.put(second, 1).status_code == 413
    eventually(lambda: caller.put(second, 4 * MIB).status_code == 204, what="room for another")


def test_racing_uploads_of_two_workers_share_one_quota(small: BlickServer, caller: Member) -> None:
    ids = [caller.image_id() for _ in range(6)]
    ready = threading.Barrier(6)

    def put(image_id: str) -> int:
        ready.wait(60)
        return caller.put(image_id, 2 * MIB).status_code

    with ThreadPoolExecutor(6) as threads:
        assert sorted(threads.map(put, ids)) == [204, 204, 413, 413, 413, 413]
    assert len(stored_files(small.data_dir)) == 2


def test_an_early_refusal_can_be_read(small: BlickServer, caller: Member) -> None:
    """Before the body is sent, and while it is."""
    image_id = caller.image_id()
    with Wire(small.port) as wire:
        head = {**caller.headers, **OCTETS, "Content-Length": str(5 * MIB), "Expect": "100-continue"}
        answer = wire.head("PUT", f"/v2/images/{image_id}/file", head).answer()
        assert answer.status == 413
        assert "user_storage_quota is over limit of 4194304" in answer.text
    with Wire(small.port) as wire:
        head = {**caller.headers, **OCTETS, "Transfer-Encoding": "chunked"}
        wire.head("PUT", f"/v2/images/{image_id}/file", head).chunk(b"x" * 5 * MIB)
        answer = wire.answer()
        assert answer.status == 413
        assert "user_storage_quota is over limit of 4194304" in answer.text
    eventually(
        lambda: caller.http.get(f"/v2/images/{image_id}").json()["status"] == "queued", what="the image is queued"
    )
    assert stored_files(small.data_dir) == []
