"""Properties of metadata definitions over HTTP (spec: metadefs-api §4, §6)."""

from html import unescape
from typing import Any

import pytest
from sqlalchemy import insert, update

from blick.conf.settings import Settings
from blick.db.tables import metadef_properties
from blick.model.metadef import Association, Children
from tests.support import personas
from tests.support.metadef_requests import PATH, Asked, ask, expected_status, make_namespace
from tests.support.records import NOW
from tests.support.service import Service

PROPERTIES = f"{PATH}/properties"
EVERYTHING: dict[str, Any] = {
    "name": "cpu_policy",
    "type": "array",
    "title": "CPU policy",
    "description": "How CPUs are given out",
    "operators": ["<in>", "<or>"],
    "default": "shared",
    "readonly": False,
    "minimum": 1,
    "maximum": 10,
    "enum": ["shared", "dedicated"],
    "pattern": "(",
    "minLength": 0,
    "maxLength": 10,
    "items": {"type": "string", "enum": ["a"]},
    "uniqueItems": True,
    "minItems": 1,
    "maxItems": 3,
    "additionalItems": False,
}
PLAIN: dict[str, Any] = {"name": "plain", "type": "string", "title": "Plain"}


async def create(service: Service, **changes: Any) -> dict[str, Any]:
    made = await service.call("admin", "POST", PROPERTIES, json={**PLAIN, **changes})
    assert made.status_code == 201, made.text
    document: dict[str, Any] = made.json()
    return document


async def names(service: Service) -> list[str]:
    return list((await service.call("admin", "GET", PROPERTIES)).json()["properties"])


async def test_create_and_show(service: Service) -> None:
    await make_namespace(service)
    made = await service.call("admin", "POST", PROPERTIES, json=EVERYTHING)
    assert (made.status_code, "location" in made.headers) == (201, False)
    assert made.json() == EVERYTHING
    assert list(made.json()) == list(EVERYTHING)
    shown = await service.call("admin", "GET", f"{PROPERTIES}/cpu_policy")
    assert (shown.json(), list(shown.json())) == (EVERYTHING, list(EVERYTHING))


async def test_list(service: Service) -> None:
    await make_namespace(service)
    assert (await service.call("admin", "GET", PROPERTIES)).json() == {"properties": {}}
    for name in ("b", "c", "a"):
        await create(service, name=name)
    listed = await service.call("admin", "GET", f"{PROPERTIES}?limit=1&marker=b&x=y")
    assert listed.json() == {"properties": {name: {**PLAIN, "name": name} for name in ("b", "c", "a")}}
    assert list(listed.json()["properties"]) == ["b", "c", "a"]


@pytest.mark.parametrize(
    ("default", "shown"), [(5, "5"), (True, "True"), ("x", "x"), ([1], None), ({}, None), (None, None), (1.5, "1.5")]
)
async def test_defaults_are_texts(service: Service, default: object, shown: str | None) -> None:
    await make_namespace(service)
    assert (await create(service, default=default))["default"] == shown
    document = (await service.call("admin", "GET", f"{PROPERTIES}/plain")).json()
    assert (document["default"], "default" in await create(service, name="other")) == (shown, False)


async def test_bounds_are_whole(service: Service) -> None:
    await make_namespace(service)
    made = await create(service, minimum=1.5, maximum=2.0, maxLength=3)
    assert (made["minimum"], made["maximum"], made["maxLength"]) == (1, 2, 3)


async def test_required_names_are_kept(service: Service) -> None:
    await make_namespace(service)
    assert (await create(service, required=["a", "b"]))["required"] == ["a", "b"]
    assert (await service.call("admin", "GET", f"{PROPERTIES}/plain")).json()["required"] == ["a", "b"]


