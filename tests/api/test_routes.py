"""The table of routes, walked: every route has rules that exist, is documented, and asks each of its rules."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from blick.conf.settings import Settings
from blick.db import jobs
from blick.db.jobs import NewJob
from blick.http.routes import ROUTES
from blick.model.context import RequestContext
from blick.model.import_job import IMAGE_IMPORT, ImportWork
from blick.model.job_caller import as_payload
from blick.policy.rules import ALL
from tests.support.jobs import fail
from tests.support.metadefs import NAMESPACES, definition, whole
from tests.support.service import OCTETS, PATCH_2_1, Service
from tests.support.tus import PIECE, TUS

CALLS = {(method, f"/v2{route.path}"): call for route in ROUTES for method, call in route.calls.items()}
DOCUMENT = Path(__file__).parents[2] / "docs" / "api.md"


def test_rules_exist() -> None:
    known = {rule.name for rule in ALL}
    assert len(known) == len(ALL) == 69
    for place, call in CALLS.items():
        assert known >= set(call.rules), place


def test_rules_know_their_routes() -> None:
    """What the sample policy file says of a rule is where it is asked."""
    operations = {rule.name: rule.operations for rule in ALL}
    for (method, path), call in CALLS.items():
        if call.rules:
            told = [operation for name in call.rules for operation in operations[name]]
            assert f"{method} {path}" in told, (method, path)


def test_every_route_is_documented() -> None:
    rows = re.findall(
        r"^\| (\w+) \| (/\S+) \| ([^|]*)\| ([\d, ]+) \| (.+) \|$", DOCUMENT.read_text("utf-8"), re.MULTILINE
    )
    documented = {
        (method, path): (
            tuple(name for name in rules.strip().split(", ") if name),
            tuple(int(status) for status in answers.split(", ")),
            about,
        )
        for method, path, rules, answers, about in rows
    }
    assert documented == {place: (call.rules, call.answers, call.about) for place, call in CALLS.items()}


def test_paths_are_distinct() -> None:
    assert len({route.path for route in ROUTES}) == len(ROUTES)


def filled(path: str) -> str:
    """The route's path with something for each placeholder: nothing that exists."""
    return re.sub(r"\{\w+\}", "x", path)


async def test_a_body_is_refused_where_none_belongs(service: Service) -> None:
    """Before anything is looked up; elsewhere a body is read, or passed over, and is not what is complained about."""
    for (method, path), call in CALLS.items():
        answer = await service.call("admin", method, filled(path), content=b"{}")
        refused = answer.status_code == 400 and "A body is not expected" in answer.text
        assert refused != call.takes_body, (method, path)


async def test_every_call_wants_to_know_who_calls(service: Service) -> None:
    for method, path in CALLS:
        answer = await service.call("anonymous", method, filled(path), content=b"{}" if method == "POST" else None)
        assert answer.status_code == 401, (method, path)
        assert answer.headers["www-authenticate"] == 'Keystone uri="http://images.test"'
        assert "x-openstack-request-id" not in answer.headers


async def test_other_methods(service: Service) -> None:
    for route in ROUTES:
        path = filled(f"/v2{route.path}")
        for method in {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "INVENTED"} - route.calls.keys():
            answer = await service.call("admin", method, path)
            if route.is_known_to_others:
                assert (answer.status_code, answer.headers["allow"]) == (405, ", ".join(route.calls)), (method, path)
            else:
                unknown = method in ("TRACE", "INVENTED")
                assert answer.status_code == (501 if unknown else 404), (method, path)
            assert (await service.call("anonymous", method, path)).status_code == 401


async def test_what_is_not_there(service: Service) -> None:
    """A well-formed request about an image that does not exist is answered with 404, by every call about an image."""
    bodies: dict[tuple[str, str], dict[str, Any]] = {
        ("PATCH", "/v2/images/{image_id}"): {"headers": PATCH_2_1, "json": []},
        ("PUT", "/v2/images/{image_id}/file"): {"headers": OCTETS, "content": b"x"},
        ("POST", "/v2/images/{image_id}/upload"): {"headers": NEW_UPLOAD},
        ("HEAD", "/v2/images/{image_id}/upload/{upload_id}"): {"headers": TUS},
        ("PATCH", "/v2/images/{image_id}/upload/{upload_id}"): {"headers": FIRST_PIECE, "content": b"x"},
        ("DELETE", "/v2/images/{image_id}/upload/{upload_id}"): {"headers": TUS},
        ("PUT", "/v2/images/{image_id}/stage"): {"headers": OCTETS, "content": b"x"},
        ("POST", "/v2/images/{image_id}/import"): {"json": IMPORT},
        ("POST", "/v2/images/{image_id}/members"): {"json": {"member": "p2"}},
        ("PUT", "/v2/images/{image_id}/members/{member_id}"): {"json": {"status": "accepted"}},
        ("POST", "/v2/images/{image_id}/locations"): {"json": {"url": "https://images.test/x"}},
    }
    for (method, path), call in CALLS.items():
        if "{image_id}" in path and 400 not in call.answers:  # what is refused to everybody is refused there, too
            answer = await service.call("admin", method, filled(path), **bodies.get((method, path), {}))
            assert answer.status_code == 404, (method, path, answer.text)


