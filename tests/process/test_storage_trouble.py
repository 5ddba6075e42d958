"""The disk is full, read-only, or lost a file: the client is told, the image stays usable, nothing is left behind."""

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.process.conftest import ServerFactory
from tests.support.config_file import configured_server
from tests.support.confined import (
    become_read_only,
    obeying_permissions,
    with_files_up_to,
    with_mount_point,
    with_small_disk_at,
)
from tests.support.images_api import ImagesApi
from tests.support.remains import DATABASE, STORE, leases, stored_files
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
        assert api.http.get(f"/v2/images/{kept}/file").status_code == 503  # out of reach, which is not missing
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


BIG = bytes(range(256)) * (64 * MIB // 256)


@pytest.fixture
def two_stores(tmp_path: Path) -> Iterator[BlickServer]:
    """A server that prefers the store quick and keeps copies in the store safe."""
    server = configured_server(
        tmp_path / "blick",
        {
            "DEFAULT": {"enabled_backends": "quick:file, safe:file"},
            "glance_store": {"default_backend": "quick"},
            "quick": {"filesystem_store_datadir": tmp_path / "quick", "weight": 10},
            "safe": {"filesystem_store_datadir": tmp_path / "safe"},
        },
    )
    with server:
        yield server


def with_two_copies(server: BlickServer, folder: Path, data: bytes) -> str:
    """An image that lies in both stores."""
    with ImagesApi(server.url, None) as api:
        image_id = str(api.create(**RAW)["id"])
        assert put(server, api, image_id, data).status == 204
    shutil.copyfile(folder / "quick" / image_id, folder / "safe" / image_id)
    with closing(sqlite3.connect(server.data_dir / DATABASE)) as connection, connection:
        connection.execute(
            "INSERT INTO image_locations (image_id, value, meta_data, status, created_at, updated_at, deleted) "
            "SELECT image_id, ?, ?, status, created_at, updated_at, deleted "
            "FROM image_locations WHERE image_id = ?",
            (f"file://{folder}/safe/{image_id}", '{"store": "safe"}', image_id),
        )
    return image_id


def test_a_file_that_is_cut_while_it_is_sent_is_continued_from_the_other_store(
    two_stores: BlickServer, tmp_path: Path
) -> None:
    image_id = with_two_copies(two_stores, tmp_path, BIG)
    with httpx.stream("GET", f"{two_stores.url}/v2/images/{image_id}/file", timeout=120) as answer:
        pieces = answer.iter_raw()
        received = bytearray(next(pieces))
        # Behind what the connection holds, a few megabytes: pages on their way would turn to zeros under it.
        os.truncate(tmp_path / "quick" / image_id, len(BIG) // 2)
        for piece in pieces:
            received += piece
    assert hashlib.sha256(received).digest() == hashlib.sha256(BIG).digest()
    assert "cannot be read" in two_stores.log_text()


def test_a_file_that_is_cut_without_another_copy_ends_the_connection(two_stores: BlickServer, tmp_path: Path) -> None:
    with ImagesApi(two_stores.url, None) as api:
        image_id = str(api.create(**RAW)["id"])
        assert put(two_stores, api, image_id, BIG).status == 204
    with httpx.stream("GET", f"{two_stores.url}/v2/images/{image_id}/file", timeout=120) as answer:
        pieces = answer.iter_raw()
        next(pieces)
        os.truncate(tmp_path / "quick" / image_id, len(BIG) // 2)
        with pytest.raises(httpx.RemoteProtocolError):
            for _ in pieces:
                pass
    assert "the stored data ended early" in two_stores.log_text()