async def test_update_replaces_everything(service: Service) -> None:
    await make_namespace(service)
    await service.call("admin", "POST", PROPERTIES, json=EVERYTHING)
    changed = await service.call("admin", "PUT", f"{PROPERTIES}/cpu_policy", json=PLAIN)
    assert (changed.status_code, changed.json()) == (200, PLAIN)
    assert (await service.call("admin", "GET", f"{PROPERTIES}/plain")).json() == PLAIN
    gone = await service.call("admin", "GET", f"{PROPERTIES}/cpu_policy")
    assert (gone.status_code, "Could not find metadata property cpu_policy" in gone.text) == (404, True)


async def test_names_that_are_taken(service: Service) -> None:
    await make_namespace(service)
    await create(service)
    await create(service, name="other")
    assert (await service.call("admin", "POST", PROPERTIES, json=PLAIN)).status_code == 409
    assert (await service.call("admin", "PUT", f"{PROPERTIES}/plain", json={**PLAIN, "name": "other"})).status_code == (
        409
    )
    assert (await service.call("admin", "PUT", f"{PROPERTIES}/plain", json=PLAIN)).status_code == 200
    assert await names(service) == ["plain", "other"]


async def test_delete(service: Service) -> None:
    await make_namespace(service)
    for name in ("a", "b", "c"):
        await create(service, name=name)
    gone = await service.call("admin", "DELETE", f"{PROPERTIES}/b")
    assert (gone.status_code, gone.content) == (204, b"")
    assert (await service.call("admin", "DELETE", f"{PROPERTIES}/b")).status_code == 404
    assert await names(service) == ["a", "c"]
    for _ in range(2):
        assert (await service.call("admin", "DELETE", PROPERTIES)).status_code == 204
    assert await names(service) == []


async def test_protection_is_against_deletion_only(service: Service) -> None:
    await make_namespace(service, protected=True)
    await create(service)
    assert (await service.call("admin", "PUT", f"{PROPERTIES}/plain", json=PLAIN)).status_code == 200
    for path in (PROPERTIES, f"{PROPERTIES}/plain"):
        assert (await service.call("admin", "DELETE", path)).status_code == 403
    assert await names(service) == ["plain"]


async def test_by_the_name_on_resources_of_a_type(service: Service) -> None:
    associations = [Association("OS::Nova::Flavor", "hw:"), Association("OS::Glance::Image")]
    await make_namespace(service, Children(associations=associations))
    await make_namespace(service, Children(associations=[Association("OS::Elsewhere", "hw:")]), name="Elsewhere")
    await create(service)
    shown = await service.call("admin", "GET", f"{PROPERTIES}/hw:plain?resource_type=OS::Nova::Flavor&x=y")
    assert (shown.status_code, shown.json()) == (200, PLAIN)
    for name, resource_type in (
        ("plain", "OS::Nova::Flavor"),
        ("hw:", "OS::Nova::Flavor"),
        ("hw:hw:plain", "OS::Nova::Flavor"),
        ("plain", "OS::Glance::Image"),
        ("hw:plain", "OS::Elsewhere"),
        ("hw:plain", "nosuch"),
        ("hw:plain", "%F0%9F%98%80"),
    ):
        missing = await service.call("admin", "GET", f"{PROPERTIES}/{name}?resource_type={resource_type}")
        assert (missing.status_code, "Could not find metadata property" in missing.text) == (404, True)
    for query in ("x=y", "resource_type=", "limit=x"):
        assert (await service.call("admin", "GET", f"{PROPERTIES}/plain?{query}")).json() == PLAIN


