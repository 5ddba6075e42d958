"""The Keystone-shaped identity API, in process: logging in, looking up, and every way to be refused."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from blick.db import identity as directory
from blick.db import identity_tokens
from blick.db.identity_tokens import SigningKey
from blick.identity.embedded.routes import identity_app
from blick.identity.embedded.service import EmbeddedIdentity
from blick.identity.embedded.slowdown import PAIR_RULE
from blick.identity.embedded.tokens import new_signing_secret
from blick.model.errors import Unauthenticated
from tests.support.callers import asked
from tests.support.identity import TOKEN_TTL_S, Cloud, FilledDatabase, fill_database, password_body, running_cloud

DOMAIN = {"id": "default", "name": "Default"}
# Longer than one process may trust what another one has revoked.
TRUST_S = 5


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> FilledDatabase:
    """Made once: each first user costs a password hash."""
    return fill_database(tmp_path_factory.mktemp("identity") / "blick.sqlite3")


@pytest.fixture
async def cloud(tmp_path: Path, filled: FilledDatabase) -> AsyncIterator[Cloud]:
    async with running_cloud(tmp_path / "blick.sqlite3", filled) as made:
        yield made


def auth(token: str, subject: str | None = None) -> dict[str, str]:
    headers = {"X-Auth-Token": token}
    return headers if subject is None else {**headers, "X-Subject-Token": subject}


def token_body(token: str, **scope: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"identity": {"methods": ["token"], "token": {"id": token}}}
    return {"auth": {**body, "scope": scope} if scope else body}


def credential_body(scope: object = None, **credential: Any) -> dict[str, Any]:
    method = "application_credential"
    body: dict[str, Any] = {"identity": {"methods": [method], method: credential}}
    return {"auth": body if scope is None else {**body, "scope": scope}}


def refused(response: httpx.Response, status: int) -> str:
    """It is an error in Keystone's form; gives its message."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == status
    assert error["title"] == httpx.codes.get_reason_phrase(status)
    return str(error["message"])


# -- discovery ---------------------------------------------------------------------------------------------------


async def test_versions_are_told_with_the_address_the_client_used(cloud: Cloud) -> None:
    for path, status in (("", 300), ("/", 300), ("/v3", 200), ("/v3/", 200)):
        response = await cloud.client.get(f"http://cloud.test:9292/identity{path}")
        assert response.status_code == status
        document = response.json()
        version = document["versions"]["values"][0] if status == 300 else document["version"]
        assert (version["id"], version["status"]) == ("v3.14", "stable")
        assert version["links"] == [{"rel": "self", "href": "http://cloud.test:9292/identity/v3/"}]


async def test_a_strange_host_is_not_repeated(cloud: Cloud) -> None:
    response = await cloud.client.get("/", headers={"Host": 'x"><script>'})
    assert "script" not in response.text


async def test_the_public_endpoint_wins_over_the_host(tmp_path: Path, filled: FilledDatabase) -> None:
    async with running_cloud(tmp_path / "db", filled, public_endpoint="https://images.example.org/") as cloud:
        version = (await cloud.client.get("/")).json()["version"]
        assert version["links"][0]["href"] == "https://images.example.org/identity/v3/"
        token = (await cloud.log_in("demo", cloud.first.demo_password, "demo")).json()["token"]
        assert token["catalog"][0]["endpoints"][0]["url"] == "https://images.example.org"


async def test_it_may_be_mounted(cloud: Cloud) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    outer = Starlette(routes=[Mount("/identity", app=identity_app(cloud.identity))])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(outer), base_url="http://cloud.test") as client:
        response = await client.get("/identity/v3")
    assert response.json()["version"]["links"][0]["href"] == "http://cloud.test/identity/v3/"


# -- tokens ------------------------------------------------------------------------------------------------------


async def test_a_password_gives_a_token_for_a_project(cloud: Cloud) -> None:
    response = await cloud.log_in("demo", cloud.first.demo_password, "demo")
    assert response.status_code == 201
    assert len(response.headers["X-Subject-Token"]) < 400
    token = response.json()["token"]
    assert token["methods"] == ["password"]
    assert (token["user"]["name"], token["user"]["domain"]) == ("demo", DOMAIN)
    assert (token["project"]["name"], token["project"]["domain"]) == ("demo", DOMAIN)
    assert [role["name"] for role in token["roles"]] == ["member", "reader"]
    assert token["issued_at"] == "2027-01-15T08:00:00.000000Z"
    assert token["expires_at"] == "2027-01-15T09:00:00.000000Z"
    services = {service["type"]: service for service in token["catalog"]}
    assert set(services) == {"image", "identity"}
    assert [(one["interface"], one["region_id"], one["url"]) for one in services["image"]["endpoints"]] == [
        (interface, "RegionOne", "http://cloud.test:9292") for interface in ("public", "internal", "admin")
    ]
    assert {one["url"] for one in services["identity"]["endpoints"]} == {"http://cloud.test:9292/identity"}


async def test_the_admin_holds_all_that_admin_implies(cloud: Cloud) -> None:
    token = (await cloud.log_in("admin", cloud.first.admin_password, "admin")).json()["token"]
    assert [role["name"] for role in token["roles"]] == ["admin", "manager", "member", "reader"]


