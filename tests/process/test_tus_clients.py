"""Resumable uploads by others' clients, while the server is killed under them (docs/resumable-upload.md)."""

import hashlib
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.process.conftest import ServerFactory
from tests.support.breaking_line import BreakingLine, breaking_line
from tests.support.images_api import ImagesApi
from tests.support.remains import STAGING, STORE, open_jobs, rows, stored_files
from tests.support.server import BlickServer
from tests.support.tus_clients import TusClient
from tests.support.waiting import eventually

MIB = 1 << 20
RAW = {"disk_format": "raw", "container_format": "bare"}
QCOW2 = {"disk_format": "qcow2", "container_format": "bare"}
SIZE_BYTES = 200 * MIB
KILLS = 3
ROUNDS = 6

each_client = pytest.mark.parametrize(
    "kind",
    [
        pytest.param("tuspy", marks=pytest.mark.needs("tuspy")),
        pytest.param("tus-js-client", marks=pytest.mark.needs("tus-js-client")),
    ],
)
Begin = Callable[..., TusClient]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is uploaded: looks like nothing."""
    path = tmp_path_factory.mktemp("data") / "image"
    path.write_bytes(bytes(4096) + random.Random(7).randbytes(SIZE_BYTES - 4096))
    return path


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Makes clients, which end with the test."""
    with ExitStack() as stack:

        def make(kind: str, base_url: str, api: ImagesApi, image_id: str, file: Path, **options: Any) -> TusClient:
            client = TusClient(kind, f"{base_url}/v2/images/{image_id}/upload", api.token, file, **options)
            stack.callback(client.kill)
            return client

        yield make


def log_in(server: BlickServer) -> ImagesApi:
    return ImagesApi(server.url, server.clouds()["blick"]["auth"])


