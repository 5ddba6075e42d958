"""Resumable uploads where nodes keep staged data to themselves: any node takes any request, whoever has the bytes.

Two processes with configuration, port and folder of their own, on one database and one set of stores.
"""

import hashlib
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.support.databases import Databases, on_every_engine
from tests.support.import_world import STORES, ImportWorld, caller
from tests.support.tus import PIECE, TUS
from tests.support.waiting import eventually
from tests.support.web_server import WebServer

pytestmark = on_every_engine

DATA = bytes(range(256)) * 20_000


class Node:
    """One of the two, and a client for it."""

    def __init__(self, world: ImportWorld) -> None:
        self.world = world
        headers = caller("p") | {"X-Roles": "member,reader"}
        self.http = httpx.Client(base_url=world.url, headers=headers, timeout=200, trust_env=False)

    def create(self) -> str:
        formats = {"disk_format": "raw", "container_format": "bare"}
        return str(self.http.post("/v2/images", json=formats).raise_for_status().json()["id"])

    def begin(self, image_id: str, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(f"/v2/images/{image_id}/upload", headers=TUS | named)

    def add(self, path: str, offset: int, data: bytes) -> httpx.Response:
        return self.http.patch(path, content=data, headers={**PIECE, "Upload-Offset": str(offset)})

    def head(self, path: str) -> httpx.Response:
        return self.http.head(path, headers=TUS)

    def show(self, image_id: str) -> dict[str, object]:
        shown: dict[str, object] = self.http.get(f"/v2/images/{image_id}").raise_for_status().json()
        return shown

    def path(self, answer: httpx.Response) -> str:
        """That of a new upload, which its client reaches where it has asked for it."""
        assert answer.status_code == 201, answer.text
        location = answer.headers["location"]
        assert location.startswith(self.world.url)
        return str(location.removeprefix(self.world.url))


@pytest.fixture
def nodes(engine: str, databases: Databases, tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    url = databases.fresh(engine, tmp_path)
    with WebServer() as web, ExitStack() as running:

        def host(name: str) -> Node:
            made = ImportWorld(
                tmp_path / name, url, web, workers=1, job_workers=0, shared=tmp_path / "shared", shares_staging=False
            )
            running.callback(made.kill_all)
            made.start()
            node = Node(made)
            running.callback(node.http.close)
            return node

        yield host("here"), host("there")


def require_image(node: Node, image_id: str, store: str = STORES[0]) -> None:
    shown = node.show(image_id)
    assert (shown["status"], shown["size"], shown["stores"]) == ("active", len(DATA), store)
    assert shown["os_hash_value"] == hashlib.sha512(DATA).hexdigest()


def test_each_request_at_another_node(nodes: tuple[Node, Node]) -> None:
    here, there = nodes
    image_id = here.create()
    path = here.path(here.begin(image_id, upload_length=str(len(DATA)), x_image_meta_store=STORES[1]))
    assert there.head(path).headers["upload-offset"] == "0"
    answer = there.add(path, 0, DATA[:3_000_000])
    assert (answer.status_code, answer.headers["upload-offset"]) == (204, "3000000"), answer.text
    assert answer.headers.get_list("tus-resumable") == ["1.0.0"]
    assert here.head(path).headers["upload-offset"] == "3000000"
    assert not there.world.staged()
    assert there.add(path, 1, DATA).status_code == 409
    assert there.add(path, 3_000_000, b"x" * 3_000_000).status_code == 413
    answer = there.add(path, 3_000_000, DATA[3_000_000:])
    assert answer.status_code == 204, answer.text
    require_image(there, image_id, STORES[1])
    told = there.head(path)
    assert told.headers["upload-offset"] == told.headers["upload-length"] == str(len(DATA))
    assert not here.world.staged()


def test_a_body_without_a_length(nodes: tuple[Node, Node]) -> None:
    def pieces() -> Iterator[bytes]:
        for start in range(0, len(DATA), 700_000):
            yield DATA[start : start + 700_000]

    here, there = nodes
    image_id = here.create()
    path = here.path(here.begin(image_id, upload_length=str(len(DATA))))
    answer = there.http.patch(path, content=pieces(), headers={**PIECE, "Upload-Offset": "0"})
    assert answer.status_code == 204, answer.text
    require_image(there, image_id)


def test_all_parts_of_an_image_are_on_one_node(nodes: tuple[Node, Node]) -> None:
    here, there = nodes
    image_id = here.create()
    cut = 2_000_000
    first = here.path(here.begin(image_id, upload_length=str(cut), upload_concat="partial"))
    second = there.path(there.begin(image_id, upload_length=str(len(DATA) - cut), upload_concat="partial"))
    assert there.add(first, 0, DATA[:cut]).status_code == 204
    assert here.add(second, 0, DATA[cut:]).status_code == 204
    assert len(here.world.staged()) == 2
    assert not there.world.staged()
    final = there.begin(image_id, upload_concat=f"final;{there.world.url}{first} {second}")
    path = there.path(final)
    require_image(there, image_id)
    assert here.head(path).headers["upload-length"] == str(len(DATA))


def test_given_up_at_another_node(nodes: tuple[Node, Node]) -> None:
    here, there = nodes
    image_id = here.create()
    path = here.path(here.begin(image_id, upload_length=str(len(DATA))))
    assert there.add(path, 0, DATA[:1000]).status_code == 204
    assert there.http.delete(path, headers=TUS).status_code == 204
    assert here.head(path).status_code == there.head(path).status_code == 404
    assert not here.world.staged()


def test_others_are_kept_out(nodes: tuple[Node, Node]) -> None:
    here, there = nodes
    path = here.path(here.begin(here.create(), upload_length="10"))
    stranger = caller("q") | {"X-Roles": "member,reader"}
    for method in ("HEAD", "PATCH", "DELETE"):
        headers = {**PIECE, "Upload-Offset": "0", **stranger}
        answer = there.http.request(method, path, headers=headers, content=b"x" if method == "PATCH" else None)
        assert answer.status_code == 404


def test_a_node_that_is_away(nodes: tuple[Node, Node]) -> None:
    """Its uploads wait for it; new ones of other images do not."""
    here, there = nodes
    image_id = here.create()
    path = here.path(here.begin(image_id, upload_length=str(len(DATA))))
    assert here.add(path, 0, DATA[:1000]).status_code == 204
    here.world.server.kill(signal.SIGKILL)
    assert there.head(path).status_code in (503, 504)
    assert there.begin(image_id, upload_length="5").status_code in (503, 504)
    other_id = there.create()
    other = there.path(there.begin(other_id, upload_length=str(len(DATA))))
    assert there.add(other, 0, DATA).status_code == 204
    require_image(there, other_id)
    here.world.start()
    assert there.head(path).headers["upload-offset"] == "1000"
    assert there.add(path, 1000, DATA[1000:]).status_code == 204
    require_image(here, image_id)


def test_a_deleted_image(nodes: tuple[Node, Node]) -> None:
    here, there = nodes
    image_id = here.create()
    path = here.path(here.begin(image_id, upload_length=str(len(DATA))))
    assert there.add(path, 0, DATA[:1000]).status_code == 204
    assert there.http.delete(f"/v2/images/{image_id}").status_code == 204
    assert there.head(path).status_code == 404
    eventually(lambda: not here.world.staged(), what="nothing is left where the bytes were")
