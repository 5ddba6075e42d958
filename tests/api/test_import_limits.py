"""How much of a request an import or a task keeps, and how much of that a list gives back."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from blick.conf.settings import Settings
from blick.db import tasks
from blick.model.task import IMAGE_IMPORT, SUCCESS, Task
from tests.support.databases import on_every_engine
from tests.support.service import OCTETS, Service, running_service

DIRECT = {"name": "glance-direct"}
KIB = 1 << 10


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, api=replace(settings.api, api_limit_max=3))


async def staged(service: Service) -> str:
    image_id = str((await service.create())["id"])
    path = f"/v2/images/{image_id}/stage"
    assert (await service.call("owner", "PUT", path, content=b"data", headers=OCTETS)).status_code == 204
    return image_id


@on_every_engine
async def test_what_else_a_body_says_is_kept_and_not_without_end(service: Service) -> None:
    image_id = await staged(service)
    path = f"/v2/images/{image_id}/import"
    for size in (33 * KIB, 70 * KIB, 900 * KIB):
        answer = await service.call("owner", "POST", path, json={"method": DIRECT, "also": "x" * size})
        assert answer.status_code == 413, answer.text
    assert (await service.call("owner", "GET", f"/v2/images/{image_id}/tasks")).json() == {"tasks": []}
    body = {"method": DIRECT, "also": ["x" * (30 * KIB), 1]}
    assert (await service.call("owner", "POST", path, json=body)).status_code == 202
    [task] = (await service.call("owner", "GET", f"/v2/images/{image_id}/tasks")).json()["tasks"]
    assert task["input"]["import_req"] == body


async def test_a_limit_of_all_bodies_that_is_lower_counts(settings: Settings) -> None:
    lower = replace(settings, api=replace(settings.api, json_body_max_bytes=2000))
    async with running_service(lower) as service:
        path = f"/v2/images/{await staged(service)}/import"
        answer = await service.call("owner", "POST", path, json={"method": DIRECT, "also": "x" * 2000})
        assert answer.status_code == 413


@pytest.mark.parametrize("name", ["glance_region", "glance_service_interface"])
async def test_names_of_regions_and_interfaces(settings: Settings, name: str) -> None:
    enabled = replace(settings, api=replace(settings.api, enabled_import_methods=("glance-download",)))
    async with running_service(enabled) as service:
        image_id = (await service.create())["id"]
        method = {"name": "glance-download", "glance_region": "r", "glance_image_id": image_id}
        for length, status in ((256, 400), (255, 202)):
            body = {"method": {**method, name: "x" * length}}
            answer = await service.call("owner", "POST", f"/v2/images/{image_id}/import", json=body)
            assert answer.status_code == status, answer.text


@on_every_engine
@pytest.mark.parametrize("kind", ["import", "api_image_import", "location_import"])
async def test_the_input_of_a_task(service: Service, kind: str) -> None:
    body = json.dumps({"type": kind, "input": {"image_properties": {"x": "x" * (60 * KIB)}}})
    assert (await service.call("admin", "POST", "/v2/tasks", content=body)).status_code == 413
    assert (await service.call("admin", "GET", "/v2/tasks")).json()["tasks"] == []


def task(image_id: str, number: int, owner: str) -> Task:
    made_at = datetime(2030, 1, 1, tzinfo=UTC).replace(tzinfo=None) + timedelta(seconds=number // 2)
    values: dict[str, Any] = {"request_id": "r", "user_id": "u", "created_at": made_at, "updated_at": made_at}
    task_id = f"{number:08}-0000-4000-8000-000000000000"
    return Task(id=task_id, type=IMAGE_IMPORT, status=SUCCESS, owner=owner, image_id=image_id, input={}, **values)


@on_every_engine
async def test_an_image_tells_of_its_newest_tasks_only(service: Service) -> None:
    image_id = str((await service.create())["id"])
    for number in range(6):
        await service.services.database.write(tasks.add, task(image_id, number, "p2" if number == 4 else "p1"))

    async def listed(who: str) -> list[str]:
        found = (await service.call(who, "GET", f"/v2/images/{image_id}/tasks")).json()["tasks"]
        return [each["id"][7] for each in found]

    assert await listed("owner") == ["2", "3", "5"], "the newest, oldest first"
    assert await listed("admin") == ["3", "4", "5"]