async def test_users_projects_and_domains_are_named_by_id_or_name(cloud: Cloud) -> None:
    demo = cloud.database.read_now(directory.find_user, "demo")
    project = cloud.database.read_now(directory.find_project, "demo")
    password = cloud.first.demo_password
    users: list[dict[str, Any]] = [
        {"id": demo.id, "password": password},
        {"name": "demo", "domain": {"name": "Default"}, "password": password},
    ]
    scopes: list[dict[str, Any]] = [
        {"project": {"id": project.id}},
        {"project": {"name": "demo", "domain": {"name": "Default"}}},
    ]
    for user in users:
        for scope in scopes:
            identity = {"methods": ["password"], "password": {"user": user}}
            response = await cloud.client.post("/auth/tokens", json={"auth": {"identity": identity, "scope": scope}})
            assert response.json()["token"]["project"]["id"] == project.id


async def test_without_a_scope_there_is_no_project_and_no_catalog(cloud: Cloud) -> None:
    body = password_body("demo", cloud.first.demo_password)
    for body_scope in ({}, {"scope": "unscoped"}):
        body["auth"] |= body_scope
        response = await cloud.client.post("/auth/tokens", json=body)
        assert response.status_code == 201
        assert not {"project", "roles", "catalog"} & set(response.json()["token"])
    refused(await cloud.client.get("/auth/catalog", headers=auth(response.headers["X-Subject-Token"])), 403)


async def test_the_catalog_can_be_left_out_or_asked_for(cloud: Cloud) -> None:
    body = password_body("demo", cloud.first.demo_password, "demo")
    response = await cloud.client.post("/auth/tokens?nocatalog", json=body)
    assert "catalog" not in response.json()["token"]
    catalog = await cloud.client.get("/auth/catalog", headers=auth(response.headers["X-Subject-Token"]))
    assert [service["type"] for service in catalog.json()["catalog"]] == ["image", "identity"]


async def test_a_token_is_shown_to_its_user_and_to_admins(cloud: Cloud) -> None:
    issued = await cloud.log_in("demo", cloud.first.demo_password, "demo")
    demo, admin = issued.headers["X-Subject-Token"], await cloud.admin_token()
    for caller in (demo, admin):
        shown = await cloud.client.get("/auth/tokens", headers=auth(caller, demo))
        assert shown.status_code == 200
        assert shown.json() == issued.json()
        assert shown.headers["X-Subject-Token"] == demo
        head = await cloud.client.head("/auth/tokens", headers=auth(caller, demo))
        assert (head.status_code, head.content) == (200, b"")
    refused(await cloud.client.get("/auth/tokens", headers=auth(demo, admin)), 403)
    refused(await cloud.client.delete("/auth/tokens", headers=auth(demo, admin)), 403)


async def test_the_role_service_may_look_at_tokens_and_not_revoke_them(cloud: Cloud) -> None:
    demo = cloud.database.read_now(directory.find_user, "demo")
    project = cloud.database.read_now(directory.find_project, "demo")
    role = cloud.database.read_now(directory.find_role, "service")
    cloud.database.write_now(directory.add_role, user_id=demo.id, project_id=project.id, role_id=role.id)
    service, admin = await cloud.demo_token(), await cloud.admin_token()
    assert (await cloud.client.get("/auth/tokens", headers=auth(service, admin))).status_code == 200
    refused(await cloud.client.delete("/auth/tokens", headers=auth(service, admin)), 403)


async def test_looking_at_tokens_asks_for_two_good_ones(cloud: Cloud) -> None:
    admin = await cloud.admin_token()
    refused(await cloud.client.get("/auth/tokens", headers=auth(admin)), 400)
    refused(await cloud.client.get("/auth/tokens", headers={"X-Subject-Token": admin}), 401)
    refused(await cloud.client.get("/auth/tokens", headers=auth("rubbish", admin)), 401)
    message = refused(await cloud.client.get("/auth/tokens", headers=auth(admin, "rubbish")), 404)
    assert "rubbish" not in message


async def test_a_401_says_where_to_log_in(cloud: Cloud) -> None:
    response = await cloud.client.get("/auth/projects")
    refused(response, 401)
    assert response.headers["WWW-Authenticate"] == 'Keystone uri="http://cloud.test:9292/identity/v3"'
    assert cloud.identity.challenge("http://cloud.test/") == 'Keystone uri="http://cloud.test/identity/v3"'


async def test_wrong_names_wrong_passwords_and_disabled_users_are_refused_alike(cloud: Cloud) -> None:
    demo = cloud.database.read_now(directory.find_user, "demo")
    cloud.database.write_now(directory.set_user, demo.id, enabled=False)
    answers = [
        await cloud.log_in("demo", cloud.first.demo_password, "demo"),
        await cloud.log_in("admin", "wrong", "admin"),
        await cloud.log_in("nobody", "wrong", "admin"),
        await cloud.log_in("Admin", cloud.first.admin_password, "admin"),
        await cloud.log_in("admin\x00", cloud.first.admin_password, "admin"),
        await cloud.log_in("admin", cloud.first.admin_password + "x" * 5000, "admin"),
    ]
    assert len({response.content for response in answers}) == 1
    assert refused(answers[0], 401) == "The request you have made requires authentication."


@pytest.mark.parametrize("project", ["admin", "nowhere", "de\x00mo"])
async def test_a_project_without_a_role_cannot_be_told_from_none(cloud: Cloud, project: str) -> None:
    message = refused(await cloud.log_in("demo", cloud.first.demo_password, project), 401)
    assert message == "There is no such project, or the user has no role in it."


