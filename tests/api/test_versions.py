"""Version discovery: which versions there are, under which paths, and who may ask (spec: images-api §2)."""

from dataclasses import replace
from pathlib import Path

import pytest

from blick.conf.settings import Settings, StoreSettings
from blick.http.versions import Versions
from tests.support.service import Service

PLAIN = ["v2.15", "v2.9", "v2.17", "v2.7", "v2.6", "v2.5", "v2.4", "v2.3", "v2.2", "v2.1", "v2.0"]
REST = ["v2.7", "v2.6", "v2.5", "v2.4", "v2.3", "v2.2", "v2.1", "v2.0"]
STORES = ["v2.13", "v2.12", "v2.11", "v2.10", "v2.9", "v2.8"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 300),
        ("/v1/images", 300),
        ("/v3", 300),
        ("/images", 300),
        ("/v2.99/images", 300),
        ("/v2.18/images", 300),
        ("/v2.8/images", 300),
        ("/versions", 200),
        ("/versions/", 200),
    ],
)
async def test_version_document(service: Service, path: str, status: int) -> None:
    response = await service.call("anonymous", "GET", path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert "x-openstack-request-id" not in response.headers
    versions = response.json()["versions"]
    assert [version["id"] for version in versions] == PLAIN
    assert versions[2] == {
        "id": "v2.17",
        "status": "CURRENT",
        "links": [{"rel": "self", "href": "http://images.test/v2/"}],
    }
    assert {version["status"] for version in versions if version["id"] != "v2.17"} == {"SUPPORTED"}
    assert {version["links"][0]["href"] for version in versions} == {"http://images.test/v2/"}


async def test_any_method_discovers(service: Service) -> None:
    for method in ("POST", "DELETE", "PUT", "PATCH", "HEAD"):
        assert (await service.call("anonymous", method, "/")).status_code == 300, method
        assert (await service.call("anonymous", method, "/versions")).status_code == 200, method


@pytest.mark.parametrize(
    ("host", "href"),
    [("name:80", "http://name/v2/"), ("name:81", "http://name:81/v2/"), ("[::1]:80", "http://[::1]/v2/")],
)
async def test_links_leave_out_the_schemes_own_port(service: Service, host: str, href: str) -> None:
    document = (await service.call("anonymous", "GET", "/versions", headers={"host": host})).json()
    assert document["versions"][0]["links"][0]["href"] == href


async def test_every_alias_leads_to_v2(service: Service) -> None:
    image = await service.create()
    for version in ("v2", *PLAIN):
        response = await service.call("owner", "GET", f"/{version}/images/{image['id']}")
        assert response.status_code == 200, version
        assert response.json()["self"] == f"/v2/images/{image['id']}"


async def test_accept_names_the_version(service: Service) -> None:
    accept = {"accept": "application/vnd.openstack.images-v2.3"}
    assert (await service.call("owner", "GET", "/images", headers=accept)).status_code == 200
    assert (await service.call("owner", "GET", "/v2/images", headers=accept)).status_code == 404
    unknown = {"accept": "application/vnd.openstack.images-v3.0"}
    assert (await service.call("owner", "GET", "/images", headers=unknown)).status_code == 300


async def test_v2_alone_redirects(service: Service) -> None:
    assert (await service.call("anonymous", "GET", "/v2")).status_code == 401
    response = await service.call("owner", "GET", "/v2")
    assert response.status_code == 302
    assert response.headers["location"] == "http://images.test/v2/"
    assert response.headers["content-type"] == "text/plain; charset=utf8"
    assert response.content == b""
    assert (await service.call("owner", "GET", "/v2/")).status_code == 404
    assert (await service.call("anonymous", "GET", "/v2/")).status_code == 401


def test_list_with_a_cache_and_several_stores() -> None:
    both = [name for name, _ in Versions(has_cache=True, multi_store=True).listed()]
    assert both == ["v2.18", "v2.17", "v2.16", "v2.15", "v2.14", *STORES, *REST]
    stores = [name for name, _ in Versions(has_cache=False, multi_store=True).listed()]
    assert stores == ["v2.15", *STORES, "v2.17", *REST]
    cache = Versions(has_cache=True, multi_store=False)
    assert [name for name, _ in cache.listed()] == ["v2.18", "v2.17", "v2.16", "v2.15", "v2.14", "v2.9", *REST]
    assert dict(cache.listed())["v2.18"] == "CURRENT"
    assert dict(cache.listed())["v2.17"] == "SUPPORTED"
    assert cache.accepts("v2.16")
    assert not cache.accepts("v2.10")
    assert Versions(has_cache=False, multi_store=True).accepts("v2.10")


class TestPublicEndpoint:
    @pytest.fixture
    def settings(self, settings: Settings, tmp_path: Path) -> Settings:
        two = (*settings.stores.stores, StoreSettings("second", "memory", {}))
        return replace(
            settings,
            api=replace(settings.api, public_endpoint="https://cloud.test/image/", image_cache_dir=tmp_path / "cache"),
            stores=replace(settings.stores, stores=two, multi_store=True),
        )

    async def test_links_name_the_public_endpoint(self, service: Service) -> None:
        document = (await service.call("anonymous", "GET", "/versions")).json()
        assert document["versions"][0]["id"] == "v2.18"
        assert {version["links"][0]["href"] for version in document["versions"]} == {"https://cloud.test/image/v2/"}

    async def test_a_new_images_location_names_the_host_that_was_asked(self, service: Service) -> None:
        response = await service.call("owner", "POST", "/v2/images", json={})
        assert response.headers["location"] == f"http://images.test/v2/images/{response.json()['id']}"
        assert response.headers["openstack-image-store-ids"] == "file,second"

    async def test_more_aliases(self, service: Service) -> None:
        for version in ("v2.8", "v2.10", "v2.13", "v2.14", "v2.16", "v2.18"):
            assert (await service.call("owner", "GET", f"/{version}/images")).status_code == 200