SCHEMA = "Provided object does not match schema 'property'"
REFUSED: list[tuple[object, int, str]] = [
    ({**PLAIN, "created_at": "x"}, 403, "Attribute 'created_at' is read-only."),
    ({**PLAIN, "updated_at": "x"}, 403, "Attribute 'updated_at' is read-only."),
    ([], 400, SCHEMA),
    ({}, 400, SCHEMA),
    ({"name": "a", "type": "string"}, 400, SCHEMA),
    ({"name": "a", "title": "A"}, 400, SCHEMA),
    ({"type": "string", "title": "A"}, 400, SCHEMA),
    ({**PLAIN, "name": "x" * 81}, 400, SCHEMA),
    ({**PLAIN, "type": None}, 400, SCHEMA),
    ({**PLAIN, "type": "text"}, 400, SCHEMA),
    ({**PLAIN, "self": "x"}, 400, SCHEMA),
    ({**PLAIN, "confidential": True}, 400, SCHEMA),
    ({**PLAIN, "more": True}, 400, SCHEMA),
    ({**PLAIN, "required": []}, 400, SCHEMA),
    ({**PLAIN, "required": ["a", "a"]}, 400, SCHEMA),
    ({**PLAIN, "operators": "<in>"}, 400, SCHEMA),
    ({**PLAIN, "minimum": "1"}, 400, SCHEMA),
    ({**PLAIN, "minLength": -1}, 400, SCHEMA),
    ({**PLAIN, "maxItems": 1.5}, 400, SCHEMA),
    ({**PLAIN, "enum": [1]}, 400, SCHEMA),
    ({**PLAIN, "enum": ["a", None]}, 400, SCHEMA),
    ({**PLAIN, "items": {"enum": ["a"]}}, 400, SCHEMA),
    ({**PLAIN, "items": {"type": "string", "enum": [1]}}, 400, SCHEMA),
    ({**PLAIN, "readonly": "yes"}, 400, SCHEMA),
    ({**PLAIN, "title": "\U0001f600"}, 400, "can't contain 4 byte unicode characters."),
    ({**PLAIN, "name": "a\x00"}, 400, "NUL"),
]


@pytest.mark.parametrize(("body", "status", "text"), REFUSED)
async def test_refused_bodies(service: Service, body: object, status: int, text: str) -> None:
    await make_namespace(service)
    await create(service)
    for method, path in (("POST", PROPERTIES), ("PUT", f"{PROPERTIES}/plain")):
        refused = await service.call("admin", method, path, json=body)
        assert (refused.status_code, text in unescape(refused.text)) == (status, True), refused.text
    assert (await service.call("admin", "GET", PROPERTIES)).json() == {"properties": {"plain": PLAIN}}


async def test_bodies_that_are_none(service: Service) -> None:
    await make_namespace(service)
    await create(service)
    for method, path in (("POST", PROPERTIES), ("PUT", f"{PROPERTIES}/plain")):
        missing = await service.call("admin", method, path)
        assert (missing.status_code, "Body expected in request." in missing.text) == (400, True)
        malformed = await service.call("admin", method, path, content=b"{")
        assert (malformed.status_code, "Malformed JSON in request body" in malformed.text) == (400, True)
    for method, path in (("GET", PROPERTIES), ("DELETE", PROPERTIES), ("DELETE", f"{PROPERTIES}/plain")):
        unexpected = await service.call("admin", method, path, content=b"{}")
        assert (unexpected.status_code, "A body is not expected" in unexpected.text) == (400, True)
    assert (await service.call("admin", "GET", f"{PROPERTIES}/plain", content=b"{}")).status_code == 200


@pytest.mark.parametrize("name", ["nosuch", "a%2Fb", "%F0%9F%98%80"])
async def test_what_is_not_there(service: Service, name: str) -> None:
    await make_namespace(service)
    for method, body in (("GET", None), ("PUT", PLAIN), ("DELETE", None)):
        options = {} if body is None else {"json": body}
        assert (await service.call("admin", method, f"{PROPERTIES}/{name}", **options)).status_code == 404
        elsewhere = f"/v2/metadefs/namespaces/{name}/properties/plain"
        assert (await service.call("admin", method, elsewhere, **options)).status_code == 404
    for method, body in (("GET", None), ("POST", PLAIN), ("DELETE", None)):
        options = {} if body is None else {"json": body}
        elsewhere = f"/v2/metadefs/namespaces/{name}/properties"
        assert (await service.call("admin", method, elsewhere, **options)).status_code == 404