@pytest.mark.parametrize(
    "scope",
    [
        {"domain": {"id": "default"}},
        {"system": {"all": True}},
        {"OS-TRUST:trust": {"id": "x"}},
        {"project": {"name": "demo", "domain": {"id": "other"}}},
        {"project": {"id": "../demo"}},
    ],
)
async def test_scopes_that_nobody_can_have_are_refused(cloud: Cloud, scope: dict[str, Any]) -> None:
    body = password_body("demo", cloud.first.demo_password)
    body["auth"]["scope"] = scope
    refused(await cloud.client.post("/auth/tokens", json=body), 401)


@pytest.mark.parametrize(
    "scope",
    [{}, "everything", {"project": {}}, {"project": {"name": "demo"}}, {"planet": {}}, 7,
     {"project": {"id": "a"}, "domain": {"id": "default"}}],
)  # fmt: skip
async def test_scopes_that_make_no_sense_are_wrong(cloud: Cloud, scope: object) -> None:
    body = password_body("demo", cloud.first.demo_password)
    body["auth"]["scope"] = scope
    refused(await cloud.client.post("/auth/tokens", json=body), 400)


@pytest.mark.parametrize(
    "identity",
    [
        {"methods": []},
        {"methods": ["password"]},
        {"methods": ["password", "token"], "password": {"user": {"id": "x", "password": "x"}}, "token": {"id": "x"}},
        {"methods": "password"},
        {"methods": ["password"], "password": {"user": {"password": "x"}}},
        {"methods": ["password"], "password": {"user": {"name": "demo", "password": "x"}}},
        {"methods": ["password"], "password": {"user": {"name": "demo", "password": "x", "domain": {}}}},
        {"methods": ["password"], "password": {"user": {"id": "x"}}},
        {"methods": ["password"], "password": {"user": {"id": 7, "password": "secret"}}},
        {"methods": ["token"]},
        {"methods": ["application_credential"], "application_credential": {"name": "x", "secret": "x"}},
        {"methods": ["application_credential"], "application_credential": {"id": "x"}},
        {},
    ],
)
async def test_log_ins_that_make_no_sense_are_wrong(cloud: Cloud, identity: dict[str, Any]) -> None:
    message = refused(await cloud.client.post("/auth/tokens", json={"auth": {"identity": identity}}), 400)
    assert "secret" not in message.replace("application_credential.secret", "").replace("`secret`", "")


async def test_other_methods_are_not_supported(cloud: Cloud) -> None:
    identity = {"methods": ["totp"], "totp": {}}
    refused(await cloud.client.post("/auth/tokens", json={"auth": {"identity": identity}}), 401)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b"null", b'{"auth": 1}', b"[" * 60_000, b'"\\ud800"'])
async def test_bodies_that_are_no_log_in_are_wrong(cloud: Cloud, body: bytes) -> None:
    refused(await cloud.client.post("/auth/tokens", content=body), 400)


async def test_bodies_beyond_64_kib_are_too_large(cloud: Cloud) -> None:
    refused(await cloud.client.post("/auth/tokens", content=b" " * (64 * 1024 + 1)), 413)
    token = await cloud.demo_token()
    demo = cloud.database.read_now(directory.find_user, "demo")
    path = f"/users/{demo.id}/application_credentials"
    refused(await cloud.client.post(path, headers=auth(token), content=b" " * 70_000), 413)


async def test_a_body_that_breaks_off_is_answered(cloud: Cloud) -> None:
    sent: list[Any] = []
    chunks = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(chunks)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/identity/v3/auth/tokens", "headers": [], "query_string": b""}
    await cloud.app({**scope, "client": None, "server": ("::1", 80), "scheme": "http"}, receive, send)
    assert sent[0]["status"] == 400


async def test_unknown_paths_and_wrong_methods(cloud: Cloud) -> None:
    for path in ("/nothing", "/users/x/y/z", "/auth", "/auth/tokens/"):
        refused(await cloud.client.get(path), 404)
    refused(await cloud.client.get("http://cloud.test/identity/v2.0"), 404)
    wrong = await cloud.client.put("/auth/tokens")
    refused(wrong, 405)
    assert set(wrong.headers["Allow"].split(", ")) == {"GET", "HEAD", "POST", "DELETE"}
    for path in ("/users", "/projects", "/projects/x", "/roles", "/domains", "/"):
        refused(await cloud.client.post(path, json={}), 405)
    refused(await cloud.client.get("/users/x/password"), 405)


# -- expiry and revocation ---------------------------------------------------------------------------------------


async def works(cloud: Cloud, token: str) -> bool:
    return (await cloud.client.get("/auth/projects", headers=auth(token))).status_code == 200


async def test_a_token_expires(cloud: Cloud) -> None:
    token = await cloud.demo_token()
    cloud.clock.now_s += TOKEN_TTL_S - 1
    assert await works(cloud, token)
    cloud.clock.now_s += 1
    assert not await works(cloud, token)


