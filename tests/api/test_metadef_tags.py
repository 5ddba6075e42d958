"""Tags of metadata definitions over HTTP (spec: metadefs-api §6, §7)."""

from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from sqlalchemy import insert

from blick.conf.settings import Settings
from blick.db.tables import metadef_tags
from tests.support import personas
from tests.support.metadef_requests import PATH, Asked, ask, expected_status, make_namespace
from tests.support.records import NOW
from tests.support.service import Service

TAGS = f"{PATH}/tags"


async def create(service: Service, *names: str, append: bool = True) -> None:
    tags = {"tags": [{"name": name} for name in names]}
    made = await service.call("admin", "POST", TAGS, json=tags, headers={"x-openstack-append": str(append)})
    assert (made.status_code, made.json()) == (201, tags)


async def listed(service: Service, query: str = "") -> list[str]:
    answer = await service.call("admin", "GET", f"{TAGS}{query}")
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"tags"}
    return [each["name"] for each in answer.json()["tags"] if each.keys() == {"name"}]


async def test_one_tag(service: Service) -> None:
    await make_namespace(service)
    made = await service.call("admin", "POST", f"{TAGS}/Open%20Source")
    document = made.json()
    assert (made.status_code, "location" in made.headers) == (201, False)
    assert list(document) == ["name", "created_at", "updated_at"]
    assert (document["name"], document["created_at"]) == ("Open Source", document["updated_at"])
    assert (await service.call("admin", "GET", f"{TAGS}/Open%20Source")).json() == document
    assert (await service.call("admin", "POST", f"{TAGS}/Open%20Source")).status_code == 409
    changed = await service.call("admin", "PUT", f"{TAGS}/Open%20Source", json={"name": "Free"})
    assert (changed.status_code, changed.json()["name"]) == (200, "Free")
    assert changed.json()["created_at"] == document["created_at"]
    assert (await service.call("admin", "GET", f"{TAGS}/Free")).json() == changed.json()
    assert (await service.call("admin", "GET", f"{TAGS}/Open%20Source")).status_code == 404
    gone = await service.call("admin", "DELETE", f"{TAGS}/Free")
    assert (gone.status_code, gone.content) == (204, b"")
    missing = await service.call("admin", "DELETE", f"{TAGS}/Free")
    assert (missing.status_code, "Could not find metadata tag Free" in missing.text) == (404, True)


async def test_names_that_are_taken(service: Service) -> None:
    await make_namespace(service)
    await create(service, "a", "b")
    assert (await service.call("admin", "PUT", f"{TAGS}/a", json={"name": "b"})).status_code == 409
    assert (await service.call("admin", "PUT", f"{TAGS}/a", json={"name": "a"})).status_code == 200
    assert sorted(await listed(service)) == ["a", "b"]


async def test_many_tags_take_the_place_of_all(service: Service) -> None:
    await make_namespace(service)
    await create(service, "a", "b", append=False)
    await create(service, "b", "c", append=False)
    assert await listed(service) == ["c", "b"]
    await create(service, append=False)
    assert await listed(service) == ["c", "b"]


@pytest.mark.parametrize("word", ["true", "True", "1", "yes", "on", " y ", "t"])
async def test_many_tags_beside_those_that_are_there(service: Service, word: str) -> None:
    await make_namespace(service)
    await create(service, "a")
    tags = {"tags": [{"name": "b"}]}
    made = await service.call("admin", "POST", TAGS, json=tags, headers={"x-openstack-append": word})
    assert (made.status_code, made.json()) == (201, tags)
    assert sorted(await listed(service)) == ["a", "b"]


@pytest.mark.parametrize("headers", [{}, {"x-openstack-append": "false"}, {"x-openstack-append": "maybe"}])
async def test_what_is_no_wish_to_append(service: Service, headers: dict[str, str]) -> None:
    await make_namespace(service)
    await create(service, "a")
    await service.call("admin", "POST", TAGS, json={"tags": [{"name": "b"}]}, headers=headers)
    assert await listed(service) == ["b"]


@pytest.mark.parametrize(("append", "names"), [(True, ["c", "a"]), (True, ["c", "c"]), (False, ["c", "c"])])
async def test_a_duplicate_undoes_everything(service: Service, append: bool, names: list[str]) -> None:
    await make_namespace(service)
    await create(service, "a", "b")
    tags = {"tags": [{"name": name} for name in names]}
    refused = await service.call("admin", "POST", TAGS, json=tags, headers={"x-openstack-append": str(append)})
    assert refused.status_code == 409
    assert sorted(await listed(service)) == ["a", "b"]


async def test_delete_all(service: Service) -> None:
    await make_namespace(service)
    await create(service, "a", "b")
    for _ in range(2):
        assert (await service.call("admin", "DELETE", TAGS)).status_code == 204
    assert await listed(service) == []


