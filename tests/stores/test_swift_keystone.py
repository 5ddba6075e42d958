"""The store of type swift with Keystone: the suite in the service's account and in those of users, and what differs."""

import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from blick.model.blob import Location, ReadAccess
from blick.model.errors import CallerRefused, DataNotFound, StoreDenied
from blick.stores.base import Store
from blick.stores.conformance import DATA, MIB, StoreConformance, get, new_key, put, require_missing
from blick.stores.swift.store import SwiftStore
from tests.stores.swift_cloud import Cloud
from tests.stores.swift_fixtures import opened
from tests.support.keystone import Keystone
from tests.support.keystone_api import KeystoneApi
from tests.support.swift import Swift

pytestmark = pytest.mark.needs("swift", "keystone")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Its own, for the catalog of the one that all tests share has no Swift."""
    with (
        Keystone(tmp_path_factory.mktemp("keystone")) as keystone,
        Swift(tmp_path_factory.mktemp("swift"), keystone=keystone) as swift,
    ):
        yield Cloud(keystone, swift)


@pytest.fixture
async def shared(cloud: Cloud) -> AsyncIterator[SwiftStore]:
    """A store in accounts of users."""
    async with opened(cloud.common(swift_store_multi_tenant=True)) as store:
        yield store


def by_file(cloud: Cloud, folder: Path, **more: Any) -> dict[str, Any]:
    """Options that name the account by a file."""
    file = folder / "accounts.conf"
    file.write_text(
        f"[one]\nauth_address = {cloud.keystone.url}\nuser = demo:demo\nkey = '{cloud.keystone.password}'\n"
        "project_domain_id = default\nuser_domain_name = Default\n\n"
        f"[two]\nauth_address = {cloud.keystone.url}\nuser = alt:alt\nkey = {cloud.keystone.password}\n"
    )
    return cloud.common(swift_store_config_file=str(file), default_swift_reference="one", **more)


def status_of(url: str, token: str) -> int:
    """What Swift itself answers to a GET with that token."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers={"X-Auth-Token": token})) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def plain_url(location: Location) -> str:
    return location.uri.replace("swift+http://", "http://")


class TestOwnAccount(StoreConformance):
    @pytest.fixture
    async def store(self, cloud: Cloud, tmp_path: Path) -> AsyncIterator[Store]:
        async with opened(by_file(cloud, tmp_path)) as store:
            yield store


class TestAccountsOfUsers(StoreConformance):
    @pytest.fixture
    async def store(self, cloud: Cloud, shared: SwiftStore) -> Store:
        return shared.acting_for(cloud.caller("demo"))


async def test_locations_of_references_name_no_secret(cloud: Cloud, tmp_path: Path) -> None:
    async with opened(by_file(cloud, tmp_path)) as store:
        key = new_key()
        location = await put(store, key, DATA)
        container = store._options.container
        assert location.uri == f"swift+config://one/{container}/{key}"
        other = Location("swift", location.uri.replace("//one/", "//two/"))
        assert store.owns(other.uri)
        await require_missing(store, other)  # in the account of alt, which has no such container
        unknown = Location("swift", location.uri.replace("//one/", "//three/"))
        assert not store.owns(unknown.uri)
        with pytest.raises(StoreDenied):
            await get(store, unknown)


async def test_locations_of_options_say_everything(cloud: Cloud) -> None:
    async with opened(cloud.options()) as store:
        key = new_key()
        location = await put(store, key, DATA)
        where = f"{cloud.keystone.address}/v3/{store._options.container}/{key}"
        assert location.uri == f"swift+http://demo%3Ademo:{cloud.keystone.password}@{where}"
        async with opened(cloud.options("alt")) as elsewhere:
            assert elsewhere.owns(location.uri)
            assert await get(elsewhere, location) == DATA  # by the account that the location names
        wrong = Location("swift", location.uri.replace(cloud.keystone.password, "wrong"))
        with pytest.raises(StoreDenied) as refused:
            await get(store, wrong)
        assert "wrong" not in str(refused.value)


async def test_an_application_credential(cloud: Cloud) -> None:
    credential = cloud.keystone.application_credential("demo")
    options = cloud.common(
        swift_store_auth_address=cloud.keystone.url,
        swift_store_application_credential_id=credential.id,
        swift_store_application_credential_secret=credential.secret,
    )
    async with opened(options) as store:
        location = await put(store, new_key(), DATA)
        assert await get(store, location) == DATA
    async with opened(cloud.options("alt")) as elsewhere:
        assert await get(elsewhere, location) == DATA


