"""Objects of metadata definitions over HTTP (spec: metadefs-api §6)."""

from html import unescape
from typing import Any

import pytest
from sqlalchemy import update

from blick.conf.settings import Settings
from blick.db.tables import metadef_objects
from tests.support import personas
from tests.support.metadef_requests import PATH, Asked, ask, expected_status, make_namespace
from tests.support.service import Service

OBJECTS = f"{PATH}/objects"
SIZE = {"type": "integer", "title": "Size", "minimum": 1}
COLOUR = {"type": "string", "title": "Colour", "enum": ["red", "blue"], "default": "red"}
DISK: dict[str, Any] = {
    "name": "Disk",
    "description": "A disk",
    "required": ["size"],
    "properties": {"size": SIZE, "colour": COLOUR},
}


async def create(service: Service, **changes: Any) -> dict[str, Any]:
    made = await service.call("admin", "POST", OBJECTS, json={**DISK, **changes})
    assert made.status_code == 201, made.text
    document: dict[str, Any] = made.json()
    return document


async def names(service: Service) -> list[str]:
    listed = await service.call("admin", "GET", OBJECTS)
    return [each["name"] for each in listed.json()["objects"]]


async def test_create_and_show(service: Service) -> None:
    await make_namespace(service)
    made = await service.call("admin", "POST", OBJECTS, json=DISK)
    assert (made.status_code, "location" in made.headers) == (201, False)
    document = made.json()
    assert document["created_at"] == document["updated_at"]
    assert document == {
        "name": "Disk",
        "required": ["size"],
        "description": "A disk",
        "properties": {
            "size": {"type": "integer", "title": "Size", "minimum": 1},
            "colour": {"type": "string", "title": "Colour", "default": "red", "enum": ["red", "blue"]},
        },
        "created_at": document["created_at"],
        "updated_at": document["updated_at"],
        "self": f"{OBJECTS}/Disk",
        "schema": "/v2/schemas/metadefs/object",
    }
    assert list(document) == [
        "name", "required", "description", "properties", "created_at", "updated_at", "self", "schema"
    ]  # fmt: skip
    assert (await service.call("admin", "GET", f"{OBJECTS}/Disk")).json() == document


async def test_what_is_not_set_is_left_out(service: Service) -> None:
    await make_namespace(service)
    made = await service.call("admin", "POST", OBJECTS, json={"name": "Bare"})
    assert made.json().keys() == {"name", "created_at", "updated_at", "self", "schema"}
    shown = (await service.call("admin", "GET", f"{OBJECTS}/Bare")).json()
    assert shown == {**made.json(), "required": [], "properties": {}}
    assert list(shown) == ["name", "required", "properties", "created_at", "updated_at", "self", "schema"]


async def test_list_in_the_order_in_which_they_came(service: Service) -> None:
    await make_namespace(service)
    assert (await service.call("admin", "GET", OBJECTS)).json() == {
        "objects": [],
        "schema": "v2/schemas/metadefs/objects",
    }
    made = [await create(service, name=name) for name in ("b", "c", "a")]
    listed = await service.call("admin", "GET", f"{OBJECTS}?limit=1&marker=zz&sort_key=nosuch&sort_dir=asc&x=y")
    assert listed.json()["objects"] == made


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=-1", "limit=x", "sort_dir=up", "visibility=community", "limit=1&x=%00"]
)
async def test_senseless_queries(service: Service, query: str) -> None:
    await make_namespace(service)
    assert (await service.call("admin", "GET", f"{OBJECTS}?{query}")).status_code == 400


async def test_update_replaces_everything(service: Service) -> None:
    await make_namespace(service)
    made = await create(service)
    changed = await service.call("admin", "PUT", f"{OBJECTS}/Disk", json={"name": "Drive", "properties": {"a": SIZE}})
    assert changed.status_code == 200
    assert changed.json() == {
        "name": "Drive",
        "properties": {"a": SIZE},
        "created_at": made["created_at"],
        "updated_at": changed.json()["updated_at"],
        "self": f"{OBJECTS}/Drive",
        "schema": "/v2/schemas/metadefs/object",
    }
    shown = (await service.call("admin", "GET", f"{OBJECTS}/Drive")).json()
    assert shown == {**changed.json(), "required": []}
    gone = await service.call("admin", "GET", f"{OBJECTS}/Disk")
    assert (gone.status_code, "Could not find metadata object Disk" in gone.text) == (404, True)


async def test_names_that_are_taken(service: Service) -> None:
    await make_namespace(service)
    await create(service)
    await create(service, name="Other")
    assert (await service.call("admin", "POST", OBJECTS, json=DISK)).status_code == 409
    assert (await service.call("admin", "PUT", f"{OBJECTS}/Disk", json={"name": "Other"})).status_code == 409
    assert (await service.call("admin", "PUT", f"{OBJECTS}/Disk", json=DISK)).status_code == 200
    assert await names(service) == ["Disk", "Other"]
    # Elsewhere the name is free.
    await make_namespace(service, name="Elsewhere")
    elsewhere = await service.call("admin", "POST", "/v2/metadefs/namespaces/Elsewhere/objects", json=DISK)
    assert elsewhere.status_code == 201


