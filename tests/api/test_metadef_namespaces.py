"""Namespaces of metadata definitions over HTTP (spec: metadefs-api §2 to §8)."""

import asyncio
import json
import re
from dataclasses import replace
from html import unescape
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import insert, update

from blick.conf.settings import Settings
from blick.db import tables
from tests.support import personas
from tests.support.databases import on_every_engine
from tests.support.metadef_requests import Asked, ask, expected_status, make_namespace
from tests.support.metadefs import NAMESPACES, definition, whole
from tests.support.service import Service

PATH = f"{NAMESPACES}/ns"


async def create(service: Service, name: str = "ns", who: str = "admin", **more: Any) -> dict[str, Any]:
    made = await service.call(who, "POST", NAMESPACES, json={"namespace": name, **more})
    assert made.status_code == 201, made.text
    document: dict[str, Any] = made.json()
    return document


async def show(service: Service, name: str = "ns", who: str = "admin") -> dict[str, Any]:
    shown = await service.call(who, "GET", f"{NAMESPACES}/{name}")
    assert shown.status_code == 200, shown.text
    document: dict[str, Any] = shown.json()
    return document


async def listed(service: Service, query: str = "", who: str = "admin") -> list[str]:
    answer = await service.call(who, "GET", f"{NAMESPACES}{query}")
    assert answer.status_code == 200, answer.text
    return [each["namespace"] for each in answer.json()["namespaces"]]


async def refused(service: Service, method: str, path: str, body: Any = None, who: str = "admin") -> tuple[int, str]:
    options = {} if body is None else {"json": body}
    answer = await service.call(who, method, path, headers={"accept": "application/json"}, **options)
    return answer.status_code, answer.json()["message"]


