"""What one node staged is imported and deleted through another (spec: import-and-tasks §7, images-api D13).

Two processes with configuration, port and folder of their own, on one database and one set of stores.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, text

from tests.support.databases import Databases, on_every_engine
from tests.support.import_world import STORES, ImportWorld, caller
from tests.support.scripted_server import http_answer, scripted_server
from tests.support.server import free_port
from tests.support.waiting import eventually
from tests.support.web_server import WebServer

pytestmark = on_every_engine

FORMATS = {"disk_format": "raw", "container_format": "bare"}
OCTETS = {"Content-Type": "application/octet-stream"}
DIRECT = {"method": {"name": "glance-direct"}}
DATA = b"some data " * 100_000


@dataclass(frozen=True)
class Pair:
    """`here` stages, `there` is asked for the rest."""

    here: ImportWorld
    there: ImportWorld
    folder: Path
    database_url: str

    def say_it_is_at(self, image_id: str, url: str) -> None:
        """Note another node as the one that has the image's staged data."""
        engine = create_engine(self.database_url)
        with engine.begin() as connection:
            changed = connection.execute(
                text("UPDATE image_properties SET value = :url WHERE image_id = :id AND name = 'os_glance_stage_host'"),
                {"url": url, "id": image_id},
            )
            assert changed.rowcount == 1
        engine.dispose()


@pytest.fixture
def pair(engine: str, databases: Databases, tmp_path: Path) -> Iterator[Pair]:
    url = databases.fresh(engine, tmp_path)
    with WebServer() as web, ExitStack() as running:

        def host(name: str) -> ImportWorld:
            made = ImportWorld(
                tmp_path / name, url, web, workers=1, job_workers=0, shared=tmp_path / "shared", shares_staging=False
            )
            running.callback(made.kill_all)
            made.start()
            return made

        yield Pair(host("here"), host("there"), tmp_path, url)


@contextmanager
def api(world: ImportWorld, project: str = "p") -> Iterator[httpx.Client]:
    headers = caller(project) | {"X-Roles": "member,reader"}
    with httpx.Client(base_url=world.url, headers=headers, timeout=200, trust_env=False) as http:
        yield http


def stage(world: ImportWorld) -> str:
    """The id of an image with staged data."""
    with api(world) as http:
        image_id = str(http.post("/v2/images", json=FORMATS).raise_for_status().json()["id"])
        http.put(f"/v2/images/{image_id}/stage", content=DATA, headers=OCTETS).raise_for_status()
    assert (world.staging / image_id).read_bytes() == DATA
    return image_id


def begin(world: ImportWorld, image_id: str, project: str = "p", **more: Any) -> httpx.Response:
    headers = {"accept": "text/plain", **more.pop("headers", {})}
    with api(world, project) as http:
        return http.post(f"/v2/images/{image_id}/import", json={**DIRECT, **more}, headers=headers)


def delete(world: ImportWorld, image_id: str, project: str = "p") -> httpx.Response:
    with api(world, project) as http:
        return http.delete(f"/v2/images/{image_id}")


def show(world: ImportWorld, image_id: str) -> dict[str, Any]:
    with api(world) as http:
        shown: dict[str, Any] = http.get(f"/v2/images/{image_id}").raise_for_status().json()
        return shown


def require_gone(world: ImportWorld, image_id: str) -> None:
    with api(world) as http:
        assert http.get(f"/v2/images/{image_id}").status_code == 404


def test_an_import(pair: Pair) -> None:
    image_id = stage(pair.here)
    answer = begin(pair.there, image_id, stores=[STORES[1]], headers={"x-openstack-request-id": "req-mine"})
    assert (answer.status_code, answer.content) == (202, b"")
    assert answer.headers.get_list("x-openstack-request-id") == ["req-mine"]
    assert answer.headers["content-type"] == "text/html; charset=UTF-8"
    eventually(lambda: show(pair.there, image_id)["status"] == "active", what=lambda: pair.here.log_texts()[-4000:])
    assert show(pair.here, image_id)["stores"] == STORES[1]
    assert (pair.here.store_folder(STORES[1]) / image_id).read_bytes() == DATA
    eventually(lambda: not pair.here.staged())
    with api(pair.there) as http:
        assert http.get(f"/v2/images/{image_id}/file").content == DATA
        [task] = http.get(f"/v2/images/{image_id}/tasks").json()["tasks"]
    assert task["request_id"] == "req-mine"
    assert task["owner"] == "p"
    assert f"import of image {image_id} is done" in pair.here.log_texts()
    assert "Traceback" not in pair.here.log_texts() + pair.there.log_texts()


def test_a_deletion(pair: Pair) -> None:
    image_id = stage(pair.here)
    assert delete(pair.there, image_id).status_code == 204
    require_gone(pair.here, image_id)
    assert not pair.here.staged()