async def test_rows_of_others(service: Service) -> None:
    """What a file brought is served; what was damaged hides nothing else, and can be mended."""
    await make_namespace(service)
    for name in ("broken", "null", "filed"):
        await create(service, name=name)
    filed = '{"type": "string", "confidential": true, "default": 7, "unknown": 1}'
    for name, text in (("broken", "{"), ("null", "null"), ("filed", filed)):
        await service.services.database.write(
            lambda connection, name, text: connection.execute(
                update(metadef_properties).where(metadef_properties.c.name == name).values(json_schema=text)
            ),
            name,
            text,
        )
    listed = await service.call("admin", "GET", PROPERTIES)
    assert listed.json() == {"properties": {"filed": {"type": "string", "default": "7", "confidential": True}}}
    assert (await service.call("admin", "GET", f"{PROPERTIES}/broken")).status_code == 404
    assert (await service.call("admin", "PUT", f"{PROPERTIES}/broken", json={**PLAIN, "name": "broken"})).status_code
    assert await names(service) == ["broken", "filed"]


async def test_costs(service: Service) -> None:
    namespace = await make_namespace(service, Children(associations=[Association("OS::Nova::Flavor", "hw:")]))
    await service.services.database.write(
        lambda connection: connection.execute(
            insert(metadef_properties),
            [
                {"namespace_id": namespace.id, "name": f"p{number}", "json_schema": "{}", "created_at": NOW}
                for number in range(200)
            ],
        )
    )
    requests: list[tuple[str, str, dict[str, Any], int]] = [
        ("GET", "", {}, 2),
        ("GET", "/p1", {}, 2),
        ("GET", "/hw:p1?resource_type=OS::Nova::Flavor", {}, 3),
        ("POST", "", {"json": PLAIN}, 3),
        ("PUT", "/p2", {"json": {**PLAIN, "name": "p2"}}, 3),
        ("DELETE", "/p3", {}, 3),
        ("DELETE", "", {}, 3),
    ]
    for method, path, options, most in requests:
        with service.statements() as statements:
            answer = await service.call("admin", method, f"{PROPERTIES}{path}", **options)
        assert answer.status_code < 300
        asked = [each for each in statements if not each.startswith("BEGIN")]
        assert len(asked) <= most, (method, path, asked)


REQUESTS = [
    Asked("GET", "/properties", 200),
    Asked("GET", "/properties/plain", 200),
    Asked("GET", "/properties/hw:plain?resource_type=OS::Nova::Flavor", 200),
    Asked("POST", "/properties", 201, {**PLAIN, "name": "new"}),
    Asked("PUT", "/properties/plain", 200, PLAIN),
    Asked("DELETE", "/properties/plain", 204),
    Asked("DELETE", "/properties", 204),
]


@pytest.mark.parametrize("visibility", ["private", "public"])
@pytest.mark.parametrize("persona", personas.NAMES)
async def test_personas(service: Service, persona: str, visibility: str) -> None:
    associations = [Association("OS::Nova::Flavor", "hw:")]
    await make_namespace(service, Children(associations=associations), visibility=visibility)
    await create(service)
    for asked in REQUESTS:
        answer = await ask(service, persona, asked)
        assert answer.status_code == expected_status(persona, asked, public=visibility == "public"), asked


async def test_policies_decide(service: Service, settings: Settings) -> None:
    await make_namespace(service, Children(associations=[Association("OS::Nova::Flavor", "hw:")]))
    await create(service)
    settings.policy.policy_file.write_text('get_metadef_resource_type: "!"\nremove_metadef_property: "role:member"\n')
    refused = await service.call("owner", "GET", f"{PROPERTIES}/hw:plain?resource_type=OS::Nova::Flavor")
    text = "You are not authorized to complete get_metadef_resource_type action."
    assert (refused.status_code, text in refused.text) == (403, True)
    assert (await service.call("owner", "GET", f"{PROPERTIES}/plain")).status_code == 200
    assert (await service.call("reader", "DELETE", f"{PROPERTIES}/plain")).status_code == 403
    assert (await service.call("other", "DELETE", f"{PROPERTIES}/plain")).status_code == 404
    assert (await service.call("owner", "DELETE", f"{PROPERTIES}/plain")).status_code == 204
