"""Pieces of uploads over real sockets: cut, silent, slow, racing, in several processes (docs/resumable-upload.md)."""

import hashlib
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.process.conftest import ServerFactory
from tests.support.config_file import configured_server
from tests.support.confined import with_files_up_to
from tests.support.images_api import ImagesApi
from tests.support.remains import STAGING, open_jobs, rows, stored_files
from tests.support.server import BlickServer
from tests.support.tus import PIECE, TUS
from tests.support.waiting import eventually
from tests.support.wire import Wire

MIB = 1 << 20
RAW = {"disk_format": "raw", "container_format": "bare"}
DATA = bytes(4096) + os.urandom(20 * MIB)


@pytest.fixture(params=[1, 2])
def server(request: pytest.FixtureRequest, make_server: ServerFactory) -> BlickServer:
    """With one or two processes that take requests."""
    return make_server(arguments=["--workers", str(request.param)]).start()


@pytest.fixture
def api(server: BlickServer) -> Iterator[ImagesApi]:
    with log_in(server) as client:
        yield client


def log_in(server: BlickServer) -> ImagesApi:
    return ImagesApi(server.url, server.clouds()["blick"]["auth"])


class Upload:
    """One upload of DATA to an image of its own."""

    def __init__(self, server: BlickServer, api: ImagesApi, **headers: str) -> None:
        self._server = server
        self._api = api
        self.image_id = str(api.create(name="upload", **RAW)["id"])
        named = {"Upload-Length": str(len(DATA)), **{name.replace("_", "-"): value for name, value in headers.items()}}
        answer = api.http.post(f"/v2/images/{self.image_id}/upload", headers=TUS | named)
        assert answer.status_code == 201, answer.text
        self.path = answer.headers["location"].removeprefix(server.url)

    def ask(self) -> httpx.Response:
        """HEAD, over a connection of its own: any process may get it."""
        headers = {**TUS, "X-Auth-Token": self._api.token}
        return httpx.head(f"{self._server.url}{self.path}", headers=headers, timeout=120, trust_env=False)

    def offset(self) -> int:
        answer = self.ask()
        assert answer.status_code == 200
        return int(answer.headers["upload-offset"])

    def begin_piece(self, wire: Wire, offset: int, **framing: str) -> Wire:
        named = {name.replace("_", "-"): value for name, value in framing.items()}
        headers = {**PIECE, "X-Auth-Token": self._api.token, "Upload-Offset": str(offset), **named}
        return wire.head("PATCH", self.path, headers)

    def add(self, offset: int, data: bytes) -> int:
        """The status of the answer to a whole piece, sent over a connection of its own."""
        with Wire(self._server.port) as wire:
            self.begin_piece(wire, offset, content_length=str(len(data))).send(data)
            return wire.answer("PATCH").status

    @property
    def file_bytes(self) -> int:
        """How much the server has written."""
        paths = list((self._server.data_dir / STAGING).glob(f"{self.image_id}.*.part"))
        return sum(path.stat().st_size for path in paths)

    def require_done(self) -> None:
        shown = self._api.show(self.image_id)
        assert (shown["status"], shown["size"]) == ("active", len(DATA))
        assert shown["os_hash_value"] == hashlib.sha512(DATA).hexdigest()
        assert (self._server.data_dir / "images" / self.image_id).read_bytes() == DATA


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_client_that_leaves(server: BlickServer, api: ImagesApi, is_chunked: bool) -> None:
    """Every byte that it sent is there, however it was sent, and the upload goes on behind it."""
    upload, there = Upload(server, api), 0
    for size_bytes in (1, 1000, 65_537, 3 * MIB + 1, 5 * MIB):
        piece = DATA[there : there + size_bytes]
        with Wire(server.port) as wire:
            if is_chunked:
                upload.begin_piece(wire, there, transfer_encoding="chunked").chunk(piece)
            else:
                upload.begin_piece(wire, there, content_length=str(len(DATA) - there)).send(piece)
        there += size_bytes
        # Not at once: the other process may answer before this one has taken in the connection.
        eventually(lambda: upload.offset() == there)  # noqa: B023
    assert upload.add(there, DATA[there:]) == 204
    upload.require_done()


def test_a_client_that_sends_slowly(server: BlickServer, api: ImagesApi) -> None:
    """What comes is written when it comes, not when there is much of it; so a kill loses nothing."""
    upload = Upload(server, api)
    with Wire(server.port) as wire:
        upload.begin_piece(wire, 0, content_length=str(len(DATA)))
        for end in range(1, 4):
            wire.send(DATA[end - 1 : end])
            eventually(lambda: upload.file_bytes == end)  # noqa: B023
        server.kill(signal.SIGKILL)
    server.start()
    assert upload.offset() == 3
    assert upload.add(3, DATA[3:]) == 204
    upload.require_done()