class TestCreate:
    async def test_with_nothing_but_a_name(self, service: Service) -> None:
        made = await service.call("admin", "POST", NAMESPACES, json={"namespace": "OS::Compute::X"})
        assert made.status_code == 201
        assert made.headers["location"] == f"http://images.test{NAMESPACES}/OS::Compute::X"
        document = made.json()
        moment = document["created_at"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", moment)
        assert list(document.items()) == [
            ("namespace", "OS::Compute::X"),
            ("visibility", "private"),
            ("protected", False),
            ("owner", "admin"),
            ("created_at", moment),
            ("updated_at", moment),
            ("self", f"{NAMESPACES}/OS::Compute::X"),
            ("schema", "/v2/schemas/metadefs/namespace"),
        ]
        assert await show(service, "OS::Compute::X") == document

    @on_every_engine
    async def test_with_all_that_may_lie_in_it(self, service: Service) -> None:
        body = whole(
            display_name="Namespace",
            description="é",
            visibility="public",
            protected=True,
            owner="p1",
            resource_type_associations=[
                {"name": "OS::Glance::Image", "prefix": "hw_"},
                {"name": "OS::Cinder::Volume", "properties_target": "image"},
            ],
            tags=[{"name": "first"}, {"name": "second"}],
        )
        made = await service.call("admin", "POST", NAMESPACES, json=body)
        assert made.status_code == 201, made.text
        document = made.json()
        assert list(document) == [
            "namespace", "display_name", "description", "visibility", "protected", "owner", "created_at", "updated_at",
            "resource_type_associations", "properties", "objects", "tags", "self", "schema",
        ]  # fmt: skip
        assert {name: document[name] for name in body} == body
        shown = await show(service)
        moment = shown["created_at"]
        times = {"created_at": moment, "updated_at": moment}
        assert shown == {
            **document,
            "resource_type_associations": [{**each, **times} for each in body["resource_type_associations"]],
            "objects": [
                {
                    **body["objects"][0],
                    **times,
                    "self": f"{PATH}/objects/o",
                    "schema": "/v2/schemas/metadefs/object",
                }
            ],
            "tags": [{"name": "second"}, {"name": "first"}],  # newest first
        }
        assert list(shown["objects"][0]) == [
            "name", "required", "properties", "created_at", "updated_at", "self", "schema"
        ]  # fmt: skip
        types = (await service.call("admin", "GET", "/v2/metadefs/resource_types")).json()["resource_types"]
        assert [each["name"] for each in types] == ["OS::Glance::Image", "OS::Cinder::Volume"]

    async def test_what_is_shown_of_properties(self, service: Service) -> None:
        full = {
            "additionalItems": True, "maxItems": 5, "minItems": 0, "uniqueItems": True,
            "items": {"type": "string", "enum": ["a"]}, "maxLength": 9, "minLength": 1, "pattern": "(",
            "enum": ["a", "b"], "maximum": 4, "minimum": 1, "readonly": False, "default": "a",
            "operators": ["<in>", "s=="], "description": "d", "title": "t", "type": "array",
        }  # fmt: skip
        await create(
            service,
            properties={
                "full": full,
                "number": definition(default=5, minimum=1.5),
                "flag": definition(default=True),
                "list": definition(default=[1]),
                "nothing": definition(default=None),
                "named": definition(name="other"),
            },
        )
        shown = (await show(service))["properties"]
        assert shown["full"] == full
        assert list(shown["full"]) == [
            "type", "title", "description", "operators", "default", "readonly", "minimum", "maximum", "enum", "pattern",
            "minLength", "maxLength", "items", "uniqueItems", "minItems", "maxItems", "additionalItems",
        ]  # fmt: skip
        assert (shown["number"]["default"], shown["number"]["minimum"]) == ("5", 1)
        assert shown["flag"]["default"] == "True"
        assert shown["list"]["default"] is None
        assert shown["nothing"]["default"] is None
        assert list(shown["named"]) == ["name", "type", "title"]

    @pytest.mark.parametrize("name", ["a b", "é", "a?b#c", "%41", "x" * 80])
    async def test_odd_names(self, service: Service, name: str) -> None:
        made = await service.call("admin", "POST", NAMESPACES, json={"namespace": name})
        assert made.json()["self"] == f"{NAMESPACES}/{name}"
        shown = await service.call("admin", "GET", made.headers["location"])
        assert shown.json()["namespace"] == name

    async def test_for_somebody_else(self, service: Service) -> None:
        await create(service, owner="p1")
        assert (await show(service, who="owner"))["owner"] == "p1"
        assert (await service.call("other", "GET", PATH)).status_code == 404

    @on_every_engine
    async def test_a_name_is_there_once(self, service: Service) -> None:
        await create(service, owner="p1")
        status, text = await refused(service, "POST", NAMESPACES, whole(owner="p2"))
        assert status == 409
        assert "The metadata definition namespace=ns already exists." in text
        assert "tags" not in await show(service)

    @on_every_engine
    @pytest.mark.parametrize(
        "twice",
        [
            {"objects": [{"name": "a"}, {"name": "b"}, {"name": "a"}]},
            {"tags": [{"name": "a"}, {"name": "a"}]},
            {"resource_type_associations": [{"name": "a"}, {"name": "a"}]},
        ],
        ids=lambda twice: next(iter(twice)),
    )
    async def test_all_or_nothing(self, service: Service, twice: dict[str, Any]) -> None:
        status, _ = await refused(service, "POST", NAMESPACES, whole(**twice))
        assert status == 409
        assert (await service.call("admin", "GET", PATH)).status_code == 404
        assert (await service.call("admin", "GET", "/v2/metadefs/resource_types")).json() == {"resource_types": []}
        await create(service)
        assert (await show(service)).keys().isdisjoint({"objects", "tags", "properties", "resource_type_associations"})

    @on_every_engine
    async def test_of_two_at_once_one_wins(self, service: Service) -> None:
        answers = await asyncio.gather(
            *(service.call("admin", "POST", NAMESPACES, json=whole(owner=f"p{number}")) for number in range(6))
        )
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [201, *[409] * 5]
        won = next(answer for answer in answers if answer.status_code == 201)
        shown = await show(service)
        assert (shown["owner"], len(shown["tags"]), len(shown["objects"])) == (won.json()["owner"], 1, 1)

    @on_every_engine
    async def test_many_namespaces_at_once_share_a_new_type(self, service: Service) -> None:
        answers = await asyncio.gather(
            *(service.call("admin", "POST", NAMESPACES, json=whole(f"ns{number}")) for number in range(6))
        )
        assert [answer.status_code for answer in answers] == [201] * 6
        types = (await service.call("admin", "GET", "/v2/metadefs/resource_types")).json()["resource_types"]
        assert [each["name"] for each in types] == ["rt"]

    async def test_each_part_has_a_rule(self, service: Service, settings: Settings) -> None:
        settings.policy.policy_file.write_text('add_metadef_tag: "!"\n')
        status, text = await refused(service, "POST", NAMESPACES, whole())
        assert status == 403
        assert "You are not authorized to complete add_metadef_tag action." in text
        assert await listed(service) == []
        await create(service, **{**whole(), "namespace": "ns", "tags": []})


P = definition()
OWN_RULES: list[tuple[Any, str]] = [
    ([], "is not of type object"),
    ({}, "'namespace' is missing"),
    ({"namespace": ""}, "at least 1 wanted"),
    ({"namespace": "a/b"}, "does not match the pattern"),
    ({"namespace": 5}, "5 is not of type string"),
    ({"namespace": "x" * 81}, "at most 80 wanted"),
    ({"namespace": "n", "display_name": "x" * 81}, "at most 80 wanted"),
    ({"namespace": "n", "description": "x" * 501}, "at most 500 wanted"),
    ({"namespace": "n", "description": None}, "null is not of type string"),
    ({"namespace": "n", "owner": "x" * 256}, "at most 255 wanted"),
    ({"namespace": "n", "visibility": "shared"}, "is not one of public, private"),
    ({"namespace": "n", "protected": "yes"}, "is not of type boolean"),
    ({"namespace": "n", "unknown": 1}, "is not known here"),
    ({"namespace": "n", "tags": {}}, "is not of type array"),
    ({"namespace": "n", "tags": [{}]}, "'name' is missing"),
    ({"namespace": "n", "tags": [{"name": "t", "more": 1}]}, "is not known here"),
    ({"namespace": "n", "tags": [{"name": "t" * 81}]}, "at most 80 wanted"),
    ({"namespace": "n", "tags": ["t"]}, "is not of type object"),
    ({"namespace": "n", "objects": [{}]}, "'name' is missing"),
    ({"namespace": "n", "objects": [{"name": "o", "self": "x"}]}, "is not known here"),
    ({"namespace": "n", "objects": [{"name": "o" * 81}]}, "at most 80 wanted"),
    ({"namespace": "n", "objects": [{"name": "o", "required": ["a", "a"]}]}, "occurs twice"),
    ({"namespace": "n", "objects": [{"name": "o", "properties": {"p": {}}}]}, "is missing"),
    ({"namespace": "n", "resource_type_associations": [{}]}, "'name' is missing"),
    ({"namespace": "n", "resource_type_associations": [{"name": "x" * 81}]}, "at most 80 wanted"),
    ({"namespace": "n", "resource_type_associations": [{"name": "x", "prefix": "x" * 81}]}, "at most 80 wanted"),
    ({"namespace": "n", "resource_type_associations": [{"name": "x", "created_at": "x"}]}, "is not known here"),
    ({"namespace": "n", "properties": {"p" * 81: P}}, "at most 80 wanted"),
    ({"namespace": "n", "properties": []}, "is not of type object"),
    ({"namespace": "n", "properties": {"p": {"type": "string"}}}, "'title' is missing"),
    ({"namespace": "n", "properties": {"p": {"title": "t"}}}, "'type' is missing"),
    ({"namespace": "n", "properties": {"p": {**P, "type": "text"}}}, "is not one of"),
    ({"namespace": "n", "properties": {"p": {**P, "type": None}}}, "is not of type string"),
    ({"namespace": "n", "properties": {"p": {**P, "unknown": 1}}}, "is not known here"),
    ({"namespace": "n", "properties": {"p": {**P, "confidential": True}}}, "is not known here"),
    ({"namespace": "n", "properties": {"p": {**P, "enum": [1]}}}, "1 is not of type string"),
    ({"namespace": "n", "properties": {"p": {**P, "items": {"enum": ["a"]}}}}, "'type' is missing"),
    ({"namespace": "n", "properties": {"p": {**P, "items": {"type": "string", "more": 1}}}}, "is not known here"),
    ({"namespace": "n", "properties": {"p": {**P, "minLength": -1}}}, "less than allowed"),
    ({"namespace": "n", "properties": {"p": {**P, "maximum": "5"}}}, "is not of type number"),
    ({"namespace": "n", "properties": {"p": {**P, "operators": [1]}}}, "is not of type string"),
    ({"namespace": "n", "properties": {"p": {**P, "uniqueItems": 1}}}, "is not of type boolean"),
]


class TestBodies:
    """The same for a new namespace and for one that is replaced; nothing is changed by what is refused."""

    @pytest.mark.parametrize(("body", "complaint"), OWN_RULES, ids=lambda value: json.dumps(value)[:60])
    async def test_what_does_not_match_the_schema(self, service: Service, body: Any, complaint: str) -> None:
        before = await create(service, owner="p1")
        for method, path in (("POST", NAMESPACES), ("PUT", PATH)):
            status, text = await refused(service, method, path, body)
            assert status == 400
            assert "Provided object does not match schema 'namespace': " in unescape(text)
            assert complaint in unescape(text)
        assert await listed(service) == ["ns"]
        assert await show(service) == before

    @pytest.mark.parametrize("name", ["self", "schema", "created_at", "updated_at"])
    async def test_read_only(self, service: Service, name: str) -> None:
        await create(service)
        for method, path in (("POST", NAMESPACES), ("PUT", PATH)):
            status, text = await refused(service, method, path, {"namespace": 5, name: "x"})  # before all else
            assert status == 403
            assert f"Attribute '{name}' is read-only." in unescape(text)

    @pytest.mark.parametrize(
        "body",
        [
            {"namespace": "😀"},
            {"namespace": "n", "description": "a😀"},
            {"namespace": "n", "tags": [{"name": "😀"}]},
            {"namespace": "n", "properties": {"😀": P}},
            {"namespace": "n", "properties": {"p": {**P, "default": "😀"}}},
        ],
    )
    async def test_characters_of_four_bytes(self, service: Service, body: Any) -> None:
        await create(service)
        for method, path in (("POST", NAMESPACES), ("PUT", PATH)):
            status, text = await refused(service, method, path, body)
            assert (status, "can't contain 4 byte unicode characters." in unescape(text)) == (400, True)

    @pytest.mark.parametrize("text", ["a\x00b", "\\ud800"])
    async def test_what_is_no_text(self, service: Service, text: str) -> None:
        written = json.dumps({"namespace": text}).replace("\\\\", "\\").encode()
        answer = await service.call("admin", "POST", NAMESPACES, content=written)
        assert answer.status_code == 400

    async def test_no_json(self, service: Service) -> None:
        await create(service)
        for method, path in (("POST", NAMESPACES), ("PUT", PATH)):
            for content, complaint in (
                (b"", "Body expected in request."),
                (b"{", "Malformed JSON in request body"),
                (b'"text"', "must be a JSON object"),
            ):
                answer = await service.call("admin", method, path, content=content)
                assert (answer.status_code, complaint in answer.text) == (400, True)

    async def test_the_content_type_says_nothing(self, service: Service) -> None:
        made = await service.call(
            "admin", "POST", NAMESPACES, content=b'{"namespace": "n"}', headers={"content-type": "text/plain"}
        )
        assert made.status_code == 201


class TestShow:
    async def test_as_on_a_type_of_resources(self, service: Service) -> None:
        await create(
            service, **{**whole(), "resource_type_associations": [{"name": "rt", "prefix": "x_"}, {"name": "bare"}]}
        )
        plain = await show(service)
        shown = (await service.call("admin", "GET", f"{PATH}?resource_type=rt")).json()
        assert list(shown["properties"]) == ["x_p"]
        assert shown["objects"][0]["required"] == ["x_q"]
        assert list(shown["objects"][0]["properties"]) == ["x_q"]
        assert shown["properties"]["x_p"] == plain["properties"]["p"]
        for query in (
            "?resource_type=bare",
            "?resource_type=unknown",
            "?resource_type=",
            "?other=1",
            "?visibility=public",
        ):
            assert (await service.call("admin", "GET", PATH + query)).json() == plain

    async def test_a_visibility_that_is_none(self, service: Service) -> None:
        for path in (PATH, f"{NAMESPACES}/none"):
            status, text = await refused(service, "GET", f"{path}?visibility=shared")
            assert (status, "Invalid visibility value: shared" in text) == (400, True)

    async def test_it_is_not_there(self, service: Service) -> None:
        status, text = await refused(service, "GET", f"{NAMESPACES}/none")
        assert (status, "Metadata definition namespace=none was not found." in text) == (404, True)

    @on_every_engine
    async def test_malformed_rows_are_left_out(self, service: Service, caplog: pytest.LogCaptureFixture) -> None:
        """And what other software put there is shown as far as it can be."""
        await create(
            service,
            objects=[{"name": name} for name in ("broken", "null", "partly", "surrogate", "good")],
            properties=dict.fromkeys(("broken", "list", "deep", "good", "foreign"), P),
        )
        foreign = {**P, "enum": [1, "b"], "default": 5, "minimum": 1.5, "confidential": True, "x-own": 1, "title": None}
        objects, properties = tables.metadef_objects, tables.metadef_properties
        with service.services.database.engine.begin() as connection:
            for table, name, text in (
                (objects, "broken", "{"),
                (objects, "null", "null"),
                (objects, "surrogate", json.dumps({"a": {**P, "title": "\ud800"}})),
                (objects, "partly", json.dumps({"a": P, "b": 5})),
                (properties, "broken", ""),
                (properties, "list", "[]"),
                (properties, "deep", '{"default":' + "[" * 20_000 + "]" * 20_000 + "}"),
                (properties, "foreign", json.dumps(foreign)),
            ):
                connection.execute(update(table).where(table.c.name == name).values(json_schema=text))
            connection.execute(
                update(tables.metadef_namespaces).values(visibility=None, protected=None, updated_at=None)
            )
        shown = await show(service)
        assert shown["properties"] == {
            "good": P,
            "foreign": {
                "type": "string",
                "default": "5",
                "minimum": 1.5,
                "enum": [1, "b"],
                "confidential": True,
            },
        }
        assert {each["name"]: each["properties"] for each in shown["objects"]} == {
            "null": {},
            "partly": {"a": P},
            "good": {},
        }
        assert shown.keys().isdisjoint({"visibility", "protected", "updated_at"})
        assert await listed(service) == ["ns"]
        left_out = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
        assert len(left_out) == 6


class TestReplace:
    @on_every_engine
    async def test_everything_but_what_lies_in_it(self, service: Service) -> None:
        before = await create(
            service, **{**whole(), "display_name": "D", "description": "d", "visibility": "public", "protected": True}
        )
        body = {"namespace": "new", "tags": [{"name": "other"}], "objects": [{"name": "other"}]}
        changed = await service.call("admin", "PUT", PATH, json={**body, "owner": "p1"})
        assert changed.status_code == 200, changed.text
        document = changed.json()
        assert list(document.items()) == [
            ("namespace", "new"),
            ("visibility", "private"),
            ("protected", False),
            ("owner", "p1"),
            ("created_at", before["created_at"]),
            ("updated_at", document["updated_at"]),
            ("self", f"{NAMESPACES}/new"),
            ("schema", "/v2/schemas/metadefs/namespace"),
        ]
        shown = await show(service, "new")
        assert {name: shown[name] for name in document} == document
        assert [each["name"] for each in shown["tags"]] == ["t"]
        assert [each["name"] for each in shown["objects"]] == ["o"]
        assert (await service.call("admin", "GET", PATH)).status_code == 404
        without_owner = await service.call("admin", "PUT", f"{NAMESPACES}/new", json={"namespace": "new"})
        assert without_owner.json()["owner"] == "admin"

    @on_every_engine
    async def test_onto_a_name_that_is_taken(self, service: Service) -> None:
        await create(service, "taken")
        before = await create(service)
        status, text = await refused(service, "PUT", PATH, {"namespace": "taken"})
        assert (status, "duplicate metadata definition namespace with the same name of taken" in text) == (409, True)
        assert await show(service) == before

    async def test_protection_can_be_taken_away(self, service: Service) -> None:
        await create(service, protected=True)
        assert (await service.call("admin", "DELETE", PATH)).status_code == 403
        assert (await service.call("admin", "PUT", PATH, json={"namespace": "ns"})).status_code == 200
        assert (await service.call("admin", "DELETE", PATH)).status_code == 204


class TestDelete:
    @on_every_engine
    async def test_with_all_that_lies_in_it(self, service: Service) -> None:
        await create(service, **whole())
        kept = await create(service, "kept", **{**whole(), "namespace": "kept"})
        answer = await service.call("admin", "DELETE", PATH)
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["content-type"] == "text/html; charset=UTF-8"
        assert (await service.call("admin", "DELETE", PATH)).status_code == 404
        assert {name: (await show(service, "kept"))[name] for name in ("namespace", "tags")} == {
            name: kept[name] for name in ("namespace", "tags")
        }
        types = (await service.call("admin", "GET", "/v2/metadefs/resource_types")).json()["resource_types"]
        assert [each["name"] for each in types] == ["rt"]
        await create(service)
        assert (await show(service)).keys().isdisjoint({"objects", "tags", "properties", "resource_type_associations"})

    async def test_what_is_protected_stays(self, service: Service) -> None:
        await create(service, **{**whole(), "protected": True})
        before = await show(service)
        status, text = await refused(service, "DELETE", PATH)
        assert status == 403
        assert "Metadata definition namespace ns is protected and cannot be deleted." in text
        assert await show(service) == before


class TestList:
    @on_every_engine
    async def test_what_is_shown(self, service: Service) -> None:
        await create(service, **whole())
        await create(service, "other")
        answer = (await service.call("admin", "GET", NAMESPACES)).json()
        assert list(answer) == ["namespaces", "schema", "first"]
        assert (answer["schema"], answer["first"]) == ("/v2/schemas/metadefs/namespaces", NAMESPACES)
        other, whole_one = answer["namespaces"]
        assert other == await show(service, "other")
        full = await show(service)
        assert whole_one == {
            name: value for name, value in full.items() if name not in ("properties", "objects", "tags")
        }

    @on_every_engine
    async def test_by_pages(self, service: Service) -> None:
        """Each once, in order, whatever it is sorted by and however many have the same value."""
        for number in range(7):
            texts = {"description": "d"} if number % 3 == 0 else {"display_name": f"D{number % 2}"}
            await create(service, f"ns{number}", visibility=("public", "private")[number % 2], **texts)
        every = [f"ns{number}" for number in range(7)]
        assert await listed(service) == every[::-1]
        for key in ("namespace", "display_name", "description", "visibility", "protected", "owner", "id", "updated_at"):
            for direction in ("asc", "desc"):
                found: list[str] = []
                path = f"{NAMESPACES}?limit=2&sort_key={key}&sort_dir={direction}&other=a%20b"
                while path:
                    answer = (await service.call("admin", "GET", path)).json()
                    assert answer["first"] == f"{NAMESPACES}?limit=2&sort_key={key}&sort_dir={direction}&other=a+b"
                    page = [each["namespace"] for each in answer["namespaces"]]
                    assert ("next" in answer) == (len(page) == 2)
                    found += page
                    path = answer.get("next", "")
                assert sorted(found) == every
                whole_list = await listed(service, f"?sort_key={key}&sort_dir={direction}")
                assert found == whole_list
        assert await listed(service, "?sort_key=namespace&sort_dir=asc") == every

    async def test_a_marker_with_odd_characters(self, service: Service) -> None:
        await create(service, "a")
        await create(service, "é &?#")
        answer = (await service.call("admin", "GET", f"{NAMESPACES}?limit=1")).json()
        assert answer["next"] == f"{NAMESPACES}?limit=1&marker={quote('é &?#').replace('%20', '+')}"
        assert [
            each["namespace"] for each in (await service.call("admin", "GET", answer["next"])).json()["namespaces"]
        ] == ["a"]

    async def test_how_long_a_page_is(self, service: Service, settings: Settings) -> None:
        with service.services.database.engine.begin() as connection:
            now = service.services.now()
            rows = [
                {
                    "namespace": f"n{number:04}",
                    "visibility": "public",
                    "owner": "p1",
                    "protected": False,
                    "created_at": now,
                }
                for number in range(settings.api.api_limit_max + 1)
            ]
            connection.execute(insert(tables.metadef_namespaces), rows)
        assert len(await listed(service)) == settings.api.limit_param_default == 25
        assert len(await listed(service, "?limit=5000")) == settings.api.api_limit_max == 1000
        empty = (await service.call("admin", "GET", f"{NAMESPACES}?limit=0")).json()
        assert (empty["namespaces"], "next" in empty) == ([], False)

    @on_every_engine
    async def test_filters(self, service: Service) -> None:
        await create(service, "a", visibility="public", resource_type_associations=[{"name": "r1"}, {"name": "r2"}])
        await create(service, "b", resource_type_associations=[{"name": "r2"}])
        await create(service, "c", visibility="public")
        for query, expected in (
            ("visibility=public", ["c", "a"]),
            ("visibility=private", ["b"]),
            ("visibility=", []),
            ("resource_types=r1", ["a"]),
            ("resource_types=r1,r2", ["b", "a"]),
            ("resource_types=r2&visibility=public", ["a"]),
            ("resource_types=none", []),
            ("resource_types=", []),
            ("owner=nobody&name=x&limit=10", ["c", "b", "a"]),
            ("limit=1&limit=2", ["c"]),
        ):
            assert await listed(service, f"?{query}") == expected, query
        one = (await service.call("admin", "GET", f"{NAMESPACES}?resource_types=r1")).json()["namespaces"][0]
        assert [each["name"] for each in one["resource_type_associations"]] == ["r1", "r2"]

    @pytest.mark.parametrize(
        ("query", "status", "complaint"),
        [
            ("limit=-1", 400, "limit param must be positive"),
            ("limit=x", 400, "limit param must be an integer"),
            ("limit=", 400, "limit param must be an integer"),
            ("sort_key=unknown", 400, "Sort key supplied was not valid"),
            ("sort_key=", 400, "Sort key supplied was not valid"),
            ("sort_dir=up", 400, "Invalid sort direction: up"),
            ("visibility=shared", 400, "Invalid visibility value: shared"),
            ("marker=unknown", 404, "unknown"),
            ("marker=", 404, "was not found"),
            ("marker=a%00b", 400, "NUL"),
            ("resource_types=%00", 400, "NUL"),
            ("marker=%ff", 400, "UTF-8"),
        ],
    )
    async def test_bad_queries(self, service: Service, query: str, status: int, complaint: str) -> None:
        await create(service)
        answer = await service.call("admin", "GET", f"{NAMESPACES}?{query}")
        assert (answer.status_code, complaint in answer.text) == (status, True), answer.text

    @on_every_engine
    async def test_everybody_sees_their_own_and_what_is_public(self, service: Service) -> None:
        await create(service, "public", owner="p9", visibility="public")
        await create(service, "mine", owner="p1")
        await create(service, "theirs", owner="p9")
        assert await listed(service) == ["theirs", "mine", "public"]
        assert await listed(service, who="owner") == ["mine", "public"]
        assert await listed(service, who="reader") == ["mine", "public"]
        assert await listed(service, who="other") == ["public"]
        assert await listed(service, "?visibility=private", who="other") == []
        for marker in ("theirs", "unknown"):
            status, text = await refused(service, "GET", f"{NAMESPACES}?marker={marker}", who="owner")
            assert (status, f"Metadata definition namespace={marker} was not found." in text) == (404, True)
        assert await listed(service, "?marker=mine", who="owner") == ["public"]

    async def test_what_a_rule_hides_is_left_out(self, service: Service, settings: Settings) -> None:
        """And the pages go on behind it."""
        for number in range(6):
            await create(service, f"ns{number}", owner=f"p{number % 2}", visibility="public")
        settings.policy.policy_file.write_text('get_metadef_namespace: "project_id:%(project_id)s"\n')
        answer = (await service.call("owner", "GET", f"{NAMESPACES}?limit=2")).json()
        found = []
        while True:
            found += [each["namespace"] for each in answer["namespaces"]]
            if "next" not in answer:
                break
            answer = (await service.call("owner", "GET", answer["next"])).json()
        assert found == ["ns5", "ns3", "ns1"]

    @pytest.mark.parametrize("rule", ["get_metadef_namespaces", "list_metadef_resource_types"])
    async def test_who_may_not_list(self, service: Service, settings: Settings, rule: str) -> None:
        settings.policy.policy_file.write_text(f'{rule}: "!"\n')
        status, text = await refused(service, "GET", NAMESPACES, who="owner")
        assert (status, f"You are not authorized to complete {rule} action." in text) == (403, True)
        assert (await service.call("roleless", "GET", NAMESPACES)).status_code == 404


class TestResourceTypes:
    @on_every_engine
    async def test_associations(self, service: Service) -> None:
        await create(service)
        place = f"{PATH}/resource_types"
        assert (await service.call("admin", "GET", place)).json() == {"resource_type_associations": []}
        made = await service.call(
            "admin", "POST", place, json={"name": "OS::Nova::Server", "prefix": "p", "properties_target": "metadata"}
        )
        assert (made.status_code, "location" in made.headers) == (201, False)
        first = made.json()
        assert list(first) == ["name", "prefix", "properties_target", "created_at", "updated_at"]
        second = (await service.call("admin", "POST", place, json={"name": "other"})).json()
        assert list(second) == ["name", "created_at", "updated_at"]
        both = {"resource_type_associations": [first, second]}
        assert (await service.call("admin", "GET", place)).json() == both
        status, text = await refused(service, "POST", place, {"name": "other", "prefix": "x"})
        assert (status, "resource-type=other" in text) == (409, True)
        assert (await service.call("admin", "GET", place)).json() == both
        assert (await service.call("admin", "DELETE", f"{place}/OS::Nova::Server")).status_code == 204
        status, text = await refused(service, "DELETE", f"{place}/OS::Nova::Server")
        assert (status, "Failed to find resource type OS::Nova::Server to delete" in text) == (404, True)
        assert (await service.call("admin", "GET", place)).json() == {"resource_type_associations": [second]}
        types = (await service.call("owner", "GET", "/v2/metadefs/resource_types")).json()["resource_types"]
        assert [list(each) for each in types] == [["name", "created_at", "updated_at"]] * 2
        assert [each["name"] for each in types] == ["OS::Nova::Server", "other"]
        again = await service.call("admin", "POST", place, json={"name": "OS::Nova::Server"})
        assert again.status_code == 201

    async def test_of_a_protected_namespace(self, service: Service) -> None:
        await create(service, **{**whole(), "protected": True})
        place = f"{PATH}/resource_types"
        assert (await service.call("admin", "POST", place, json={"name": "new"})).status_code == 201
        status, text = await refused(service, "DELETE", f"{place}/rt")
        assert status == 403
        assert "Metadata definition resource-type-association rt is protected and cannot be deleted." in text
        assert (await service.call("admin", "DELETE", f"{place}/none")).status_code == 404
        found = (await service.call("admin", "GET", place)).json()["resource_type_associations"]
        assert [each["name"] for each in found] == ["rt", "new"]

    @pytest.mark.parametrize(
        ("body", "status", "complaint"),
        [
            ([], 400, "is not of type object"),
            ({}, 400, "'name' is missing"),
            ({"name": 5}, 400, "is not of type string"),
            ({"name": "x" * 81}, 400, "at most 80 wanted"),
            ({"name": "x", "prefix": "x" * 81}, 400, "at most 80 wanted"),
            ({"name": "x", "properties_target": "x" * 81}, 400, "at most 80 wanted"),
            ({"name": "x", "unknown": 1}, 400, "is not known here"),
            ({"name": "x\x00"}, 400, "NUL"),
            ({"name": 5, "created_at": "x"}, 403, "Attribute 'created_at' is read-only."),
            ({"name": 5, "updated_at": "x"}, 403, "Attribute 'updated_at' is read-only."),
        ],
    )
    async def test_bodies(self, service: Service, body: Any, status: int, complaint: str) -> None:
        await create(service)
        got, text = await refused(service, "POST", f"{PATH}/resource_types", body)
        assert (got, complaint in unescape(text)) == (status, True), text
        if got == 400 and "NUL" not in text:
            assert "schema 'resource_type_association': " in unescape(text)
        assert (await service.call("admin", "GET", "/v2/metadefs/resource_types")).json() == {"resource_types": []}

    async def test_characters_of_four_bytes_are_not_looked_for(self, service: Service) -> None:
        await create(service)
        made = await service.call("admin", "POST", f"{PATH}/resource_types", json={"name": "😀"})
        assert made.status_code == 201
        gone = await service.call("admin", "DELETE", f"{PATH}/resource_types/{quote('😀')}")
        assert gone.status_code == 204

    @on_every_engine
    async def test_of_two_at_once_one_wins(self, service: Service) -> None:
        await create(service)
        answers = await asyncio.gather(
            *(
                service.call("admin", "POST", f"{PATH}/resource_types", json={"name": "rt", "prefix": str(number)})
                for number in range(6)
            )
        )
        assert sorted(answer.status_code for answer in answers) == [201, *[409] * 5]
        found = (await service.call("admin", "GET", f"{PATH}/resource_types")).json()["resource_type_associations"]
        assert found == [next(answer.json() for answer in answers if answer.status_code == 201)]


CALLS = [
    Asked("GET", "", 200),
    Asked("PUT", "", 200, {"namespace": "OS::Compute::Test", "owner": personas.OWNER_PROJECT}),
    Asked("GET", "/resource_types", 200),
    Asked("POST", "/resource_types", 201, {"name": "rt"}),
    Asked("DELETE", "/resource_types/rt", 204),
    Asked("DELETE", "", 204),
]


@pytest.mark.parametrize("visibility", ["public", "private"])
async def test_who_gets_which_answer(service: Service, visibility: str) -> None:
    """Only admins change anything; to others what they may not see is not there, whatever they ask of it."""
    body = {"visibility": visibility}
    await make_namespace(service, visibility=visibility)
    for asked in CALLS:
        if asked.method == "PUT":
            asked = Asked(asked.method, asked.path, asked.status, {**asked.body, **body})
        for persona in reversed(personas.NAMES):  # the admin last
            answer = await ask(service, persona, asked)
            expected = expected_status(persona, asked, public=visibility == "public")
            assert answer.status_code == expected, (persona, asked, answer.text)


@pytest.mark.parametrize("visibility", ["public", "private"])
async def test_what_is_hidden_is_told_from_what_is_not_there_by_nothing(service: Service, visibility: str) -> None:
    await make_namespace(service, visibility=visibility)
    who = "roleless" if visibility == "public" else "stranger"
    for asked in CALLS:
        options = {} if asked.body is None else {"json": asked.body}
        hidden = await service.call(who, asked.method, f"{NAMESPACES}/OS::Compute::Test{asked.path}", **options)
        absent = await service.call(who, asked.method, f"{NAMESPACES}/OS::Compute::None{asked.path}", **options)
        assert (hidden.status_code, absent.status_code) == (404, 404)
        assert hidden.text.replace("Test", "None") == absent.text


@pytest.mark.parametrize(
    ("persona", "status"),
    [
        ("admin", 201), ("owner", 403), ("owner-reader", 403), ("other", 403), ("service", 404), ("roleless", 404),
        ("anonymous", 401),
    ],
)  # fmt: skip
async def test_who_may_make_one(service: Service, persona: str, status: int) -> None:
    headers = personas.headers_of(persona)
    answer = await service.client.post(NAMESPACES, json={"namespace": "n"}, headers=headers)
    assert answer.status_code == status
    assert await listed(service) == (["n"] if status == 201 else [])


@pytest.mark.parametrize(
    ("persona", "status"),
    [("admin", 200), ("owner-reader", 200), ("other", 200), ("service", 404), ("roleless", 404), ("anonymous", 401)],
)
async def test_who_may_list(service: Service, persona: str, status: int) -> None:
    await make_namespace(service, visibility="public")
    headers = personas.headers_of(persona)
    for path in (NAMESPACES, "/v2/metadefs/resource_types"):
        assert (await service.client.get(path, headers=headers)).status_code == status


async def test_a_caller_without_a_project_needs_an_owner(service: Service, settings: Settings) -> None:
    settings.policy.policy_file.write_text('metadef_admin: "role:admin"\ncontext_is_admin: "role:admin"\n')
    headers = {"x-user-id": "u", "x-roles": "admin,reader"}
    without = await service.client.post(NAMESPACES, json={"namespace": "n"}, headers=headers)
    assert (without.status_code, "needs an owner" in without.text) == (400, True)
    named = await service.client.post(NAMESPACES, json={"namespace": "n", "owner": "p1"}, headers=headers)
    assert named.status_code == 201


class TestAnonymous:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, api=replace(settings.api, allow_anonymous_access=True))

    async def test_it_sees_nothing_by_default(self, service: Service) -> None:
        await make_namespace(service, visibility="public")
        for asked in CALLS:
            assert (await ask(service, "anonymous", asked)).status_code == 404
        for method in ("GET", "POST"):
            options = {"json": {"namespace": "n"}} if method == "POST" else {}
            assert (await service.client.request(method, NAMESPACES, **options)).status_code == 404

    async def test_it_changes_nothing_whatever_the_rules(self, service: Service, settings: Settings) -> None:
        rules = ("get_metadef_namespace", "metadef_admin", "get_metadef_namespaces", "list_metadef_resource_types")
        settings.policy.policy_file.write_text("".join(f'{rule}: "@"\n' for rule in rules))
        await make_namespace(service, visibility="public")
        before = await show(service, "OS::Compute::Test")
        for asked in CALLS:
            if asked.method != "GET":
                assert (await ask(service, "anonymous", asked)).status_code == 403
        assert (await service.client.post(NAMESPACES, json={"namespace": "n"})).status_code == 403
        assert (await service.client.get(NAMESPACES)).json()["namespaces"][0]["namespace"] == "OS::Compute::Test"
        assert await show(service, "OS::Compute::Test") == before


