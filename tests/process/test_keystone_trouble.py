"""A Keystone that is away, slow, broken, or does not know us: who is known is served, and others do not get 401."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.keystone_cloud import KeystoneCloud, keystone_cloud
from tests.support.server import BlickServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.needs("keystone")

IMAGES = "/v2/images"
QUICK = {"http_connect_timeout": 2, "http_request_max_retries": 0}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeystoneCloud]:
    with keystone_cloud(tmp_path_factory.mktemp("cloud")) as running:
        yield running


@pytest.fixture(scope="module")
def server(cloud: KeystoneCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlickServer]:
    """A service whose Keystone may fail."""
    with cloud.image_service(tmp_path_factory.mktemp("service"), **QUICK) as running:
        yield running


@pytest.fixture(scope="module")
def http(server: BlickServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=120, trust_env=False) as client:
        yield client


def answer(http: httpx.Client, token: str) -> httpx.Response:
    return http.get(IMAGES, headers={"X-Auth-Token": token})


def unavailable(http: httpx.Client, token: str) -> None:
    said = answer(http, token)
    assert said.status_code == 503
    assert "identity service" in said.text
    assert "www-authenticate" not in said.headers


def test_keystone_goes_and_comes_back(cloud: KeystoneCloud, server: BlickServer, http: httpx.Client) -> None:
    known, unknown = cloud.keystone.token("demo"), cloud.keystone.token("demo")
    assert answer(http, known).status_code == 200
    cloud.keystone.stop()
    try:
        unavailable(http, unknown)
        unavailable(http, "rubbish")
        with_service = {"X-Auth-Token": known, "X-Service-Token": unknown}
        assert http.get(IMAGES, headers=with_service).status_code == 503
        assert answer(http, known).status_code == 200
        assert http.get(IMAGES).status_code == 401  # about no token there is nothing to ask
        assert http.get("/healthcheck").status_code == 200
    finally:
        cloud.keystone.start()
    assert answer(http, unknown).status_code == 200
    assert answer(http, "rubbish").status_code == 401
    assert "Keystone does not answer" in server.log_text()
    assert unknown not in server.log_text()
    assert known not in server.log_text()


def test_keystone_is_away_when_we_start(cloud: KeystoneCloud, tmp_path: Path) -> None:
    token = cloud.keystone.token("demo")
    cloud.keystone.stop()
    try:
        with (
            cloud.image_service(tmp_path, **QUICK) as server,
            httpx.Client(base_url=server.url, timeout=120, trust_env=False) as http,
        ):
            unavailable(http, token)
            cloud.keystone.start()
            assert answer(http, token).status_code == 200
    finally:
        if not cloud.keystone.is_ready():
            cloud.keystone.start()


def test_keystone_hangs(cloud: KeystoneCloud, http: httpx.Client) -> None:
    known, unknown = cloud.keystone.token("demo"), cloud.keystone.token("demo")
    assert answer(http, known).status_code == 200
    cloud.keystone.pause()
    try:
        unavailable(http, unknown)
        assert answer(http, known).status_code == 200
    finally:
        cloud.keystone.go_on()
    assert answer(http, unknown).status_code == 200


@pytest.mark.parametrize("status", [500, 502, 503, 429, 301])
def test_keystone_has_a_fault(cloud: KeystoneCloud, http: httpx.Client, status: int) -> None:
    known, unknown = cloud.keystone.token("demo"), cloud.keystone.token("demo")
    assert answer(http, known).status_code == 200
    cloud.proxy.answer_instead = status
    try:
        unavailable(http, unknown)
        assert answer(http, known).status_code == 200
    finally:
        cloud.proxy.answer_instead = None
    assert answer(http, unknown).status_code == 200


@pytest.mark.parametrize(
    "account",
    [
        {"password": "wrong"},
        {"username": "nobody"},
        {"username": "alt", "project_name": "alt"},
        {"region_name": "Mars"},
    ],
)
def test_keystone_does_not_know_us(cloud: KeystoneCloud, tmp_path: Path, account: dict[str, str]) -> None:
    server = cloud.image_service(tmp_path, **QUICK, **account)
    with server, httpx.Client(base_url=server.url, timeout=120, trust_env=False) as http:
        unavailable(http, cloud.keystone.token("demo"))
    reason = "catalog has no identity endpoint" if "region_name" in account else "refuses the account"
    assert reason in server.log_text()
    assert cloud.keystone.password not in server.log_text()


def test_our_own_token_is_revoked(cloud: KeystoneCloud, http: httpx.Client) -> None:
    """As after a restart of Keystone with other keys: we log in again, and nobody notices."""
    assert answer(http, cloud.keystone.token("demo")).status_code == 200
    with cloud.keystone.admin() as api:
        glance = cloud.keystone.user_id("glance")
        for enabled in (False, True):  # which revokes every token of that user
            api.request("PATCH", f"/users/{glance}", {"user": {"enabled": enabled}})
    eventually(lambda: answer(http, cloud.keystone.token("demo")).status_code == 200, what="logged in again")


def test_a_stop_does_not_wait_for_keystone(cloud: KeystoneCloud, tmp_path: Path) -> None:
    server = cloud.image_service(tmp_path, **QUICK)
    server.start()
    token = cloud.keystone.token("demo")
    cloud.keystone.pause()
    try:
        with httpx.Client(base_url=server.url, trust_env=False) as http, pytest.raises(httpx.ReadTimeout):
            http.get(IMAGES, headers={"X-Auth-Token": token}, timeout=0.5)
        server.stop()  # subprocess.TimeoutExpired if it takes long
    finally:
        cloud.keystone.go_on()