def test_a_connection_that_went_silent(server: BlickServer, api: ImagesApi) -> None:
    """Its client is let in again although the old connection still seems to be there, whichever process has it."""
    for _ in range(3):
        upload = Upload(server, api)
        with Wire(server.port) as wire:
            upload.begin_piece(wire, 0, content_length=str(len(DATA))).send(DATA[: 3 * MIB])
            eventually(lambda: upload.file_bytes == 3 * MIB)  # noqa: B023
            assert upload.offset() == 3 * MIB
            assert upload.add(3 * MIB, DATA[3 * MIB :]) == 204
            assert wire.answer("PATCH").status == 423
        upload.require_done()


def test_a_client_that_is_busy_is_left_alone(server: BlickServer, api: ImagesApi) -> None:
    """Who asks, or sends too, while bytes come has to wait; the upload goes on."""
    upload = Upload(server, api)
    stop = threading.Event()
    with Wire(server.port) as wire:
        upload.begin_piece(wire, 0, content_length=str(len(DATA)))
        sent = 0

        def trickle() -> None:
            nonlocal sent
            while not stop.wait(0.05):
                wire.send(DATA[sent : sent + 1000])
                sent += 1000

        sender = threading.Thread(target=trickle)
        sender.start()
        try:
            eventually(lambda: upload.file_bytes > 0)
            assert upload.ask().status_code == 423
            assert upload.add(0, DATA) == 423
        finally:
            stop.set()
            sender.join()
        wire.send(DATA[sent:])
        assert wire.answer("PATCH").status == 204
    upload.require_done()


def test_racing_pieces(server: BlickServer, api: ImagesApi) -> None:
    """Many send the same at once: one is taken, and nothing is mixed up."""
    upload = Upload(server, api)
    half = len(DATA) // 2
    for begin, end in ((0, half), (half, len(DATA))):
        statuses: list[int] = []
        threads = [
            threading.Thread(target=lambda: statuses.append(upload.add(begin, DATA[begin:end])))  # noqa: B023
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(statuses) <= {204, 409, 423}
        assert statuses.count(204) == 1
    upload.require_done()


def test_everything_came_and_nobody_was_left_to_finish(server: BlickServer, api: ImagesApi) -> None:
    """Killed between the last byte and its answer: whoever asks next finds it done."""
    uploads = [Upload(server, api) for _ in range(4)]
    with ExitStack() as stack:
        for upload in uploads:
            wire = stack.enter_context(Wire(server.port))
            upload.begin_piece(wire, 0, content_length=str(len(DATA))).send(DATA)
        eventually(lambda: all(upload.file_bytes == len(DATA) or not upload.file_bytes for upload in uploads))
        server.kill(signal.SIGKILL)
    server.start()
    for upload in uploads:
        assert upload.offset() == len(DATA)
        eventually(lambda: api.show(upload.image_id)["status"] == "active")  # noqa: B023
        upload.require_done()
    eventually(lambda: open_jobs(server.data_dir) == 0)
    assert stored_files(server.data_dir) == sorted(upload.image_id for upload in uploads)


def test_stopped_in_the_middle(server: BlickServer, api: ImagesApi) -> None:
    """A service that is told to stop keeps what came, and lets go of the upload."""
    upload = Upload(server, api)
    with Wire(server.port) as wire:
        upload.begin_piece(wire, 0, content_length=str(len(DATA))).send(DATA[: 2 * MIB])
        eventually(lambda: upload.file_bytes == 2 * MIB)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        wire.close()
        stopping.join()
    assert rows(server.data_dir, "blick_resumable_uploads", "token <> ''") == 0
    server.start()
    assert upload.offset() == 2 * MIB
    assert upload.add(2 * MIB, DATA[2 * MIB :]) == 204
    upload.require_done()


def test_a_disk_that_is_full(make_server: ServerFactory) -> None:
    """What fits is kept, the client is told, and goes on once there is room."""
    server = make_server()
    server.prefix = tuple(with_files_up_to(8 * MIB))
    server.start()
    with log_in(server) as api:
        upload = Upload(server, api)
        assert upload.add(0, DATA) == 413
        there = upload.offset()
        assert 0 < there <= 8 * MIB
        assert upload.add(there, DATA[there:]) == 413
        server.stop()
        server.prefix = ()
        server.start()
        there = upload.offset()
        assert upload.add(there, DATA[there:]) == 204
        upload.require_done()


def test_scripts_of_other_sites(tmp_path_factory: pytest.TempPathFactory) -> None:
    origin = "https://dashboard.example.org"
    server = configured_server(tmp_path_factory.mktemp("cors"), {"cors": {"allowed_origin": origin}})
    try:
        with ImagesApi(server.start().url, None) as api:
            upload = Upload(server, api)
            for method in ("POST", "HEAD", "PATCH", "DELETE"):
                asked = {
                    "Origin": origin,
                    "Access-Control-Request-Method": method,
                    "Access-Control-Request-Headers": "tus-resumable,upload-offset,upload-length,content-type",
                }
                assert api.http.options(upload.path, headers=asked).status_code == 200
            told = api.http.head(upload.path, headers={**TUS, "Origin": origin})
            shown = {name.strip().lower() for name in told.headers["access-control-expose-headers"].split(",")}
            assert {"location", "upload-offset", "upload-length", "tus-resumable"} <= shown
            assert told.headers["access-control-allow-origin"] == origin
    finally:
        server.kill_all()