async def test_wrong_credentials(cloud: Cloud) -> None:
    async with opened(cloud.options(swift_store_key="wrong")) as store:
        with pytest.raises(StoreDenied) as refused:
            await put(store, new_key(), DATA)
        assert "wrong" not in str(refused.value)
        with pytest.raises(StoreDenied):
            await store.probe()


async def test_a_user_without_rights(cloud: Cloud) -> None:
    async with opened(cloud.options("demo-reader")) as store:
        with pytest.raises(StoreDenied):
            await put(store, new_key(), DATA)


@pytest.mark.parametrize("wrong", [{"swift_store_region": "Nowhere"}, {"swift_store_service_type": "objects"}])
async def test_a_catalog_without_swift(cloud: Cloud, wrong: dict[str, str]) -> None:
    async with opened(cloud.options(**wrong)) as store:
        with pytest.raises(StoreDenied, match="catalog"):
            await store.probe()


async def test_a_revoked_token_is_renewed(cloud: Cloud) -> None:
    async with opened(cloud.options()) as store:
        location = await put(store, new_key(), DATA)
        service = store._accounts._service
        assert service is not None
        before = service.access().token
        cloud.keystone.revoke(before)
        cloud.swift.forget_tokens()
        assert await get(store, location) == DATA
        assert service.access().token != before


async def test_each_image_is_in_its_owners_account(cloud: Cloud, shared: SwiftStore) -> None:
    caller = cloud.caller("demo")
    store, key = shared.acting_for(caller), new_key()
    location = await put(store, key, DATA)
    container = f"{shared._options.container}_{key}"
    where = f"{cloud.swift.address}/v1/AUTH_{caller.project_id}/{container}/{key}"
    assert location.uri == f"swift+http://{where}"
    assert shared.owns(location.uri)
    await store.delete(location)
    assert status_of(f"http://{where.rpartition('/')[0]}", caller.auth_token or "") == 404  # the container too


async def test_who_may_read_is_told_to_swift(cloud: Cloud, shared: SwiftStore) -> None:
    store = shared.acting_for(cloud.caller("demo"))
    location = await put(store, new_key(), DATA)
    other = cloud.caller("alt")
    token, url = other.auth_token or "", plain_url(location)
    with pytest.raises(CallerRefused):
        await get(shared.acting_for(other), location)
    assert status_of(url, token) == 403
    await store.set_access(location, ReadAccess(projects=(other.project_id or "", "another")))
    assert status_of(url, token) == 200
    assert await get(shared.acting_for(other), location) == DATA
    await store.set_access(location, ReadAccess(projects=("another",)))
    assert status_of(url, token) == 403
    await store.set_access(location, ReadAccess(public=True))
    assert status_of(url, token) == 200
    await store.set_access(location, ReadAccess())
    assert status_of(url, token) == 403
    with pytest.raises(CallerRefused):
        await shared.acting_for(other).set_access(location, ReadAccess(public=True))
    with pytest.raises(CallerRefused):
        await shared.acting_for(other).delete(location)
    await store.delete(location)
    with pytest.raises(DataNotFound):
        await store.set_access(location, ReadAccess())


async def test_without_a_caller(cloud: Cloud, shared: SwiftStore) -> None:
    location = await put(shared.acting_for(cloud.caller("demo")), new_key(), DATA)
    for work in (put(shared, new_key(), DATA), get(shared, location), shared.delete(location), shared.discard("x")):
        with pytest.raises(StoreDenied):
            await work
    with pytest.raises(StoreDenied):
        async for _ in shared.objects():
            pass
    await shared.probe()


async def test_the_services_own_account_removes_in_the_background(cloud: Cloud) -> None:
    """The projects that swift_store_admin_tenants names may write to every image's container."""
    service_project = cloud.keystone.project_id("service")
    options = cloud.options("glance", swift_store_multi_tenant=True, swift_store_admin_tenants=[service_project])
    async with opened(options) as store:
        location = await put(store.acting_for(cloud.caller("demo")), new_key(), DATA)
        await store.delete(location)
        await require_missing(store.acting_for(cloud.caller("demo")), location)
        await store.probe()


