"""The field's own client libraries against the embedded identity, over a real socket."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from keystoneauth1 import exceptions
from keystoneauth1 import session as keystone_session
from keystoneauth1.identity import v3
from keystoneclient.v3.client import Client

from blick.identity.embedded.bootstrap import FirstUsers, bootstrap
from blick.identity.embedded.routes import identity_app
from blick.identity.embedded.service import EmbeddedIdentity
from tests.support.identity import identity_database

# The client libraries warn about their own dependencies.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[str, FirstUsers]]:
    """Address of an identity service with the real time, and its first users."""
    with identity_database(tmp_path / "blick.sqlite3") as database:
        first = bootstrap(database, token_ttl_s=3600, now_ms=int(time.time() * 1000), publish=lambda _: None)
        assert first is not None
        identity = EmbeddedIdentity(database, token_ttl_s=3600)
        config = uvicorn.Config(identity_app(identity), host="127.0.0.1", port=0, log_level="warning", lifespan="off")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}/identity/v3", first
        finally:
            server.should_exit = True
            await task
            await identity.aclose()


def _session(auth_url: str, name: str, password: str, **scope: Any) -> keystone_session.Session:
    scope = scope or {"project_name": name, "project_domain_id": "default"}
    auth = v3.Password(auth_url, username=name, password=password, user_domain_id="default", **scope)
    return keystone_session.Session(auth=auth)


async def test_keystoneauth_logs_in_and_finds_the_services(served: tuple[str, FirstUsers]) -> None:
    auth_url, first = served

    def talk() -> None:
        session = _session(auth_url, "demo", first.demo_password)
        root = auth_url.removesuffix("/identity/v3")
        for interface in ("public", "internal", "admin"):
            found = session.get_endpoint(service_type="image", interface=interface, region_name="RegionOne")
            assert found == root
        assert session.get_endpoint(service_type="identity", interface="public", version="3") == auth_url + "/"
        data = session.get_endpoint_data(service_type="identity", interface="public")
        assert data.api_version == (3, 14)
        assert session.get_project_id() is not None
        session.invalidate()
        assert session.get_token()

    await asyncio.to_thread(talk)


async def test_keystoneauth_is_refused_with_a_wrong_password(served: tuple[str, FirstUsers]) -> None:
    auth_url, _ = served

    def talk() -> None:
        with pytest.raises(exceptions.Unauthorized):
            _session(auth_url, "demo", "wrong").get_token()

    await asyncio.to_thread(talk)


async def test_keystoneauth_discovers_from_the_unversioned_address(served: tuple[str, FirstUsers]) -> None:
    auth_url, first = served

    def talk() -> None:
        from keystoneauth1.identity import generic

        for address in (auth_url.removesuffix("/v3"), auth_url, auth_url + "/"):
            auth = generic.Password(
                address,
                username="demo",
                password=first.demo_password,
                user_domain_name="Default",
                project_name="demo",
                project_domain_name="Default",
            )
            assert keystone_session.Session(auth=auth).get_token()

    await asyncio.to_thread(talk)


async def test_keystoneclient_makes_and_uses_an_application_credential(served: tuple[str, FirstUsers]) -> None:
    auth_url, first = served

    def talk() -> None:
        session = _session(auth_url, "demo", first.demo_password)
        client = Client(session=session)
        made = client.application_credentials.create("ci", roles=[{"name": "reader"}])
        auth = v3.ApplicationCredential(
            auth_url, application_credential_id=made.id, application_credential_secret=made.secret
        )
        program = keystone_session.Session(auth=auth)
        assert program.get_project_id() == session.get_project_id()
        assert program.auth.get_access(program).role_names == ["reader"]
        by_name = v3.ApplicationCredential(
            auth_url,
            application_credential_name="ci",
            application_credential_secret=made.secret,
            username="demo",
            user_domain_id="default",
        )
        assert keystone_session.Session(auth=by_name).get_token()
        client.application_credentials.delete(made.id)
        program.invalidate()
        with pytest.raises(exceptions.Unauthorized):
            program.get_token()

    await asyncio.to_thread(talk)


async def test_keystoneclient_looks_up_and_changes_a_password(served: tuple[str, FirstUsers]) -> None:
    auth_url, first = served

    def talk() -> None:
        admin = Client(session=_session(auth_url, "admin", first.admin_password))
        assert [user.name for user in admin.users.list()] == ["admin", "demo"]
        assert admin.projects.find(name="demo").name == "demo"
        assert {role.name for role in admin.roles.list()} == {"admin", "manager", "member", "reader", "service"}
        session = _session(auth_url, "demo", first.demo_password)
        demo = Client(session=session)
        assert [project.name for project in demo.auth.projects()] == ["demo"]
        demo.users.update_password(first.demo_password, "a new one")
        with pytest.raises(exceptions.Unauthorized):
            _session(auth_url, "demo", first.demo_password).get_token()
        assert _session(auth_url, "demo", "a new one").get_token()

    await asyncio.to_thread(talk)