async def test_a_token_made_from_a_token_dies_with_it(cloud: Cloud) -> None:
    first = await cloud.log_in("demo", cloud.first.demo_password)
    cloud.clock.now_s += 60
    scoped = await cloud.client.post(
        "/auth/tokens", json=token_body(first.headers["X-Subject-Token"], project={"name": "demo", "domain": DOMAIN})
    )
    assert scoped.status_code == 201
    token, parent = scoped.json()["token"], first.json()["token"]
    assert token["methods"] == ["password", "token"]
    assert token["expires_at"] == parent["expires_at"]
    assert token["issued_at"] > parent["issued_at"]
    assert token["audit_ids"][1:] == parent["audit_ids"]
    again = await cloud.client.post("/auth/tokens", json=token_body(scoped.headers["X-Subject-Token"]))
    assert again.json()["token"]["audit_ids"][1:] == parent["audit_ids"]
    assert again.json()["token"]["methods"] == ["password", "token"]
    refused(await cloud.client.post("/auth/tokens", json=token_body("rubbish")), 401)


async def test_a_deleted_token_is_void_at_once_and_alone(cloud: Cloud) -> None:
    token, other = await cloud.demo_token(), await cloud.demo_token()
    assert await works(cloud, token)
    response = await cloud.client.delete("/auth/tokens", headers=auth(token, token))
    assert (response.status_code, response.content) == (204, b"")
    assert not await works(cloud, token)
    assert await works(cloud, other)
    refused(await cloud.client.delete("/auth/tokens", headers=auth(other, token)), 404)
    refused(await cloud.client.post("/auth/tokens", json=token_body(token)), 401)


async def test_an_admin_revokes_tokens_of_others(cloud: Cloud) -> None:
    token, admin = await cloud.demo_token(), await cloud.admin_token()
    assert (await cloud.client.delete("/auth/tokens", headers=auth(admin, token))).status_code == 204
    assert not await works(cloud, token)


@pytest.mark.parametrize("change", ["disable", "password", "role", "delete", "project"])
async def test_what_another_process_changes_counts_within_seconds(cloud: Cloud, change: str) -> None:
    demo = cloud.database.read_now(directory.find_user, "demo")
    project = cloud.database.read_now(directory.find_project, "demo")
    role = cloud.database.read_now(directory.find_role, "member")
    token, admin = await cloud.demo_token(), await cloud.admin_token()
    assert await works(cloud, token)
    if change == "disable":
        cloud.database.write_now(directory.set_user, demo.id, enabled=False)
    elif change == "password":
        cloud.database.write_now(directory.set_password, demo.id, "hash")
    elif change == "role":
        cloud.database.write_now(directory.remove_role, user_id=demo.id, project_id=project.id, role_id=role.id)
    elif change == "delete":
        cloud.database.write_now(directory.delete_user, demo.id)
    else:
        cloud.database.write_now(directory.set_project, project.id, enabled=False)
    # Making a new token from the old one is never done on trust.
    refused(await cloud.client.post("/auth/tokens", json=token_body(token, project={"id": project.id})), 401)
    cloud.clock.now_s += TRUST_S
    assert not await works(cloud, token)
    assert await works(cloud, admin)


async def test_a_revocation_while_a_check_runs_is_not_forgotten(cloud: Cloud) -> None:
    token = await cloud.demo_token()
    session = await cloud.identity.validate(token)
    cloud.identity.distrust()
    # The check starts, and is overtaken by the revocation before it can be remembered.
    check = asyncio.create_task(cloud.identity.validate(token))
    await asyncio.sleep(0)
    await cloud.identity.revoke(session)
    await asyncio.gather(check, return_exceptions=True)
    assert not await works(cloud, token)


async def test_tokens_of_a_key_made_elsewhere_are_known_at_once(cloud: Cloud) -> None:
    old = await cloud.demo_token()
    key = SigningKey(new_signing_secret(), int(cloud.clock() * 1000))
    cloud.database.write_now(identity_tokens.add_signing_key, key)
    other = EmbeddedIdentity(cloud.database, token_ttl_s=60, clock=cloud.clock)
    transport = httpx.ASGITransport(identity_app(other))
    async with httpx.AsyncClient(transport=transport, base_url="http://cloud.test/identity/v3") as client:
        body = password_body("demo", cloud.first.demo_password, "demo")
        new = (await client.post("/auth/tokens", json=body)).headers["X-Subject-Token"]
    await other.aclose()
    assert await works(cloud, new)
    assert await works(cloud, old)
    with cloud.database.engine.begin() as connection:
        connection.execute(identity_tokens.keys.delete().where(identity_tokens.keys.c.secret != key.secret))
    cloud.clock.now_s += TRUST_S
    assert not await works(cloud, old)
    assert await works(cloud, new)


async def test_without_keys_nobody_is_let_in(cloud: Cloud) -> None:
    token = await cloud.demo_token()
    with cloud.database.engine.begin() as connection:
        connection.execute(identity_tokens.keys.delete())
    fresh = EmbeddedIdentity(cloud.database, token_ttl_s=60, clock=cloud.clock)
    transport = httpx.ASGITransport(identity_app(fresh))
    async with httpx.AsyncClient(transport=transport, base_url="http://cloud.test/identity/v3") as client:
        refused(await client.get("/auth/projects", headers=auth(token)), 503)
        refused(await client.get("/auth/projects", headers=auth("rubbish")), 401)
    await fresh.aclose()


# -- passwords ---------------------------------------------------------------------------------------------------


def change_body(old: str, new: str) -> dict[str, Any]:
    return {"user": {"original_password": old, "password": new}}


