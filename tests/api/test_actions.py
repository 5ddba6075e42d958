"""deactivate and reactivate (spec: images-api §12)."""

import pytest

from tests.support.service import Service


async def act(service: Service, image_id: str, action: str, who: str = "owner") -> int:
    response = await service.call(who, "POST", f"/v2/images/{image_id}/actions/{action}")
    if response.status_code == 204:
        assert response.headers["content-type"] == "text/html; charset=UTF-8"
    return response.status_code


async def test_off_and_on(service: Service) -> None:
    image = await service.create_active(b"data")
    for action, status in (
        ("reactivate", "active"),
        ("deactivate", "deactivated"),
        ("deactivate", "deactivated"),
        ("reactivate", "active"),
        ("reactivate", "active"),
    ):
        assert await act(service, image["id"], action) == 204
        assert (await service.show(image["id"]))["status"] == status


async def test_only_with_data(service: Service) -> None:
    image = await service.create()
    assert await act(service, image["id"], "deactivate") == 403
    assert await act(service, image["id"], "reactivate") == 403
    assert await act(service, "00000000-0000-4000-8000-000000000000", "deactivate") == 404


@pytest.mark.parametrize("visibility", ["private", "shared", "public"])
async def test_who_may(service: Service, visibility: str) -> None:
    image = await service.create_active(b"data", "admin", visibility=visibility, owner="p1")
    hidden = 403 if visibility == "public" else 404
    for action in ("deactivate", "reactivate"):
        for who, status in (("reader", 403), ("other", hidden), ("roleless", 404), ("anonymous", 401)):
            assert await act(service, image["id"], action, who) == status, who
        for who in ("owner", "admin"):
            assert await act(service, image["id"], action, who) == 204, who


async def test_deactivated_can_be_described_and_deleted(service: Service) -> None:
    image = await service.create_active(b"data")
    await act(service, image["id"], "deactivate")
    assert (await service.call("owner", "PUT", f"/v2/images/{image['id']}/tags/t")).status_code == 204
    assert (await service.call("owner", "DELETE", f"/v2/images/{image['id']}")).status_code == 204
    assert service.stored_files == []
