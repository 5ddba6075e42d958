"""The OpenAPI document: valid, complete, and true of the answers that this service gives."""

import re
from dataclasses import replace
from typing import Any, Literal

import httpx
import jsonschema
import pytest
import schemathesis
from jsonschema import Draft202012Validator

from blick.http.app import App
from blick.http.routes import ROUTES
from tests.support.callers import HeaderIdentity
from tests.support.metadefs import NAMESPACES, whole
from tests.support.service import OCTETS, PATCH_2_1, Service

PATHS = {f"/v2{route.path}" for route in ROUTES}


async def document(service: Service) -> dict[str, Any]:
    answer = await service.call("anonymous", "GET", "/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, Any] = answer.json()
    return found


async def test_it_is_a_valid_document(service: Service) -> None:
    found = await document(service)
    assert found["openapi"] == "3.1.0"
    schemathesis.openapi.from_dict(found).validate()
    for shape in found["components"]["schemas"].values():
        Draft202012Validator.check_schema(shape)


async def test_it_names_every_route_and_where_the_service_is(service: Service) -> None:
    found = await document(service)
    assert found["paths"].keys() >= PATHS
    for route in ROUTES:
        described = found["paths"][f"/v2{route.path}"]
        assert described.keys() == {method.lower() for method in route.calls}
        for method, call in route.calls.items():
            operation = described[method.lower()]
            assert operation["summary"] == call.about
            assert tuple(operation.get("x-policy-rules", ())) == call.rules
            placeholders = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
            assert placeholders == set(re.findall(r"\{(\w+)\}", route.path))
    assert found["servers"] == [{"url": "http://images.test"}]
    names = [each["operationId"] for path in found["paths"].values() for each in path.values() if "operationId" in each]
    assert len(set(names)) == len(names)


async def test_what_was_made_leads_to_what_can_be_done_with_it(service: Service) -> None:
    paths = (await document(service))["paths"]
    operations = {each["operationId"] for path in paths.values() for each in path.values() if "operationId" in each}
    of_image = paths["/v2/images"]["post"]["responses"]["201"]["links"]
    of_member = paths["/v2/images/{image_id}/members"]["post"]["responses"]["200"]["links"]
    assert {"patch_images_image_id", "put_images_image_id_file", "post_images_image_id_members"} <= of_image.keys()
    assert of_member.keys() == {f"{each}_images_image_id_members_member_id" for each in ("get", "put", "delete")}
    assert {link["operationId"] for link in (*of_image.values(), *of_member.values())} <= operations


@pytest.mark.parametrize(("kind", "security"), [("none", []), ("keystone", [{"token": []}])])
async def test_it_asks_for_a_token_where_the_service_does(
    service: Service, kind: Literal["none", "keystone"], security: list[Any]
) -> None:
    # How the callers of these tests are known is not what this service is configured for.
    settings = service.services.settings
    identity = replace(settings.identity, kind=kind)
    configured = replace(service.services, settings=replace(settings, identity=identity))
    app = App(configured, HeaderIdentity(), {})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://images.test") as client:
        assert (await client.get("/openapi.json")).json()["security"] == security


async def test_every_shape_is_there_and_used(service: Service) -> None:
    found = await document(service)
    references = set(re.findall(r"#/components/schemas/(\w+)", str(found)))
    assert references == found["components"]["schemas"].keys()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_it_can_only_be_read(service: Service, method: str) -> None:
    answer = await service.call("admin", method, "/openapi.json")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_answers_are_as_it_says(service: Service) -> None:
    found = await document(service)

    def check(name: str, instance: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": found["components"]}
        jsonschema.validate(instance, schema, cls=Draft202012Validator)

    image = await service.create_active(b"data", tags=["t"], os_distro="x")
    path = f"/v2/images/{image['id']}"
    check("image", image)
    check("images", (await service.call("owner", "GET", "/v2/images?limit=1")).json())
    check("member", (await service.call("owner", "POST", f"{path}/members", json={"member": "p2"})).json())
    check("members", (await service.call("owner", "GET", f"{path}/members")).json())
    check("usage", (await service.call("owner", "GET", "/v2/info/usage")).json())
    check("import_methods", (await service.call("owner", "GET", "/v2/info/import")).json())
    made = await service.call("admin", "POST", "/v2/tasks", json={"type": "location_import", "input": {}})
    check("task", made.json())
    check("tasks", (await service.call("admin", "GET", "/v2/tasks?limit=1")).json())
    check("image_tasks", (await service.call("owner", "GET", f"{path}/tasks")).json())
    check("versions", (await service.call("anonymous", "GET", "/versions")).json())
    check("json_schema", (await service.call("owner", "GET", "/v2/schemas/tasks")).json())
    check("json_schema", (await service.call("owner", "GET", "/v2/schemas/metadefs/namespaces")).json())
    check("metadef_namespace", (await service.call("admin", "POST", NAMESPACES, json=whole())).json())
    for name, place in (
        ("metadef_namespace", "/ns"),
        ("metadef_namespaces", ""),
        ("metadef_associations", "/ns/resource_types"),
        ("metadef_objects", "/ns/objects"),
        ("metadef_properties", "/ns/properties"),
        ("metadef_tags", "/ns/tags"),
    ):
        check(name, (await service.call("admin", "GET", f"{NAMESPACES}{place}")).json())
    check("metadef_resource_types", (await service.call("admin", "GET", "/v2/metadefs/resource_types")).json())
    check("new_metadef_namespace", whole())
    refused = await service.call("owner", "GET", "/v2/images/nothing", headers={"accept": "application/json"})
    check("error", refused.json())
    patched = await service.call("owner", "PATCH", path, headers=PATCH_2_1, json=[])
    check("image", patched.json())
    assert (await service.call("owner", "PUT", f"{path}/file", headers=OCTETS, content=b"x")).status_code == 409