NEW_UPLOAD = {**TUS, "upload-length": "100"}
FIRST_PIECE = {**PIECE, "upload-offset": "0"}
IMPORT = {"method": {"name": "glance-direct"}}
# A task that is over at once.
FAILING_TASK = {"type": "api_image_import", "input": {}}


@dataclass(frozen=True)
class Request:
    """A request that an administrator may make, and that asks the rule in question."""

    options: dict[str, Any] = field(default_factory=dict)
    query: str = ""
    status: int = 200


def request_for(method: str, path: str, rule: str) -> Request:
    if path.startswith("/v2/metadefs"):
        return metadef_request_for(method, path)
    visibility = {"publicize_image": "public", "communitize_image": "community"}.get(rule, "shared")
    match (method, path.rpartition("/")[2]):
        case ("POST", "images"):
            return Request({"json": {"visibility": visibility}}, status=201)
        case ("POST", "upload"):
            return Request({"headers": NEW_UPLOAD}, status=201)
        case ("PATCH", "{upload_id}"):
            return Request({"headers": FIRST_PIECE, "content": b"x"}, status=204)
        case (_, "{upload_id}"):
            return Request({"headers": TUS}, status=204 if method == "DELETE" else 200)
        case ("PATCH", _):
            change = [{"op": "replace", "path": "/visibility", "value": visibility}]
            return Request({"json": change, "headers": PATCH_2_1})
        case ("PUT", "file" | "stage"):
            return Request({"content": b"data", "headers": OCTETS}, status=204)
        case ("GET", "file"):
            return Request()
        case ("POST", "import"):
            return Request({"json": IMPORT}, status=202)
        case ("POST", "tasks"):
            return Request({"json": FAILING_TASK}, status=201)
        case ("DELETE", "{task_id}"):
            return Request(status=405)
        case ("POST", "members"):
            return Request({"json": {"member": "p9"}})
        case ("POST", "cancel" | "retry"):
            return Request(status=202)
        case ("PUT", "{member_id}"):
            return Request({"json": {"status": "accepted"}})
        case ("GET", _):
            return Request()
    return Request(status=204)


def metadef_request_for(method: str, path: str) -> Request:
    body: dict[str, Any] = {
        "namespaces": whole("new"),
        "{namespace_name}": {"namespace": "ns"},
        "resource_types": {"name": "new"},
        "objects": {"name": "new"},
        "{object_name}": {"name": "o"},
        "properties": definition(name="new"),
        "{property_name}": definition(name="p"),
        "tags": {"tags": [{"name": "new"}]},
        "{tag_name}": {"name": "t"},
    }
    last = path.rpartition("/")[2]
    if method == "PUT" or (method == "POST" and last != "{tag_name}"):
        return Request({"json": body[last]}, status=200 if method == "PUT" else 201)
    return Request(status={"GET": 200, "POST": 201, "DELETE": 204}[method])


async def prepared_metadefs(service: Service, method: str, path: str) -> str:
    made = await service.call("admin", "POST", NAMESPACES, json=whole())
    assert made.status_code == 201, made.text
    asks_for_type = method == "GET" and path.endswith("{property_name}")
    filled_in = path.format(
        namespace_name="ns",
        name="rt",
        object_name="o",
        property_name="x_p" if asks_for_type else "p",
        tag_name="new" if method == "POST" else "t",
    )
    return f"{filled_in}?resource_type=rt" if asks_for_type else filled_in


