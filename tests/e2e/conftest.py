"""One running server for the whole tier, and its users with their clients. Tests make images of their own."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.clients import Clients
from tests.support.images_api import ImagesApi
from tests.support.server import BlickServer
from tests.support.site import Site, keystone_site, standalone_site


@pytest.fixture(scope="package")
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Blick with its own users, unless a module says `on_every_identity` (tests/support/site.py)."""
    make = keystone_site if getattr(request, "param", "standalone") == "keystone" else standalone_site
    with make(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture(scope="package")
def server(site: Site) -> BlickServer:
    return site.server


@pytest.fixture(scope="package")
def demo(site: Site) -> Clients:
    """The clients of user demo, by a clouds.yaml."""
    return site.clients("demo")


@pytest.fixture(scope="package")
def admin(site: Site) -> Clients:
    return site.clients("admin")


@pytest.fixture(scope="package")
def demo_by_openrc(site: Site) -> Clients:
    """The clients of user demo, by the settings of an openrc; `glance` reads no clouds.yaml."""
    return Clients(site.server.environment | site.demo_openrc)


@pytest.fixture(scope="package")
def admin_by_openrc(site: Site) -> Clients:
    """The clients of an administrator, by settings in the environment."""
    settings = {f"OS_{name.upper()}": str(value) for name, value in site.auth("admin").items()}
    return Clients(site.server.environment | settings | {"OS_IDENTITY_API_VERSION": "3"})


@pytest.fixture(scope="package")
def partner_auth(site: Site) -> dict[str, Any]:
    """The auth section of a user of another project than demo's."""
    return site.auth("partner")


@pytest.fixture(scope="package")
def partner(site: Site) -> Clients:
    """The clients of a user of another project than demo's."""
    return site.clients("partner")


@pytest.fixture
def api(site: Site) -> Iterator[ImagesApi]:
    """User demo without a client program, for what a test needs beside its subject."""
    with ImagesApi(site.server.url, site.auth("demo")) as client:
        yield client
