"""glance-replicator between Blick and Glance, either way round."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.command import run_program
from tests.support.config_file import configured_server
from tests.support.upstream import UpstreamGlance

pytestmark = pytest.mark.needs("upstream")

MODULE = "blick.cli.replicator"
DATA = b"0123456789abcdef" * 200_000
OCTETS = {"content-type": "application/octet-stream"}


@pytest.fixture
def glance(tmp_path: Path) -> Iterator[httpx.Client]:
    with UpstreamGlance(tmp_path / "glance") as server, httpx.Client(base_url=server.url, timeout=120) as http:
        yield http


@pytest.fixture
def blick(tmp_path: Path) -> Iterator[httpx.Client]:
    with configured_server(tmp_path / "blick") as server, httpx.Client(base_url=server.url, timeout=120) as http:
        yield http


@pytest.mark.parametrize("order", ["to-glance", "from-glance"])
def test_there_and_compared(tmp_path: Path, glance: httpx.Client, blick: httpx.Client, order: str) -> None:
    source, target = (blick, glance) if order == "to-glance" else (glance, blick)
    images = [
        make(source, DATA, name="large", tags=["a", "b"], os_distro="debian", note="ä"),
        make(source, b"", name="empty"),
        make(source, b"h", os_hidden=True, visibility="public", protected=True, min_disk=3),
    ]
    waiting = make(source, None)
    where = [str(one.base_url) for one in (source, target)]

    def call(*arguments: object) -> str:
        done = run_program(tmp_path, MODULE, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert call("livecopy", *where) == "Copied 3, updated 0, unchanged 0, skipped 1, failed 0.\n"
    assert call("livecopy", *where) == "Copied 0, updated 0, unchanged 3, skipped 1, failed 0.\n"
    for image_id in images:
        assert target.get(f"/v2/images/{image_id}/file").content == source.get(f"/v2/images/{image_id}/file").content
    change = [{"op": "add", "path": "/new", "value": "x"}, {"op": "replace", "path": "/name", "value": "other"}]
    media_type = {"content-type": "application/openstack-images-v2.1-json-patch"}
    answer = source.patch(f"/v2/images/{images[0]}", content=json.dumps(change), headers=media_type)
    assert answer.status_code == 200
    assert call("livecopy", *where) == "Copied 0, updated 1, unchanged 2, skipped 1, failed 0.\n"
    source.delete(f"/v2/images/{waiting}")
    call("compare", "-e", *where)
    folder = tmp_path / "dumps"
    folder.mkdir()
    assert call("dump", where[1], folder) == "Dumped 3, there already 0, failed 0.\n"
    assert call("load", where[0], folder) == "Copied 0, updated 0, unchanged 3, skipped 0, failed 0.\n"


def make(service: httpx.Client, data: bytes | None, **attributes: Any) -> str:
    body = {"disk_format": "raw", "container_format": "bare", **attributes}
    answer = service.post("/v2/images", json=body)
    assert answer.status_code == 201, answer.text
    image_id: str = answer.json()["id"]
    if data is not None:
        assert service.put(f"/v2/images/{image_id}/file", content=data, headers=OCTETS).status_code == 204
    return image_id
