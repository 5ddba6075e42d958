"""GET /v2/images: which images, in which order, page by page (spec: images-api §5)."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from sqlalchemy import insert, update

from blick.conf.settings import Settings
from blick.db.tables import images
from tests.support.databases import on_every_engine
from tests.support.service import PATCH_2_1, Service

pytestmark = on_every_engine

T0 = datetime(2026, 1, 1, 12, 0, 0)  # noqa: DTZ001 - as the database keeps times
UNKNOWN = "00000000-0000-4000-8000-000000000000"


async def ask(service: Service, query: str = "", who: str = "owner") -> dict[str, Any]:
    response = await service.call(who, "GET", f"/v2/images{query}")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    document: dict[str, Any] = response.json()
    return document


async def names(service: Service, query: str = "", who: str = "owner") -> set[str]:
    """Names of the images that a list holds."""
    listed = [image["name"] for image in (await ask(service, query, who))["images"]]
    assert len(listed) == len(set(listed))
    return set(listed)


async def status(service: Service, query: str, who: str = "owner") -> int:
    return (await service.call(who, "GET", f"/v2/images{query}")).status_code


def put(service: Service, number: int, **values: Any) -> str:
    """A row as it could be in any database; gives its id."""
    row = {
        "id": f"{number:08x}-0000-4000-8000-000000000000", "name": f"n{number}", "status": "queued",
        "visibility": "shared", "owner": "p1", "min_disk": 0, "min_ram": 0, "protected": False, "os_hidden": False,
        "created_at": T0, "updated_at": T0, "deleted": False, "size": None, "disk_format": None,
        "container_format": None,
    }  # fmt: skip
    with service.services.database.engine.begin() as connection:
        connection.execute(insert(images), row | values)
    return str(row["id"])


async def walk(service: Service, query: str, who: str = "owner") -> list[str]:
    """Ids of all images, by following `next` to the end."""
    found: list[str] = []
    link: str | None = f"/v2/images?{query}"
    while link is not None:
        document = (await service.call(who, "GET", link)).json()
        found += [image["id"] for image in document["images"]]
        link = document.get("next")
    return found


async def test_empty(service: Service) -> None:
    assert await ask(service) == {"images": [], "first": "/v2/images", "schema": "/v2/schemas/images"}


async def test_an_item_is_what_show_gives(service: Service) -> None:
    image = await service.create_active(b"data", tags=["t"], custom="x")
    assert (await ask(service))["images"] == [await service.show(image["id"])]


# Which images


@pytest.fixture
async def crowd(service: Service) -> Service:
    """Images of p1 and p2 in every visibility; p1 also shares three with p2, one per member status."""
    for owner in ("p1", "p2"):
        for visibility in ("private", "shared", "community", "public"):
            await service.create("admin", owner=owner, visibility=visibility, name=f"{owner}-{visibility}")
    for answer in ("pending", "accepted", "rejected"):
        image = await service.create(name=f"for-p2-{answer}")
        path = f"/v2/images/{image['id']}/members"
        await service.call("owner", "POST", path, json={"member": "p2"})
        await service.call("other", "PUT", f"{path}/p2", json={"status": answer})
    await service.create("admin", owner=None, visibility="private", name="nobodys")
    return service


P1 = {"p1-private", "p1-shared", "p1-community", "p1-public"}
P2 = {"p2-private", "p2-shared", "p2-community", "p2-public"}
SHARED = {"for-p2-pending", "for-p2-accepted", "for-p2-rejected"}


async def test_visible(crowd: Service) -> None:
    everything = P1 | P2 | SHARED | {"nobodys"}
    expected: dict[tuple[str, str], set[str]] = {
        ("owner", ""): P1 | SHARED | {"p2-public"},
        ("reader", ""): P1 | SHARED | {"p2-public"},
        ("other", ""): P2 | {"p1-public", "for-p2-accepted"},
        ("stranger", ""): {"p1-public", "p2-public"},
        ("admin", ""): everything - {"p1-community", "p2-community"},
        ("owner", "?visibility=all"): P1 | SHARED | {"p2-public", "p2-community"},
        ("other", "?visibility=all"): P2 | {"p1-public", "p1-community", "for-p2-accepted"},
        ("admin", "?visibility=all"): everything,
        ("owner", "?visibility=private"): {"p1-private"},
        ("admin", "?visibility=private"): {"p1-private", "p2-private", "nobodys"},
        ("stranger", "?visibility=public"): {"p1-public", "p2-public"},
        ("stranger", "?visibility=community"): {"p1-community", "p2-community"},
        ("admin", "?visibility=community"): {"p1-community", "p2-community"},
        ("other", "?visibility=shared"): {"p2-shared", "for-p2-accepted"},
        ("owner", "?visibility=shared"): {"p1-shared"} | SHARED,
        ("other", "?member_status=pending"): P2 | {"p1-public", "for-p2-pending"},
        ("other", "?member_status=rejected"): P2 | {"p1-public", "for-p2-rejected"},
        ("other", "?member_status=all"): P2 | {"p1-public"} | SHARED,
        ("other", "?visibility=shared&member_status=all"): {"p2-shared"} | SHARED,
        ("other", "?visibility=shared&member_status=all&owner=p1"): SHARED,
        ("owner", "?visibility="): set(),
        ("other", "?owner=p1"): {"p1-public", "for-p2-accepted"},
    }
    for (who, query), wanted in expected.items():
        assert await names(crowd, query, who) == wanted, (who, query)
    for who, code in (("roleless", 403), ("anonymous", 401)):
        assert await status(crowd, "", who) == code


async def test_admin_without_a_project(crowd: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support import callers

    admin = {name: value for name, value in callers.HEADERS["admin"].items() if name != "x-project-id"}
    monkeypatch.setitem(callers.HEADERS, "admin", admin)
    everything = P1 | P2 | SHARED | {"nobodys"}
    assert await names(crowd, "", "admin") == everything - {"p1-community", "p2-community"}
    assert await names(crowd, "?visibility=all", "admin") == everything


async def test_hidden_deleted_killed(service: Service) -> None:
    put(service, 1, os_hidden=True)
    put(service, 2)
    put(service, 3, status="killed")
    put(service, 4, status="deleted", deleted=True, deleted_at=T0)
    put(service, 5, status="pending_delete", deleted=True, deleted_at=T0)
    for who in ("owner", "admin"):
        assert await names(service, "", who) == {"n2"}
        for text in ("true", "True", "TRUE"):
            assert await names(service, f"?os_hidden={text}", who) == {"n1"}
        assert await names(service, "?os_hidden=false", who) == {"n2"}
        assert await names(service, "?deleted=true", who) == {"n2"}


# Filters


async def test_filters(service: Service) -> None:
    put(service, 1, name="a", status="active", disk_format="raw", container_format="bare", size=10, min_ram=5)
    put(service, 2, name="b", status="active", disk_format="qcow2", container_format="bare", size=20, min_ram=6)
    put(service, 3, name="x,y", status="queued", disk_format="iso", protected=True, created_at=T0 + timedelta(days=1))
    put(service, 4, name="c:d", checksum="ab" * 16, os_hash_algo="sha512", os_hash_value="cd" * 64, virtual_size=7)
    put(service, 5, name='q"q', updated_at=T0 - timedelta(days=1), min_disk=3, owner="p1")
    everything = {"a", "b", "x,y", "c:d", 'q"q'}
    expected = {
        "name=a": {"a"},
        "name=eq:a": {"a"},
        "name=eq:c:d": {"c:d"},
        "name=in:a,b": {"a", "b"},
        'name=in:"x,y",a': {"a", "x,y"},
        'name=in:"q\\"q"': {'q"q'},
        "name=in:c:d": {"c:d"},
        "name=in:": set(),
        "name=": set(),
        # MariaDB's collation decides there, as with Glance.
        "name=A": {"a"} if service.services.database.dialect == "mysql" else set(),
        "name=%F0%9F%98%80": set(),
        "name=in:a,%F0%9F%98%80": {"a"},
        "status=active": {"a", "b"},
        "status=in:queued,saving": {"x,y", "c:d", 'q"q'},
        "disk_format=raw": {"a"},
        "disk_format=in:raw,iso": {"a", "x,y"},
        "container_format=bare": {"a", "b"},
        "id=in:00000001-0000-4000-8000-000000000000,x": {"a"},
        "protected=true": {"x,y"},
        "protected=false": everything - {"x,y"},
        "size_min=10": {"a", "b"},
        "size_min=11": {"b"},
        "size_max=10": {"a"},
        "size_min=10&size_max=20": {"a", "b"},
        "size=20": {"b"},
        "size=x": set(),
        "min_ram_min=6": {"b"},
        "min_disk_max=3&min_disk_min=1": {'q"q'},
        "min_ram=5": {"a"},
        "min_disk=3": {'q"q'},
        "virtual_size=7": {"c:d"},
        "checksum=" + "ab" * 16: {"c:d"},
        "os_hash_algo=sha512": {"c:d"},
        "os_hash_value=" + "cd" * 64: {"c:d"},
        "owner=p1": everything,
        "owner=p2": set(),
        "created_at=2026-01-02T12:00:00Z": {"x,y"},
        "created_at=gt:2026-01-01T12:00:00Z": {"x,y"},
        "created_at=gte:2026-01-01T12:00:00": everything,
        "created_at=lt:2026-01-02": everything - {"x,y"},
        "created_at=neq:2026-01-02T14:00:00%2B02:00": everything - {"x,y"},
        "updated_at=lt:2026-01-01": {'q"q'},
        "updated_at=lte:2025-12-31T12:00:00Z": {'q"q'},
        "changes-since=": everything,
        "unknown=value": set(),
        "status=active&name=b": {"b"},
        "name=a&name=b": {"b"},  # of a repeated filter the last
        "foo_min=1": set(),  # D4
        "properties=x": set(),
        "locations=x": set(),
        "members=x": set(),
    }
    for query, wanted in expected.items():
        assert await names(service, f"?{query}") == wanted, query


BAD = [
    "limit=x", "limit=-1", "limit=", "limit=1.5", "marker=x", f"marker={UNKNOWN}", "marker=", "sort=x",
    "sort=name:up", "sort=", "sort=name,", "sort_key=x", "sort_key=", "sort_dir=up", "sort_dir=",
    "sort=name&sort_key=name", "sort=name&sort_dir=asc", "sort_key=name&sort_dir=asc&sort_dir=desc", "sort_key=owner",
    "sort_key=min_disk", "visibility=secret", "member_status=", "member_status=maybe", "os_hidden=", "os_hidden=1",
    "protected=True", "protected=", "protected=1", "name=neq:a", "name=gt:a", "status=x:y", 'name=in:"a',
    'name=in:a"b"', "created_at=x", "created_at=", "created_at=in:2026-01-01", "created_at=foo:2026-01-01",
    "updated_at=gt:", "size_min=x", "size_max=", "size_min=1.5", "changes-since=2026-01-01", "name=%00", "custom=%00",
]  # fmt: skip


async def test_bad_queries(service: Service) -> None:
    put(service, 1)
    for query in BAD:
        assert await status(service, f"?{query}") == 400, query


async def test_tags_and_properties(service: Service) -> None:
    await service.create(name="one", tags=["a", "b"], os="linux", arch="x86_64")
    await service.create(name="two", tags=["a"], os="linux")
    gone = await service.create(name="three", tags=["a"], os="bsd")
    path = f"/v2/images/{gone['id']}"
    await service.call("owner", "DELETE", f"{path}/tags/a")
    await service.call("owner", "PATCH", path, json=[{"op": "remove", "path": "/os"}], headers=PATCH_2_1)
    expected = {
        "tag=a": {"one", "two"},
        "tag=a&tag=b": {"one"},
        "tag=%20a%20": {"one", "two"},
        "tag=c": set(),
        "tag=%F0%9F%98%80": set(),
        "os=%F0%9F%98%80": set(),
        "%F0%9F%98%80=linux": set(),
        "os=linux": {"one", "two"},
        "os=linux&arch=x86_64": {"one"},
        "os=eq:linux": set(),
        "os=bsd": set(),
        "os=": set(),
        "tag=a&os=linux&name=two": {"two"},
    }
    for query, wanted in expected.items():
        assert await names(service, f"?{query}") == wanted, query


# Order and pages


def ties(service: Service) -> None:
    """21 images with nulls, ties in every sort key, and equal times."""
    for number in range(21):
        put(
            service,
            number,
            name=[None, "", "a", "b"][number % 4],
            status=["active", "queued", "saving"][number % 3],
            disk_format=[None, "raw", "iso"][number % 3],
            container_format=[None, "bare"][number % 2],
            size=[None, 0, 5][number % 3],
            created_at=T0 + timedelta(seconds=number % 5),
            updated_at=T0 + timedelta(seconds=number % 3),
        )


KEYS = ("name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at")


@pytest.mark.parametrize("direction", ["asc", "desc"])
async def test_every_key_pages_through_everything(service: Service, direction: str) -> None:
    ties(service)
    for key in KEYS:
        ordered = (await ask(service, f"?limit=100&sort={key}:{direction}"))["images"]
        assert len(ordered) == 21
        nothing: Any = 0 if key == "size" else ""
        values = [image[key] or nothing for image in ordered]
        assert values == sorted(values, reverse=direction == "desc"), key
        for limit in (4, 7):
            ids = await walk(service, f"limit={limit}&sort_key={key}&sort_dir={direction}")
            one_by_one = await walk(service, f"limit=100&sort_key={key}&sort_dir={direction}")
            assert ids == one_by_one, key
            assert len(set(ids)) == 21


async def test_several_keys(service: Service) -> None:
    ties(service)
    query = "sort=status:asc,size:desc,name"
    ordered = (await ask(service, f"?limit=100&{query}"))["images"]
    wanted = sorted(
        sorted(
            sorted(
                sorted(ordered, key=lambda image: (image["created_at"], image["id"]), reverse=True),
                key=lambda image: (image["name"] is not None, image["name"]),
                reverse=True,
            ),
            key=lambda image: (image["size"] is not None, image["size"]),
            reverse=True,
        ),
        key=lambda image: str(image["status"]),
    )
    assert ordered == wanted
    assert await walk(service, f"limit=3&{query}") == [image["id"] for image in ordered]
    same = await walk(
        service, "limit=3&sort_key=status&sort_key=size&sort_key=name&sort_dir=asc&sort_dir=desc&sort_dir=desc"
    )
    assert same == [image["id"] for image in ordered]


async def test_default_order(service: Service) -> None:
    ties(service)
    ordered = (await ask(service))["images"]
    assert ordered == sorted(ordered, key=lambda image: (image["created_at"], image["id"]), reverse=True)
    assert await walk(service, "limit=2") == [image["id"] for image in ordered]
    rising = (await ask(service, "?sort_dir=asc"))["images"]
    assert rising == ordered[::-1]
    assert (await ask(service, "?sort=%20name%20:%20asc%20"))["images"][0]["name"] in (None, "")


async def test_limits(service: Service) -> None:
    for number in range(27):
        put(service, number)
    first = await ask(service)
    assert len(first["images"]) == 25
    assert first["next"] == f"/v2/images?marker={first['images'][-1]['id']}"
    rest = await ask(service, f"?{urlsplit(first['next']).query}")
    assert len(rest["images"]) == 2
    assert "next" not in rest
    assert rest["first"] == "/v2/images"
    none = await ask(service, "?limit=0")
    assert none == {"images": [], "first": "/v2/images?limit=0", "schema": "/v2/schemas/images"}
    assert len((await ask(service, "?limit=1000000"))["images"]) == 27
    full = await ask(service, "?limit=27")
    assert "next" in full  # a full page may be followed by another
    assert (await ask(service, f"?{urlsplit(full['next']).query}"))["images"] == []


async def test_links_keep_every_parameter(service: Service) -> None:  # D3
    await service.create(name="a b", tags=["x", "y"])
    query = "tag=x&tag=y&sort_key=name&sort_key=size&sort_dir=asc&sort_dir=desc&name=eq:a%20b&limit=1"
    document = await ask(service, f"?{query}")
    encoded = "tag=x&tag=y&sort_key=name&sort_key=size&sort_dir=asc&sort_dir=desc&name=eq%3Aa+b&limit=1"
    assert document["first"] == f"/v2/images?{encoded}"
    assert document["next"] == f"/v2/images?{encoded}&marker={document['images'][0]['id']}"
    following = await ask(service, document["next"].removeprefix("/v2/images"))
    assert following["first"] == f"/v2/images?{encoded}"
    assert parse_qsl(urlsplit(document["first"]).query) == [
        ("tag", "x"), ("tag", "y"), ("sort_key", "name"), ("sort_key", "size"), ("sort_dir", "asc"),
        ("sort_dir", "desc"), ("name", "eq:a b"), ("limit", "1"),
    ]  # fmt: skip


async def test_markers(service: Service) -> None:
    ids = [put(service, number, created_at=T0 + timedelta(seconds=number)) for number in range(4)]
    hidden = put(service, 10, os_hidden=True, created_at=T0 + timedelta(seconds=2, milliseconds=500))
    foreign = put(service, 11, owner="p2", visibility="private")
    public = put(service, 12, owner="p2", visibility="community", created_at=T0 + timedelta(seconds=9))
    deleted = put(service, 13, status="deleted", deleted=True, created_at=T0 + timedelta(seconds=1, milliseconds=5))
    after_hidden = [image["id"] for image in (await ask(service, f"?marker={hidden}"))["images"]]
    assert after_hidden == [ids[2], ids[1], ids[0]]
    assert len((await ask(service, f"?marker={public}"))["images"]) == 4
    assert (await ask(service, f"?marker={ids[0]}&status=active"))["images"] == []
    assert await status(service, f"?marker={foreign}") == 403
    assert await status(service, f"?marker={foreign}", "admin") == 200
    assert await status(service, f"?marker={deleted}") == 400
    after_deleted = (await ask(service, f"?marker={deleted}", "admin"))["images"]
    assert [image["id"] for image in after_deleted] == [ids[1], foreign, ids[0]]


async def test_a_shared_image_as_marker(crowd: Service) -> None:
    pending = (await ask(crowd, "?name=for-p2-pending"))["images"][0]["id"]
    assert await status(crowd, f"?marker={pending}", "other") == 200
    assert await status(crowd, f"?marker={pending}", "stranger") == 403


async def test_rows_that_policy_takes_away(service: Service, settings: Settings) -> None:
    for number in range(4):
        put(service, number, status="active" if number % 2 else "queued")
    settings.policy.policy_file.write_text("get_image: \"'active':%(status)s\"\n")
    page = await ask(service, "?limit=3&sort=id:asc")
    assert [image["name"] for image in page["images"]] == ["n1"]
    assert page["next"].endswith("marker=00000002-0000-4000-8000-000000000000")
    assert [image["name"] for image in (await ask(service, page["next"].removeprefix("/v2/images")))["images"]] == [
        "n3"
    ]
    only_hidden = await ask(service, "?limit=1&sort=id:asc")
    assert only_hidden["images"] == []
    assert "next" not in only_hidden


async def test_times_may_be_missing(service: Service) -> None:
    put(service, 1)
    put(service, 2)
    with service.services.database.engine.begin() as connection:
        connection.execute(update(images).values(updated_at=None))
    for direction in ("asc", "desc"):
        assert len(set(await walk(service, f"limit=1&sort=updated_at:{direction}"))) == 2


class TestSmallPages:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, api=replace(settings.api, limit_param_default=2, api_limit_max=3))

    async def test_default_and_maximum(self, service: Service) -> None:
        for number in range(5):
            put(service, number)
        assert len((await ask(service))["images"]) == 2
        page = await ask(service, "?limit=100")
        assert len(page["images"]) == 3
        assert len(await walk(service, "limit=100")) == 5
