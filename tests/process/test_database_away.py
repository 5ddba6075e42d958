"""The database server stops, hangs up or comes late: clear answers meanwhile, nothing stuck, no restart needed."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine, text

from tests.support.config_file import configured_server
from tests.support.databases import SERVERS
from tests.support.mariadb import MariaDB
from tests.support.postgresql import PostgreSQL
from tests.support.remains import stored_files
from tests.support.server import BlickServer
from tests.support.waiting import eventually
from tests.support.wire import Wire

OCTETS = {"content-type": "application/octet-stream"}
RAW = {"disk_format": "raw", "container_format": "bare"}


@pytest.fixture(params=SERVERS)
def backend(request: pytest.FixtureRequest) -> Iterator[MariaDB | PostgreSQL]:
    """A server of this test's own, which it may stop."""
    kind = {"mariadb": MariaDB, "postgresql": PostgreSQL}[request.param]
    with tempfile.TemporaryDirectory(prefix="blick-away-") as folder, kind(Path(folder)) as server:
        yield server


@pytest.fixture
def blick(backend: MariaDB | PostgreSQL, tmp_path: Path) -> Iterator[BlickServer]:
    groups = {
        "DEFAULT": {"workers": 2},
        "database": {"connection": backend.create_database("glance"), "max_retries": 100, "retry_interval": 1},
    }
    server = configured_server(tmp_path / "server", groups)
    yield server
    server.kill_all()


def client(blick: BlickServer) -> httpx.Client:
    return httpx.Client(base_url=blick.url, timeout=120, trust_env=False)


def test_it_goes_and_comes_back(blick: BlickServer, backend: MariaDB | PostgreSQL) -> None:
    blick.start()
    with client(blick) as api:
        made = api.post("/v2/images", json={"name": "before", **RAW}).json()["id"]
        backend.kill()
        for _ in range(4):  # either worker
            for answer in (
                api.get("/v2/images"),
                api.get(f"/v2/images/{made}"),
                api.post("/v2/images", json={"name": "meanwhile"}),
                api.put(f"/v2/images/{made}/file", content=b"data", headers=OCTETS),
                api.delete(f"/v2/images/{made}"),
            ):
                assert answer.status_code == 503, answer.text
                assert "database does not answer" in answer.text
            assert api.get("/healthcheck").status_code == 200
            assert api.get("/versions").status_code == 200
        backend.start()
        for _ in range(4):
            assert api.get(f"/v2/images/{made}").json()["name"] == "before"
        assert api.put(f"/v2/images/{made}/file", content=b"data", headers=OCTETS).status_code == 204
        names = [image["name"] for image in api.get("/v2/images").json()["images"]]
        assert names == ["before"]
        backend.stop()  # in order this time, which tells every connection
        assert api.get("/v2/images").status_code == 503
        backend.start()
        assert api.get(f"/v2/images/{made}/file").content == b"data"
    said = blick.log_text()
    assert "Traceback" not in said, said[-4000:]
    assert "the database says" in said
    assert backend.password not in said


def test_it_goes_at_the_end_of_an_upload(blick: BlickServer, backend: MariaDB | PostgreSQL) -> None:
    blick.start()
    with client(blick) as api, Wire(blick.port) as wire:
        image_id = api.post("/v2/images", json=RAW).json()["id"]
        wire.upload_head("", image_id, transfer_encoding="chunked").chunk(b"x" * 100_000)
        eventually(lambda: api.get(f"/v2/images/{image_id}").json()["status"] == "saving", what="the upload has begun")
        backend.kill()
        assert wire.chunk(b"").answer().status == 503
        backend.start()
        eventually(
            lambda: api.get(f"/v2/images/{image_id}").json()["status"] == "queued", within_s=120, what="queued again"
        )
        assert stored_files(blick.data_dir) == []
        engine = create_engine(backend.url("glance"))
        with engine.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM blick_leases")).scalar() == 0
        engine.dispose()
        assert api.put(f"/v2/images/{image_id}/file", content=b"again", headers=OCTETS).status_code == 204
        assert api.get(f"/v2/images/{image_id}/file").content == b"again"
    assert "Traceback" not in blick.log_text()


def test_blick_starts_before_its_database(blick: BlickServer, backend: MariaDB | PostgreSQL) -> None:
    backend.stop()
    blick.launch()
    eventually(lambda: "trying the database again" in blick.log_text(), what="Blick waits")
    backend.start()
    eventually(blick.is_healthy, what=blick.log_text)
    with client(blick) as api:
        assert api.get("/v2/images").json()["images"] == []


def test_two_first_starts_at_once(blick: BlickServer, backend: MariaDB | PostgreSQL, tmp_path: Path) -> None:
    groups = {"database": {"connection": backend.url("glance")}}
    other = configured_server(tmp_path / "other", groups)
    try:
        blick.launch()
        other.launch()
        for server in (blick, other):
            eventually(server.is_healthy, what=server.log_text)
            with client(server) as api:
                assert api.post("/v2/images", json={"name": "x"}).status_code == 201
                assert "Traceback" not in server.log_text()
    finally:
        other.kill_all()


def test_wrong_credentials_are_told_at_once(blick: BlickServer, backend: MariaDB | PostgreSQL, tmp_path: Path) -> None:
    wrong = backend.url("glance").replace(backend.password, "wrong-password")
    refused = configured_server(tmp_path / "refused", {"database": {"connection": wrong}})
    began_at = time.monotonic()
    assert refused.launch().wait(timeout=60) == 1
    assert time.monotonic() - began_at < 60
    said = refused.log_text()
    assert "cannot be used" in said
    assert "wrong-password" not in said
    assert "Traceback" not in said
