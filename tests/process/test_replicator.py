"""glance-replicator between real services: everything arrives as it was, whatever is killed, and lies are noticed."""

import hashlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.command import program_command, run_program
from tests.support.config_file import configured_server
from tests.support.images_api import ImagesApi
from tests.support.remote_region import RemoteRegion
from tests.support.server import BlickServer, clean_environment, free_port
from tests.support.waiting import eventually

MODULE = "blick.cli.replicator"
FORMATS = {"disk_format": "raw", "container_format": "bare"}
OCTETS = {"content-type": "application/octet-stream"}
LARGE = os.urandom(1 << 20) * 48
AS_A_LIAR = ("-t", "secret", "-D", "images")
IMAGE_ID = "0a1b2c3d-0000-4000-8000-000000000001"


class Side:
    """A service, and what a test does there."""

    def __init__(self, server: BlickServer) -> None:
        self.server = server
        self.address = f"127.0.0.1:{server.port}"
        self.http = httpx.Client(base_url=server.url, timeout=120, trust_env=False)

    def make(self, data: bytes | None = b"data", **attributes: Any) -> str:
        answer = self.http.post("/v2/images", json={**FORMATS, **attributes})
        assert answer.status_code == 201, answer.text
        image_id: str = answer.json()["id"]
        if data is not None:
            sent = self.http.put(f"/v2/images/{image_id}/file", content=data, headers=OCTETS)
            assert sent.status_code == 204, sent.text
        return image_id

    def show(self, image_id: str) -> dict[str, Any]:
        answer = self.http.get(f"/v2/images/{image_id}")
        return dict(answer.json()) if answer.status_code == 200 else {}

    def status(self, image_id: str) -> str | None:
        return self.show(image_id).get("status")

    def data(self, image_id: str) -> bytes:
        answer = self.http.get(f"/v2/images/{image_id}/file")
        assert answer.status_code == 200
        return answer.content

    def change(self, image_id: str, *changes: dict[str, Any]) -> None:
        media_type = {"content-type": "application/openstack-images-v2.1-json-patch"}
        answer = self.http.patch(f"/v2/images/{image_id}", content=json.dumps(changes), headers=media_type)
        assert answer.status_code == 200, answer.text


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Side]:
    yield from _side(tmp_path / "source")


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Side]:
    yield from _side(tmp_path / "target")


def _side(folder: Path) -> Iterator[Side]:
    server = configured_server(folder)
    server.start()
    try:
        side = Side(server)
        with side.http:
            yield side
    finally:
        server.kill_all()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "dumps"
    made.mkdir()
    return made


