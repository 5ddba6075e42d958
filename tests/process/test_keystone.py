"""Callers that a real Keystone vouches for."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from blick.identity.keystone.service import KeystoneIdentity
from blick.model.errors import Unauthenticated
from tests.support.callers import asked
from tests.support.keystone_cloud import KeystoneCloud, keystone_cloud
from tests.support.server import BlickServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.needs("keystone")

IMAGES = "/v2/images"
CHALLENGE = 'Keystone uri="https://identity.example.com/v3"'
FORGED = {
    "X-Identity-Status": "Confirmed",
    "X-User-Id": "root",
    "X-Project-Id": "admin",
    "X-Tenant-Id": "admin",
    "X-Roles": "admin",
    "X-Role": "admin",
    "X-Service-Roles": "service",
    "X-Service-Identity-Status": "Confirmed",
    "X-Is-Admin-Project": "True",
}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeystoneCloud]:
    with keystone_cloud(tmp_path_factory.mktemp("cloud")) as running:
        yield running


@pytest.fixture(scope="module")
def server(cloud: KeystoneCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlickServer]:
    """One image service for all tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("service")
    (folder / "policy.yaml").write_text("publicize_image: service_roles:service\n")
    groups = {"oslo_policy": {"policy_file": folder / "policy.yaml"}}
    with cloud.image_service(folder, groups, service_type="image") as running:
        yield running


@pytest.fixture(scope="module")
def http(server: BlickServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=120, trust_env=False) as client:
        yield client


def status(http: httpx.Client, path: str = IMAGES, method: str = "GET", body: object = None, **tokens: str) -> int:
    """Of one request with these tokens: auth, service."""
    headers = {f"X-{name}-Token": token for name, token in tokens.items()}
    return http.request(method, path, headers=headers, json=body).status_code


def test_users_have_the_rights_of_their_roles(cloud: KeystoneCloud, http: httpx.Client) -> None:
    token, record = cloud.keystone.token_record("demo")
    made = http.post(IMAGES, json={"name": "mine"}, headers={"X-Auth-Token": token})
    assert (made.status_code, made.json()["owner"]) == (201, record["project"]["id"])
    place = f"{IMAGES}/{made.json()['id']}"
    expected = {"demo": 200, "demo-two": 200, "demo-reader": 200, "alt": 404, "admin": 200}
    assert {user: status(http, place, auth=cloud.keystone.token(user)) for user in expected} == expected
    assert status(http, place, "DELETE", auth=cloud.keystone.token("demo-reader")) == 403
    assert status(http, auth=cloud.keystone.token("nova")) == 403
    assert http.get(IMAGES, headers={"X-Storage-Token": token}).status_code == 200


def test_scopes_that_the_rules_are_not_for(cloud: KeystoneCloud, http: httpx.Client) -> None:
    assert status(http, auth=cloud.keystone.token("sysreader")) == 403
    assert status(http, auth=cloud.keystone.token("admin", "system")) == 403
    assert status(http, auth=cloud.keystone.token("admin", "domain")) == 403
    assert status(http, auth=cloud.keystone.token("demo", "none")) == 403


