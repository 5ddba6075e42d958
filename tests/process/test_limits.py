"""Unified limits of a real Keystone (spec: security §4)."""

import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.clients import ClientFailedError, Clients
from tests.support.config_file import configured_server
from tests.support.counting_proxy import CountingProxy
from tests.support.keystone import Keystone
from tests.support.member import MIB, Member
from tests.support.server import BlickServer
from tests.support.waiting import eventually

ROOMY = dict.fromkeys(("image_size_total", "image_stage_total", "image_count_total", "image_count_uploading"), 1000)
Options = Mapping[str, Mapping[str, object]]


@pytest.fixture(scope="module")
def own_keystone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keystone]:
    """One whose limits the tests change."""
    with Keystone(tmp_path_factory.mktemp("keystone")) as server:
        yield server


def limited_server(folder: Path, oslo_limit: Mapping[str, object], more: Options | None = None) -> BlickServer:
    usual = {
        "DEFAULT": {"use_keystone_limits": True, "workers": 2},
        "paste_deploy": {"flavor": "trusted-headers"},
        "oslo_limit": oslo_limit,
    }
    return configured_server(folder, usual | dict(more or {}))


@pytest.fixture(scope="module")
def limited(own_keystone: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlickServer]:
    with limited_server(tmp_path_factory.mktemp("limited"), own_keystone.limit_options()) as server:
        yield server


@pytest.fixture
def limits(own_keystone: Keystone) -> Iterator[Keystone]:
    own_keystone.clear_limits()
    own_keystone.register_limits(ROOMY)
    yield own_keystone
    own_keystone.clear_limits()


@pytest.fixture
def demo(limited: BlickServer, own_keystone: Keystone) -> Iterator[Member]:
    with Member(limited, own_keystone.project_id("demo")) as caller:
        yield caller
        for image in caller.http.get("/v2/images").json()["images"]:
            caller.http.delete(f"/v2/images/{image['id']}").raise_for_status()


pytestmark = pytest.mark.needs("keystone")


def test_changed_limits_count_at_once(limits: Keystone, demo: Member) -> None:
    limits.register_limits({"image_size_total": 5})
    assert demo.put(demo.image_id(), 3 * MIB).status_code == 204
    second = demo.image_id()
    refused = demo.put(second, 3 * MIB)
    assert refused.status_code == 413
    assert "image_size_total is over limit of 5 due to current usage 3 and delta 3" in refused.text
    assert demo.put(second, 3 * MIB, announced=False).status_code == 413
    assert demo.http.get(f"/v2/images/{second}").json()["status"] == "queued"
    limits.register_limits({"image_size_total": 6})
    assert demo.put(second, 3 * MIB, announced=False).status_code == 204
    assert demo.usage()["image_size_total"] == {"limit": 6, "usage": 6}
    limits.register_limits({"image_count_total": 2})
    assert "image_count_total is over limit of 2 due to current usage 2 and delta 1" in demo.create().text


def test_a_projects_own_limit_counts_for_it_alone(limits: Keystone, limited: BlickServer, demo: Member) -> None:
    limits.register_limits({"image_count_total": 1})
    limits.set_project_limits("demo", {"image_count_total": 2})
    assert [demo.create().status_code for _ in range(3)] == [201, 201, 413]
    assert demo.usage()["image_count_total"] == {"limit": 2, "usage": 2}
    with Member(limited, limits.project_id("alt")) as alt:
        assert [alt.create().status_code for _ in range(2)] == [201, 413]
        assert alt.usage()["image_count_total"] == {"limit": 1, "usage": 1}
    limits.set_project_limits("demo", {"image_count_total": -1})
    assert demo.create().status_code == 201


def test_what_is_not_registered_is_zero(limits: Keystone, limited: BlickServer, demo: Member) -> None:
    limits.clear_limits()
    assert "image_count_total is over limit of 0 due to current usage 0 and delta 1" in demo.create().text
    assert demo.usage() == {name: {"limit": 0, "usage": 0} for name in ROOMY}
    assert "no registered limit image_count_total" in limited.log_text()


def test_a_caller_without_a_project_has_the_defaults(limits: Keystone, limited: BlickServer) -> None:
    headers = {"X-Identity-Status": "Confirmed", "X-User-Id": "u1", "X-Roles": "admin", "OpenStack-System-Scope": "all"}
    answer = httpx.get(f"{limited.url}/v2/info/usage", headers=headers, timeout=120, trust_env=False)
    assert answer.json()["usage"]["image_count_total"] == {"limit": 1000, "usage": 0}