async def test_protection_is_against_deletion_only(service: Service) -> None:
    await make_namespace(service, protected=True)
    await create(service, "a", "b")
    assert (await service.call("admin", "PUT", f"{TAGS}/a", json={"name": "c"})).status_code == 200
    for path in (TAGS, f"{TAGS}/b"):
        assert (await service.call("admin", "DELETE", path)).status_code == 403
    assert sorted(await listed(service)) == ["b", "c"]
    await create(service, "d", append=False)
    assert await listed(service) == ["d"]


async def tags_of_some_age(service: Service) -> None:
    """In the order in which they came: c, a, e, b, d; e and b at the same time, a was renamed long after."""
    namespace = await make_namespace(service)
    rows = [
        {"namespace_id": namespace.id, "name": name, "created_at": NOW + timedelta(hours=hours), "updated_at": changed}
        for name, hours, changed in (
            ("c", 0, None),
            ("a", 1, NOW + timedelta(hours=9)),
            ("e", 2, NOW + timedelta(hours=2)),
            ("b", 2, NOW + timedelta(hours=3)),
            ("d", 3, NOW + timedelta(hours=4)),
        )
    ]
    await service.services.database.write(lambda connection: connection.execute(insert(metadef_tags), rows))


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", "dbeac"),
        ("?limit=2", "db"),
        ("?limit=0", ""),
        ("?limit=5000", "dbeac"),
        ("?marker=b", "eac"),
        ("?marker=b&limit=1", "e"),
        ("?marker=c", ""),
        ("?sort_dir=asc", "caebd"),
        ("?sort_dir=asc&marker=a&limit=2", "eb"),
        ("?sort_key=name", "edcba"),
        ("?sort_key=name&sort_dir=asc&marker=b", "cde"),
        ("?sort_key=updated_at&sort_dir=desc&limit=2", "ad"),
        ("?sort_key=id&sort_dir=asc", "caebd"),
        ("?sort_key=namespace_id", "dbeac"),
        ("?limit=1&limit=3", "d"),
        ("?visibility=shared&x=y", "dbeac"),
    ],
)
async def test_pages(service: Service, query: str, names: str) -> None:
    await tags_of_some_age(service)
    assert "".join(await listed(service, query)) == names


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=-1", 400),
        ("limit=x", 400),
        ("sort_key=nosuch", 400),
        ("sort_dir=up", 400),
        ("visibility=community", 400),
        ("marker=%00", 400),
        ("marker=nosuch", 404),
        ("marker=%F0%9F%98%80", 404),
    ],
)
async def test_senseless_queries(service: Service, query: str, status: int) -> None:
    await tags_of_some_age(service)
    assert (await service.call("admin", "GET", f"{TAGS}?{query}")).status_code == status


TAG = "Provided object does not match schema 'tag'"
MANY = "Provided object does not match schema 'tags'"
REFUSED: list[tuple[str, object, int, str]] = [
    ("PUT", {"name": "a", "created_at": "x"}, 403, "Attribute 'created_at' is read-only."),
    ("PUT", {"name": "a", "updated_at": "x"}, 403, "Attribute 'updated_at' is read-only."),
    ("PUT", [], 400, TAG),
    ("PUT", {}, 400, TAG),
    ("PUT", {"name": "x" * 81}, 400, TAG),
    ("PUT", {"name": "a", "more": 1}, 400, TAG),
    ("PUT", {"name": "\U0001f600"}, 400, "can't contain 4 byte unicode characters."),
    ("PUT", {"name": "a\x00"}, 400, "NUL"),
    ("POST", [], 400, MANY),
    ("POST", {}, 400, MANY),
    ("POST", {"tags": {}}, 400, MANY),
    ("POST", {"tags": ["a"]}, 400, MANY),
    ("POST", {"tags": [{}]}, 400, MANY),
    ("POST", {"tags": [{"name": "x" * 81}]}, 400, MANY),
    ("POST", {"tags": [{"name": "a", "more": 1}]}, 400, MANY),
    ("POST", {"tags": [], "more": 1}, 400, MANY),
    ("POST", {"tags": [{"name": "\U0001f600"}]}, 400, "can't contain 4 byte unicode characters."),
]


@pytest.mark.parametrize(("method", "body", "status", "text"), REFUSED)
async def test_refused_bodies(service: Service, method: str, body: object, status: int, text: str) -> None:
    await make_namespace(service)
    await create(service, "t")
    refused = await service.call("admin", method, TAGS if method == "POST" else f"{TAGS}/t", json=body)
    assert (refused.status_code, text in unescape(refused.text)) == (status, True), refused.text
    assert await listed(service) == ["t"]


