"""Locations at the reference service and at Blick: with one Keystone and one web server, the same comes of the same."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.support.config_file import configured_server
from tests.support.keystone import Keystone
from tests.support.mariadb import MariaDB
from tests.support.pair import Pair, Side
from tests.support.upstream import UpstreamGlance
from tests.support.waiting import eventually
from tests.support.web_server import WebServer

pytestmark = pytest.mark.needs("keystone", "upstream", "mariadb")

JSON = {"Content-Type": "application/json"}
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
RAW = {"disk_format": "raw", "container_format": "bare"}
DATA = b"0123456789" * 1000
SHA512, MD5 = hashlib.sha512(DATA).hexdigest(), hashlib.md5(DATA).hexdigest()
LOCK = "os_glance_import_task"
RIGHT = {"os_hash_algo": "sha512", "os_hash_value": SHA512}
WRONG = {"os_hash_algo": "sha512", "os_hash_value": "0" * 128}


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        server.put(DATA, name="x")
        yield server


@pytest.fixture(scope="module")
def servers(
    keystone: Keystone, mariadb: MariaDB, web: WebServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("locations")
    options = {
        "DEFAULT": {"show_multiple_locations": "true"},
        "glance_store": {"stores": "file,http"},
        "import_filtering_opts": {"allowed_hosts": "[127.0.0.1]", "allowed_ports": "[]"},
    }
    # On SQLite its background work fails where it meets a request.
    database_url = mariadb.create_database("locations_reference")
    upstream = UpstreamGlance(folder / "upstream", database_url, keystone, options)
    identity = {"paste_deploy": {"flavor": "keystone"}, "keystone_authtoken": keystone.authtoken_options()}
    blick = configured_server(folder / "blick", {**options, **identity})
    tokens = {name: keystone.token(name) for name in ("admin", "demo", "demo-reader", "alt", "nova")}
    try:
        with upstream:
            blick.start()
            yield Pair(Side(upstream.url, tokens), Side(blick.url, tokens))
    finally:
        blick.kill_all()


@pytest.fixture
def pair(servers: Pair) -> Iterator[Pair]:
    """The two, with a queued image `a` of the project demo, and nothing to complain about at the end."""
    servers.make("a", {"name": "a", **RAW})
    yield servers
    servers.verify()


def patch(pair: Pair, *changes: Any, image: str = "a", who: str = "demo") -> None:
    pair.same("PATCH", f"/v2/images/{{{image}}}", json.dumps(changes).encode(), PATCH, who=who)


def add(url: str, at: str = "-", metadata: Mapping[str, Any] | None = None, **validation: str) -> dict[str, Any]:
    value = {"url": url, "metadata": metadata or {}} | ({"validation_data": validation} if validation else {})
    return {"op": "add", "path": f"/locations/{at}", "value": value}


def put(*urls: str) -> dict[str, Any]:
    return {"op": "replace", "path": "/locations", "value": [{"url": url, "metadata": {}} for url in urls]}


def drop(index: int) -> dict[str, Any]:
    return {"op": "remove", "path": f"/locations/{index}"}


def post(pair: Pair, body: Any, image: str = "a", who: str = "demo") -> None:
    pair.same("POST", f"/v2/images/{{{image}}}/locations", json.dumps(body).encode(), JSON, who=who)


def test_patch(pair: Pair, web: WebServer) -> None:
    url = web.url("/plain/x")
    patch(pair, put(), image="a")
    patch(pair, drop(0), who="admin")
    patch(pair, add(web.url("/status/404")))
    patch(pair, add(web.put(b"")))
    patch(pair, add("http://169.254.169.254/x"))
    patch(pair, add("file:///etc/passwd"))
    patch(pair, add("nobody://x"))
    patch(pair, add(url, os_hash_algo="sha512", os_hash_value="00"))
    patch(pair, add(url, os_hash_algo="sha256", os_hash_value="0" * 64))
    patch(pair, add(url), who="demo-reader")
    patch(pair, add(url), who="alt")
    patch(pair, add(url))
    patch(pair, add(url))
    # (An answer of the reference shows where a location was put, but its list is in the order of creation.)
    patch(pair, add(f"{url}#two", metadata={"a": "b"}))
    patch(pair, put(url))
    patch(pair, put(url, f"{url}#three"))
    patch(pair, put(f"{url}#two", url))
    patch(pair, put())
    patch(pair, drop(7), who="admin")
    patch(pair, drop(1))
    patch(pair, drop(1), who="admin")
    patch(pair, drop(0), who="admin")
    patch(pair, add(f"{url}#v", **RIGHT))
    pair.same("GET", "/v2/images/{a}")
    pair.same("GET", "/v2/images/{a}/file")


def test_validation_data(pair: Pair, web: WebServer) -> None:
    url = web.url("/plain/x")
    patch(pair, add(url, checksum=MD5, **RIGHT))
    patch(pair, add(f"{url}#2", checksum=MD5, **RIGHT))
    patch(pair, add(f"{url}#3", **WRONG))
    pair.same("GET", "/v2/images/{a}")


def test_formats_and_statuses(pair: Pair, web: WebServer) -> None:
    pair.make("b", {"name": "b"})
    patch(pair, add(web.url("/plain/x")), image="b")
    patch(pair, add(web.url("/plain/x")))
    pair.same("POST", "/v2/images/{a}/actions/deactivate")
    patch(pair, add(web.url("/plain/x#2")))
    patch(pair, drop(0), who="admin")


def test_post_refusals(pair: Pair, web: WebServer) -> None:
    url = web.url("/plain/x")
    for body in (
        {},
        [],
        {"url": 1},
        {"url": url, "validation_data": {"os_hash_algo": "sha512"}},
        {"url": url, "validation_data": {"os_hash_algo": "sha512", "os_hash_value": "00"}},
        {"url": url, "validation_data": {"os_hash_algo": "sha512", "os_hash_value": "x" * 128}},
        {"url": url, "validation_data": {"os_hash_algo": "sha3_256", "os_hash_value": "0" * 64}},
        {"url": url, "validation_data": {**RIGHT, "checksum": MD5}},
        {"url": "http://169.254.169.254/"},
        {"url": "file:///etc/passwd"},
        {"url": "rbd://a/b/c/snap"},
        {"url": "x"},
    ):
        post(pair, body)
    post(pair, {"url": "rbd://a/b/c/snap"}, who="admin")
    post(pair, {"url": url}, who="demo-reader")
    post(pair, {"url": url}, who="alt")
    post(pair, {"url": url}, image="unknown")
    pair.same("GET", "/v2/images/{a}/locations")
    pair.same("GET", "/v2/images/{a}/locations", who="admin")
    pair.same("GET", "/v2/images/{a}/locations", who="nova")
    pair.same("GET", "/v2/images/{a}/tasks")
    pair.same("GET", "/v2/images/{a}/tasks", who="alt")


OUTCOMES = {
    "right": ("/plain/x", RIGHT),
    "wrong": ("/plain/x", WRONG),
    "unverified": ("/plain/x", None),
    "missing": ("/status/404", RIGHT),
    "missing, unverified": ("/status/404", None),
    "short": ("/short/x", RIGHT),
    # Data that ends early and is not verified leaves the reference's image locked, with half of its hashes.
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_outcomes(pair: Pair, web: WebServer, outcome: str) -> None:
    """Status, hashes, location, lock and the task's status are the same in the end."""
    path, validation = OUTCOMES[outcome]
    body = {"url": web.url(path)} | ({"validation_data": validation} if validation else {})
    post(pair, body)
    ends = [ending(side) for side in (pair.theirs, pair.ours)]
    assert ends[0] == ends[1]


def ending(side: Side) -> dict[str, Any]:
    def task() -> dict[str, Any]:
        answer = side.ask("demo", "GET", "/v2/images/{a}/tasks", None, {})
        found: dict[str, Any] = json.loads(answer.body)["tasks"][-1]
        return found

    eventually(lambda: task()["status"] in ("success", "failure"), what=lambda: str(task()))

    def image() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(side.ask("demo", "GET", "/v2/images/{a}", None, {}).body)
        return found

    # The reference ends the task before it has put the image in order.
    eventually(lambda: LOCK not in image() and image()["status"] != "importing", what=lambda: str(image()))
    names = ("status", "size", "checksum", "os_hash_algo", "os_hash_value", "locations")
    return {name: image()[name] for name in names} | {"task": task()["status"]}
