"""How much may be staged (spec: image-model §8, images-api §10.3)."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from blick.conf.settings import QuotaSettings, Settings
from tests.support.bodies import in_pieces, untouched_body
from tests.support.databases import on_every_engine
from tests.support.limits import FixedLimits, limited_service
from tests.support.service import Service
from tests.support.staged import require_untouched, stage, staged, staged_files, staging_at

pytestmark = on_every_engine

UNKNOWN = "00000000-0000-4000-8000-000000000000"
MIB = 1 << 20


@pytest.fixture
def settings(settings: Settings, staging_place: str) -> Settings:
    return staging_at(settings, staging_place)


# The size of one image


class TestCap:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, quotas=QuotaSettings(image_size_cap_bytes=1000, user_storage_quota_bytes=10))

    async def test_the_last_byte_fits(self, service: Service) -> None:
        """A quota of storage is not asked about before data is stored."""
        assert await staged(service, b"x" * 1000)

    async def test_too_much_is_announced(self, service: Service) -> None:
        image = await service.create()
        for _ in range(2):
            response = await stage(service, image["id"], untouched_body(), x_openstack_image_size="1001")
            assert response.status_code == 413
        await require_untouched(service, image["id"])

    async def test_too_much_comes(self, service: Service) -> None:
        image = await service.create()
        assert (await stage(service, image["id"], in_pieces(b"x" * 1001, 100))).status_code == 413
        await require_untouched(service, image["id"])


# Unified limits


@pytest.fixture
def limits() -> FixedLimits:
    return FixedLimits(image_size_total=0, image_stage_total=5, image_count_total=100, image_count_uploading=3)


@pytest.fixture
async def limited(service: Service, limits: FixedLimits) -> AsyncIterator[Service]:
    async with limited_service(service, limits) as running:
        yield running


class TestLimits:
    async def test_staged_data_of_a_project(self, limited: Service, limits: FixedLimits) -> None:
        """Counted in whole MiB, whoever stages it; what is left may be used again."""
        first = await staged(limited, b"x" * 3 * MIB)
        second = await limited.create()
        response = await stage(limited, second["id"], untouched_body(), x_openstack_image_size=str(3 * MIB))
        assert response.status_code == 413
        assert "image_stage_total is over limit of 5 due to current usage 3 and delta 3" in response.text
        assert (await limited.show(second["id"]))["status"] == "queued"
        assert (await stage(limited, second["id"], b"x" * 2 * MIB)).status_code == 204
        third = await limited.create()
        assert (await stage(limited, third["id"], b"x" * MIB)).status_code == 413
        assert (await limited.call("owner", "DELETE", f"/v2/images/{first}")).status_code == 204
        assert (await stage(limited, third["id"], b"x" * MIB)).status_code == 204
        assert limits.asked[-1] == ("p1", frozenset({"image_stage_total", "image_count_uploading"}))

    async def test_unannounced_data_is_refused_while_it_comes(self, limited: Service) -> None:
        await staged(limited, b"x" * 3 * MIB)
        image = await limited.create()
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            while sent < 64 * MIB:
                sent += MIB
                yield b"x" * MIB

        response = await stage(limited, image["id"], endless())
        assert response.status_code == 413
        assert "image_stage_total is over limit of 5" in response.text
        assert sent < 16 * MIB
        shown = await limited.show(image["id"])
        assert (shown["status"], shown["size"]) == ("queued", None)
        assert len(staged_files(limited)) == 1

    async def test_what_was_announced_is_reserved(self, limited: Service) -> None:
        """Two at once do not get together what only one can have."""
        one, two = [(await limited.create())["id"] for _ in range(2)]
        refused = asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield b"x" * MIB
            await refused.wait()
            yield b"x" * 3 * MIB

        task = asyncio.create_task(stage(limited, one, slowly(), x_openstack_image_size=str(4 * MIB)))
        while (await limited.show(one))["status"] != "uploading":
            await asyncio.sleep(0)
        usage = (await limited.call("owner", "GET", "/v2/info/usage")).json()["usage"]
        assert usage["image_stage_total"] == {"limit": 5, "usage": 4}
        assert usage["image_size_total"]["usage"] == 0
        assert (await stage(limited, two, b"x" * 2 * MIB)).status_code == 413
        refused.set()
        assert (await task).status_code == 204
        usage = (await limited.call("owner", "GET", "/v2/info/usage")).json()["usage"]
        assert usage["image_stage_total"] == {"limit": 5, "usage": 4}

    async def test_images_under_way(self, limited: Service) -> None:
        for _ in range(3):
            await staged(limited, b"x")
        image = await limited.create()
        response = await stage(limited, image["id"], untouched_body(), x_openstack_image_size="1")
        assert response.status_code == 413
        assert "image_count_uploading is over limit of 3 due to current usage 4" in response.text
        assert (await limited.show(image["id"]))["status"] == "queued"

    async def test_a_full_quota_is_told_before_anything_about_the_image(
        self, limited: Service, limits: FixedLimits
    ) -> None:
        limits.most["image_stage_total"] = 0
        await staged(limited, b"x" * (MIB - 1))
        assert (await stage(limited, UNKNOWN, b"x" * MIB)).status_code == 413
        limits.down = True
        assert (await stage(limited, UNKNOWN, b"x")).status_code == 503