def digest_of(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha512").hexdigest()


def staged(server: BlickServer) -> list[Path]:
    folder = server.data_dir / STAGING
    return sorted(folder.iterdir()) if folder.exists() else []


def arrived_bytes(server: BlickServer) -> int:
    """How much lies where data comes to lie."""
    return sum(size_of(path) for folder in (STAGING, STORE) for path in (server.data_dir / folder).glob("*"))


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def require_image(server: BlickServer, api: ImagesApi, image_id: str, file: Path) -> None:
    """Active, with exactly the file's data; nothing else is left anywhere, nothing is under way."""
    eventually(lambda: api.show(image_id)["status"] == "active", what=lambda: str(api.show(image_id)))
    shown = api.show(image_id)
    digest = digest_of(file)
    assert (shown["size"], shown["os_hash_algo"], shown["os_hash_value"]) == (file.stat().st_size, "sha512", digest)
    assert digest_of(server.data_dir / "images" / image_id) == digest
    eventually(lambda: staged(server) == [], what=lambda: f"nothing is staged any more: {staged(server)}")
    assert stored_files(server.data_dir) == [image_id]
    assert open_jobs(server.data_dir) == 0
    assert "Traceback" not in server.log_text()


def kill_in_the_middle(server: BlickServer, line: BreakingLine, next_bytes: int | None = None) -> None:
    """kill -9 while the upload goes on, and has come as far as the line was told; then everything comes back.

    Of what is sent after that the line lets `next_bytes` pass.
    """
    assert line.is_held.wait(300)
    server.kill(signal.SIGKILL)
    line.cut()
    server.start()
    if next_bytes is not None:
        line.hold_after(next_bytes)
    line.mend()


@each_client
@pytest.mark.parametrize("workers", [1, 2])
def test_through_three_kills_of_the_server(
    make_server: ServerFactory, begin: Begin, file: Path, kind: str, workers: int
) -> None:
    server = make_server(arguments=["--workers", str(workers)]).start()
    with breaking_line(server.port) as line, log_in(server) as api:
        image_id = api.create(name="upload", **RAW)["id"]
        before = 0
        line.hold_after(40 * MIB)
        client = begin(kind, f"http://{line.address}", api, image_id, file)
        for left in reversed(range(KILLS)):
            assert line.is_held.wait(300)
            (part,) = staged(server)
            eventually(lambda: part.stat().st_size > before + 30 * MIB, what="the bytes have come")  # noqa: B023
            before = part.stat().st_size
            kill_in_the_middle(server, line, 40 * MIB if left else None)
            assert api.show(image_id)["status"] == "queued"
        client.finish()
        require_image(server, api, image_id, file)
    assert rows(server.data_dir, "blick_resumable_uploads", "state = 'finished'") == 1


@pytest.mark.needs("tus-js-client")
def test_parts_side_by_side(make_server: ServerFactory, begin: Begin, file: Path) -> None:
    server = make_server().start()
    with breaking_line(server.port) as line, log_in(server) as api:
        image_id = api.create(name="upload", **RAW)["id"]
        line.hold_after(60 * MIB)
        client = begin("tus-js-client", f"http://{line.address}", api, image_id, file, parallelUploads=4)
        assert line.is_held.wait(300), client.failure()
        assert len(staged(server)) == 4
        kill_in_the_middle(server, line)
        client.finish()
        require_image(server, api, image_id, file)


@pytest.mark.needs("tuspy")
def test_pieces_with_checksums(make_server: ServerFactory, begin: Begin, file: Path) -> None:
    server = make_server().start()
    with breaking_line(server.port) as line, log_in(server) as api:
        image_id = api.create(name="upload", **RAW)["id"]
        line.hold_after(20 * MIB)
        how = {"chunk_size": 7 * MIB, "upload_checksum": True}
        client = begin("tuspy", f"http://{line.address}", api, image_id, file, **how)
        kill_in_the_middle(server, line)
        client.finish()
        require_image(server, api, image_id, file)


@pytest.mark.needs("tus-js-client")
@pytest.mark.parametrize(
    "options",
    [
        {"uploadLengthDeferred": True, "chunkSize": 30 * MIB},
        {"uploadDataDuringCreation": True},
        {"overridePatchMethod": True, "chunkSize": 64 * MIB},
        {"metadata": {"store": "nobody has one of that name here", "filename": "image"}},
    ],
    ids=["length told last", "data with the creation", "by POST alone", "metadata"],
)
def test_what_else_clients_do(make_server: ServerFactory, begin: Begin, file: Path, options: dict[str, Any]) -> None:
    server = make_server().start()
    with log_in(server) as api:
        image_id = api.create(name="upload", **RAW)["id"]
        begin("tus-js-client", server.url, api, image_id, file, **options).finish()
        require_image(server, api, image_id, file)


@pytest.mark.needs("tuspy")
def test_another_client_goes_on(make_server: ServerFactory, begin: Begin, file: Path) -> None:
    """The client dies, too; whoever knows the URL takes over."""
    server = make_server().start()
    with breaking_line(server.port) as line, log_in(server) as api:
        image_id = api.create(name="upload", **RAW)["id"]
        line.hold_after(50 * MIB)
        first = begin("tuspy", f"http://{line.address}", api, image_id, file)
        assert line.is_held.wait(300)
        (part,) = staged(server)
        upload_id = part.name.split(".")[1]
        first.kill()
        line.cut()
        url = f"{server.url}/v2/images/{image_id}/upload/{upload_id}"
        begin("tuspy", server.url, api, image_id, file, url=url).finish()
        require_image(server, api, image_id, file)


@each_client
def test_an_empty_file(make_server: ServerFactory, begin: Begin, tmp_path: Path, kind: str) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    server = make_server().start()
    with log_in(server) as api:
        image_id = api.create(name="upload", **RAW)["id"]
        begin(kind, server.url, api, image_id, empty).finish()
        require_image(server, api, image_id, empty)


@each_client
def test_a_refusal_reaches_the_client(make_server: ServerFactory, begin: Begin, file: Path, kind: str) -> None:
    server = make_server().start()
    with log_in(server) as api:
        image_id = api.create(name="upload", **QCOW2)["id"]
        # Neither tries again what is refused for good.
        options: dict[str, Any] = {"retries": 0} if kind == "tuspy" else {"retryDelays": [0]}
        assert "415" in begin(kind, server.url, api, image_id, file, **options).failure() or kind == "tuspy"
        assert api.show(image_id)["status"] == "queued"
        assert staged(server) == []


@pytest.mark.needs("tuspy")
def test_kills_at_random_moments(make_server: ServerFactory, begin: Begin, file: Path, tmp_path: Path) -> None:
    """Several clients at once, and a server that dies again and again: every image ends active with its own data."""
    server = make_server(arguments=["--workers", "2"]).start()
    chance = random.Random(11)
    data, uploads = file.read_bytes(), []
    with log_in(server) as api:
        for _ in range(ROUNDS):
            for _ in range(2):
                size_bytes = chance.randrange(1, 40 * MIB)
                piece = tmp_path / f"{len(uploads)}"
                piece.write_bytes(data[:4096] + data[-size_bytes:])
                image_id = api.create(name=piece.name, **RAW)["id"]
                how = {"chunk_size": chance.choice([1 << 40, 3 * MIB]), "upload_checksum": chance.random() < 0.3}
                uploads.append((image_id, piece, begin("tuspy", server.url, api, image_id, piece, **how)))
            goal_bytes = arrived_bytes(server) + chance.randrange(1, 30 * MIB)
            eventually(
                lambda: arrived_bytes(server) >= goal_bytes or all(client.has_ended for _, _, client in uploads)  # noqa: B023
            )
            server.kill(signal.SIGKILL)
            server.start()
        for image_id, piece, client in uploads:
            try:
                client.finish()
            except AssertionError:
                # Killed before it had made its upload: then it has nothing to come back to.
                assert api.show(image_id)["status"] == "queued"
                begin("tuspy", server.url, api, image_id, piece).finish()
            assert digest_of(server.data_dir / "images" / image_id) == digest_of(piece)
            eventually(lambda: api.show(image_id)["status"] == "active", what="active")  # noqa: B023
    ids = sorted(image_id for image_id, _, _ in uploads)
    assert stored_files(server.data_dir) == ids
    eventually(lambda: open_jobs(server.data_dir) == 0)
    assert "Traceback" not in server.log_text()
