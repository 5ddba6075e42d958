"""How often Keystone is asked, and what memcached holds."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest

from tests.support.keystone_cloud import KeystoneCloud, keystone_cloud
from tests.support.memcached import Memcached
from tests.support.server import HOST, BlickServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.needs("keystone", "memcached")

IMAGES = "/v2/images"
CALLERS = 1000


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeystoneCloud]:
    with keystone_cloud(tmp_path_factory.mktemp("cloud")) as running:
        yield running


@pytest.fixture
def own_memcached(tmp_path: Path) -> Iterator[Memcached]:
    with Memcached(tmp_path / "memcached") as running:
        yield running


def listed(server: BlickServer, token: str) -> int:
    headers = {"X-Auth-Token": token}
    return httpx.get(f"{server.url}{IMAGES}", headers=headers, timeout=120, trust_env=False).status_code


async def listed_at_once(server: BlickServer, token: str, callers: int, cloud: KeystoneCloud) -> list[bytes]:
    """The status lines of so many requests that are all there before Keystone says anything."""
    request = f"GET {IMAGES} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\nConnection: close\r\n\r\n".encode()
    connections = [await asyncio.open_connection(HOST, server.port) for _ in range(callers)]
    for _, writer in connections:
        writer.write(request)
    await asyncio.gather(*(writer.drain() for _, writer in connections))
    # One more, behind all of them, that needs no Keystone: when it is answered, the others have been read.
    await asyncio.to_thread(httpx.get, f"{server.url}/healthcheck", timeout=120, trust_env=False)
    cloud.proxy.let_go()
    answers = await asyncio.gather(*(reader.read() for reader, _ in connections))
    for _, writer in connections:
        writer.close()
    return [answer.partition(b"\r\n")[0] for answer in answers]


def test_a_thousand_requests_with_a_fresh_token_are_one_question(cloud: KeystoneCloud, tmp_path: Path) -> None:
    with cloud.image_service(tmp_path) as server:
        assert listed(server, cloud.keystone.token("demo")) == 200  # logs in
        token = cloud.keystone.token("demo")
        before = cloud.validations
        cloud.proxy.hold()
        lines = asyncio.run(listed_at_once(server, token, CALLERS, cloud))
        assert lines == [b"HTTP/1.1 200 OK"] * CALLERS
        assert cloud.validations - before == 1


def test_two_processes_ask_once(cloud: KeystoneCloud, own_memcached: Memcached, tmp_path: Path) -> None:
    """Keystone may even be away when the second process hears of the token."""
    shared = {"memcached_servers": own_memcached.address}
    with (
        cloud.image_service(tmp_path / "one", **shared) as one,
        cloud.image_service(tmp_path / "two", **shared) as two,
    ):
        token = cloud.keystone.token("demo")
        before = cloud.validations
        assert listed(one, token) == 200
        eventually(lambda: own_memcached.statistics()["curr_items"] == "1", what="the token is in memcached")
        assert listed(two, token) == 200
        assert listed(two, "rubbish") == 401
        assert cloud.validations - before == 2
        assert own_memcached.statistics()["curr_items"] == "1"


@pytest.mark.parametrize("strategy", ["MAC", "ENCRYPT"])
def test_nobody_can_write_what_we_believe(
    cloud: KeystoneCloud, own_memcached: Memcached, tmp_path: Path, strategy: str
) -> None:
    options = {
        "memcached_servers": own_memcached.address,
        "memcache_security_strategy": strategy,
        "memcache_secret_key": "hidden",
    }
    with (
        cloud.image_service(tmp_path / "one", **options) as one,
        cloud.image_service(tmp_path / "two", **options) as two,
        cloud.image_service(tmp_path / "three", **options) as three,
    ):
        token, record = cloud.keystone.token_record("demo")
        assert listed(one, token) == 200
        eventually(lambda: len(entries(own_memcached)) == 1, what="the token is in memcached")
        before = cloud.validations
        assert listed(two, token) == 200
        assert cloud.validations == before
        name, kept = only_entry(own_memcached)
        secrets = {token, "hidden", record["user"]["id"], record["project"]["id"]}
        readable = [secret for secret in secrets if secret.encode() in kept or secret in name]
        assert set(readable) == (set() if strategy == "ENCRYPT" else {record["user"]["id"], record["project"]["id"]})
        put(own_memcached, name, kept.replace(b"reader", b"admin!") if strategy == "MAC" else kept[:-1] + b"x")
        assert only_entry(own_memcached) != (name, kept)
        assert listed(three, token) == 200
        assert cloud.validations == before + 1


def test_rubbish_in_memcached_is_not_believed(cloud: KeystoneCloud, own_memcached: Memcached, tmp_path: Path) -> None:
    shared = {"memcached_servers": own_memcached.address}
    with (
        cloud.image_service(tmp_path / "one", **shared) as one,
        cloud.image_service(tmp_path / "two", **shared) as two,
    ):
        token = cloud.keystone.token("demo")
        assert listed(one, token) == 200
        eventually(lambda: len(entries(own_memcached)) == 1, what="the token is in memcached")
        name, _ = only_entry(own_memcached)
        put(own_memcached, name, b"rubbish")
        before = cloud.validations
        assert listed(two, token) == 200
        assert cloud.validations == before + 1


def test_memcached_goes_and_comes_back(cloud: KeystoneCloud, own_memcached: Memcached, tmp_path: Path) -> None:
    options = {"memcached_servers": own_memcached.address, "memcache_pool_dead_retry": 1}
    with cloud.image_service(tmp_path / "one", **options) as server:
        assert listed(server, cloud.keystone.token("demo")) == 200
        eventually(lambda: own_memcached.statistics()["curr_items"] == "1", what="the token is in memcached")
        own_memcached.restart()  # the connections to it are dead
        assert listed(server, cloud.keystone.token("demo")) == 200
        eventually(lambda: own_memcached.statistics()["curr_items"] == "1", what="the next one is, too")
        assert "memcached cannot be used" not in server.log_text()
        own_memcached.stop()
        for _ in range(3):
            assert listed(server, cloud.keystone.token("demo")) == 200
        assert server.log_text().count("memcached cannot be used") == 1
        own_memcached.start()

        def remembered() -> bool:
            assert listed(server, cloud.keystone.token("demo")) == 200
            return own_memcached.statistics()["curr_items"] != "0"

        eventually(remembered, what="it is used again")


def test_memcached_hangs(cloud: KeystoneCloud, own_memcached: Memcached, tmp_path: Path) -> None:
    options = {"memcached_servers": own_memcached.address, "memcache_pool_socket_timeout": 1}
    with cloud.image_service(tmp_path / "one", **options) as server:
        own_memcached.pause()
        try:
            assert listed(server, cloud.keystone.token("demo")) == 200
            assert "memcached cannot be used" in server.log_text()
        finally:
            own_memcached.go_on()


def only_entry(memcached: Memcached) -> tuple[str, bytes]:
    """Name and value of the one thing that memcached holds. Its list leaves out what is in use just then."""
    found: list[tuple[str, bytes]] = []

    def look() -> bool:
        found[:] = entries(memcached).items()
        return len(found) == 1

    eventually(look, what="one entry in memcached")
    return found[0]


def entries(memcached: Memcached) -> dict[str, bytes]:
    """All that memcached holds."""
    with socket.create_connection((HOST, memcached.port), timeout=30) as connection:
        stream = connection.makefile("rwb")
        stream.write(b"lru_crawler metadump all\r\n")
        stream.flush()
        lines = list(iter(lambda: stream.readline().strip(), b"END"))
        found = {}
        for name in [unquote(line.split()[0].removeprefix(b"key=").decode()) for line in lines]:
            stream.write(b"get " + name.encode() + b"\r\n")
            stream.flush()
            head = stream.readline().split()
            if head[0] == b"VALUE":
                found[name] = stream.read(int(head[3]) + 2)[:-2]
                stream.readline()
        return found


def put(memcached: Memcached, name: str, value: bytes) -> None:
    """Write an entry as anybody could."""
    with socket.create_connection((HOST, memcached.port), timeout=30) as connection:
        stream = connection.makefile("rwb")
        stream.write(f"set {name} 0 300 {len(value)}\r\n".encode() + value + b"\r\n")
        stream.flush()
        assert stream.readline() == b"STORED\r\n"
