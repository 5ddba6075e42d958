"""Keystone and memcached by TLS, with certificates that nobody but the operator trusts."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.certificates import make_certificate
from tests.support.keystone_cloud import KeystoneCloud, keystone_cloud
from tests.support.memcached import Memcached
from tests.support.server import BlickServer

pytestmark = pytest.mark.needs("keystone", "memcached")

QUICK = {"http_connect_timeout": 10, "http_request_max_retries": 0}


@dataclass(frozen=True)
class Certificates:
    server: tuple[Path, Path]
    client: tuple[Path, Path]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(
        make_certificate(tmp_path_factory.mktemp("server"), ["localhost"]),
        make_certificate(tmp_path_factory.mktemp("client"), ["image service"]),
    )


@pytest.fixture(scope="module")
def cloud(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeystoneCloud]:
    """It lets in only who shows the client's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates.server)
    context.load_verify_locations(certificates.client[0])
    context.verify_mode = ssl.CERT_REQUIRED
    with keystone_cloud(tmp_path_factory.mktemp("cloud"), tls=context) as running:
        yield running


def listed(server: BlickServer, token: str) -> int:
    headers = {"X-Auth-Token": token}
    return httpx.get(f"{server.url}/v2/images", headers=headers, timeout=120, trust_env=False).status_code


@pytest.mark.parametrize(
    ("missing", "insecure", "status"),
    [(None, False, 200), ("cafile", True, 200), ("cafile", False, 503), ("certfile", False, 503)],
)
def test_keystone_by_tls(
    cloud: KeystoneCloud,
    certificates: Certificates,
    tmp_path: Path,
    missing: str | None,
    insecure: bool,
    status: int,
) -> None:
    files = {
        "cafile": certificates.server[0],
        "certfile": certificates.client[0],
        "keyfile": certificates.client[1],
    }
    if missing == "certfile":
        files = {"cafile": files["cafile"]}
    elif missing is not None:
        del files[missing]
    with cloud.image_service(tmp_path, **QUICK, **files, insecure=insecure) as server:
        assert listed(server, cloud.keystone.token("demo")) == status


def test_memcached_by_tls(cloud: KeystoneCloud, certificates: Certificates, tmp_path: Path) -> None:
    with Memcached(tmp_path / "memcached", tls=certificates.server) as memcached:
        options = {
            **QUICK,
            "cafile": certificates.server[0],
            "certfile": certificates.client[0],
            "keyfile": certificates.client[1],
            "memcached_servers": f"localhost:{memcached.port}",
            "memcache_pool_maxsize": 1,
            "memcache_tls_enabled": True,
            "memcache_tls_cafile": certificates.server[0],
        }
        with (
            cloud.image_service(tmp_path / "one", **options) as one,
            cloud.image_service(tmp_path / "two", **options) as two,
        ):
            token = cloud.keystone.token("demo")
            assert listed(one, token) == 200
            # On the one connection this is asked after the other token was told.
            assert listed(one, cloud.keystone.token("demo")) == 200
            before = cloud.validations
            assert listed(two, token) == 200
            assert cloud.validations == before
            assert "memcached" not in one.log_text() + two.log_text()
