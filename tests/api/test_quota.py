"""Storage quotas and unified limits (spec: image-model §8, security §4, images-api §1.5, D11)."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from blick.conf.settings import QuotaSettings, Settings
from blick.db import uploads
from blick.db.tables import image_locations, leases
from blick.db.uploads import Lease
from blick.http.app import App
from blick.ops import cleanup
from tests.support.bodies import in_pieces, untouched_body
from tests.support.callers import HeaderIdentity
from tests.support.databases import on_every_engine
from tests.support.limits import FixedLimits, limited_service
from tests.support.service import OCTETS, Service

UNKNOWN = "00000000-0000-4000-8000-000000000000"
MIB = 2**20
QUOTA = 1000
ROOMY = {"image_size_total": 100, "image_stage_total": 100, "image_count_total": 100, "image_count_uploading": 100}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, quotas=QuotaSettings(user_storage_quota_bytes=QUOTA))


@pytest.fixture
def limits() -> FixedLimits:
    return FixedLimits(**ROOMY)


@pytest.fixture
async def limited(service: Service, limits: FixedLimits) -> AsyncIterator[Service]:
    async with limited_service(service, limits) as running:
        yield running


async def put(service: Service, image_id: str, content: Any, who: str = "owner", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await service.call(who, "PUT", f"/v2/images/{image_id}/file", content=content, headers=OCTETS | named)


async def require_queued(service: Service, image_id: str, who: str = "owner") -> None:
    shown = await service.show(image_id, who)
    assert (shown["status"], shown["size"], shown["checksum"]) == ("queued", None, None)
    assert image_id not in "".join(service.stored_files)
    with service.services.database.engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(leases)).scalar() == 0
        located = select(func.count()).select_from(image_locations).where(image_locations.c.image_id == image_id)
        assert connection.execute(located).scalar() == 0


# user_storage_quota


@pytest.mark.parametrize("chunked", [False, True])
async def test_storage_quota(service: Service, chunked: bool) -> None:
    """Full to the last byte, and not one more; what is deleted may be used again."""

    def body(count: int) -> Any:
        return in_pieces(b"x" * count, 100) if chunked else b"x" * count

    first, second, third = [(await service.create())["id"] for _ in range(3)]
    assert (await put(service, first, body(600))).status_code == 204
    response = await put(service, second, body(401))
    assert response.status_code == 413
    assert "user_storage_quota is over limit of 1000 due to current usage 600" in response.text
    await require_queued(service, second)
    assert (await put(service, second, body(400))).status_code == 204
    assert (await put(service, third, body(1))).status_code == 413
    await require_queued(service, third)
    assert (await put(service, third, body(0))).status_code == 204
    assert (await service.call("owner", "DELETE", f"/v2/images/{first}")).status_code == 204
    fourth = (await service.create())["id"]
    assert (await put(service, fourth, body(600))).status_code == 204


async def test_announced_size_is_refused_before_its_data_is_read(service: Service) -> None:
    image = await service.create()
    response = await put(service, image["id"], untouched_body(), x_openstack_image_size="1001")
    assert response.status_code == 413
    await require_queued(service, image["id"])


async def test_unannounced_data_is_refused_while_it_is_read(service: Service) -> None:
    image = await service.create()
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 64 * MIB:
            sent += 100
            yield b"x" * 100

    response = await put(service, image["id"], endless())
    assert response.status_code == 413
    assert "user_storage_quota is over limit of 1000" in response.text
    assert sent < 10_000
    await require_queued(service, image["id"])
    assert (await put(service, image["id"], in_pieces(b"x" * 1000))).status_code == 204


async def test_storage_quota_is_the_owners(service: Service) -> None:
    """Whoever uploads: administrators fill their users' quota, and other projects have their own."""
    await service.create_active(b"x" * 900)
    image = await service.create()
    response = await put(service, image["id"], b"x" * 101, "admin")
    assert response.status_code == 413
    assert "Project p1" in response.text
    await require_queued(service, image["id"])
    await service.create_active(b"x" * 1000, "other")
    await service.create_active(b"x" * 1000, "admin", owner=None)
    ownerless = await service.create("admin", owner=None)
    assert (await put(service, ownerless["id"], b"x", "admin")).status_code == 413


async def test_state_is_told_before_the_storage_quota(service: Service) -> None:
    image = await service.create_active(b"x" * 1000)
    assert (await put(service, image["id"], b"x")).status_code == 409
    assert (await put(service, UNKNOWN, b"x")).status_code == 404
    hidden = await service.create(visibility="private")
    assert (await put(service, hidden["id"], b"x", "other")).status_code == 404
    unready = await service.create(disk_format=None)
    assert (await put(service, unready["id"], b"x")).status_code == 400


