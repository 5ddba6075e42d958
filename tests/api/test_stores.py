"""One store's copy of an image: deleting it (spec: images-api §17)."""

from dataclasses import replace
from pathlib import Path

import pytest

from blick.conf.settings import Settings, StoreSettings
from blick.db import images, outbox
from tests.support.service import Service

DATA = b"kept twice"


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    def store(store_id: str) -> StoreSettings:
        return StoreSettings(store_id, "file", {"filesystem_store_datadir": str(tmp_path / store_id)})

    stores = replace(
        settings.stores, default_store="one", stores=(store("one"), store("two"), store("three")), multi_store=True
    )
    return replace(settings, stores=stores)


async def in_two_stores(service: Service, tmp_path: Path) -> str:
    image_id = str((await service.create_active(DATA))["id"])
    path = tmp_path / "two" / image_id
    path.write_bytes(DATA)
    place = f"file://{path}", {"store": "two"}
    await service.services.database.write(images.add_location, image_id, *place, service.services.now())
    assert (await service.show(image_id))["stores"] == "one,two"
    return image_id


async def test_one_copy_goes_and_the_other_stays(service: Service, tmp_path: Path) -> None:
    image_id = await in_two_stores(service, tmp_path)
    answer = await service.call("admin", "DELETE", f"/v2/stores/one/{image_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await service.show(image_id))["stores"] == "two"
    assert not (tmp_path / "one" / image_id).exists()
    assert (await service.call("owner", "GET", f"/v2/images/{image_id}/file")).content == DATA
    assert await service.services.database.read(outbox.of_image, image_id) == []
    assert (await service.call("admin", "DELETE", f"/v2/stores/one/{image_id}")).status_code == 404


async def test_a_copy_whose_bytes_are_gone_goes_as_well(service: Service, tmp_path: Path) -> None:
    image_id = await in_two_stores(service, tmp_path)
    (tmp_path / "one" / image_id).unlink()
    assert (await service.call("admin", "DELETE", f"/v2/stores/one/{image_id}")).status_code == 204
    assert (await service.show(image_id))["stores"] == "two"


async def test_the_last_copy_stays(service: Service, tmp_path: Path) -> None:
    image_id = (await service.create_active(DATA))["id"]
    assert (await service.call("admin", "DELETE", f"/v2/stores/one/{image_id}")).status_code == 403
    assert (tmp_path / "one" / image_id).read_bytes() == DATA


@pytest.mark.parametrize(("store_id", "status"), [("three", 404), ("nobody", 409), ("os_glance_staging_store", 409)])
async def test_other_stores(service: Service, tmp_path: Path, store_id: str, status: int) -> None:
    image_id = await in_two_stores(service, tmp_path)
    assert (await service.call("admin", "DELETE", f"/v2/stores/{store_id}/{image_id}")).status_code == status
    assert (await service.show(image_id))["stores"] == "one,two"


async def test_who_may_not(service: Service, tmp_path: Path) -> None:
    image_id = await in_two_stores(service, tmp_path)
    answers = {
        who: (await service.call(who, "DELETE", f"/v2/stores/one/{image_id}")).status_code
        for who in ("owner", "stranger", "anonymous")
    }
    assert answers == {"owner": 403, "stranger": 404, "anonymous": 401}
    assert (await service.show(image_id))["stores"] == "one,two"


@pytest.mark.parametrize("rule", ["get_image_location", "delete_image_location"])
async def test_both_rules_are_asked(service: Service, settings: Settings, tmp_path: Path, rule: str) -> None:
    image_id = await in_two_stores(service, tmp_path)
    settings.policy.policy_file.write_text(f'{rule}: "!"\n')
    assert (await service.call("admin", "DELETE", f"/v2/stores/one/{image_id}")).status_code == 403
    settings.policy.policy_file.write_text('delete_image_location: "rule:context_is_admin or project_id:%(owner)s"\n')
    assert (await service.call("owner", "DELETE", f"/v2/stores/one/{image_id}")).status_code == 204


async def test_images_without_a_copy(service: Service) -> None:
    queued = (await service.create())["id"]
    assert (await service.call("admin", "DELETE", f"/v2/stores/one/{queued}")).status_code == 409
    unknown = "11111111-2222-4333-8444-555555555555"
    assert (await service.call("admin", "DELETE", f"/v2/stores/one/{unknown}")).status_code == 404


async def test_a_store_that_cannot_remove_it_now_is_asked_again(service: Service, tmp_path: Path) -> None:
    image_id = await in_two_stores(service, tmp_path)
    path = tmp_path / "one" / image_id
    path.unlink()
    (tmp_path / "one").rename(tmp_path / "away")
    assert (await service.call("admin", "DELETE", f"/v2/stores/one/{image_id}")).status_code == 204
    assert (await service.show(image_id))["stores"] == "two"
    (entry,) = await service.services.database.read(outbox.of_image, image_id)
    assert entry.location.uri == f"file://{path}"
