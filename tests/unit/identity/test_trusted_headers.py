"""What the headers of an authenticating proxy become, and whose headers count."""

from ipaddress import ip_network

import pytest

from blick.identity.trusted_headers import TrustedHeaders
from blick.model.context import RequestContext
from blick.model.errors import Invalid, PeerRefused, Unauthenticated
from tests.support.callers import asked

CONFIRMED = (b"x-identity-status", b"Confirmed")
CATALOG = b'[{"type": "image", "name": "glance", "endpoints": [{"region": "R1", "publicURL": "http://i"}]}]'


async def caller(*headers: tuple[bytes, bytes], peer: str | None = "127.0.0.1") -> RequestContext:
    return await TrustedHeaders(()).authenticate(asked((CONFIRMED, *headers), peer=peer))


async def test_everything_that_keystones_middleware_says() -> None:
    context = await caller(
        (b"x-user-id", b"u"),
        (b"x-user-name", "Zoë".encode()),
        (b"x-user-domain-id", b"ud"),
        (b"x-user-domain-name", b"UD"),
        (b"x-project-id", b"p"),
        (b"x-project-name", b"P"),
        (b"x-project-domain-id", b"pd"),
        (b"x-project-domain-name", b"PD"),
        (b"x-roles", b"Member, reader,,"),
        (b"x-service-roles", b"Service"),
        (b"x-service-identity-status", b"Confirmed"),
        (b"x-service-user-id", b"nova"),
        (b"x-service-project-id", b"services"),
        (b"x-is-admin-project", b"False"),
        (b"x-auth-token", b"secret"),
        (b"x-service-catalog", CATALOG),
    )
    assert (context.request_id, context.user_id, context.user_name) == ("req", "u", "Zoë")
    assert (context.user_domain_id, context.user_domain_name) == ("ud", "UD")
    assert (context.project_id, context.project_name) == ("p", "P")
    assert (context.project_domain_id, context.project_domain_name) == ("pd", "PD")
    assert (context.roles, context.service_roles) == ({"member", "reader"}, {"service"})
    assert (context.service_user_id, context.service_project_id) == ("nova", "services")
    assert (context.is_admin_project, context.is_admin, context.read_only) == (False, False, False)
    assert context.auth_token == "secret"
    assert "secret" not in repr(context)
    assert context.service_catalog is not None
    assert context.service_catalog.url("image") == "http://i"


async def test_scopes_beyond_a_project() -> None:
    assert (await caller((b"openstack-system-scope", b"all"))).system_scope == "all"
    assert (await caller((b"x-domain-id", b"d"), (b"x-domain-name", b"D"))).domain_id == "d"
    assert (await caller()).is_admin_project


async def test_older_names_count_where_the_newer_are_absent() -> None:
    old = ((b"x-tenant-id", b"t"), (b"x-tenant", b"T"), (b"x-user", b"U"), (b"x-role", b"Admin"))
    context = await caller(*old)
    assert (context.project_id, context.project_name, context.user_name) == ("t", "T", "U")
    assert context.roles == {"admin"}
    context = await caller(*old, (b"x-project-id", b"p"), (b"x-roles", b"reader"))
    assert (context.project_id, context.roles) == ("p", {"reader"})


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"x-user-id", b"u"), (b"x-roles", b"admin")],
        [(b"x-identity-status", b"Invalid"), (b"x-user-id", b"u")],
        [(b"x-identity-status", b"")],
        [CONFIRMED, (b"x-service-identity-status", b"Invalid")],
        [CONFIRMED, CONFIRMED],
        [CONFIRMED, (b"x-roles", b"reader"), (b"x-roles", b"admin")],
        [CONFIRMED, (b"x-roles", b""), (b"x-roles", b"admin")],
    ],
)
async def test_nobody_is_known_without_a_clear_word(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Unauthenticated):
        await TrustedHeaders(()).authenticate(asked(headers))


@pytest.mark.parametrize("text", [b"{", b"{}", b'"x"', b"[1]", b"\xff", b"[" * 100_000])
async def test_a_catalog_that_is_none(text: bytes) -> None:
    with pytest.raises(Invalid, match="X-Service-Catalog"):
        await caller((b"x-service-catalog", text))


async def test_no_header_with_underscores_counts() -> None:
    assert (await caller((b"x_roles", b"admin"), (b"x_user_id", b"u"))).roles == frozenset()


@pytest.mark.parametrize(
    ("proxies", "peer", "trusted"),
    [
        ([], "127.0.0.1", True),
        ([], "127.3.2.1", True),
        ([], "::1", True),
        ([], "::ffff:127.0.0.1", True),
        ([], "10.0.0.1", False),
        ([], None, False),
        ([], "proxy.example.com", False),
        (["10.0.0.1/32", "192.168.0.0/16", "fd00::/8"], "10.0.0.1", True),
        (["10.0.0.1/32"], "10.0.0.2", False),
        (["10.0.0.1/32"], "::ffff:10.0.0.1", True),
        (["10.0.0.1/32"], "127.0.0.1", False),
        (["10.0.0.1/32", "192.168.0.0/16", "fd00::/8"], "192.168.77.1", True),
        (["10.0.0.1/32", "192.168.0.0/16", "fd00::/8"], "fd00::7", True),
        (["10.0.0.1/32", "192.168.0.0/16", "fd00::/8"], "fe80::7", False),
    ],
)
async def test_whose_headers_count(proxies: list[str], peer: str | None, trusted: bool) -> None:
    identity = TrustedHeaders([ip_network(proxy) for proxy in proxies])
    request = asked([CONFIRMED, (b"x-user-id", b"u"), (b"x-forwarded-for", b"10.0.0.1")], peer=peer)
    if trusted:
        assert (await identity.authenticate(request)).user_id == "u"
    else:
        with pytest.raises(PeerRefused):
            await identity.authenticate(request)