def test_what_the_other_node_refuses(pair: Pair) -> None:
    """Its answer comes back with its status, its text and its request's id."""
    image_id = stage(pair.here)
    answer = begin(pair.there, image_id, stores=["nowhere"])
    assert answer.status_code == 409
    assert "nowhere" in answer.text
    assert answer.text.startswith("409 Conflict")
    assert len(answer.headers.get_list("x-openstack-request-id")) == 1
    assert show(pair.there, image_id)["status"] == "uploading"
    # Whoever may not do it here does not get as far as there.
    assert begin(pair.there, image_id, "q").status_code == 404
    assert delete(pair.there, image_id, "q").status_code == 404
    assert (pair.here.staging / image_id).exists()


def test_a_node_that_is_down(pair: Pair) -> None:
    kept, deleted = stage(pair.here), stage(pair.here)
    pair.here.server.stop()
    answer = begin(pair.there, kept)
    assert answer.status_code == 504
    assert answer.text.startswith("504 Gateway Timeout")
    assert show(pair.there, kept)["status"] == "uploading"
    assert delete(pair.there, deleted).status_code == 204
    require_gone(pair.there, deleted)
    assert pair.here.staged() == {kept, deleted}
    pair.here.start()
    eventually(lambda: pair.here.staged() == {kept}, what="what was deleted meanwhile is swept")
    assert begin(pair.there, kept).status_code == 202
    eventually(lambda: show(pair.there, kept)["status"] == "active")


STRANGE = (
    (b"", 502),
    (b"\x16\x03\x01 no HTTP\r\n\r\n", 502),
    (b"HTTP/1.1 202 Acc", 502),
    (b"HTTP/1.1 500 Oh\r\ncontent-length: 100\r\n\r\nbroken off", 502),
    (http_answer("418 Teapot", b"a teapot", content_type="text/x-tea", x_openstack_request_id="req-tea"), 418),
    (http_answer("500 Internal Server Error", b"oh"), 500),
    (http_answer("503 Service Unavailable", b"oh"), 503),
)


def test_a_node_that_answers_strangely(pair: Pair) -> None:
    for says, status in STRANGE:
        image_id = stage(pair.here)
        with scripted_server(says) as strange:
            pair.say_it_is_at(image_id, strange.url)
            answer = begin(pair.there, image_id, headers={"x-unknown": "x"})
            assert answer.status_code == status, says
            if status == 418:
                assert (answer.text, answer.headers["content-type"]) == ("a teapot", "text/x-tea")
                assert answer.headers.get_list("x-openstack-request-id") == ["req-tea"]
            assert show(pair.there, image_id)["status"] == "uploading"
            [request] = strange.requests
            require_forwarded(request, image_id)
            # Only what a node itself says keeps an image from being deleted.
            assert delete(pair.there, image_id).status_code == (status if status in (418, 500) else 204), says


def require_forwarded(request: bytes, image_id: str) -> None:
    """It is the caller's, in the caller's name, and has nothing else of his."""
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == f"POST /v2/images/{image_id}/import HTTP/1.1".encode()
    names = {line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:]}
    assert {b"x-project-id", b"x-roles", b"x-identity-status", b"content-type", b"x-blick-forwarded"} <= names
    assert b"x-unknown" not in names
    assert body == b'{"method":{"name":"glance-direct"}}'


def test_a_node_that_deletes_and_is_not_heard(pair: Pair) -> None:
    image_id = stage(pair.here)

    def deletes() -> None:
        pair.say_it_is_at(image_id, pair.here.url)
        assert delete(pair.here, image_id).status_code == 204

    with scripted_server(first=deletes) as deaf:
        pair.say_it_is_at(image_id, deaf.url)
        assert delete(pair.there, image_id).status_code == 204
        assert len(deaf.requests) == 1
    require_gone(pair.here, image_id)


def test_a_node_that_was_called_otherwise(pair: Pair) -> None:
    """It is asked by the name that it had, and is the one that asks: once is enough."""
    image_id, deleted = stage(pair.here), stage(pair.here)
    for each in (image_id, deleted):
        pair.say_it_is_at(each, f"http://localhost:{pair.here.port}")
    assert begin(pair.here, image_id).status_code == 202
    eventually(lambda: show(pair.here, image_id)["status"] == "active")
    assert delete(pair.here, deleted).status_code == 204
    eventually(lambda: not pair.here.staged())


def test_a_name_that_leads_to_the_wrong_node(pair: Pair) -> None:
    """Nobody runs in circles, and nothing that was staged is lost."""
    image_id = stage(pair.here)
    pair.say_it_is_at(image_id, f"http://localhost:{pair.there.port}")
    for world in (pair.here, pair.there):
        assert begin(world, image_id).status_code == 502
    assert show(pair.there, image_id)["status"] == "uploading"
    pair.say_it_is_at(image_id, pair.here.url)
    assert begin(pair.there, image_id).status_code == 202
    eventually(lambda: show(pair.there, image_id)["status"] == "active")


def test_what_is_no_address(pair: Pair) -> None:
    image_id = stage(pair.here)
    for url in ("file:///etc/passwd", "gopher://127.0.0.1", "nonsense", f"http://127.0.0.1:{free_port()}"):
        pair.say_it_is_at(image_id, url)
        assert begin(pair.there, image_id).status_code == 504
    assert delete(pair.there, image_id).status_code == 204