async def test_a_changed_password_ends_every_log_in(cloud: Cloud) -> None:
    demo = cloud.database.read_now(directory.find_user, "demo")
    token, admin = await cloud.demo_token(), await cloud.admin_token()
    assert await works(cloud, token)
    path = f"/users/{demo.id}/password"
    response = await cloud.client.post(path, json=change_body(cloud.first.demo_password, "new one"))
    assert response.status_code == 204
    assert not await works(cloud, token)
    assert await works(cloud, admin)
    refused(await cloud.log_in("demo", cloud.first.demo_password, "demo"), 401)
    assert await works(cloud, await cloud.token("demo", "new one", "demo"))


async def test_a_password_is_changed_only_with_the_old_one(cloud: Cloud) -> None:
    demo = cloud.database.read_now(directory.find_user, "demo")
    path = f"/users/{demo.id}/password"
    refused(await cloud.client.post(path, json=change_body("wrong", "new")), 401)
    refused(await cloud.client.post("/users/ghost/password", json=change_body("wrong", "new")), 401)
    refused(await cloud.client.post("/users/%00/password", json=change_body("wrong", "new")), 401)
    old = cloud.first.demo_password
    refused(await cloud.client.post(path, json=change_body(old, "")), 400)
    refused(await cloud.client.post(path, json=change_body(old, "x" * 4097)), 400)
    refused(await cloud.client.post(path, json={"user": {"password": "x"}}), 400)
    assert await cloud.demo_token()


async def test_guessing_is_slowed_down_and_a_right_password_gets_through(cloud: Cloud) -> None:
    for _ in range(PAIR_RULE.free + 1):
        refused(await cloud.log_in("demo", "guess"), 401)
    slowed = await cloud.log_in("demo", cloud.first.demo_password)
    refused(slowed, 429)
    assert slowed.headers["Retry-After"] == "1"
    # Other addresses and other users are not held up.
    async with cloud.client_from("192.0.2.9") as elsewhere:
        body = password_body("demo", cloud.first.demo_password)
        assert (await elsewhere.post("/auth/tokens", json=body)).status_code == 201
    assert await cloud.admin_token()
    cloud.clock.now_s += 1
    refused(await cloud.log_in("demo", "guess"), 401)
    assert (await cloud.log_in("demo", cloud.first.demo_password)).headers["Retry-After"] == "2"
    cloud.clock.now_s += 2
    assert await cloud.demo_token()
    # Having proved himself, he may mistype again.
    refused(await cloud.log_in("demo", "guess"), 401)
    assert await cloud.demo_token()


async def test_the_wait_has_an_end(cloud: Cloud) -> None:
    longest = 0
    for _ in range(PAIR_RULE.free + 12):
        response = await cloud.log_in("demo", "guess")
        if response.status_code == 429:
            longest = max(longest, int(response.headers["Retry-After"]))
            cloud.clock.now_s += int(response.headers["Retry-After"])
    assert longest <= PAIR_RULE.cap_ms // 1000
    cloud.clock.now_s += PAIR_RULE.cap_ms // 1000
    assert (await cloud.log_in("demo", cloud.first.demo_password)).status_code == 201


async def test_guesses_side_by_side_are_counted(cloud: Cloud) -> None:
    answers = await asyncio.gather(*(cloud.log_in("demo", "guess") for _ in range(16)))
    statuses = [response.status_code for response in answers]
    assert statuses.count(401) <= PAIR_RULE.free + 2
    assert statuses.count(429) == 16 - statuses.count(401)


async def test_many_right_log_ins_at_once_are_never_slowed_down(cloud: Cloud) -> None:
    password = cloud.first.demo_password
    answers = await asyncio.gather(*(cloud.log_in("demo", password, "demo") for _ in range(12)))
    assert {response.status_code for response in answers} == {201}


# -- look-ups ----------------------------------------------------------------------------------------------------


def names(response: httpx.Response, collection: str) -> list[str]:
    assert response.status_code == 200, response.text
    document = response.json()
    assert document["links"]["next"] is None
    return [one["name"] for one in document[collection]]


async def test_admins_look_up_everything(cloud: Cloud) -> None:
    headers = auth(await cloud.admin_token())
    demo = cloud.database.read_now(directory.find_user, "demo")
    project = cloud.database.read_now(directory.find_project, "demo")

    async def get(path: str) -> httpx.Response:
        return await cloud.client.get(path, headers=headers)

    assert names(await get("/users"), "users") == ["admin", "demo"]
    assert names(await get("/users?name=demo"), "users") == ["demo"]
    assert names(await get("/users?name=nobody"), "users") == []
    assert names(await get("/users?domain_id=other"), "users") == []
    assert names(await get("/users?enabled=false"), "users") == []
    assert names(await get("/projects?name=demo&enabled"), "projects") == ["demo"]
    assert names(await get("/projects"), "projects") == ["admin", "demo"]
    assert names(await get(f"/users/{demo.id}/projects"), "projects") == ["demo"]
    user = (await get(f"/users/{demo.id}")).json()["user"]
    assert (user["name"], user["domain_id"], user["enabled"]) == ("demo", "default", True)
    assert not any("hash" in key for key in user)
    assert (await get(f"/projects/{project.id}")).json()["project"]["description"] == "For trying things out"
    for path in ("/users/ghost", "/projects/ghost", "/projects/demo", "/roles/ghost", "/domains/x", "/users/%00"):
        refused(await get(path), 404)


