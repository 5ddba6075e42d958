"""The stores of a site, as it tells of them (spec: images-api §16)."""

from dataclasses import replace
from pathlib import Path

import pytest

from blick.conf.settings import Settings, StoreSettings
from tests.support.service import Service


async def test_one_store_without_a_name_is_no_list(service: Service) -> None:
    for path in ("/v2/info/stores", "/v2/info/stores/detail"):
        answer = await service.call("admin", "GET", path, headers={"accept": "text/plain"})
        assert answer.status_code == 404
        assert "Multi backend is not supported at this site." in answer.text


class TestSeveralStores:
    @pytest.fixture
    def settings(self, settings: Settings, tmp_path: Path) -> Settings:
        fast = StoreSettings(
            "fast",
            "file",
            {"filesystem_store_datadir": str(tmp_path / "fast"), "filesystem_thin_provisioning": True},
            "On the quick disks",
            weight=7,
        )
        stores = replace(settings.stores, stores=(*settings.stores.stores, fast), multi_store=True)
        return replace(settings, stores=stores)

    async def test_every_user_may_see_ids(self, service: Service) -> None:
        answer = await service.call("reader", "GET", "/v2/info/stores")
        assert answer.status_code == 200
        assert answer.json() == {
            "stores": [{"id": "file", "default": "true"}, {"id": "fast", "description": "On the quick disks"}]
        }

    async def test_services_see_more(self, service: Service, tmp_path: Path) -> None:
        answer = await service.call("admin", "GET", "/v2/info/stores/detail")
        assert answer.json()["stores"][1] == {
            "id": "fast",
            "description": "On the quick disks",
            "type": "file",
            "weight": 7,
            "properties": {"data_dir": str(tmp_path / "fast"), "chunk_size": 65536, "thin_provisioning": True},
        }

    async def test_members_do_not(self, service: Service) -> None:
        assert (await service.call("owner", "GET", "/v2/info/stores/detail")).status_code == 403


class TestAStoreThatIsNotThere:
    @pytest.fixture
    def settings(self, settings: Settings, tmp_path: Path) -> Settings:
        (tmp_path / "late").write_text("a file where the directory should be")
        late = StoreSettings("late", "file", {"filesystem_store_datadir": str(tmp_path / "late")})
        stores = replace(settings.stores, stores=(*settings.stores.stores, late), multi_store=True)
        return replace(settings, stores=stores)

    async def test_it_is_told_of_and_comes_back(self, service: Service, tmp_path: Path) -> None:
        assert [store["id"] for store in (await service.call("reader", "GET", "/v2/info/stores")).json()["stores"]] == [
            "file"
        ]
        told = (await service.call("admin", "GET", "/v2/info/stores/detail")).json()["stores"][1]
        assert (told["id"], told["type"], told["properties"]["status"]) == ("late", "file", "unavailable")
        assert "not a directory" in told["properties"]["reason"]
        image = await service.create()
        headers = {"x-image-meta-store": "late", "content-type": "application/octet-stream"}
        path = f"/v2/images/{image['id']}/file"
        assert (await service.call("owner", "PUT", path, content=b"x", headers=headers)).status_code == 503

        (tmp_path / "late").unlink()
        await service.services.stores.look_after(patience_s=60)
        told = (await service.call("admin", "GET", "/v2/info/stores/detail")).json()["stores"][1]
        assert told["properties"]["data_dir"] == str(tmp_path / "late")
        assert (await service.call("owner", "PUT", path, content=b"x", headers=headers)).status_code == 204
        assert (await service.show(image["id"]))["stores"] == "late"