def test_racing_uploads_of_two_workers(limits: Keystone, demo: Member) -> None:
    limits.register_limits({"image_size_total": 4})
    ids = [demo.image_id() for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        halves = list(threads.map(lambda pair: demo.put(pair[1], 2 * MIB, announced=pair[0] % 2 == 0), enumerate(ids)))
    taken = sum(answer.status_code == 204 for answer in halves)
    assert {answer.status_code for answer in halves} <= {204, 413}
    # Unannounced ones may all have run into announced ones; then there is room afterwards, but never too little.
    assert 1 <= taken <= 2
    assert demo.usage()["image_size_total"]["usage"] == 2 * taken


def test_keystone_is_asked_twice_per_request_at_most(limits: Keystone, tmp_path: Path) -> None:
    with CountingProxy(limits.url) as proxy:
        options = limits.limit_options() | {"endpoint_override": f"{proxy.url}/v3"}
        with (
            limited_server(tmp_path, options, {"DEFAULT": {"use_keystone_limits": True, "workers": 1}}) as server,
            Member(server, limits.project_id("demo")) as caller,
        ):
            image_id = caller.image_id()
            for act in (caller.create, lambda: caller.put(image_id, MIB), caller.usage):
                proxy.requests.clear()
                act()
                assert proxy.requests == [("GET", "/v3/limits"), ("GET", "/v3/registered_limits")]
            limits.set_project_limits("demo", ROOMY)
            proxy.requests.clear()
            caller.image_id()
            assert proxy.requests == [("GET", "/v3/limits")]
            proxy.requests.clear()
            assert caller.http.get(f"/v2/images/{image_id}").status_code == 200
            assert caller.http.get(f"/v2/images/{image_id}/file").status_code == 200
            assert proxy.requests == []


def test_keystone_hangs_goes_and_comes_back(tmp_path: Path) -> None:
    with Keystone(tmp_path / "keystone") as keystone:
        keystone.register_limits(ROOMY)
        with (
            limited_server(tmp_path, keystone.limit_options() | {"timeout": 2}) as server,
            Member(server, keystone.project_id("demo")) as caller,
        ):
            image_id, other = caller.image_id(), caller.image_id()
            assert caller.put(other, 10).status_code == 204
            for away, back in ((keystone.pause, keystone.go_on), (keystone.stop, keystone.start)):
                away()
                for answer in (caller.create(), caller.put(image_id, 10), caller.http.get("/v2/info/usage")):
                    assert answer.status_code == 503, answer.text
                    assert "limits of this project cannot be read" in answer.text
                assert caller.http.get(f"/v2/images/{other}/file").content == b"x" * 10
                back()
                eventually(lambda: caller.create().status_code == 201, what="Keystone is back")
            assert caller.put(image_id, 10).status_code == 204
        log = server.log_text()
        assert "limits cannot be read from Keystone, see [oslo_limit]" in log
        assert "Traceback" not in log
        assert keystone.password not in log


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"password": "wrong"}, "requires authentication"),
        ({"endpoint_id": "nowhere"}, "Can't find endpoint for nowhere"),
        ({"auth_type": "nonsense"}, "nonsense"),
        (
            {"username": "demo", "project_name": "demo", "project_domain_name": "Default", "system_scope": ""},
            "orbidden",
        ),
        ({"auth_url": "http://127.0.0.1:1/v3"}, "127.0.0.1:1"),
        ({"auth_url": "https://127.0.0.1:1/v3", "cafile": "/nowhere.pem"}, "/nowhere.pem"),
    ],
)
def test_a_wrong_configuration_is_told(
    limits: Keystone, tmp_path: Path, change: Mapping[str, object], told: str
) -> None:
    options = {name: value for name, value in (limits.limit_options() | dict(change)).items() if value}
    with (
        limited_server(tmp_path, options, {"DEFAULT": {"use_keystone_limits": True, "workers": 1}}) as server,
        Member(server, limits.project_id("demo")) as caller,
    ):
        answer = caller.create()
        assert answer.status_code == 503
        assert told not in answer.text
        [line] = [line for line in server.log_text().splitlines() if "limits cannot be read from Keystone" in line]
        assert told in line
        assert "Traceback" not in server.log_text()
        assert caller.http.get("/v2/images").json()["images"] == []


def test_endpoint_by_service_and_credentials_of_another_group(limits: Keystone, tmp_path: Path) -> None:
    options = {
        "auth_section": "keystone_authtoken",
        "endpoint_service_type": "image",
        "endpoint_region_name": "RegionOne",
        "endpoint_interface": "public",
    }
    credentials = {"keystone_authtoken": {"auth_type": "password"} | limits.auth("glance")}
    with limited_server(tmp_path, options, credentials) as server, Member(server, limits.project_id("demo")) as caller:
        assert caller.usage() == {name: {"limit": 1000, "usage": 0} for name in ROOMY}


def test_sighup_takes_limits_into_use(limits: Keystone, tmp_path: Path) -> None:
    """Also with one worker, which goes on in the process that it has."""
    wrong = limits.limit_options() | {"password": "wrong"}
    server = limited_server(tmp_path, wrong, {"DEFAULT": {"use_keystone_limits": True, "workers": 1}})
    with server, Member(server, limits.project_id("demo")) as caller:
        assert caller.create().status_code == 503
        file = tmp_path / "glance-api.conf"
        file.write_text(file.read_text().replace("password = wrong", f"password = {limits.password}"))
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: caller.create().status_code == 201, what="the new password counts")


@pytest.mark.needs("clients")
def test_a_keystone_user_with_the_glance_client(limits: Keystone, tmp_path: Path) -> None:
    """Token, project and limits all from one Keystone."""
    limits.register_limits({"image_count_total": 2})
    flavor = {"paste_deploy": {"flavor": "keystone"}, "keystone_authtoken": limits.authtoken_options()}
    with limited_server(tmp_path, limits.limit_options(), flavor) as server:
        auth = {f"OS_{name.upper()}": str(value) for name, value in limits.auth("demo").items()}
        urls = {"OS_IMAGE_URL": server.url, "OS_IDENTITY_API_VERSION": "3", "OS_PROJECT_DOMAIN_NAME": "Default"}
        demo = Clients(server.environment | auth | urls)
        for _ in range(2):
            demo.glance("image-create", "--name", "x")
        with pytest.raises(ClientFailedError, match="image_count_total is over limit of 2 due to current usage 2"):
            demo.glance("image-create", "--name", "x")
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in demo.glance("usage").splitlines()]
        assert ["image_count_total", "2", "2"] in [[row[0], *sorted(row[1:])] for row in rows]
