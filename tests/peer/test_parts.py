"""The real services that other tests lean on: they run, and say what their helpers promise."""

from pathlib import Path

import httpx
import pytest

from tests.support.images_api import ImagesApi
from tests.support.keystone import Keystone
from tests.support.memcached import Memcached
from tests.support.upstream import UpstreamGlance, upstream_url


@pytest.mark.needs("memcached")
def test_memcached_remembers_and_forgets(memcached: Memcached) -> None:
    assert memcached.ask("set parts 0 0 1\r\nx") == "STORED"
    assert memcached.ask("get parts") == "VALUE parts 0 1"
    memcached.flush()
    assert memcached.ask("get parts") == "END"
    assert int(memcached.statistics()["get_hits"]) >= 1


@pytest.mark.needs("keystone")
def test_keystone_knows_its_accounts(keystone: Keystone) -> None:
    _, demo = keystone.token_record("demo")
    assert demo["project"]["name"] == "demo"
    assert {role["name"] for role in demo["roles"]} == {"member", "reader"}
    assert {service["type"] for service in demo["catalog"]} == {"identity", "image"}
    assert {role["name"] for role in keystone.token_record("nova")[1]["roles"]} == {"service"}
    assert keystone.token_record("sysreader")[1]["system"] == {"all": True}
    assert keystone.token_record("admin", "domain")[1]["domain"]["name"] == "Default"


@pytest.mark.needs("keystone")
def test_keystone_revokes_tokens(keystone: Keystone) -> None:
    token = keystone.token("spare")
    keystone.revoke(token)
    with keystone.admin() as api, pytest.raises(httpx.HTTPStatusError, match="404"):
        api.request("GET", "/auth/tokens", headers={"X-Subject-Token": token})


@pytest.mark.needs("keystone")
def test_keystone_restricts_application_credentials(keystone: Keystone) -> None:
    rule = {"service": "image", "method": "GET", "path": "/v2/images"}
    token = keystone.credential_token(keystone.application_credential("spare", [rule]))
    with keystone.admin() as api:
        headers = {"X-Subject-Token": token, "OpenStack-Identity-Access-Rules": "1"}
        said = api.request("GET", "/auth/tokens", headers=headers).json()["token"]
    [known] = said["application_credential"]["access_rules"]
    assert {name: known[name] for name in rule} == rule


@pytest.mark.needs("keystone", "upstream")
def test_upstream_serves_with_its_own_keystone(tmp_path: Path) -> None:
    with (
        Keystone(tmp_path / "keystone") as keystone,
        UpstreamGlance(tmp_path / "upstream", keystone=keystone) as upstream,
    ):
        keystone.set_image_url(upstream.url)
        keystone.register_limits({"image_count_total": 4})
        keystone.set_project_limits("demo", {"image_count_total": 5})
        endpoints = {
            endpoint["url"]
            for service in keystone.token_record("demo")[1]["catalog"]
            for endpoint in service["endpoints"]
            if service["type"] == "image"
        }
        assert endpoints == {upstream.url}
        with ImagesApi(upstream.url, keystone.auth("demo")) as api:
            assert api.show(api.create(name="first")["id"])["status"] == "queued"
        assert upstream.manage("db", "version").stdout.strip() == "2024_1_contract01"
        keystone.clear_limits()


def test_upstream_gets_the_driver_it_has() -> None:
    assert upstream_url("postgresql+psycopg://u:p@h/d") == "postgresql+psycopg2://u:p@h/d"
    assert upstream_url("mysql+pymysql://u:p@h/d?charset=utf8") == "mysql+pymysql://u:p@h/d?charset=utf8"
    assert upstream_url("sqlite:////tmp/x") == "sqlite:////tmp/x"
