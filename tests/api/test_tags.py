"""Single tags (spec: images-api §14)."""

import asyncio
from dataclasses import replace

import httpx
import pytest
from sqlalchemy import update

from blick.conf.settings import QuotaSettings, Settings
from blick.db.tables import images
from tests.support.databases import on_every_engine
from tests.support.service import Service

pytestmark = on_every_engine

UNKNOWN = "00000000-0000-4000-8000-000000000000"


async def tag(service: Service, method: str, image_id: str, text: str, who: str = "owner") -> httpx.Response:
    return await service.call(who, method, f"/v2/images/{image_id}/tags/{text}")


async def test_add_and_remove(service: Service) -> None:
    image = await service.create(tags=["a"])
    for text in ("b", "b", "a", "with%20blank", "Bär", "%E6%97%A5", "t" * 255):  # D14
        response = await tag(service, "PUT", image["id"], text)
        assert response.status_code == 204, text
        assert response.headers["content-type"] == "text/html; charset=UTF-8"
    assert set((await service.show(image["id"]))["tags"]) == {"a", "b", "with blank", "Bär", "日", "t" * 255}
    for text in ("b", "with blank", "B%C3%A4r", "日", "t" * 255):
        assert (await tag(service, "DELETE", image["id"], text)).status_code == 204, text
    assert (await service.show(image["id"]))["tags"] == ["a"]
    assert (await tag(service, "DELETE", image["id"], "b")).status_code == 404
    assert (await tag(service, "PUT", image["id"], "b")).status_code == 204


async def test_impossible_tags(service: Service) -> None:
    image = await service.create()
    for text in ("t" * 256, "%F0%9F%98%80"):
        assert (await tag(service, "PUT", image["id"], text)).status_code == 400
        assert (await tag(service, "PUT", UNKNOWN, text)).status_code == 400
        assert (await tag(service, "DELETE", image["id"], text)).status_code == 404
    for text in ("a/b", "a%2Fb", ""):
        assert (await tag(service, "PUT", image["id"], text)).status_code == 404
    assert (await service.show(image["id"]))["tags"] == []


@pytest.mark.parametrize("visibility", ["private", "shared", "public"])
async def test_who_may(service: Service, visibility: str) -> None:
    image = await service.create("admin", visibility=visibility, owner="p1", tags=["x"])
    hidden = 403 if visibility == "public" else 404
    for method, text in (("PUT", "y"), ("DELETE", "x")):
        for who, status in (("reader", 403), ("other", hidden), ("roleless", 404), ("anonymous", 401)):
            assert (await tag(service, method, image["id"], text, who)).status_code == status, who
        assert (await tag(service, method, UNKNOWN, text)).status_code == 404
        assert (await tag(service, method, image["id"], text, "admin")).status_code == 204


async def test_racing_tags_all_survive(service: Service) -> None:  # D20
    image = await service.create()
    answers = await asyncio.gather(*[tag(service, "PUT", image["id"], f"t{number}") for number in range(12)])
    assert {answer.status_code for answer in answers} == {204}
    assert set((await service.show(image["id"]))["tags"]) == {f"t{number}" for number in range(12)}
    same = await asyncio.gather(*[tag(service, "PUT", image["id"], "same") for _ in range(6)])
    assert {answer.status_code for answer in same} == {204}
    assert (await service.show(image["id"]))["tags"].count("same") == 1


async def test_a_tag_is_a_change_of_the_image_and_no_tag_is_none(service: Service) -> None:
    image = await service.create(tags=["a"])
    long_ago = service.services.now().replace(year=2020)

    def age() -> None:
        with service.services.database.engine.begin() as connection:
            connection.execute(update(images).values(updated_at=long_ago))

    age()
    assert (await tag(service, "DELETE", image["id"], "b")).status_code == 404
    assert (await service.show(image["id"]))["updated_at"].startswith("2020-")
    for method in ("DELETE", "PUT"):
        age()
        assert (await tag(service, method, image["id"], "a")).status_code == 204
        assert not (await service.show(image["id"]))["updated_at"].startswith("2020-")


class TestQuota:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, quotas=QuotaSettings(image_tag_quota=2))

    async def test_tags(self, service: Service) -> None:
        image = await service.create(tags=["a"])
        for text, status in (("b", 204), ("c", 413), ("a", 204)):
            assert (await tag(service, "PUT", image["id"], text)).status_code == status