async def test_bodies_that_are_none(service: Service) -> None:
    await make_namespace(service)
    await create(service, "t")
    for method, path in (("POST", TAGS), ("PUT", f"{TAGS}/t")):
        missing = await service.call("admin", method, path)
        assert (missing.status_code, "Body expected in request." in missing.text) == (400, True)
        malformed = await service.call("admin", method, path, content=b"{")
        assert (malformed.status_code, "Malformed JSON in request body" in malformed.text) == (400, True)
    for method, path in (("GET", f"{TAGS}/t"), ("POST", f"{TAGS}/u"), ("DELETE", TAGS), ("DELETE", f"{TAGS}/t")):
        unexpected = await service.call("admin", method, path, content=b"{}")
        assert (unexpected.status_code, "A body is not expected" in unexpected.text) == (400, True)
    assert (await service.call("admin", "GET", TAGS, content=b"{}")).status_code == 200


@pytest.mark.parametrize(("name", "status"), [("x" * 80, 201), ("x" * 81, 400), ("%F0%9F%98%80", 400)])
async def test_names_in_the_path(service: Service, name: str, status: int) -> None:
    await make_namespace(service)
    assert (await service.call("admin", "POST", f"{TAGS}/{name}")).status_code == status


@pytest.mark.parametrize("name", ["nosuch", "a%2Fb", "%F0%9F%98%80"])
async def test_what_is_not_there(service: Service, name: str) -> None:
    await make_namespace(service)
    many = {"tags": [{"name": "t"}]}
    for method, body in (("GET", None), ("PUT", {"name": "t"}), ("DELETE", None)):
        options = {} if body is None else {"json": body}
        assert (await service.call("admin", method, f"{TAGS}/{name}", **options)).status_code == 404
    for method, path, content in (
        ("GET", "", None), ("POST", "", many), ("DELETE", "", None),
        ("GET", "/t", None), ("POST", "/t", None), ("PUT", "/t", {"name": "t"}), ("DELETE", "/t", None),
    ):  # fmt: skip
        options = {} if content is None else {"json": content}
        elsewhere = f"/v2/metadefs/namespaces/{name}/tags{path}"
        assert (await service.call("admin", method, elsewhere, **options)).status_code == 404


async def test_costs(service: Service) -> None:
    await make_namespace(service)
    await create(service, *(f"t{number}" for number in range(500)))
    many = {"tags": [{"name": f"n{number}"} for number in range(500)]}
    requests: list[tuple[str, str, dict[str, Any], int]] = [
        ("GET", "?limit=10&marker=t7", {}, 3),
        ("GET", "/t7", {}, 2),
        ("POST", "/t1000", {}, 3),
        ("PUT", "/t7", {"json": {"name": "t1001"}}, 4),
        ("DELETE", "/t8", {}, 3),
        ("POST", "", {"json": many}, 4),
        ("DELETE", "", {}, 3),
    ]
    for method, path, options, most in requests:
        with service.statements() as statements:
            answer = await service.call("admin", method, f"{TAGS}{path}", **options)
        assert answer.status_code < 300
        asked = [each for each in statements if not each.startswith("BEGIN")]
        assert len(asked) <= most, (method, path, asked)


REQUESTS = [
    Asked("GET", "/tags", 200),
    Asked("GET", "/tags/t", 200),
    Asked("POST", "/tags/new", 201),
    Asked("POST", "/tags", 201, {"tags": [{"name": "t"}]}),
    Asked("PUT", "/tags/t", 200, {"name": "t"}),
    Asked("DELETE", "/tags/t", 204),
    Asked("DELETE", "/tags", 204),
]


@pytest.mark.parametrize("visibility", ["private", "public"])
@pytest.mark.parametrize("persona", personas.NAMES)
async def test_personas(service: Service, persona: str, visibility: str) -> None:
    await make_namespace(service, visibility=visibility)
    await create(service, "t")
    for asked in REQUESTS:
        answer = await ask(service, persona, asked)
        assert answer.status_code == expected_status(persona, asked, public=visibility == "public"), asked


async def test_policies_decide(service: Service, settings: Settings) -> None:
    await make_namespace(service)
    await create(service, "t")
    settings.policy.policy_file.write_text('get_metadef_tags: "!"\nadd_metadef_tags: "role:member"\n')
    refused = await service.call("owner", "GET", TAGS)
    text = "You are not authorized to complete get_metadef_tags action."
    assert (refused.status_code, text in refused.text) == (403, True)
    assert (await service.call("owner", "GET", f"{TAGS}/t")).status_code == 200
    assert (await service.call("owner", "POST", TAGS, json={"tags": [{"name": "u"}]})).status_code == 201
    assert (await service.call("other", "POST", TAGS, json={"tags": [{"name": "u"}]})).status_code == 404