async def test_size_cap_and_quota_both_hold(service: Service) -> None:
    quotas = replace(service.services.settings.quotas, image_size_cap_bytes=500)
    services = replace(service.services, settings=replace(service.services.settings, quotas=quotas))
    app = App(services, HeaderIdentity(), {})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://images.test") as client:
        capped = Service(services, client, app)
        image = await capped.create()
        for body in (b"x" * 501, in_pieces(b"x" * 501)):
            response = await put(capped, image["id"], body)
            assert response.status_code == 413
            assert "user_storage_quota" not in response.text
            await require_queued(capped, image["id"])
        await put(capped, image["id"], b"x" * 500)
        await capped.create_active(b"x" * 400)
        image = await capped.create()
        for body in (b"x" * 101, in_pieces(b"x" * 101)):
            response = await put(capped, image["id"], body)
            assert response.status_code == 413
            assert "user_storage_quota" in response.text


async def test_a_broken_off_upload_gives_its_reservation_back(service: Service) -> None:
    """Its process was killed; the next housekeeping frees what it had been promised."""
    image, other = await service.create(), await service.create()
    machine, space, pid, _ = service.services.holder.rsplit("/", 3)
    dead = f"{machine}/{space}/{pid}/1"
    lease = Lease(image["id"], "token", dead, "file", 2**52, QUOTA)
    await service.services.database.write(uploads.begin, lease, service.services.now())
    assert (await put(service, other["id"], b"x")).status_code == 413
    await require_nothing_stored(service)
    await cleanup.take_over_dead_uploads(service.services)
    assert (await put(service, other["id"], b"x" * QUOTA)).status_code == 204


async def require_nothing_stored(service: Service) -> None:
    assert service.stored_files == []


async def test_a_failed_upload_gives_its_reservation_back(service: Service) -> None:
    image, other = await service.create(), await service.create()
    assert (await put(service, image["id"], b"x", x_openstack_image_size=str(QUOTA))).status_code == 400
    assert (await put(service, other["id"], b"x" * QUOTA)).status_code == 204


@on_every_engine
@pytest.mark.parametrize("chunked", [False, True])
async def test_racing_uploads_never_pass_the_quota(service: Service, chunked: bool) -> None:
    ids = [(await service.create())["id"] for _ in range(6)]

    async def slowly() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x" * 100
            await asyncio.sleep(0)

    answers = await asyncio.gather(*(put(service, each, slowly() if chunked else b"x" * 400) for each in ids))
    assert sorted(answer.status_code for answer in answers) == [204, 204, 413, 413, 413, 413]
    for image_id, answer in zip(ids, answers, strict=True):
        if answer.status_code == 413:
            await require_queued(service, image_id)
    last = await service.create()
    assert (await put(service, last["id"], b"x" * 201)).status_code == 413
    assert (await put(service, last["id"], b"x" * 200)).status_code == 204


async def test_no_quota_no_statement(service: Service) -> None:
    """Its parts are asked for where a quota is set, and only there (what an upload costs without: test_costs)."""

    async def cost(chunked: bool) -> list[str]:
        image = await service.create()
        with service.statements() as seen:
            body: Any = in_pieces(b"x") if chunked else b"x"
            assert (await put(service, image["id"], body)).status_code == 204
        return [statement for statement in seen if not statement.startswith("BEGIN")]

    announced, unannounced = await cost(chunked=False), await cost(chunked=True)
    assert len([each for each in announced if "reserved_bytes)" in each and each.startswith("SELECT")]) == 1
    assert len(announced) <= 1 + 8
    assert len(unannounced) <= 1 + 9


# Unified limits


async def test_usage_is_empty_without_limits(service: Service) -> None:
    for who in ("owner", "admin", "roleless"):
        response = await service.call(who, "GET", "/v2/info/usage")
        assert (response.status_code, response.json()) == (200, {"usage": {}})
    assert (await service.call("anonymous", "GET", "/v2/info/usage")).status_code == 401
    for method in ("POST", "PUT", "PATCH", "DELETE", "HEAD"):
        assert (await service.call("owner", method, "/v2/info/usage")).status_code == 404