async def test_delete(service: Service) -> None:
    await make_namespace(service)
    for name in ("a", "b", "c"):
        await create(service, name=name)
    gone = await service.call("admin", "DELETE", f"{OBJECTS}/b")
    assert (gone.status_code, gone.content) == (204, b"")
    assert gone.headers["content-type"] == "text/html; charset=UTF-8"
    assert (await service.call("admin", "DELETE", f"{OBJECTS}/b")).status_code == 404
    assert await names(service) == ["a", "c"]
    for _ in range(2):
        assert (await service.call("admin", "DELETE", OBJECTS)).status_code == 204
    assert await names(service) == []


async def test_protection_is_against_deletion_only(service: Service) -> None:
    await make_namespace(service, protected=True)
    await create(service)
    assert (await service.call("admin", "PUT", f"{OBJECTS}/Disk", json={**DISK, "name": "Drive"})).status_code == 200
    for path in (OBJECTS, f"{OBJECTS}/Drive"):
        assert (await service.call("admin", "DELETE", path)).status_code == 403
    assert await names(service) == ["Drive"]


REFUSED: list[tuple[object, int, str]] = [
    ({**DISK, "self": "x"}, 403, "Attribute 'self' is read-only."),
    ({**DISK, "schema": "x"}, 403, "Attribute 'schema' is read-only."),
    ({"created_at": 1}, 403, "Attribute 'created_at' is read-only."),
    ({**DISK, "updated_at": "x"}, 403, "Attribute 'updated_at' is read-only."),
    ([], 400, "Provided object does not match schema 'object'"),
    ({}, 400, "Provided object does not match schema 'object'"),
    ({"name": "x" * 81}, 400, "Provided object does not match schema 'object'"),
    ({"name": 5}, 400, "Provided object does not match schema 'object'"),
    ({**DISK, "more": 1}, 400, "Provided object does not match schema 'object'"),
    ({**DISK, "description": None}, 400, "Provided object does not match schema 'object'"),
    ({**DISK, "required": ["a", "a"]}, 400, "Provided object does not match schema 'object'"),
    ({**DISK, "required": "a"}, 400, "Provided object does not match schema 'object'"),
    ({**DISK, "properties": []}, 400, "Provided object does not match schema 'object'"),
    ({**DISK, "properties": {"a": {"type": "string"}}}, 400, "Provided object does not match schema 'object'"),
    ({**DISK, "properties": {"a": {"title": "A"}}}, 400, "Provided object does not match schema 'object'"),
    ({**DISK, "properties": {"a": {**SIZE, "type": None}}}, 400, "Provided object does not match schema 'object'"),
    ({**DISK, "properties": {"a": {**SIZE, "confidential": True}}}, 400, "Provided object does not match schema"),
    ({**DISK, "properties": {"a": {**SIZE, "enum": [1]}}}, 400, "Provided object does not match schema 'object'"),
    ({**DISK, "properties": {"a": {**SIZE, "items": {}}}}, 400, "Provided object does not match schema 'object'"),
    ({**DISK, "description": "\U0001f600"}, 400, "can't contain 4 byte unicode characters."),
    ({**DISK, "properties": {"\U0001f600": SIZE}}, 400, "can't contain 4 byte unicode characters."),
    ({**DISK, "name": "a\x00"}, 400, "NUL"),
]


@pytest.mark.parametrize(("body", "status", "text"), REFUSED)
async def test_refused_bodies(service: Service, body: object, status: int, text: str) -> None:
    await make_namespace(service)
    await create(service)
    for method, path in (("POST", OBJECTS), ("PUT", f"{OBJECTS}/Disk")):
        refused = await service.call("admin", method, path, json=body)
        assert (refused.status_code, text in unescape(refused.text)) == (status, True), refused.text
    assert await names(service) == ["Disk"]


async def test_bodies_that_are_none(service: Service) -> None:
    await make_namespace(service)
    for method, path in (("POST", OBJECTS), ("PUT", f"{OBJECTS}/Disk")):
        missing = await service.call("admin", method, path)
        assert (missing.status_code, "Body expected in request." in missing.text) == (400, True)
        malformed = await service.call("admin", method, path, content=b"{", headers={"content-type": "text/plain"})
        assert (malformed.status_code, "Malformed JSON in request body" in malformed.text) == (400, True)
    for method, path in (("GET", f"{OBJECTS}/Disk"), ("DELETE", OBJECTS), ("DELETE", f"{OBJECTS}/Disk")):
        unexpected = await service.call("admin", method, path, content=b"{}")
        assert (unexpected.status_code, "A body is not expected" in unexpected.text) == (400, True)


