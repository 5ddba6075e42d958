"""Stores that keep data in accounts of their users learn who may read, and for whom they act (spec: stores §5)."""

from dataclasses import replace
from importlib.metadata import entry_points

import pytest

from blick.conf.settings import Settings, StoreSettings
from blick.model.blob import ReadAccess
from blick.stores import registry
from tests.support.account_store import ENTRY_POINT, AccountStore
from tests.support.service import OCTETS, PATCH_2_1, Service


@pytest.fixture
def settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    drivers = [*entry_points(group="blick.stores"), ENTRY_POINT]
    monkeypatch.setattr(registry, "entry_points", lambda group: drivers)
    (files,) = settings.stores.stores
    store = StoreSettings("file", "accounts", files.options)
    return replace(settings, stores=replace(settings.stores, stores=(store,)))


@pytest.fixture
def store(service: Service) -> AccountStore:
    opened = service.services.stores.default
    assert isinstance(opened, AccountStore)
    return opened


def access(store: AccountStore) -> ReadAccess:
    (only,) = store.access.values()
    return only


async def set_visibility(service: Service, image_id: str, visibility: str) -> int:
    change = [{"op": "replace", "path": "/visibility", "value": visibility}]
    answer = await service.call("admin", "PATCH", f"/v2/images/{image_id}", json=change, headers=PATCH_2_1)
    return answer.status_code


async def test_it_acts_for_whoever_uploads_and_downloads(service: Service, store: AccountStore) -> None:
    image = await service.create_active(b"data", visibility="shared")
    assert store.callers == ["p1"]
    members = f"/v2/images/{image['id']}/members"
    assert (await service.call("owner", "POST", members, json={"member": "p2"})).status_code == 200
    assert (await service.call("other", "GET", f"/v2/images/{image['id']}/file")).content == b"data"
    assert store.callers[-1] == "p2"


async def test_members_are_let_in_and_out(service: Service, store: AccountStore) -> None:
    image = await service.create(visibility="shared")
    members = f"/v2/images/{image['id']}/members"
    assert (await service.call("owner", "POST", members, json={"member": "p2"})).status_code == 200
    path = f"/v2/images/{image['id']}/file"
    assert (await service.call("owner", "PUT", path, content=b"x", headers=OCTETS)).status_code == 204
    assert access(store) == ReadAccess(projects=("p2",))
    assert (await service.call("owner", "POST", members, json={"member": "p3"})).status_code == 200
    assert access(store) == ReadAccess(projects=("p2", "p3"))
    assert (await service.call("owner", "DELETE", f"{members}/p2")).status_code == 204
    assert access(store) == ReadAccess(projects=("p3",))


async def test_visibility_decides(service: Service, store: AccountStore) -> None:
    image = await service.create_active(b"x", visibility="shared")
    members = f"/v2/images/{image['id']}/members"
    assert (await service.call("owner", "POST", members, json={"member": "p2"})).status_code == 200
    for visibility, wanted in {
        "public": ReadAccess(public=True),
        "private": ReadAccess(),
        "community": ReadAccess(public=True),
        "shared": ReadAccess(projects=("p2",)),
    }.items():
        assert await set_visibility(service, image["id"], visibility) == 200
        assert access(store) == wanted


async def test_what_the_store_refuses_is_not_recorded(service: Service, store: AccountStore) -> None:
    image = await service.create_active(b"x", visibility="shared")
    members = f"/v2/images/{image['id']}/members"
    store.is_away = True
    assert (await service.call("owner", "POST", members, json={"member": "p2"})).status_code == 503
    assert await set_visibility(service, image["id"], "public") == 503
    store.is_away = False
    assert (await service.call("owner", "GET", members)).json()["members"] == []
    assert (await service.show(image["id"]))["visibility"] == "shared"


async def test_what_cannot_be_recorded_is_taken_back(service: Service, store: AccountStore) -> None:
    image = await service.create_active(b"x", visibility="shared")
    members = f"/v2/images/{image['id']}/members"
    assert (await service.call("owner", "POST", members, json={"member": "p2"})).status_code == 200
    assert (await service.call("owner", "POST", members, json={"member": "p2"})).status_code == 409
    assert (await service.call("owner", "DELETE", f"{members}/p9")).status_code == 404
    assert access(store) == ReadAccess(projects=("p2",))


async def test_an_upload_that_nobody_could_be_let_into_leaves_nothing(service: Service, store: AccountStore) -> None:
    image = await service.create()
    store.is_away = True
    path = f"/v2/images/{image['id']}/file"
    assert (await service.call("owner", "PUT", path, content=b"x", headers=OCTETS)).status_code == 503
    assert (await service.show(image["id"]))["status"] == "queued"
    assert service.stored_files == []
    store.is_away = False
    assert (await service.call("owner", "PUT", path, content=b"x", headers=OCTETS)).status_code == 204


async def test_missing_data_keeps_nobody_from_sharing(service: Service, store: AccountStore) -> None:
    image = await service.create_active(b"x", visibility="shared")
    await store.discard(image["id"])
    members = f"/v2/images/{image['id']}/members"
    assert (await service.call("owner", "POST", members, json={"member": "p2"})).status_code == 200