class TestCosts:
    """Statements, whatever the number of namespaces and of what lies in them."""

    async def test_reading(self, service: Service) -> None:
        with service.services.database.engine.begin() as connection:
            now = service.services.now()
            rows = [
                {"id": number, "namespace": f"n{number}", "visibility": "public", "owner": "p1", "created_at": now}
                for number in range(1, 1001)
            ]
            connection.execute(insert(tables.metadef_namespaces), rows)
            connection.execute(
                insert(tables.metadef_resource_types), {"id": 1, "name": "rt", "protected": False, "created_at": now}
            )
            links = [{"namespace_id": row["id"], "resource_type_id": 1, "created_at": now} for row in rows]
            connection.execute(insert(tables.metadef_namespace_resource_types), links)
            text = json.dumps(P)
            inside = [
                {"namespace_id": row["id"], "name": f"p{number}", "json_schema": text, "created_at": now}
                for row in rows
                for number in range(50)
            ]
            connection.execute(insert(tables.metadef_properties), inside)
        for who, path, most, count in (
            ("owner", f"{NAMESPACES}?limit=1000", 1, 1000),
            ("admin", f"{NAMESPACES}?limit=999&marker=n1000&sort_key=id", 2, 999),
            ("owner", f"{NAMESPACES}/n7", 2, 50),
        ):
            with service.statements() as seen:
                answer = await service.call(who, "GET", path)
            statements = [statement for statement in seen if not statement.startswith("BEGIN")]
            assert len(statements) <= most, statements
            document = answer.json()
            if "namespaces" in document:
                assert not any("metadef_properties" in statement for statement in statements)
                assert [len(each["resource_type_associations"]) for each in document["namespaces"]] == [1] * count
            else:
                assert len(document["properties"]) == count