async def test_limits_that_hold(service: Service) -> None:
    await make_namespace(service)
    long = "é" * 80
    made = await create(service, name=long, required=["not there"], properties={long: COLOUR})
    shown = await service.call("admin", "GET", f"{OBJECTS}/{long}")
    assert shown.json() == made
    assert made["required"] == ["not there"]


@pytest.mark.parametrize("name", ["nosuch", "a%2Fb", "%F0%9F%98%80"])
async def test_what_is_not_there(service: Service, name: str) -> None:
    await make_namespace(service)
    for method, body in (("GET", None), ("PUT", DISK), ("DELETE", None)):
        options = {} if body is None else {"json": body}
        assert (await service.call("admin", method, f"{OBJECTS}/{name}", **options)).status_code == 404
        elsewhere = f"/v2/metadefs/namespaces/{name}/objects/Disk"
        assert (await service.call("admin", method, elsewhere, **options)).status_code == 404
    for method, body in (("GET", None), ("POST", DISK), ("DELETE", None)):
        options = {} if body is None else {"json": body}
        elsewhere = f"/v2/metadefs/namespaces/{name}/objects"
        assert (await service.call("admin", method, elsewhere, **options)).status_code == 404


async def test_rows_of_others(service: Service) -> None:
    """What was damaged hides neither the rest nor the namespace, and can be mended and deleted."""
    await make_namespace(service)
    for name in ("null", "broken", "partly", "sound"):
        await create(service, name=name)
    for name, text in (("null", "null"), ("broken", "{"), ("partly", '{"a": 5, "b": {"type": "string"}}')):
        await service.services.database.write(
            lambda connection, name, text: connection.execute(
                update(metadef_objects).where(metadef_objects.c.name == name).values(json_schema=text)
            ),
            name,
            text,
        )
    found = {each["name"]: each for each in (await service.call("admin", "GET", OBJECTS)).json()["objects"]}
    assert found.keys() == {"null", "partly", "sound"}
    assert found["null"]["properties"] == {}
    assert found["partly"]["properties"] == {"b": {"type": "string"}}
    assert (await service.call("admin", "GET", f"{OBJECTS}/broken")).status_code == 404
    assert (await service.call("admin", "PUT", f"{OBJECTS}/broken", json={**DISK, "name": "broken"})).status_code == 200
    assert (await service.call("admin", "GET", f"{OBJECTS}/broken")).status_code == 200
    assert (await service.call("admin", "DELETE", f"{OBJECTS}/broken")).status_code == 204


async def test_costs(service: Service) -> None:
    await make_namespace(service)
    for name in "abcdef":
        await create(service, name=name)
    requests: list[tuple[str, str, dict[str, Any], int]] = [
        ("GET", "", {}, 2),
        ("GET", "/a", {}, 2),
        ("POST", "", {"json": {**DISK, "name": "g"}}, 3),
        ("PUT", "/a", {"json": {**DISK, "name": "h"}}, 4),
        ("DELETE", "/b", {}, 3),
        ("DELETE", "", {}, 3),
    ]
    for method, path, options, most in requests:
        with service.statements() as statements:
            answer = await service.call("admin", method, f"{OBJECTS}{path}", **options)
        assert answer.status_code < 300
        asked = [each for each in statements if not each.startswith("BEGIN")]
        assert len(asked) <= most, (method, path, asked)


REQUESTS = [
    Asked("GET", "/objects", 200),
    Asked("GET", "/objects/Disk", 200),
    Asked("POST", "/objects", 201, {**DISK, "name": "New"}),
    Asked("PUT", "/objects/Disk", 200, DISK),
    Asked("DELETE", "/objects/Disk", 204),
    Asked("DELETE", "/objects", 204),
]


@pytest.mark.parametrize("visibility", ["private", "public"])
@pytest.mark.parametrize("persona", personas.NAMES)
async def test_personas(service: Service, persona: str, visibility: str) -> None:
    await make_namespace(service, visibility=visibility)
    await create(service)
    for asked in REQUESTS:
        answer = await ask(service, persona, asked)
        assert answer.status_code == expected_status(persona, asked, public=visibility == "public"), asked


async def test_policies_decide(service: Service, settings: Settings) -> None:
    await make_namespace(service)
    await create(service)
    settings.policy.policy_file.write_text('get_metadef_object: "!"\nadd_metadef_object: "role:member"\n')
    assert (await service.call("owner", "GET", OBJECTS)).json()["objects"] == []
    refused = await service.call("owner", "GET", f"{OBJECTS}/Disk")
    assert (refused.status_code, "You are not authorized to complete get_metadef_object action." in refused.text) == (
        403,
        True,
    )
    assert (await service.call("owner", "POST", OBJECTS, json={"name": "New"})).status_code == 201
    assert (await service.call("other", "POST", OBJECTS, json={"name": "Newer"})).status_code == 404