async def test_a_caller_whose_token_is_no_good(cloud: Cloud, shared: SwiftStore) -> None:
    caller = cloud.caller("demo")
    for useless in (replace(caller, auth_token="gAAAAA-no-token"), replace(caller, auth_token=None)):
        with pytest.raises(CallerRefused):
            await put(shared.acting_for(useless), new_key(), DATA)
    with pytest.raises(CallerRefused, match="catalog"):
        await put(shared.acting_for(replace(caller, service_catalog=None)), new_key(), DATA)


async def test_tokens_go_to_our_swift_only(cloud: Cloud, shared: SwiftStore) -> None:
    store = shared.acting_for(cloud.caller("demo"))
    location = await put(store, new_key(), DATA)
    for elsewhere in (cloud.keystone.address, "127.0.0.1:9"):
        stray = Location("swift", location.uri.replace(cloud.swift.address, elsewhere))
        with pytest.raises(StoreDenied, match="another Swift"):
            await get(store, stray)


async def test_one_account_is_the_same_for_every_caller(cloud: Cloud) -> None:
    async with opened(cloud.options()) as store:
        assert store.acting_for(cloud.caller("alt")) is store
        location = await put(store, new_key(), DATA)
        await store.set_access(location, ReadAccess(public=True))
        assert status_of(f"{cloud.swift.url}/v1/AUTH_{cloud.keystone.project_id('demo')}", "none") == 401


class TestTrusts:
    """Of users to the service, for uploads that outlive a token."""

    @pytest.fixture
    async def trusted(self, cloud: Cloud) -> AsyncIterator[SwiftStore]:
        options = cloud.options("glance", swift_store_multi_tenant=True, swift_store_large_object_chunk_size=1)
        async with opened(options) as store:
            yield store

    async def test_an_upload_outlives_the_token(self, cloud: Cloud, trusted: SwiftStore) -> None:
        caller = cloud.caller("demo")
        store = trusted.acting_for(caller)
        async with store.writer(new_key(), None) as writer:
            await writer.write(memoryview(bytes(MIB)))
            assert len(trusts(cloud, "demo")) == 1
            cloud.keystone.revoke(caller.auth_token or "")
            cloud.swift.forget_tokens()
            await writer.write(memoryview(bytes(MIB)))
            location = await writer.commit()
        assert trusts(cloud, "demo") == []
        again = trusted.acting_for(cloud.caller("demo"))
        assert f"AUTH_{caller.project_id}/" in location.uri
        assert await again.size_bytes(location) == 2 * MIB

    async def test_without_it_does_not(self, cloud: Cloud) -> None:
        more = {"swift_store_multi_tenant": True, "swift_store_use_trusts": False}
        async with opened(cloud.options("glance", **more)) as store:
            caller = cloud.caller("demo")
            writer = store.acting_for(caller).writer(new_key(), None)
            entered = await writer.__aenter__()
            await entered.write(memoryview(DATA))
            assert trusts(cloud, "demo") == []
            cloud.keystone.revoke(caller.auth_token or "")
            cloud.swift.forget_tokens()
            with pytest.raises(CallerRefused):
                await entered.commit()
            await writer.__aexit__(None, None, None)

    async def test_short_uploads_need_none(self, cloud: Cloud, trusted: SwiftStore) -> None:
        async with trusted.acting_for(cloud.caller("demo")).writer(new_key(), 10) as writer:
            await writer.write(memoryview(DATA))
            assert trusts(cloud, "demo") == []
            await writer.commit()

    async def test_who_can_give_none_uploads_with_the_token(
        self, cloud: Cloud, trusted: SwiftStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        credential = cloud.keystone.application_credential("demo")
        caller = replace(cloud.caller("demo"), auth_token=cloud.keystone.credential_token(credential))
        location = await put(trusted.acting_for(caller), new_key(), DATA)
        assert await get(trusted.acting_for(caller), location) == DATA
        assert "no trust" in caplog.text


def trusts(cloud: Cloud, user: str) -> list[Any]:
    """Those that the user gave and that are still good."""
    token, record = cloud.keystone.token_record(user)
    with KeystoneApi(cloud.keystone.url, token) as api:
        found: list[Any] = api.request("GET", f"/OS-TRUST/trusts?trustor_user_id={record['user']['id']}").json()[
            "trusts"
        ]
    return found
