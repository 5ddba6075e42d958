"""The service behind an authenticating proxy, and with no identity at all."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network

import httpx
import pytest

from blick import boot
from blick.conf.settings import IdentitySettings, Settings
from blick.model.errors import StartRefused

CONFIRMED = {"x-identity-status": "Confirmed"}
OWNER = CONFIRMED | {"x-user-id": "u1", "x-tenant-id": "p1", "x-roles": "Member,Reader"}
ADMIN = CONFIRMED | {"x-user-id": "root", "x-project-id": "admin", "x-roles": "ADMIN"}


@asynccontextmanager
async def running(settings: Settings, peer: str = "127.0.0.1") -> AsyncIterator[httpx.AsyncClient]:
    """The service as `boot` makes it, and a client at that address."""
    boot.prepare(settings)
    made = boot.start(settings)
    transport = httpx.ASGITransport(made.asgi, client=(peer, 40000))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://images.test") as client:
            yield client
    finally:
        await made.aclose()


def with_identity(settings: Settings, **options: object) -> Settings:
    return replace(settings, identity=replace(settings.identity, **options))  # type: ignore[arg-type] # by name


@pytest.fixture
def trusting(settings: Settings) -> Settings:
    return with_identity(settings, kind="trusted-headers")


async def test_the_proxys_word_counts(trusting: Settings) -> None:
    async with running(trusting) as client:
        made = await client.post("/v2/images", json={"name": "n"}, headers=OWNER)
        assert (made.status_code, made.json()["owner"]) == (201, "p1")
        place = f"/v2/images/{made.json()['id']}"
        assert (await client.get(place, headers=OWNER)).status_code == 200
        assert (await client.get(place, headers=OWNER | {"x-tenant-id": "p2"})).status_code == 404
        assert (await client.get(place, headers=ADMIN)).status_code == 200
        reader = await client.delete(place, headers=OWNER | {"x-roles": "reader"})
        assert reader.status_code == 403


@pytest.mark.parametrize("headers", [{}, {"x-user-id": "u", "x-roles": "admin"}, OWNER | {"x-identity-status": "no"}])
async def test_without_its_word_nobody_calls(trusting: Settings, headers: dict[str, str]) -> None:
    async with running(trusting) as client:
        answer = await client.get("/v2/images", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Keystone uri="http://images.test"'
        assert "x-openstack-request-id" not in answer.headers
        for path, status in (("/", 300), ("/versions", 200), ("/healthcheck", 200)):
            assert (await client.get(path, headers=headers)).status_code == status


async def test_a_broken_catalog_is_the_proxys_mistake(trusting: Settings) -> None:
    async with running(trusting) as client:
        answer = await client.get("/v2/images", headers=OWNER | {"x-service-catalog": "{"})
        assert answer.status_code == 400
        catalog = '[{"type": "image", "endpoints": []}]'
        assert (await client.get("/v2/images", headers=OWNER | {"x-service-catalog": catalog})).status_code == 200


async def test_other_peers_are_refused(trusting: Settings, caplog: pytest.LogCaptureFixture) -> None:
    anonymous = replace(
        trusting, api=replace(trusting.api, allow_anonymous_access=True, enable_proxy_headers_parsing=True)
    )
    async with running(anonymous, peer="10.9.8.7") as client:
        forged = OWNER | {"x-forwarded-for": "127.0.0.1", "forwarded": "for=127.0.0.1"}
        assert (await client.get("/v2/images", headers=forged)).status_code == 401
        assert (await client.get("/v2/schemas/image")).status_code == 401
    assert "10.9.8.7" in caplog.text
    named = with_identity(trusting, trusted_proxies=(ip_network("10.9.0.0/16"),))
    async with running(named, peer="10.9.8.7") as client:
        assert (await client.get("/v2/images", headers=OWNER)).status_code == 200
    async with running(named) as client:
        assert (await client.get("/v2/images", headers=OWNER)).status_code == 401


async def test_an_anonymous_caller_behind_the_proxy(trusting: Settings) -> None:
    open_to_all = replace(trusting, api=replace(trusting.api, allow_anonymous_access=True))
    async with running(open_to_all) as client:
        assert (await client.get("/v2/schemas/image")).status_code == 200
        assert (await client.get("/v2/images")).status_code == 403
        refused = CONFIRMED | {"x-identity-status": "Invalid", "x-roles": "admin"}
        assert (await client.get("/v2/images", headers=refused)).status_code == 403
        assert (await client.get("/v2/images", headers=OWNER)).status_code == 200


async def test_without_identity_everybody_is_admin(settings: Settings) -> None:
    async with running(with_identity(settings, kind="none")) as client:
        made = await client.post("/v2/images", json={"visibility": "public", "owner": "p7"})
        assert (made.status_code, made.json()["owner"]) == (201, "p7")
        made = await client.post("/v2/images", json={})
        assert (made.status_code, made.json()["owner"]) == (201, None)
        # Whoever they say they are.
        place = f"/v2/images/{made.json()['id']}"
        assert (await client.get(place, headers={"x-auth-token": "x", "x-roles": "reader"})).status_code == 200


@pytest.mark.parametrize(
    ("identity", "host", "insecure", "refusal"),
    [
        (IdentitySettings(kind="none"), "0.0.0.0", False, "no identity"),
        (IdentitySettings(kind="none"), "0.0.0.0", True, None),
        (IdentitySettings(kind="none"), "127.0.0.1", False, None),
        (IdentitySettings(kind="trusted-headers"), "0.0.0.0", False, "trusted_proxies"),
        (IdentitySettings(kind="trusted-headers"), "0.0.0.0", True, "trusted_proxies"),
        (IdentitySettings(kind="trusted-headers"), "::1", False, None),
        (
            IdentitySettings(kind="trusted-headers", trusted_proxies=(ip_network("10.0.0.1"),)),
            "0.0.0.0",
            False,
            None,
        ),
        (IdentitySettings(kind="standalone"), "0.0.0.0", False, "without TLS"),
        (IdentitySettings(kind="keystone"), "0.0.0.0", False, None),
    ],
)
def test_where_each_kind_may_listen(
    settings: Settings, identity: IdentitySettings, host: str, insecure: bool, refusal: str | None
) -> None:
    server = replace(settings.server, bind_host=host, insecure=insecure)
    wanted = replace(settings, identity=identity, server=server)
    if refusal is None:
        boot.require_safe_listener(wanted)
    else:
        with pytest.raises(StartRefused, match=refusal):
            boot.require_safe_listener(wanted)


async def test_a_context_that_policy_calls_admin_is_one(trusting: Settings) -> None:
    trusting.policy.policy_file.write_text('context_is_admin: "is_admin_project:True and role:boss"\n')
    boss = CONFIRMED | {"x-roles": "boss,reader", "x-project-id": "p9"}
    async with running(trusting) as client:
        image = (await client.post("/v2/images", json={}, headers=OWNER)).json()
        place = f"/v2/images/{image['id']}"
        assert (await client.get(place, headers=boss)).status_code == 200
        other = boss | {"x-is-admin-project": "False"}
        assert (await client.get(place, headers=other)).status_code == 404
