"""The disk is full, read-only, or lost a file: the client is told, the image stays usable, nothing is left behind."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.conftest import ServerFactory
from tests.support.confined import (
    become_read_only,
    obeying_permissions,
    with_files_up_to,
    with_mount_point,
    with_small_disk_at,
)
from tests.support.images_api import ImagesApi
from tests.support.remains import STORE, leases, stored_files
from tests.support.server import BlickServer
from tests.support.waiting import eventually
from tests.support.wire import Answer, Wire

RAW = {"disk_format": "raw", "container_format": "bare"}
MIB = 1 << 20
DISK_BYTES = 8 * MIB


def log_in(server: BlickServer) -> ImagesApi:
    return ImagesApi(server.url, server.clouds()["blick"]["auth"])


def put(server: BlickServer, api: ImagesApi, image_id: str, data: bytes) -> Answer:
    """Upload with a length."""
    with Wire(server.port) as wire:
        return wire.upload_head(api.token, image_id, content_length=str(len(data))).send(data).answer()


def put_chunked(server: BlickServer, api: ImagesApi, image_id: str, data: bytes) -> Answer:
    """Upload without saying how much it will be."""
    with Wire(server.port) as wire:
        wire.upload_head(api.token, image_id, transfer_encoding="chunked")
        for begin in range(0, len(data), MIB):
            wire.chunk(data[begin : begin + MIB])
        return wire.chunk(b"").answer()


def with_limit(folder: Path) -> list[str]:
    return with_files_up_to(DISK_BYTES)


def with_disk(folder: Path) -> list[str]:
    return with_small_disk_at(folder, DISK_BYTES)


@pytest.mark.parametrize("upload", [put, put_chunked])
@pytest.mark.parametrize(
    "confine",
    [pytest.param(with_limit, id="limit"), pytest.param(with_disk, id="disk", marks=pytest.mark.needs("mounts"))],
)
def test_a_full_disk(
    make_server: ServerFactory,
    confine: Callable[[Path], list[str]],
    upload: Callable[[BlickServer, ImagesApi, str, bytes], Answer],
) -> None:
    server = make_server()
    (server.data_dir / STORE).mkdir(parents=True)
    server.prefix = confine(server.data_dir / STORE)
    server.start()
    # What the server sees, also where nobody else does.
    seen = Path(f"/proc/{server.process.pid}/root{server.data_dir}")
    with log_in(server) as api:
        image_id = api.create(name="too large", **RAW)["id"]
        answer = upload(server, api, image_id, b"\1" * (2 * DISK_BYTES))
        assert answer.status == 413
        assert "room" in answer.text or "No space left" in answer.text or "too large" in answer.text
        eventually(lambda: api.show(image_id)["status"] == "queued")
        assert api.show(image_id)["size"] is None
        assert stored_files(seen) == []
        assert leases(server.data_dir) == 0
        assert upload(server, api, image_id, b"fits").status == 204
        assert api.http.get(f"/v2/images/{image_id}/file").content == b"fits"


def assert_refused_and_queued(server: BlickServer, api: ImagesApi, image_id: str) -> None:
    for upload in (put, put_chunked):
        answer = upload(server, api, image_id, b"data" * MIB)
        assert answer.status == 503
        assert "file: " in answer.text  # the store, by its name
        assert str(server.data_dir) not in answer.text
        eventually(lambda: api.show(image_id)["status"] == "queued")
        assert leases(server.data_dir) == 0


def test_a_folder_that_may_not_be_written_any_more(make_server: ServerFactory) -> None:
    server = make_server(prefix=obeying_permissions()).start()
    folder = server.data_dir / STORE
    with log_in(server) as api:
        kept = api.create(name="kept", **RAW)["id"]
        assert put(server, api, kept, b"kept").status == 204
        image_id = api.create(name="refused", **RAW)["id"]
        folder.chmod(0o500)
        try:
            assert_refused_and_queued(server, api, image_id)
            assert api.http.get(f"/v2/images/{kept}/file").content == b"kept"
        finally:
            folder.chmod(0o700)
        assert put(server, api, image_id, b"data").status == 204
        assert stored_files(server.data_dir) == sorted([kept, image_id])


@pytest.mark.needs("mounts")
def test_a_file_system_that_became_read_only(make_server: ServerFactory) -> None:
    server = make_server()
    (server.data_dir / STORE).mkdir(parents=True)
    server.prefix = with_mount_point(server.data_dir / STORE)
    server.start()
    with log_in(server) as api:
        image_id = api.create(name="refused", **RAW)["id"]
        become_read_only(server.process.pid, server.data_dir / STORE)
        assert_refused_and_queued(server, api, image_id)


def test_a_folder_that_vanished(make_server: ServerFactory) -> None:
    server = make_server().start()
    folder = server.data_dir / STORE
    with log_in(server) as api:
        kept = api.create(name="kept", **RAW)["id"]
        assert put(server, api, kept, b"kept").status == 204
        image_id = api.create(name="refused", **RAW)["id"]
        folder.rename(folder.with_name("elsewhere"))
        assert put(server, api, image_id, b"data").status == 503
        assert api.http.get(f"/v2/images/{kept}/file").status_code == 404
        api.delete(kept)
        folder.with_name("elsewhere").rename(folder)
        eventually(lambda: api.show(image_id)["status"] == "queued", within_s=120)
        assert put(server, api, image_id, b"data").status == 204
        eventually(
            lambda: stored_files(server.data_dir) == [image_id], within_s=120, what="the deletion is made up for"
        )


def test_data_that_was_removed_under_an_image(make_server: ServerFactory) -> None:
    server = make_server().start()
    with log_in(server) as api:
        image_id = api.create(name="lost", **RAW)["id"]
        assert put(server, api, image_id, b"data").status == 204
        (server.data_dir / STORE / image_id).unlink()
        answer = api.http.get(f"/v2/images/{image_id}/file")
        assert answer.status_code == 404
        assert image_id in answer.text
        assert "missing" in answer.text
        assert "file" in answer.text
        assert api.show(image_id)["status"] == "active"
        api.delete(image_id)
    assert image_id in server.log_text()


def test_data_that_was_cut_under_an_image(make_server: ServerFactory) -> None:
    server = make_server().start()
    with log_in(server) as api:
        image_id = api.create(name="cut", **RAW)["id"]
        assert put(server, api, image_id, b"data" * 1000).status == 204
        with (server.data_dir / STORE / image_id).open("r+b") as file:
            file.truncate(100)
        answer = api.http.get(f"/v2/images/{image_id}/file")
        assert answer.status_code >= 500
        assert "100 bytes" in answer.text
