"""/v2/tasks: list, show, refuse to delete (spec: images-api §18). What tasks do: test_legacy_imports, test_imports."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from blick.conf.settings import Settings
from blick.db import tasks as db_tasks
from blick.model.task import Task
from tests.support.service import Service, running_service

UNKNOWN = "00000000-0000-4000-8000-000000000000"
PLAIN = {"accept": "text/plain"}
NEVER = (
    "This operation is currently not permitted on Glance Tasks. They are auto deleted after reaching the time based on "
    "their expires_at property."
)
EVERYBODY = 'tasks_api_access: "role:reader"\n'


def uuid(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


async def put(service: Service, number: int = 0, **values: Any) -> str:
    """A task of p1's that ended well, unless said otherwise; gives its id."""
    now = service.services.now() + timedelta(milliseconds=number)
    given: dict[str, Any] = {
        "type": "import",
        "status": "success",
        "owner": "p1",
        "image_id": None,
        "request_id": "req-1",
        "user_id": "u-owner",
        "created_at": now,
        "updated_at": now,
        "expires_at": now + timedelta(hours=48),
        "input": {"import_from": "http://images.test/x"},
        "result": {"image_id": UNKNOWN},
        "message": "Copied 5 MiB",
        **values,
    }
    await service.services.database.write(db_tasks.add, Task(id=uuid(number), **given))
    return uuid(number)


async def listed(service: Service, query: str = "", who: str = "admin") -> dict[str, Any]:
    answer = await service.call(who, "GET", f"/v2/tasks{query}")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def ids(document: dict[str, Any]) -> list[str]:
    return [task["id"] for task in document["tasks"]]


async def test_a_task(service: Service) -> None:
    task_id = await put(service, image_id=UNKNOWN)
    answer = await service.call("admin", "GET", f"/v2/tasks/{task_id}")
    document = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert list(document) == [
        "id", "input", "type", "status", "owner", "message", "result", "created_at", "updated_at", "self", "schema",
        "image_id", "request_id", "user_id", "expires_at",
    ]  # fmt: skip
    for moment in ("created_at", "updated_at", "expires_at"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", document.pop(moment)), moment
    assert document == {
        "id": task_id,
        "input": {"import_from": "http://images.test/x"},
        "type": "import",
        "status": "success",
        "owner": "p1",
        "message": "Copied 5 MiB",
        "result": {"image_id": UNKNOWN},
        "self": f"/v2/tasks/{task_id}",
        "schema": "/v2/schemas/task",
        "image_id": UNKNOWN,
        "request_id": "req-1",
        "user_id": "u-owner",
    }


async def test_what_is_not_known_of_a_task_is_left_out(service: Service) -> None:
    bare = {"image_id": None, "request_id": None, "user_id": None, "expires_at": None, "result": None, "message": ""}
    task_id = await put(service, status="pending", input=None, **bare)
    document = (await service.call("admin", "GET", f"/v2/tasks/{task_id}")).json()
    assert not {"image_id", "request_id", "user_id", "expires_at"} & document.keys()
    assert (document["input"], document["result"], document["message"]) == (None, None, "")


async def test_the_list_has_the_newest_first_and_less_of_each(service: Service) -> None:
    assert await listed(service) == {"tasks": [], "first": "/v2/tasks", "schema": "/v2/schemas/tasks"}
    for number in range(3):
        await put(service, number, image_id=UNKNOWN, **({"expires_at": None} if number else {}))
    document = await listed(service)
    assert ids(document) == [uuid(2), uuid(1), uuid(0)]
    assert list(document) == ["tasks", "first", "schema"]
    line = ["id", "type", "status", "owner", "created_at", "updated_at", "self", "schema"]
    assert [list(task) for task in document["tasks"]] == [line, line, [*line, "expires_at"]]


async def test_times_of_an_image_s_tasks_look_different(service: Service) -> None:
    image = await service.create()
    await put(service, image_id=image["id"])
    [task] = (await service.call("owner", "GET", f"/v2/images/{image['id']}/tasks")).json()["tasks"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", task["created_at"])
    [line] = (await listed(service))["tasks"]
    assert line["created_at"] == task["created_at"][:19] + "Z"


async def test_pages(service: Service) -> None:
    for number in range(5):
        await put(service, number)
    seen: list[str] = []
    query = "?limit=2&sort_key=created_at&sort_dir=asc&wumm=1&wumm=2"
    document = await listed(service, query)
    assert document["first"] == f"/v2/tasks{query}"
    while True:
        seen += ids(document)
        following = document.get("next")
        if following is None:
            break
        assert following == f"/v2/tasks{query}&marker={seen[-1]}"
        document = await listed(service, following.removeprefix("/v2/tasks"))
        assert document["first"] == f"/v2/tasks{query}"
    assert seen == [uuid(number) for number in range(5)]
    assert "next" not in await listed(service, "?limit=6")
    assert await listed(service, "?limit=0") == {
        "tasks": [],
        "first": "/v2/tasks?limit=0",
        "schema": "/v2/schemas/tasks",
    }


async def test_pages_are_as_long_as_the_site_says(settings: Settings, service: Service) -> None:
    for number in range(30):
        await put(service, number)
    assert len(ids(await listed(service))) == settings.api.limit_param_default == 25
    assert len(ids(await listed(service, "?limit=5000"))) == 30


async def test_filters(service: Service) -> None:
    await put(service, 0, status="failure")
    await put(service, 1, type="api_image_import", owner="p2")
    for query, found in {
        "?status=failure": [uuid(0)],
        "?status=pending": [],
        "?type=import": [uuid(0)],
        "?owner=p2": [uuid(1)],
        "?user_id=u-owner&request_id=req-1": [uuid(1), uuid(0)],
        "?request_id=": [],
        "?nothing=x": [uuid(1), uuid(0)],
    }.items():
        assert ids(await listed(service, query)) == found, query


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("limit=x", "limit param must be an integer"),
        ("limit=-1", "limit param must be positive"),
        ("marker=x", "Invalid marker format"),
        (f"marker={UNKNOWN}", f"Task with the given id {UNKNOWN} was not found"),
        ("sort_key=message", "Sort key supplied was not valid"),
        ("sort_dir=up", "Invalid sort direction: up"),
        ("status=done", "Invalid status value: done"),
        ("type=api_image_import", "Invalid type value: api_image_import"),
        ("owner=%00", "NUL"),
        ("owner=%ff", "not valid UTF-8"),
    ],
)
async def test_a_query_that_makes_no_sense(service: Service, query: str, text: str) -> None:
    answer = await service.call("admin", "GET", f"/v2/tasks?{query}", headers=PLAIN)
    assert (answer.status_code, text in answer.text) == (400, True), answer.text