async def test_others_look_up_what_is_their_own(cloud: Cloud) -> None:
    headers = auth(await cloud.demo_token())
    demo = cloud.database.read_now(directory.find_user, "demo")
    admin = cloud.database.read_now(directory.find_user, "admin")
    own = cloud.database.read_now(directory.find_project, "demo")
    other = cloud.database.read_now(directory.find_project, "admin")

    async def get(path: str) -> httpx.Response:
        return await cloud.client.get(path, headers=headers)

    assert names(await get("/users"), "users") == ["demo"]
    assert names(await get("/users?name=demo"), "users") == ["demo"]
    assert names(await get("/projects"), "projects") == ["demo"]
    assert names(await get("/auth/projects"), "projects") == ["demo"]
    assert (await get("/auth/domains")).json()["domains"] == []
    assert names(await get("/projects?name=demo"), "projects") == ["demo"]
    assert names(await get(f"/users/{demo.id}/projects"), "projects") == ["demo"]
    assert (await get(f"/users/{demo.id}")).status_code == 200
    assert (await get(f"/projects/{own.id}")).status_code == 200
    forbidden = (
        "/users?name=admin", "/projects?name=admin", f"/users/{admin.id}", "/users/ghost", f"/projects/{other.id}",
        "/projects/ghost", f"/users/{admin.id}/projects", "/role_assignments", f"/role_assignments?user.id={admin.id}",
        f"/users/{admin.id}/application_credentials", f"/users/{admin.id}/access_rules",
    )  # fmt: skip
    for path in forbidden:
        refused(await get(path), 403)


async def test_roles_and_the_domain_are_known_to_all(cloud: Cloud) -> None:
    headers = auth(await cloud.demo_token())

    async def get(path: str) -> httpx.Response:
        return await cloud.client.get(path, headers=headers)

    assert names(await get("/roles"), "roles") == ["admin", "manager", "member", "reader", "service"]
    found = (await get("/roles?name=Member")).json()["roles"]
    assert [role["name"] for role in found] == ["member"]
    assert (await get(f"/roles/{found[0]['id']}")).json()["role"]["name"] == "member"
    assert names(await get("/domains"), "domains") == ["Default"]
    assert names(await get("/domains?name=other"), "domains") == []
    assert (await get("/domains/default")).json()["domain"]["enabled"] is True


async def test_role_assignments_are_shown_to_their_user_and_admins(cloud: Cloud) -> None:
    demo = cloud.database.read_now(directory.find_user, "demo")
    headers = auth(await cloud.demo_token())
    response = await cloud.client.get(f"/role_assignments?user.id={demo.id}&include_names=true", headers=headers)
    (found,) = response.json()["role_assignments"]
    assert (found["user"]["name"], found["scope"]["project"]["name"], found["role"]["name"]) == (
        "demo",
        "demo",
        "member",
    )
    admin = auth(await cloud.admin_token())
    everything = (await cloud.client.get("/role_assignments", headers=admin)).json()["role_assignments"]
    assert len(everything) == 2
    assert "name" not in everything[0]["user"]
    for query in ("scope.system=all", "role.id=%00", "scope.project.id=ghost"):
        response = await cloud.client.get(f"/role_assignments?{query}", headers=admin)
        assert response.json()["role_assignments"] == []


LOOK_UPS = (
    "/auth/projects", "/auth/domains", "/auth/catalog", "/users", "/users/x", "/users/x/projects", "/projects",
    "/projects/x", "/roles", "/roles/x", "/domains", "/domains/x", "/role_assignments",
    "/users/x/application_credentials", "/users/x/application_credentials/x", "/users/x/access_rules",
)  # fmt: skip


async def test_nothing_is_told_without_a_token(cloud: Cloud) -> None:
    for path in LOOK_UPS:
        refused(await cloud.client.get(path), 401)
        refused(await cloud.client.get(path, headers=[("X-Auth-Token", "a"), ("X-Auth-Token", "b")]), 401)
    refused(await cloud.client.post("/users/x/application_credentials", json={}), 401)
    refused(await cloud.client.delete("/users/x/application_credentials/x"), 401)


# -- application credentials -------------------------------------------------------------------------------------


async def make(cloud: Cloud, token: str, **wanted: Any) -> httpx.Response:
    demo = cloud.database.read_now(directory.find_user, "demo")
    body = {"application_credential": {"name": "ci", **wanted}}
    return await cloud.client.post(f"/users/{demo.id}/application_credentials", headers=auth(token), json=body)


async def made(cloud: Cloud, **wanted: Any) -> dict[str, Any]:
    response = await make(cloud, await cloud.demo_token(), **wanted)
    assert response.status_code == 201, response.text
    document: dict[str, Any] = response.json()["application_credential"]
    return document