@pytest.mark.parametrize("token", [None, "", "rubbish", "gAAAAAB" + "x" * 200, "x" * 5000, "a b", "Zoë"])
def test_without_a_good_token_nobody_calls(http: httpx.Client, token: str | None) -> None:
    headers = {} if token is None else {"X-Auth-Token": token.encode()}
    answer = http.get(IMAGES, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == CHALLENGE
    assert "x-openstack-request-id" not in answer.headers
    assert http.get("/", headers=headers).status_code == 300
    assert http.get("/healthcheck", headers=headers).status_code == 200


def test_headers_of_the_client_never_count(cloud: KeystoneCloud, http: httpx.Client) -> None:
    assert http.get(IMAGES, headers=FORGED).status_code == 401
    headers = FORGED | {"X-Auth-Token": cloud.keystone.token("demo-reader")}
    assert http.get(IMAGES, headers=headers).status_code == 200
    assert http.post(IMAGES, json={}, headers=headers).status_code == 403
    headers["X-Auth-Token"] = cloud.keystone.token("demo")
    assert http.post(IMAGES, json={"visibility": "public"}, headers=headers).status_code == 403
    made = http.post(IMAGES, json={}, headers=headers)
    assert made.json()["owner"] == cloud.keystone.project_id("demo")


def test_two_tokens_are_no_token(cloud: KeystoneCloud, http: httpx.Client) -> None:
    token = cloud.keystone.token("demo")
    assert http.get(IMAGES, headers=[("X-Auth-Token", token), ("X-Auth-Token", token)]).status_code == 401


def test_service_tokens(cloud: KeystoneCloud, http: httpx.Client) -> None:
    user, service, other = (cloud.keystone.token(name) for name in ("demo", "nova", "alt"))
    assert status(http, auth=user, Service=service) == 200
    assert status(http, auth=user, Service=other) == 401
    assert status(http, auth=user, Service="rubbish") == 401
    assert status(http, Service=service) == 401
    public = {"visibility": "public"}
    assert status(http, IMAGES, "POST", public, auth=user) == 403
    assert status(http, IMAGES, "POST", public, auth=user, Service=service) == 201


def test_restricted_application_credentials(cloud: KeystoneCloud, http: httpx.Client) -> None:
    rules = [
        {"service": "image", "method": "GET", "path": IMAGES},
        {"service": "image", "method": "GET", "path": "/v2/images/{image_id}"},
        {"service": "compute", "method": "POST", "path": IMAGES},
    ]
    token = cloud.keystone.credential_token(cloud.keystone.application_credential("demo", rules))
    image = http.post(IMAGES, json={}, headers={"X-Auth-Token": cloud.keystone.token("demo")}).json()
    place = f"{IMAGES}/{image['id']}"
    assert status(http, auth=token) == 200
    assert status(http, place, auth=token) == 200
    assert status(http, f"{place}/file", auth=token) == 401
    assert status(http, IMAGES, "POST", {}, auth=token) == 401
    assert status(http, place, "DELETE", auth=token) == 401
    assert status(http, "/v2.3/images", auth=token) == 401
    # A service that works for the user has rules of its own.
    assert status(http, IMAGES, "POST", {}, auth=token, Service=cloud.keystone.token("nova")) == 201
    free = cloud.keystone.credential_token(cloud.keystone.application_credential("demo"))
    assert status(http, IMAGES, "POST", {}, auth=free) == 201


def test_restricted_credentials_need_to_know_who_we_are(cloud: KeystoneCloud, tmp_path: Path) -> None:
    rules = [{"service": "image", "method": "GET", "path": IMAGES}]
    token = cloud.keystone.credential_token(cloud.keystone.application_credential("demo", rules))
    with cloud.image_service(tmp_path) as server, httpx.Client(base_url=server.url, timeout=120) as http:
        assert status(http, auth=token) == 401


def test_revoked_tokens_live_as_long_as_the_memory_of_them(
    cloud: KeystoneCloud, http: httpx.Client, tmp_path: Path
) -> None:
    known, unknown = cloud.keystone.token("spare"), cloud.keystone.token("spare")
    assert status(http, auth=known) == 200
    for token in (known, unknown):
        cloud.keystone.revoke(token)
    assert status(http, auth=known) == 200
    assert status(http, auth=unknown) == 401
    without_memory = cloud.image_service(tmp_path, token_cache_time=-1)
    with without_memory as server, httpx.Client(base_url=server.url, timeout=120) as client:
        token = cloud.keystone.token("spare")
        assert status(client, auth=token) == 200
        cloud.keystone.revoke(token)
        assert status(client, auth=token) == 401


def test_a_token_runs_out_except_for_a_service_that_finishes_its_work(tmp_path: Path) -> None:
    with (
        keystone_cloud(tmp_path / "cloud", token_ttl_s=10) as cloud,
        cloud.image_service(tmp_path / "service") as server,
        httpx.Client(base_url=server.url, timeout=120) as http,
    ):
        used, unused = cloud.keystone.token("demo"), cloud.keystone.token("demo")
        assert status(http, auth=used) == 200
        eventually(lambda: status(http, auth=used) == 401, what="the token has run out")
        eventually(lambda: status(http, auth=unused) == 401, what="the other one has, too")
        for token in (used, unused):
            assert status(http, auth=token, Service=cloud.keystone.token("nova")) == 200
            assert status(http, auth=token, Service=cloud.keystone.token("demo")) == 401
            assert status(http, auth=token) == 401
        expired_service = cloud.keystone.token("nova")
        eventually(lambda: status(http, auth=cloud.keystone.token("demo"), Service=expired_service) == 401)


async def test_every_kind_of_account(cloud: KeystoneCloud) -> None:
    """In this process: what differs is only how we log in."""
    credential = cloud.keystone.application_credential("glance")
    usual = cloud.authtoken_options()
    own_token, token = cloud.keystone.token("glance"), cloud.keystone.token("demo")
    nobody = {"auth_url": usual["auth_url"]}
    secret = {"application_credential_id": credential.id, "application_credential_secret": credential.secret}
    for options in (
        usual | {"auth_url": cloud.root},
        usual | {"auth_url": f"{cloud.url}/", "interface": "public", "region_name": "RegionOne"},
        usual | {"auth_type": "v3password", "include_service_catalog": False},
        nobody | secret | {"auth_type": "v3applicationcredential"},
        nobody
        | {"auth_type": "v3token", "token": own_token, "project_name": "service", "project_domain_id": "default"},
        {"auth_type": "admin_token", "endpoint": cloud.url, "token": own_token},
    ):
        identity = KeystoneIdentity(options)
        try:
            context = await identity.authenticate(asked([(b"x-auth-token", token.encode())]))
            with pytest.raises(Unauthenticated):
                await identity.authenticate(asked([(b"x-auth-token", b"rubbish")]))
        finally:
            await identity.aclose()
        assert (context.user_name, context.project_name) == ("demo", "demo"), options
        assert (context.service_catalog is None) is (options.get("include_service_catalog") is False)


def test_anonymous_callers(cloud: KeystoneCloud, tmp_path: Path) -> None:
    groups = {"DEFAULT": {"allow_anonymous_access": True}}
    with cloud.image_service(tmp_path, groups) as server, httpx.Client(base_url=server.url, timeout=120) as http:
        for token in ({}, {"auth": "rubbish"}):
            assert status(http, "/v2/schemas/image", **token) == 200
            assert status(http, **token) == 403
            assert status(http, IMAGES, "POST", {}, **token) == 403
        assert status(http, auth=cloud.keystone.token("demo")) == 200
