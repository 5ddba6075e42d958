"""Members of shared images (spec: images-api §13)."""

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update

from blick.conf.settings import QuotaSettings, Settings
from blick.db.tables import image_members
from tests.support.databases import on_every_engine
from tests.support.service import Service

pytestmark = on_every_engine

UNKNOWN = "00000000-0000-4000-8000-000000000000"


async def share(service: Service, image_id: str, member: Any, who: str = "owner") -> httpx.Response:
    return await service.call(who, "POST", f"/v2/images/{image_id}/members", json={"member": member})


async def members(service: Service, image_id: str, who: str) -> list[str] | int:
    response = await service.call(who, "GET", f"/v2/images/{image_id}/members")
    if response.status_code != 200:
        return response.status_code
    return [member["member_id"] for member in response.json()["members"]]


async def answer(service: Service, image_id: str, status: Any, who: str = "other", member: str = "p2") -> int:
    path = f"/v2/images/{image_id}/members/{member}"
    return (await service.call(who, "PUT", path, json={"status": status})).status_code


async def test_add_and_look(service: Service) -> None:
    image = await service.create()
    response = await share(service, image["id"], "p2")
    assert response.status_code == 200
    member = response.json()
    assert list(member) == ["member_id", "image_id", "status", "created_at", "updated_at", "schema"]
    assert member == {
        "member_id": "p2",
        "image_id": image["id"],
        "status": "pending",
        "created_at": member["created_at"],
        "updated_at": member["created_at"],
        "schema": "/v2/schemas/member",
    }
    assert member["created_at"].endswith("Z")
    path = f"/v2/images/{image['id']}/members"
    assert (await service.call("owner", "GET", path)).json() == {"members": [member], "schema": "/v2/schemas/members"}
    assert (await service.call("owner", "GET", f"{path}/p2")).json() == member
    assert (await share(service, image["id"], "p1")).status_code == 200  # one's own project, too


async def test_bad_bodies(service: Service) -> None:
    image = await service.create()
    path = f"/v2/images/{image['id']}/members"
    for body in (
        {},
        {"member": ""},
        {"member": None},
        {"member": 1},
        {"member": ["p2"]},
        [],
        ["p2"],
        {"member_id": "p2"},
    ):
        assert (await service.call("owner", "POST", path, json=body)).status_code == 400, body
        assert (await service.call("owner", "POST", f"/v2/images/{UNKNOWN}/members", json=body)).status_code == 400
    for member in ("m" * 256, "x\U0001f600", "a\x00b"):
        assert (await share(service, image["id"], member)).status_code == 400
    assert (await share(service, image["id"], "m" * 255)).status_code == 200
    await share(service, image["id"], "p2")
    for body in ({}, {"status": ""}, {"status": "maybe"}, {"status": None}, [], {"status": ["accepted"]}):
        assert (await service.call("other", "PUT", f"{path}/p2", json=body)).status_code == 400, body
    assert (await service.call("other", "PUT", f"{path}/p2")).status_code == 400


@pytest.mark.parametrize("visibility", ["private", "community", "public"])
async def test_only_shared_images_have_members(service: Service, visibility: str) -> None:
    image = await service.create("admin", visibility=visibility, owner="p1")
    path = f"/v2/images/{image['id']}/members"
    for who in ("owner", "admin"):
        assert (await share(service, image["id"], "p2", who)).status_code == 403
        assert await members(service, image["id"], who) == 403
        assert (await service.call(who, "GET", f"{path}/p2")).status_code == 404
        assert (await service.call(who, "DELETE", f"{path}/p2")).status_code == 403
        assert await answer(service, image["id"], "accepted", who) == 403


async def test_who_may_share(service: Service) -> None:
    image = await service.create()
    expected = {"reader": 403, "other": 404, "roleless": 404, "anonymous": 401}
    for who, status in expected.items():
        assert (await share(service, image["id"], "p3", who)).status_code == status, who
    await share(service, image["id"], "p2")
    assert (await share(service, image["id"], "p3", "other")).status_code == 403
    assert (await share(service, image["id"], "p3", "admin")).status_code == 200
    assert (await share(service, UNKNOWN, "p3")).status_code == 404
    public = await service.create("admin", visibility="public", owner="p1")
    assert (await share(service, public["id"], "p3", "other")).status_code == 403