def call(tmp_path: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    done = run_program(tmp_path, MODULE, *arguments, environment=environment)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@contextmanager
def running(tmp_path: Path, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    with (tmp_path / "replicator.log").open("ab") as log:
        process = subprocess.Popen(
            program_command(MODULE, *arguments), env=clean_environment(tmp_path), stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def carried(document: dict[str, Any]) -> dict[str, Any]:
    """What has to be the same on both sides."""
    its_own = {"created_at", "updated_at"}
    return {name: value for name, value in document.items() if name not in its_own}


class TestLivecopy:
    def test_everything_arrives_as_it_was(self, tmp_path: Path, source: Side, target: Side) -> None:
        images = [
            source.make(b"one", name="plain"),
            source.make(b"", name="empty"),
            source.make(LARGE, name="große Daten", tags=["b", "a"], os_distro="debian", note="ä ~/x"),
            source.make(b"hidden", name="hidden", os_hidden=True, visibility="public", min_ram=512),
            source.make(b"guarded", protected=True, visibility="community"),
        ]
        waiting = source.make(None, name="not yet")
        done = call(tmp_path, "livecopy", source.address, target.address)
        assert (done.returncode, done.stdout) == (0, "Copied 5, updated 0, unchanged 0, skipped 1, failed 0.\n")
        for image_id in images:
            assert carried(target.show(image_id)) == carried(source.show(image_id))
            assert target.data(image_id) == source.data(image_id)
        assert target.show(waiting) == {}
        again = call(tmp_path, "livecopy", source.address, target.address)
        assert again.stdout == "Copied 0, updated 0, unchanged 5, skipped 1, failed 0.\n"

    def test_changes_follow_and_data_is_not_sent_again(self, tmp_path: Path, source: Side, target: Side) -> None:
        image_id = source.make(b"one", name="before", note="old", kept="source's", tags=["a"])
        call(tmp_path, "livecopy", source.address, f"{target.server.url}/v2/")
        updated_at = target.show(image_id)["updated_at"]
        source.change(
            image_id,
            {"op": "replace", "path": "/name", "value": "after"},
            {"op": "remove", "path": "/note"},
            {"op": "add", "path": "/new~1~0", "value": "x"},
            {"op": "replace", "path": "/tags", "value": ["b", "a"]},
        )
        target.change(image_id, {"op": "replace", "path": "/kept", "value": "target's"})
        flags = ("-D", "kept created_at")
        done = call(tmp_path, *flags, "livecopy", source.address, target.address)
        assert done.stdout == "Copied 0, updated 1, unchanged 0, skipped 0, failed 0.\n"
        there = target.show(image_id)
        assert (there["name"], there.get("note"), there["new/~"], there["kept"]) == ("after", None, "x", "target's")
        assert sorted(there["tags"]) == ["a", "b"]
        assert there["updated_at"] >= updated_at
        assert call(tmp_path, *flags, "compare", "-e", source.address, target.address).returncode == 0

    def test_only_metadata(self, tmp_path: Path, source: Side, target: Side) -> None:
        image_id = source.make(b"one", name="plain")
        assert call(tmp_path, "livecopy", "-m", source.address, target.address).returncode == 0
        assert target.status(image_id) == "queued"
        assert call(tmp_path, "livecopy", source.address, target.address).returncode == 0
        assert target.data(image_id) == b"one"

    def test_an_id_that_was_deleted_there_is_left_alone(self, tmp_path: Path, source: Side, target: Side) -> None:
        image_id, other = source.make(b"one"), source.make(b"two")
        call(tmp_path, "livecopy", source.address, target.address)
        target.http.delete(f"/v2/images/{image_id}")
        done = call(tmp_path, "livecopy", source.address, target.address)
        assert (done.returncode, done.stdout) == (0, "Copied 0, updated 0, unchanged 1, skipped 1, failed 0.\n")
        assert image_id in done.stderr
        assert target.data(other) == b"two"

    def test_other_data_under_the_same_id_is_told_of_and_left(self, tmp_path: Path, source: Side, target: Side) -> None:
        image_id = source.make(b"one")
        target.make(b"two", id=image_id)
        other = source.make(b"three")
        done = call(tmp_path, "livecopy", source.address, target.address)
        assert (done.returncode, done.stdout) == (1, "Copied 1, updated 0, unchanged 0, skipped 0, failed 1.\n")
        assert "other data" in done.stderr
        assert (target.data(image_id), target.data(other)) == (b"two", b"three")

    def test_killed_in_the_middle_of_uploads(self, tmp_path: Path, source: Side, target: Side) -> None:
        images = [source.make(LARGE), source.make(LARGE)]
        for image_id in images:
            with running(tmp_path, "livecopy", "-c", 4096, source.address, target.address) as process:
                eventually(lambda image_id=image_id: target.status(image_id) in ("saving", "active"))  # type: ignore[misc]
                process.send_signal(signal.SIGKILL)
        done = call(tmp_path, "livecopy", source.address, target.address)
        assert done.returncode == 0, done.stderr
        for image_id in images:
            assert target.data(image_id) == LARGE
        assert call(tmp_path, "compare", "-e", source.address, target.address).returncode == 0

    def test_the_target_is_killed_in_the_middle(self, tmp_path: Path, source: Side, target: Side) -> None:
        image_id = source.make(LARGE)
        with running(tmp_path, "livecopy", "-c", 4096, source.address, target.address) as process:
            eventually(lambda: target.status(image_id) == "saving")
            target.server.kill()
            assert process.wait(120) == 1
        target.server.start()
        done = call(tmp_path, "livecopy", source.address, target.address)
        assert done.returncode == 0, done.stderr
        assert target.data(image_id) == LARGE


class TestDumpAndLoad:
    def test_there_and_back(self, tmp_path: Path, source: Side, target: Side, folder: Path) -> None:
        full = source.make(LARGE, name="full", tags=["x"], os_distro="debian")
        empty, hidden, waiting = source.make(b""), source.make(b"h", os_hidden=True), source.make(None, name="waiting")
        done = call(tmp_path, "dump", source.address, folder)
        assert (done.returncode, done.stdout) == (0, "Dumped 4, there already 0, failed 0.\n")
        assert sorted(entry.name for entry in folder.iterdir()) == sorted(
            [full, f"{full}.img", empty, f"{empty}.img", hidden, f"{hidden}.img", waiting]
        )
        assert (folder / f"{full}.img").read_bytes() == LARGE
        document = json.loads((folder / full).read_text())
        assert document["os_hash_value"] == hashlib.sha512(LARGE).hexdigest()
        assert call(tmp_path, "dump", source.address, folder).stdout == "Dumped 0, there already 4, failed 0.\n"
        done = call(tmp_path, "load", target.address, folder)
        assert (done.returncode, done.stdout) == (0, "Copied 4, updated 0, unchanged 0, skipped 0, failed 0.\n")
        for image_id in (full, empty, hidden, waiting):
            assert carried(target.show(image_id)) == carried(source.show(image_id))
        assert target.data(full) == LARGE
        again = call(tmp_path, "load", target.address, folder)
        assert again.stdout == "Copied 0, updated 0, unchanged 4, skipped 0, failed 0.\n"

    def test_only_metadata_then_the_data(self, tmp_path: Path, source: Side, target: Side, folder: Path) -> None:
        image_id = source.make(b"one")
        call(tmp_path, "dump", "-m", source.address, folder)
        assert [entry.name for entry in folder.iterdir()] == [image_id]
        refused = call(tmp_path, "load", target.address, folder)
        assert refused.returncode == 1
        assert "--metaonly" in refused.stderr
        assert target.show(image_id) == {}
        assert call(tmp_path, "load", "-m", target.address, folder).returncode == 0
        assert call(tmp_path, "dump", source.address, folder).stdout == "Dumped 1, there already 0, failed 0.\n"
        assert call(tmp_path, "load", target.address, folder).returncode == 0
        assert target.data(image_id) == b"one"

    def test_killed_in_the_middle_of_a_dump(self, tmp_path: Path, source: Side, folder: Path) -> None:
        image_id = source.make(LARGE)
        part = folder / f"{image_id}.img.part"
        with running(tmp_path, "dump", "-c", 512, source.address, folder) as process:
            eventually(lambda: part.exists() and part.stat().st_size > 1 << 20)
            process.send_signal(signal.SIGKILL)
        assert 0 < part.stat().st_size < len(LARGE)
        assert not (folder / image_id).exists()
        assert call(tmp_path, "dump", source.address, folder).returncode == 0
        assert (folder / f"{image_id}.img").read_bytes() == LARGE
        assert not part.exists()

    def test_files_that_are_none_of_ours_or_broken(self, tmp_path: Path, target: Side, folder: Path) -> None:
        (folder / "README").write_text("notes")
        (folder / IMAGE_ID).write_text("{")
        whole = "0" + IMAGE_ID[1:-1] + "2"
        (folder / whole).write_text(json.dumps({"id": whole, "status": "active", **FORMATS, "size": 3}))
        (folder / f"{whole}.img").write_bytes(b"one")
        done = call(tmp_path, "load", target.address, folder)
        assert (done.returncode, done.stdout) == (1, "Copied 1, updated 0, unchanged 0, skipped 0, failed 1.\n")
        assert "is not JSON" in done.stderr
        assert target.data(whole) == b"one"

    def test_data_that_was_damaged_in_the_folder_is_not_loaded(
        self, tmp_path: Path, source: Side, target: Side, folder: Path
    ) -> None:
        image_id = source.make(b"0123456789")
        call(tmp_path, "dump", source.address, folder)
        (folder / f"{image_id}.img").write_bytes(b"0123456780")
        done = call(tmp_path, "load", target.address, folder)
        assert done.returncode == 1
        assert "damaged" in done.stderr
        eventually(lambda: target.status(image_id) == "queued")


class TestCompare:
    def test_every_difference_is_told(self, tmp_path: Path, source: Side, target: Side) -> None:
        same, different, missing = source.make(b"1", name="x"), source.make(b"2", name="y"), source.make(b"3")
        target.make(b"1", id=same, name="x")
        target.make(b"22", id=different, name="z", extra="e")
        target.make(b"4", name="the target's own")
        done = call(tmp_path, "compare", source.address, target.address)
        assert done.returncode == 0
        for text in (f"{missing}: is missing", f"{different}: name differs", "extra differs", "size differs", "2 of 3"):
            assert text in done.stderr
        assert f"{same}: " not in done.stderr
        assert call(tmp_path, "compare", "--exit-code", source.address, target.address).returncode == 1
        told = run_program(
            tmp_path, "blick.cli.main", "replicate", "compare", "-f", "json", source.address, target.address
        )
        fields = {record["field"] for record in json.loads(told.stdout) if record["image"] == different}
        assert fields == {"name", "extra", "size", "os_hash_value"}


@contextmanager
def lying_source(document: dict[str, Any], data: bytes) -> Iterator[RemoteRegion]:
    """A service with one image of this document, which gives this data."""
    with RemoteRegion({"images": [document], **document}, data, "secret") as region:
        yield region


def of(data: bytes) -> dict[str, Any]:
    return {
        "id": IMAGE_ID, "status": "active", **FORMATS, "size": len(data),
        "os_hash_algo": "sha512", "os_hash_value": hashlib.sha512(data).hexdigest(),
    }  # fmt: skip


class TestLies:
    def test_data_that_is_not_what_the_source_recorded(self, tmp_path: Path, target: Side, folder: Path) -> None:
        true = os.urandom(300_000)
        with lying_source(of(true), true[:-1] + bytes([true[-1] ^ 1])) as region:
            done = call(tmp_path, *AS_A_LIAR, "livecopy", region.url, target.address)
            assert (done.returncode, done.stdout) == (1, "Copied 0, updated 0, unchanged 0, skipped 0, failed 1.\n")
            assert "damaged" in done.stderr
            dumped = call(tmp_path, *AS_A_LIAR, "dump", region.url, folder)
        assert dumped.returncode == 1
        assert "damaged" in dumped.stderr
        assert list(folder.iterdir()) == []
        eventually(lambda: target.status(IMAGE_ID) == "queued")
        with lying_source(of(true), true) as region:
            assert call(tmp_path, *AS_A_LIAR, "livecopy", region.url, target.address).returncode == 0
        assert target.data(IMAGE_ID) == true

    def test_a_source_that_breaks_off_is_taken_up_where_it_broke(
        self, tmp_path: Path, target: Side, folder: Path
    ) -> None:
        true = os.urandom(300_000)
        with lying_source(of(true), true) as region:
            # Lists and records fit into 2000 bytes; before each part of the data there is one more list.
            region.breaks = [2_000] * 4 + [100_000, 2_000, 100_000, 2_000, 50_000]
            done = call(tmp_path, *AS_A_LIAR, "livecopy", region.url, target.address)
            assert done.returncode == 0, done.stderr
            assert len([path for _, path in region.requests if path.endswith("/file")]) == 4
            region.breaks = [2_000] * 4 + [100_000, 2_000, 100_000]
            assert call(tmp_path, *AS_A_LIAR, "dump", region.url, folder).returncode == 0
            assert len([path for _, path in region.requests if path.endswith("/file")]) == 4 + 3
        assert target.data(IMAGE_ID) == true
        assert (folder / f"{IMAGE_ID}.img").read_bytes() == true

    def test_what_was_dumped_before_is_not_read_again(self, tmp_path: Path, folder: Path) -> None:
        true = os.urandom(300_000)
        (folder / f"{IMAGE_ID}.img.part").write_bytes(true[:200_000])
        with lying_source(of(true), b"\0" * 200_000 + true[200_000:]) as region:
            assert call(tmp_path, *AS_A_LIAR, "dump", region.url, folder).returncode == 0
        assert (folder / f"{IMAGE_ID}.img").read_bytes() == true

    def test_a_wrong_beginning_is_thrown_away(self, tmp_path: Path, folder: Path) -> None:
        true = os.urandom(300_000)
        (folder / f"{IMAGE_ID}.img.part").write_bytes(b"\0" * 200_000)
        with lying_source(of(true), true) as region:
            assert call(tmp_path, *AS_A_LIAR, "dump", region.url, folder).returncode == 0
        assert (folder / f"{IMAGE_ID}.img").read_bytes() == true

    def test_an_id_that_would_lead_out_of_the_folder(self, tmp_path: Path, folder: Path) -> None:
        with lying_source({**of(b"x"), "id": "../../escaped"}, b"x") as region:
            done = call(tmp_path, *AS_A_LIAR, "dump", region.url, folder)
        assert done.returncode == 1
        assert "does not answer like an image service" in done.stderr
        assert list(folder.iterdir()) == []

    def test_a_target_that_stores_something_else(self, tmp_path: Path, source: Side) -> None:
        image_id = source.make(b"one")
        with forgetful_service() as (url, held):
            done = call(tmp_path, "livecopy", source.address, url)
        assert done.returncode == 1
        assert "other data than it was sent" in done.stderr
        assert held[image_id]["status"] == "active"


@contextmanager
def forgetful_service() -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
    """A service that takes everything, and has lost the last byte of all data when it is asked."""
    held: dict[str, dict[str, Any]] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Quiet."""

        def do_GET(self) -> None:
            if "?" in self.path:
                return self._answer(200, {"images": list(held.values())})
            found = held.get(self.path.rpartition("/")[2])
            return self._answer(404 if found is None else 200, found or {})

        def do_POST(self) -> None:
            document = {**json.loads(self._body()), "status": "queued"}
            held[document["id"]] = document
            self._answer(201, document)

        def do_PUT(self) -> None:
            data = self._body()[:-1]
            value = hashlib.sha512(data).hexdigest()
            told = {"status": "active", "size": len(data) + 1, "os_hash_algo": "sha512", "os_hash_value": value}
            held[self.path.split("/")[3]] |= told
            self._answer(204, None)

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers["content-length"]))

        def _answer(self, status: int, document: Any) -> None:
            body = b"" if document is None else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", held
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class TestLogIn:
    def test_each_side_by_its_own_variables(self, tmp_path: Path) -> None:
        with BlickServer(tmp_path / "one") as one, BlickServer(tmp_path / "two") as two:
            auth = {server: server.clouds()["blick"]["auth"] for server in (one, two)}
            with ImagesApi(one.url, auth[one]) as api:
                image_id = api.create(name="plain", **FORMATS)["id"]
                api.http.put(f"/v2/images/{image_id}/file", content=b"one", headers=OCTETS)
            variables = {f"SOURCE_{name}": value for name, value in one.openrc().items()}
            variables |= {f"TARGET_{name}": value for name, value in two.openrc().items()}
            # Their projects are not the same.
            arguments = ("-D", "owner", "livecopy", one.url, two.url)
            done = call(tmp_path, *arguments, **variables)
            assert done.returncode == 0, done.stderr
            with ImagesApi(two.url, auth[two]) as api:
                assert api.http.get(f"/v2/images/{image_id}/file").content == b"one"
            nobody = call(tmp_path, *arguments)
            assert nobody.returncode == 1
            assert "401" in nobody.stderr
            wrong = call(tmp_path, *arguments, **variables | {"SOURCE_OS_PASSWORD": "wrong"})
            assert wrong.returncode == 1
            assert "refuses the log-in" in wrong.stderr
            size = run_program(tmp_path, "blick.cli.main", "replicate", "size", two.url, environment=two.openrc())
            assert size.stdout == "Total size is 3 bytes (3 bytes) across 1 images\n"


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("livecopy", "127.0.0.1:9292"), "livecopy takes 2 arguments: FROM TO."),
            (("compare", "one", "two:9292"), "host:port"),
            (("size", "ftp://somewhere"), "host:port"),
            (("size", "127.0.0.1:99999"), "is not a port"),
            (("copy", "a:1", "b:1"), "Unknown command: copy"),
            (("help", "copy"), "Unknown command: copy"),
            (("dump", "127.0.0.1:9292", "nowhere"), "no such folder"),
        ],
    )
    def test_is_told(self, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
        done = call(tmp_path, *arguments)
        assert done.returncode == 1
        assert "ERROR: " in done.stderr
        assert said in done.stderr

    def test_nobody_is_there(self, tmp_path: Path) -> None:
        done = call(tmp_path, "size", f"127.0.0.1:{free_port()}")
        assert done.returncode == 1
        assert "does not answer: Connection refused" in done.stderr.replace("[Errno 111] ", "")

    def test_help_is_no_mistake(self, tmp_path: Path) -> None:
        done = call(tmp_path, "help")
        assert done.returncode == 0
        assert all(verb in done.stdout for verb in ("size", "dump", "load", "livecopy", "compare"))
        assert "FROM TO" in call(tmp_path, "help", "livecopy").stdout
        assert call(tmp_path, "--version").stdout == "33.0.0\n"
        assert call(tmp_path, "--chunksize", "0", "size", "a:1").returncode == 2