async def test_an_application_credential_logs_in_with_its_roles(cloud: Cloud) -> None:
    credential = await made(cloud, roles=[{"name": "reader"}], description="for the pipeline")
    assert (credential["name"], credential["unrestricted"], credential["expires_at"]) == ("ci", False, None)
    assert [role["name"] for role in credential["roles"]] == ["reader"]
    user = {"name": "demo", "domain": {"id": "default"}}
    for named in ({"id": credential["id"]}, {"name": "ci", "user": user}):
        response = await cloud.client.post("/auth/tokens", json=credential_body(secret=credential["secret"], **named))
        assert response.status_code == 201
        token = response.json()["token"]
        assert [role["name"] for role in token["roles"]] == ["reader"]
        assert token["project"]["name"] == "demo"
        assert token["application_credential"] == {"id": credential["id"], "name": "ci", "restricted": True}
    context = await cloud.identity.authenticate(
        asked([(b"x-auth-token", response.headers["X-Subject-Token"].encode())])
    )
    assert context.roles == {"reader"}


async def test_an_application_credential_is_shown_without_its_secret(cloud: Cloud) -> None:
    credential = await made(cloud)
    demo = credential["user_id"]
    for token in (await cloud.demo_token(), await cloud.admin_token()):
        path = f"/users/{demo}/application_credentials"
        assert names(await cloud.client.get(path, headers=auth(token)), "application_credentials") == ["ci"]
        filtered = await cloud.client.get(path + "?name=other", headers=auth(token))
        assert names(filtered, "application_credentials") == []
        shown = (await cloud.client.get(f"{path}/{credential['id']}", headers=auth(token))).json()
        assert shown["application_credential"] == {k: v for k, v in credential.items() if k != "secret"}
        refused(await cloud.client.get(f"{path}/ghost", headers=auth(token)), 404)
        refused(await cloud.client.get(f"{path}/%00", headers=auth(token)), 404)
    rules = await cloud.client.get(f"/users/{demo}/access_rules", headers=auth(token))
    assert rules.json()["access_rules"] == []


async def test_a_deleted_application_credential_takes_its_tokens_along(cloud: Cloud) -> None:
    credential = await made(cloud)
    body = credential_body(id=credential["id"], secret=credential["secret"])
    token = (await cloud.client.post("/auth/tokens", json=body)).headers["X-Subject-Token"]
    assert await works(cloud, token)
    path = f"/users/{credential['user_id']}/application_credentials/{credential['id']}"
    assert (await cloud.client.delete(path, headers=auth(await cloud.demo_token()))).status_code == 204
    assert not await works(cloud, token)
    refused(await cloud.client.post("/auth/tokens", json=body), 401)
    refused(await cloud.client.delete(path, headers=auth(await cloud.demo_token())), 404)


async def test_an_application_credential_expires_with_its_tokens(cloud: Cloud) -> None:
    credential = await made(cloud, expires_at="2027-01-15T08:10:00")
    assert credential["expires_at"] == "2027-01-15T08:10:00.000000"
    body = credential_body(id=credential["id"], secret=credential["secret"])
    response = await cloud.client.post("/auth/tokens", json=body)
    assert response.json()["token"]["expires_at"] == "2027-01-15T08:10:00.000000Z"
    cloud.clock.now_s += 600
    assert not await works(cloud, response.headers["X-Subject-Token"])
    refused(await cloud.client.post("/auth/tokens", json=body), 401)


async def test_an_application_credential_goes_with_the_users_roles_and_survives_a_new_password(cloud: Cloud) -> None:
    credential = await made(cloud)
    body = credential_body(id=credential["id"], secret=credential["secret"])
    demo = cloud.database.read_now(directory.find_user, "demo")
    await cloud.identity.change_password(demo.id, old=cloud.first.demo_password, new="new", address=None)
    assert (await cloud.client.post("/auth/tokens", json=body)).status_code == 201
    role = cloud.database.read_now(directory.find_role, "member")
    cloud.database.write_now(
        directory.remove_role, user_id=demo.id, project_id=credential["project_id"], role_id=role.id
    )
    refused(await cloud.client.post("/auth/tokens", json=body), 401)


async def test_a_restricted_credential_can_make_nothing_of_itself(cloud: Cloud) -> None:
    credential = await made(cloud)
    body = credential_body(id=credential["id"], secret=credential["secret"])
    token = (await cloud.client.post("/auth/tokens", json=body)).headers["X-Subject-Token"]
    refused(await make(cloud, token, name="second"), 403)
    path = f"/users/{credential['user_id']}/application_credentials/{credential['id']}"
    refused(await cloud.client.delete(path, headers=auth(token)), 403)
    scope = {"id": credential["project_id"]}
    refused(await cloud.client.post("/auth/tokens", json=token_body(token, project=scope)), 403)
    scoped = credential_body({"project": scope}, id=credential["id"], secret=credential["secret"])
    refused(await cloud.client.post("/auth/tokens", json=scoped), 400)


async def test_an_unrestricted_credential_can_make_others_of_its_own_roles(cloud: Cloud) -> None:
    credential = await made(cloud, unrestricted=True, roles=[{"name": "reader"}])
    body = credential_body(id=credential["id"], secret=credential["secret"])
    token = (await cloud.client.post("/auth/tokens", json=body)).headers["X-Subject-Token"]
    refused(await make(cloud, token, name="second", roles=[{"name": "member"}]), 400)
    second = await make(cloud, token, name="second")
    assert [role["name"] for role in second.json()["application_credential"]["roles"]] == ["reader"]