async def prepared(service: Service, method: str, path: str) -> str:
    """The path with an image, a task, a job or metadata definitions that take that request."""
    if path.startswith("/v2/metadefs"):
        return await prepared_metadefs(service, method, path)
    if path.startswith("/v2/tasks"):
        made = await service.call("admin", "POST", "/v2/tasks", json=FAILING_TASK)
        return path.format(task_id=made.json()["id"])
    if path.startswith("/v2/jobs"):
        return path.format(job_id=await a_job(service, is_over=path.endswith("retry")))
    if "/upload" in path:
        image = await service.create()
        made = await service.call("owner", "POST", f"/v2/images/{image['id']}/upload", headers=NEW_UPLOAD)
        return path.format(image_id=image["id"], upload_id=made.headers["location"].rpartition("/")[2])
    noun = path.rpartition("/")[2]
    fresh = (method, noun) in (("PUT", "file"), ("PUT", "stage"), ("POST", "import"))
    image = await (service.create(tags=["t"]) if fresh else service.create_active(b"data", tags=["t"]))
    if noun == "import":
        place = f"/v2/images/{image['id']}/stage"
        staged = await service.call("owner", "PUT", place, content=b"data", headers=OCTETS)
        assert staged.status_code == 204
    members = f"/v2/images/{image['id']}/members"
    assert (await service.call("owner", "POST", members, json={"member": "p2"})).status_code == 200
    return path.format(image_id=image["id"], tag="t", member_id="p2")


async def a_job(service: Service, *, is_over: bool) -> str:
    """One that nobody has done yet, or one that failed and may be tried again."""
    image = await service.create()
    work = ImportWork(
        id=service.services.new_id(),
        image_id=image["id"],
        method="web-download",
        stores=("file",),
        arguments={"uri": "https://8.8.8.8/image"},
        caller=as_payload(RequestContext("req-1")),
    )
    database = service.services.database
    await database.write(jobs.add, NewJob(work.id, IMAGE_IMPORT, work.payload(), "p1", work.image_id), 1)
    if is_over:
        await database.write(fail, work.id, 2, "no")
    return work.id


# Asked only where there are several stores, or locations are shown: see test_image_data, test_info_stores, test_stores
# and test_locations_patch; or where there is an http store: see test_locations. Or of copies: see test_imports.
ASKED_ELSEWHERE = (
    "copy_image",
    "download_from_store",
    "stores_info_detail",
    "get_image_location",
    "set_image_location",
    "delete_image_location",
    "add_image_location",
)

# Of what a list shows; a refusal leaves that out.
LEAVES_OUT = (
    ("/v2/metadefs/namespaces", "GET", "get_metadef_namespace"),
    ("/v2/metadefs/namespaces/{namespace_name}/objects", "GET", "get_metadef_object"),
    ("/v2/metadefs/namespaces/{namespace_name}/resource_types", "GET", "get_metadef_resource_type"),
)

ASKED = [
    (method, path, rule) for (method, path), call in CALLS.items() for rule in call.rules if rule not in ASKED_ELSEWHERE
]


@pytest.mark.parametrize(("method", "path", "rule"), ASKED)
async def test_every_rule_is_asked(service: Service, settings: Settings, method: str, path: str, rule: str) -> None:
    request = request_for(method, path, rule)
    place = await prepared(service, method, path)
    settings.policy.policy_file.write_text(f'{rule}: "!"\n')
    refused = await service.call("admin", method, place, **request.options)
    if (path, rule) == ("/v2/images", "get_image"):
        assert refused.json()["images"] == []
    elif (path, method, rule) == ("/v2/images/{image_id}/members", "GET", "get_member"):
        assert refused.json()["members"] == []
    elif (path, method, rule) in LEAVES_OUT:
        assert next(iter(refused.json().values())) == []
    else:
        hides = (
            rule == "get_image"
            or (rule == "jobs_get" and "{job_id}" in path)
            or rule == "get_metadef_namespace"
            or (method, path) == ("GET", "/v2/images/{image_id}/members/{member_id}")
        )
        assert refused.status_code == (404 if hides else 403)
    settings.policy.policy_file.unlink()
    allowed = await service.call("admin", method, place, **request.options)
    assert allowed.status_code == request.status


async def test_acting_does_not_need_seeing(service: Service, settings: Settings) -> None:
    """With get_image denied but the action itself allowed, the action succeeds (spec: addendum)."""
    active = await service.create_active(b"data")
    queued = await service.create()
    settings.policy.policy_file.write_text('get_image: "!"\n')
    path = f"/v2/images/{active['id']}"
    for method, place, options, status in (
        ("PUT", f"/v2/images/{queued['id']}/file", {"content": b"data", "headers": OCTETS}, 204),
        ("PATCH", path, {"json": [{"op": "add", "path": "/name", "value": "new"}], "headers": PATCH_2_1}, 200),
        ("PATCH", path, {"json": [], "headers": PATCH_2_1}, 404),
        ("PUT", f"{path}/tags/t", {}, 204),
        ("GET", f"{path}/file", {}, 200),
        ("POST", f"{path}/actions/deactivate", {}, 204),
        ("POST", f"{path}/actions/reactivate", {}, 204),
        ("DELETE", path, {}, 204),
    ):
        assert (await service.call("owner", method, place, **options)).status_code == status, place