async def test_usage(limited: Service, limits: FixedLimits) -> None:
    limits.most = {"image_size_total": 5, "image_count_total": -1, "image_count_uploading": 2}
    await limited.create_active(b"x" * (3 * MIB + 1))
    await limited.create()
    response = await limited.call("owner", "GET", "/v2/info/usage")
    assert response.status_code == 200
    assert response.json() == {
        "usage": {
            "image_size_total": {"limit": 5, "usage": 3},
            "image_stage_total": {"limit": 0, "usage": 0},
            "image_count_total": {"limit": -1, "usage": 2},
            "image_count_uploading": {"limit": 2, "usage": 0},
        }
    }
    others = (await limited.call("other", "GET", "/v2/info/usage")).json()["usage"]
    assert {name: each["usage"] for name, each in others.items()} == dict.fromkeys(ROOMY, 0)


async def test_size_total_refuses_an_announced_size_beforehand(limited: Service, limits: FixedLimits) -> None:
    limits.most["image_size_total"] = 5
    await limited.create_active(b"x" * 3 * MIB)
    image = await limited.create()
    response = await put(limited, image["id"], untouched_body(), x_openstack_image_size=str(3 * MIB))
    assert response.status_code == 413
    assert "image_size_total is over limit of 5 due to current usage 3 and delta 3" in response.text
    await require_queued(limited, image["id"])
    assert (await put(limited, image["id"], b"x" * 2 * MIB)).status_code == 204


async def test_size_total_refuses_unannounced_data(limited: Service, limits: FixedLimits) -> None:
    limits.most["image_size_total"] = 2
    await limited.create_active(b"x" * MIB)
    image = await limited.create()
    response = await put(limited, image["id"], in_pieces(b"x" * 2 * MIB))
    assert response.status_code == 413
    assert "image_size_total is over limit of 2 due to current usage 1 and delta 2" in response.text
    await require_queued(limited, image["id"])
    assert (await put(limited, image["id"], in_pieces(b"x" * MIB))).status_code == 204


async def test_changed_limits_count_at_once(limited: Service, limits: FixedLimits) -> None:
    limits.most["image_size_total"] = 1
    image = await limited.create()
    assert (await put(limited, image["id"], b"x" * 2 * MIB)).status_code == 413
    limits.most["image_size_total"] = 2
    assert (await put(limited, image["id"], b"x" * 2 * MIB)).status_code == 204
    limits.most["image_size_total"] = 1
    image = await limited.create()
    for body in (b"", in_pieces(b"")):
        assert (await put(limited, image["id"], body)).status_code == 413
    limits.most["image_size_total"] = -1
    assert (await put(limited, image["id"], b"x" * 9 * MIB)).status_code == 204


async def test_the_storage_quota_is_replaced(limited: Service) -> None:
    await limited.create_active(b"x" * (QUOTA + 1))


async def test_count_total(limited: Service, limits: FixedLimits) -> None:
    limits.most["image_count_total"] = 2
    first, _ = await limited.create(), await limited.create()
    response = await limited.call("owner", "POST", "/v2/images", json={})
    assert response.status_code == 413
    assert "image_count_total is over limit of 2 due to current usage 2 and delta 1" in response.text
    await limited.create("other")
    await limited.call("owner", "DELETE", f"/v2/images/{first['id']}")
    await limited.create()


async def test_an_unregistered_limit_is_zero(limited: Service, limits: FixedLimits) -> None:
    image = await limited.create()
    limits.most.clear()
    assert (await limited.call("owner", "POST", "/v2/images", json={})).status_code == 413
    response = await put(limited, image["id"], b"x" * MIB)
    assert response.status_code == 413
    assert "image_size_total" in response.text
    response = await put(limited, image["id"], b"x")
    assert response.status_code == 413
    assert "image_count_uploading is over limit of 0 due to current usage 1 and delta 0" in response.text
    await require_queued(limited, image["id"])


async def test_count_uploading(limited: Service, limits: FixedLimits) -> None:
    """With limit 1 one upload runs, and the next is refused while it does."""
    limits.most["image_count_uploading"] = 1
    first, second = await limited.create(), await limited.create()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def held_back() -> AsyncIterator[bytes]:
        yield b"x"
        begun.set()
        await go_on.wait()

    running = asyncio.create_task(put(limited, first["id"], held_back()))
    await begun.wait()
    usage = (await limited.call("owner", "GET", "/v2/info/usage")).json()["usage"]
    assert usage["image_count_uploading"] == {"limit": 1, "usage": 1}
    assert (await put(limited, second["id"], b"x")).status_code == 413
    go_on.set()
    assert (await running).status_code == 204
    assert (await put(limited, second["id"], b"x")).status_code == 204