@pytest.mark.parametrize(
    "wanted",
    [
        {"name": ""}, {"name": " x"}, {"name": "x" * 256}, {"name": "a\nb"}, {"name": 7}, {"secret": ""},
        {"secret": "x" * 5000}, {"description": "x" * 1001}, {"description": "\u001b[31m"}, {"expires_at": "soon"},
        {"expires_at": "2027-01-15T08:00:00Z"}, {"expires_at": "0001-01-01T00:00:00+23:59"}, {"roles": []},
        {"roles": [{"name": "admin"}]}, {"roles": [{"id": "ghost"}]}, {"roles": [{}]}, {"roles": "member"},
        {"access_rules": [{"path": "/v2", "method": "GET", "service": "image"}]},
    ],
)  # fmt: skip
async def test_application_credentials_that_make_no_sense_are_wrong(cloud: Cloud, wanted: dict[str, Any]) -> None:
    refused(await make(cloud, await cloud.demo_token(), **wanted), 400)


async def test_an_application_credential_is_made_for_oneself_with_a_project_and_a_new_name(cloud: Cloud) -> None:
    await made(cloud, secret="chosen by hand")
    refused(await make(cloud, await cloud.demo_token()), 409)
    refused(await make(cloud, await cloud.admin_token(), name="other"), 403)
    refused(await make(cloud, await cloud.token("demo", cloud.first.demo_password), name="other"), 403)


async def test_wrong_secrets_of_application_credentials_are_slowed_down(cloud: Cloud) -> None:
    credential = await made(cloud)
    body = credential_body(id=credential["id"], secret="wrong")
    for _ in range(PAIR_RULE.free + 1):
        refused(await cloud.client.post("/auth/tokens", json=body), 401)
    refused(await cloud.client.post("/auth/tokens", json=body), 429)
    refused(await cloud.client.post("/auth/tokens", json=credential_body(id="ghost", secret="x")), 401)
    user = {"name": "demo", "domain": {"id": "default"}}
    refused(await cloud.client.post("/auth/tokens", json=credential_body(name="no", user=user, secret="x")), 401)
    assert await cloud.demo_token()


# -- who calls the image service ---------------------------------------------------------------------------------


async def test_the_caller_of_the_image_service_is_told(cloud: Cloud) -> None:
    issued = await cloud.log_in("admin", cloud.first.admin_password, "admin")
    token, document = issued.headers["X-Subject-Token"], issued.json()["token"]
    headers = [(b"host", b"x"), (b"x-auth-token", token.encode()), (b"x-roles", b"king")]
    context = await cloud.identity.authenticate(asked(headers, "req-1"))
    assert (context.user_id, context.user_name) == (document["user"]["id"], "admin")
    assert (context.project_id, context.project_name) == (document["project"]["id"], "admin")
    assert (context.user_domain_id, context.project_domain_id) == ("default", "default")
    assert context.roles == {"admin", "manager", "member", "reader"}
    assert (context.is_admin, context.read_only, context.service_roles) == (False, False, frozenset())
    assert (context.request_id, context.auth_token) == ("req-1", token)
    assert (await cloud.identity.authenticate(asked(headers, "req-2"))).request_id == "req-2"


async def test_a_service_token_brings_its_roles_or_spoils_everything(cloud: Cloud) -> None:
    demo = cloud.database.read_now(directory.find_user, "demo")
    project = cloud.database.read_now(directory.find_project, "demo")
    role = cloud.database.read_now(directory.find_role, "service")
    user, plain = (await cloud.admin_token()).encode(), (await cloud.demo_token()).encode()
    cloud.database.write_now(directory.add_role, user_id=demo.id, project_id=project.id, role_id=role.id)
    service = (await cloud.log_in("demo", cloud.first.demo_password, "demo")).headers["X-Subject-Token"].encode()
    context = await cloud.identity.authenticate(asked([(b"x-auth-token", user), (b"x-service-token", service)]))
    assert context.service_roles == {"member", "reader", "service"}
    assert context.user_name == "admin"
    for bad in (b"", b"rubbish", user):
        with pytest.raises(Unauthenticated):
            await cloud.identity.authenticate(asked([(b"x-auth-token", user), (b"x-service-token", bad)]))
    with pytest.raises(Unauthenticated):
        await cloud.identity.authenticate(asked([(b"x-service-token", service)]))
    assert plain


@pytest.mark.parametrize("tokens", [[], [b""], [b"rubbish"], [b"\xff\x00"], [b"gAAAAA" + b"x" * 5000]])
async def test_without_a_good_token_nobody_calls(cloud: Cloud, tokens: list[bytes]) -> None:
    with pytest.raises(Unauthenticated):
        await cloud.identity.authenticate(asked([(b"x-auth-token", token) for token in tokens]))


async def test_two_tokens_are_no_token(cloud: Cloud) -> None:
    token = (await cloud.demo_token()).encode()
    with pytest.raises(Unauthenticated):
        await cloud.identity.authenticate(asked([(b"x-auth-token", token), (b"x-auth-token", token)]))


async def test_a_known_token_costs_no_statement(cloud: Cloud) -> None:
    from sqlalchemy import event

    statements: list[str] = []
    headers = [(b"x-auth-token", (await cloud.demo_token()).encode())]
    event.listen(cloud.database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    await cloud.identity.authenticate(asked(headers))
    assert 0 < len(statements) <= 6
    statements.clear()
    for _ in range(10):
        await cloud.identity.authenticate(asked(headers))
    assert statements == []
    cloud.clock.now_s += TRUST_S
    await cloud.identity.authenticate(asked(headers))
    assert statements
