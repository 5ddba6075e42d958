"""What a request may cost: statements, transactions, Python calls. Times would lie on a shared machine."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from sqlalchemy import insert

from blick.conf.settings import Settings
from blick.db.tables import image_properties, image_tags, images
from tests.support.callers import HEADERS
from tests.support.service import OCTETS, PATCH_2_1, Service


def work(statements: list[str]) -> list[str]:
    """Without the beginnings of transactions."""
    return [statement for statement in statements if not statement.startswith("BEGIN")]


def transactions(statements: list[str]) -> tuple[int, int]:
    """How many only read, how many write."""
    return statements.count("BEGIN"), statements.count("BEGIN IMMEDIATE")


async def cost(service: Service, who: str, method: str, path: str, **options: Any) -> tuple[int, tuple[int, int]]:
    with service.statements() as seen:
        response = await service.call(who, method, path, **options)
    assert response.status_code < 300, response.text
    return len(work(seen)), transactions(seen)


def fill(service: Service, count: int, properties: int = 10, tags: int = 2) -> None:
    now = service.services.now()
    stamp = {"created_at": now, "updated_at": now, "deleted": False}
    ids = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(count)]
    base = {"status": "active", "visibility": "shared", "owner": "p1", "min_disk": 0, "min_ram": 0, "name": "n"}
    flags = {"protected": False, "os_hidden": False}
    with service.services.database.engine.begin() as connection:
        connection.execute(insert(images), [stamp | base | flags | {"id": image_id} for image_id in ids])
        for table, columns in (
            (image_properties, [{"name": f"p{number}", "value": "v" * 20} for number in range(properties)]),
            (image_tags, [{"value": f"t{number}"} for number in range(tags)]),
        ):
            rows = [stamp | {"image_id": image_id} | column for image_id in ids for column in columns]
            if rows:
                connection.execute(insert(table), rows)


async def test_reading(service: Service) -> None:
    image = await service.create_active(b"data", tags=["a", "b"], x="y")
    path = f"/v2/images/{image['id']}"
    await service.call("owner", "POST", f"{path}/members", json={"member": "p2"})
    for who in ("owner", "other", "admin"):
        assert await cost(service, who, "GET", path) == (1, (1, 0))
        assert await cost(service, who, "GET", f"{path}/file") == (1, (1, 0))
    assert await cost(service, "owner", "GET", f"{path}/members") == (2, (2, 0))
    for free in ("/versions", "/healthcheck", "/v2/schemas/image"):
        assert await cost(service, "owner", "GET", free) == (0, (0, 0))


@pytest.mark.parametrize("limit", [1, 25, 100])
async def test_list(service: Service, limit: int) -> None:
    fill(service, 110)
    for who in ("owner", "admin"):
        assert await cost(service, who, "GET", f"/v2/images?limit={limit}") == (1, (1, 0))
        marker = f"&marker={50:08x}-0000-4000-8000-000000000000"
        filters = "&tag=t0&tag=t1&p1=" + "v" * 20 + "&status=in:active,queued&sort=name:asc"
        statements, begun = await cost(service, who, "GET", f"/v2/images?limit={limit}{marker}{filters}")
        assert statements <= 3  # the marker, where to start from, the page
        assert begun == (1, 0)


async def test_upload(service: Service) -> None:
    """One transaction to load, one to begin, one to finish."""
    for size in (0, 4, 5_000_000):
        image = await service.create()
        path = f"/v2/images/{image['id']}/file"
        statements, begun = await cost(service, "owner", "PUT", path, content=b"x" * size, headers=OCTETS)
        assert begun == (1, 2)
        assert statements <= 1 + 8


async def test_writing(service: Service) -> None:
    body = {"name": "n", "tags": ["a", "b"], **{f"p{number}": "x" for number in range(40)}}
    assert await cost(service, "owner", "POST", "/v2/images", json={}) == (1, (0, 1))
    assert await cost(service, "owner", "POST", "/v2/images", json=body) == (3, (0, 1))
    image = await service.create(**body)
    path = f"/v2/images/{image['id']}"

    async def patch(*changes: dict[str, Any]) -> tuple[int, tuple[int, int]]:
        return await cost(service, "owner", "PATCH", path, json=list(changes), headers=PATCH_2_1)

    # one to load; then the row, and the image as it is afterwards
    assert await patch({"op": "replace", "path": "/name", "value": "x"}) == (3, (1, 1))
    assert await patch({"op": "replace", "path": "/p1", "value": "x"}) == (4, (1, 1))
    assert (await patch({"op": "add", "path": "/new", "value": "x"}))[0] <= 5
    assert (await patch({"op": "replace", "path": "/tags", "value": ["c"]}))[0] <= 6
    assert await patch() == (1, (1, 0))
    for method, place in (("PUT", f"{path}/tags/z"), ("DELETE", f"{path}/tags/z")):
        statements, begun = await cost(service, "owner", method, place)
        assert statements <= 4
        assert begun == (1, 1)
    statements, begun = await cost(service, "owner", "POST", f"{path}/members", json={"member": "p2"})
    assert statements <= 6
    assert begun == (1, 1)


async def test_deleting(service: Service) -> None:
    """However many properties there are; with data, two more transactions for the bytes."""
    for properties in (0, 40):
        image = await service.create(**{f"p{number}": "x" for number in range(properties)})
        statements, begun = await cost(service, "owner", "DELETE", f"/v2/images/{image['id']}")
        assert statements <= 7
        assert begun == (1, 1)
    image = await service.create_active(b"data")
    statements, begun = await cost(service, "owner", "DELETE", f"/v2/images/{image['id']}")
    assert statements <= 11
    assert begun[0] == 1
    assert begun[1] <= 3


async def test_actions(service: Service) -> None:
    image = await service.create_active(b"data")
    assert await cost(service, "owner", "POST", f"/v2/images/{image['id']}/actions/deactivate") == (2, (1, 1))


# Python calls


async def calls_of_a_list(service: Service, count: int, who: str, query: str = "") -> int:
    """How many Python functions run, in every thread, while a page of `count` images is made."""
    path = f"/v2/images?limit={count}{query}"
    scope = {
        "type": "http", "method": "GET", "path": "/v2/images", "raw_path": b"/v2/images", "scheme": "http",
        "query_string": path.partition("?")[2].encode(),
        "headers": [(name.encode(), value.encode()) for name, value in HEADERS[who].items()],
    }  # fmt: skip
    bodies: list[bytes] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        bodies.append(message.get("body", b""))

    called = 0

    def count_call(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal called
        called += event == "call"

    read_now = service.services.database.read_now

    def profiled(*args: Any, **kwargs: Any) -> Any:
        sys.setprofile(count_call)
        try:
            return read_now(*args, **kwargs)
        finally:
            sys.setprofile(None)

    patched: Callable[..., Any] = profiled
    service.services.database.read_now = patched  # type: ignore[method-assign]  # only to count in its thread, too
    sys.setprofile(count_call)
    try:
        await service.app(scope, receive, send)
    finally:
        sys.setprofile(None)
        del service.services.database.read_now
    assert b"".join(bodies).count(b'"schema":"/v2/schemas/image"') == count
    return called


@pytest.mark.parametrize(("who", "properties", "tags"), [("owner", 10, 2), ("owner", 40, 20), ("admin", 10, 2)])
async def test_python_calls_of_a_listed_record(service: Service, who: str, properties: int, tags: int) -> None:
    fill(service, 100, properties, tags)
    for count in (10, 100):
        await calls_of_a_list(service, count, who)  # compiles statements
    few, many = await calls_of_a_list(service, 10, who), await calls_of_a_list(service, 100, who)
    assert (many - few) / 90 <= 60
    assert few <= 4000  # mostly the statement, which SQLAlchemy puts together anew each time


async def test_policy_is_asked_once_per_distinct_outcome(service: Service, settings: Settings) -> None:
    fill(service, 100)
    settings.policy.policy_file.write_text("get_image: \"role:reader and 'active':%(status)s\"\n")
    await calls_of_a_list(service, 100, "owner")
    assert await calls_of_a_list(service, 100, "owner") <= 60 * 100