async def test_a_full_quota_is_told_before_anything_about_the_image(limited: Service, limits: FixedLimits) -> None:
    active = await limited.create_active(b"x")
    unready = await limited.create(disk_format=None)
    private = await limited.create("other", visibility="private")
    expected = {UNKNOWN: 404, active["id"]: 409, unready["id"]: 400, private["id"]: 404}
    for image_id, status in expected.items():
        assert (await put(limited, image_id, b"x" * MIB)).status_code == status
    limits.most["image_count_uploading"] = 0
    for image_id, status in expected.items():
        assert (await put(limited, image_id, b"x" * MIB)).status_code == status
    limits.most["image_size_total"] = 0
    for image_id in expected:
        assert (await put(limited, image_id, b"x" * MIB)).status_code == 413
    for who, headers in (("owner", {}), ("owner", {"content-type": "application/json"})):
        path = f"/v2/images/{UNKNOWN}/file"
        assert (await limited.call(who, "PUT", path, content=b"x" * MIB, headers=headers)).status_code == 415


async def test_limits_are_the_callers_projects(limited: Service, limits: FixedLimits) -> None:
    """Also where an administrator acts on somebody else's image."""
    limits.most["image_size_total"] = 1
    await limited.create_active(b"x" * MIB)
    image = await limited.create()
    assert (await put(limited, image["id"], b"x" * MIB, "owner")).status_code == 413
    assert (await put(limited, image["id"], b"x" * MIB, "admin")).status_code == 204
    assert limits.asked[-1] == ("admin", frozenset({"image_size_total", "image_count_uploading"}))


async def test_one_question_per_request(limited: Service, limits: FixedLimits) -> None:
    image = await limited.create()
    assert [names for _, names in limits.asked] == [{"image_count_total"}]
    await put(limited, image["id"], b"x")
    await put(limited, UNKNOWN, b"x")
    await limited.call("owner", "GET", "/v2/info/usage")
    assert len(limits.asked) == 4
    for method, path in (("GET", ""), ("GET", "/file"), ("DELETE", "")):
        await limited.call("owner", method, f"/v2/images/{image['id']}{path}")
    assert len(limits.asked) == 4


async def test_limits_that_cannot_be_read(limited: Service, limits: FixedLimits) -> None:
    image = await limited.create()
    active = await limited.create_active(b"data")
    limits.down = True
    assert (await limited.call("owner", "POST", "/v2/images", json={})).status_code == 503
    assert (await put(limited, image["id"], untouched_body(), x_openstack_image_size="1")).status_code == 503
    assert (await limited.call("owner", "GET", "/v2/info/usage")).status_code == 503
    await require_queued(limited, image["id"])
    assert (await limited.call("owner", "GET", f"/v2/images/{active['id']}/file")).content == b"data"
    limits.down = False
    assert (await put(limited, image["id"], b"x")).status_code == 204


@on_every_engine
async def test_racing_creations_never_pass_the_limit(limited: Service, limits: FixedLimits) -> None:
    limits.most["image_count_total"] = 3
    calls = [limited.call("owner", "POST", "/v2/images", json={"tags": ["t"]}) for _ in range(8)]
    answers = await asyncio.gather(*calls)
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [413] * 5
    assert len((await limited.call("owner", "GET", "/v2/images")).json()["images"]) == 3


@on_every_engine
async def test_racing_uploads_never_pass_the_limit(limited: Service, limits: FixedLimits) -> None:
    limits.most |= {"image_size_total": 2, "image_count_uploading": 3}
    ids = [(await limited.create())["id"] for _ in range(6)]
    answers = await asyncio.gather(*(put(limited, each, b"x" * MIB) for each in ids))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[:2] == [204, 204]
    assert set(statuses[2:]) == {413}
    usage = (await limited.call("owner", "GET", "/v2/info/usage")).json()["usage"]
    assert usage["image_size_total"] == {"limit": 2, "usage": 2}
    assert usage["image_count_uploading"]["usage"] == 0


async def test_costs_with_limits(limited: Service) -> None:
    """One transaction to load, one to begin, one to finish; the aggregate is one statement."""
    image = await limited.create()
    with limited.statements() as seen:
        assert (await put(limited, image["id"], b"x")).status_code == 204
    begun = [statement for statement in seen if statement.startswith("BEGIN")]
    assert (begun.count("BEGIN"), begun.count("BEGIN IMMEDIATE")) == (1, 2)
    assert len(seen) - len(begun) <= 1 + 8
    with limited.statements() as seen:
        await limited.create()
    assert len(seen) == 1 + 2