async def test_there_is_no_such_task(service: Service) -> None:
    for task_id in (UNKNOWN, "nothing", "x" * 400, "%C3%A9", "%F0%9F%98%80"):
        answer = await service.call("admin", "GET", f"/v2/tasks/{task_id}", headers=PLAIN)
        assert (answer.status_code, "Could not find task" in answer.text) == (404, True)


async def test_what_has_expired_is_never_shown(service: Service) -> None:
    now = service.services.now()
    task_id = await put(service, 0, expires_at=now)
    await put(service, 1)
    assert ids(await listed(service)) == [uuid(1)]
    assert (await service.call("admin", "GET", f"/v2/tasks/{task_id}")).status_code == 404


async def test_nobody_deletes_a_task(service: Service) -> None:
    task_id = await put(service)
    for path in (task_id, UNKNOWN):
        answer = await service.call("admin", "DELETE", f"/v2/tasks/{path}", headers=PLAIN)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
        assert NEVER in answer.text
    assert (await service.call("admin", "GET", f"/v2/tasks/{task_id}")).status_code == 200


async def calls(service: Service, who: str, task_id: str) -> list[int]:
    """What the four calls of the API answer."""
    answers: list[httpx.Response] = [
        await service.call(who, "GET", "/v2/tasks"),
        await service.call(who, "POST", "/v2/tasks", json={"type": "api_image_import", "input": {}}),
        await service.call(who, "GET", f"/v2/tasks/{task_id}"),
        await service.call(who, "DELETE", f"/v2/tasks/{task_id}"),
    ]
    return [answer.status_code for answer in answers]


async def test_the_api_is_for_administrators(service: Service) -> None:
    task_id = await put(service)
    assert await calls(service, "admin", task_id) == [200, 201, 200, 405]
    for who in ("owner", "reader", "other", "service", "roleless"):
        assert await calls(service, who, task_id) == [403, 403, 403, 403], who
    assert await calls(service, "anonymous", task_id) == [401, 401, 401, 401]


async def test_an_operator_may_open_it_to_projects_for_their_own_tasks(service: Service, settings: Settings) -> None:
    settings.policy.policy_file.write_text(EVERYBODY)
    own, others = await put(service, 0), await put(service, 1, owner="p2")
    assert await calls(service, "owner", own) == [200, 201, 200, 405]
    assert await calls(service, "owner", others) == [200, 201, 404, 405]
    assert set(ids(await listed(service, who="owner"))) == {own, *await made_by_calls(service)}
    assert ids(await listed(service, "?owner=p2", who="owner")) == []
    marker = await service.call("owner", "GET", f"/v2/tasks?marker={others}", headers=PLAIN)
    assert (marker.status_code, "was not found" in marker.text) == (400, True)
    assert others in ids(await listed(service))
    assert await calls(service, "roleless", own) == [403, 403, 403, 403]


async def made_by_calls(service: Service) -> set[str]:
    return set(ids(await listed(service, "?owner=p1&status=failure")))


async def test_rules_of_single_calls_are_asked_by_nobody(service: Service, settings: Settings) -> None:
    rules = ("get_task", "get_tasks", "add_task", "modify_task")
    settings.policy.policy_file.write_text("".join(f'{rule}: "!"\n' for rule in rules))
    assert await calls(service, "admin", await put(service)) == [200, 201, 200, 405]


async def test_a_list_costs_two_statements_however_long_it_is(service: Service) -> None:
    for number in range(60):
        await put(service, number)
    for query, statements in (("?limit=1", 1), ("?limit=60", 1), (f"?limit=50&marker={uuid(55)}", 2)):
        with service.statements() as seen:
            await listed(service, query)
        assert len([statement for statement in seen if not statement.startswith("BEGIN")]) == statements
    with service.statements() as seen:
        await service.call("admin", "GET", f"/v2/tasks/{uuid(3)}")
    assert len([statement for statement in seen if not statement.startswith("BEGIN")]) == 1


async def test_who_may_only_look_starts_nothing(settings: Settings) -> None:
    settings.policy.policy_file.write_text('tasks_api_access: "@"\n')
    open_to_all = replace(settings, api=replace(settings.api, allow_anonymous_access=True))
    async with running_service(open_to_all) as service:
        answer = await service.call("anonymous", "POST", "/v2/tasks", json={"type": "import", "input": {}})
        assert answer.status_code == 403