async def test_who_sees_whom(service: Service) -> None:
    image = await service.create()
    for member in ("p2", "p3"):
        await share(service, image["id"], member)
    expected = {"owner": ["p2", "p3"], "reader": ["p2", "p3"], "admin": ["p2", "p3"], "other": ["p2"]}
    assert {who: await members(service, image["id"], who) for who in expected} == expected
    assert await members(service, image["id"], "roleless") == 404
    path = f"/v2/images/{image['id']}/members"
    for who, member, status in (
        ("owner", "p2", 200), ("reader", "p3", 200), ("admin", "p3", 200), ("other", "p2", 200), ("other", "p3", 404),
        ("owner", "p9", 404), ("admin", "p9", 404), ("roleless", "p2", 404), ("anonymous", "p2", 401),
    ):  # fmt: skip
        assert (await service.call(who, "GET", f"{path}/{member}")).status_code == status, (who, member)
    await service.call("owner", "DELETE", f"{path}/p3")
    assert await members(service, image["id"], "stranger") == 404
    assert (await service.call("stranger", "GET", f"{path}/p3")).status_code == 404


async def test_who_answers(service: Service) -> None:
    image = await service.create()
    assert await answer(service, image["id"], "accepted") == 404
    await share(service, image["id"], "p2")
    await share(service, image["id"], "p3")
    for status in ("accepted", "rejected", "pending", "accepted"):
        response = await service.call("other", "PUT", f"/v2/images/{image['id']}/members/p2", json={"status": status})
        assert response.status_code == 200
        assert response.json()["status"] == status
    assert await answer(service, image["id"], "rejected", "admin") == 200
    assert await answer(service, image["id"], "accepted", "owner") == 403
    assert await answer(service, image["id"], "accepted", "reader") == 403
    assert await answer(service, image["id"], "accepted", "other", "p3") == 404  # another's business
    assert await answer(service, image["id"], "accepted", "owner", "p9") == 404
    assert await answer(service, image["id"], "accepted", "admin", "p9") == 404
    assert await answer(service, image["id"], "accepted", "roleless") == 404
    assert await answer(service, UNKNOWN, "accepted") == 404
    shown = (await service.call("owner", "GET", f"/v2/images/{image['id']}/members/p2")).json()
    assert shown["status"] == "rejected"


async def test_who_removes(service: Service) -> None:
    image = await service.create()
    path = f"/v2/images/{image['id']}/members/p2"
    await share(service, image["id"], "p2")
    expected = {"other": 403, "reader": 403, "stranger": 404, "roleless": 404, "anonymous": 401, "owner": 204}
    for who, status in expected.items():
        response = await service.call(who, "DELETE", path)
        assert response.status_code == status, who
    assert "content-type" not in response.headers
    assert response.content == b""
    assert (await service.call("owner", "DELETE", path)).status_code == 404
    await share(service, image["id"], "p2")
    assert (await service.call("admin", "DELETE", path)).status_code == 204
    assert (await service.call("owner", "DELETE", f"/v2/images/{UNKNOWN}/members/p2")).status_code == 404


async def test_twice_is_a_conflict(service: Service) -> None:  # D21
    image = await service.create()
    answers = await asyncio.gather(*[share(service, image["id"], "p2") for _ in range(8)])
    assert sorted(each.status_code for each in answers) == [200, *[409] * 7]
    assert (await share(service, image["id"], "p2")).status_code == 409


async def test_sharing_again_revives_the_row(service: Service) -> None:
    image = await service.create()
    first = (await share(service, image["id"], "p2")).json()
    await answer(service, image["id"], "accepted")
    await service.call("owner", "DELETE", f"/v2/images/{image['id']}/members/p2")
    engine = service.services.database.engine
    with engine.begin() as connection:
        long_ago = service.services.now().replace(year=2020)
        connection.execute(update(image_members).values(created_at=long_ago))
    again = (await share(service, image["id"], "p2")).json()
    assert again["created_at"].startswith("2020-")
    assert again["status"] == "pending"
    assert again["updated_at"] >= first["updated_at"]
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(image_members)).scalar() == 1


async def test_sharing_is_no_change_of_the_image(service: Service) -> None:
    image = await service.create()
    long_ago = service.services.now().replace(year=2020)
    from blick.db.tables import images

    with service.services.database.engine.begin() as connection:
        connection.execute(update(images).values(updated_at=long_ago))
    await share(service, image["id"], "p2")
    assert (await service.show(image["id"]))["updated_at"].startswith("2020-")


class TestQuota:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, quotas=QuotaSettings(image_member_quota=2))

    async def test_members(self, service: Service) -> None:
        image = await service.create()
        for member, status in (("p2", 200), ("p3", 200), ("p4", 413), ("p3", 409)):
            assert (await share(service, image["id"], member)).status_code == status
        await service.call("owner", "DELETE", f"/v2/images/{image['id']}/members/p3")
        assert (await share(service, image["id"], "p4")).status_code == 200
