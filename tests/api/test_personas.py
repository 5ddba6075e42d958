"""Who gets which answer to what: each call on an image of each visibility, for callers of each kind.

The image belongs to p1; p2 has been offered it, p3 has accepted it, p4 has nothing to do with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from blick.conf.settings import Settings
from tests.support import personas
from tests.support.service import OCTETS, PATCH_2_1, Service

VISIBILITIES = ("public", "community", "shared", "private")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, api=replace(settings.api, allow_anonymous_access=True))


def row(text: str) -> dict[str, int]:
    return dict(zip(personas.NAMES, map(int, text.split()), strict=True))


def table(public: str, shared: str, private: str) -> Mapping[str, Mapping[str, int]]:
    """Per visibility the status for each persona, in their order; 200 stands for the call's own success."""
    return {"public": row(public), "community": row(public), "shared": row(shared), "private": row(private)}


#            admin owner o-reader other pending accepted s-reader service roleless anonymous
SEE = table(
    public=" 200   200   200      200   200     200      200      404     404      404",
    shared=" 200   200   200      404   200     200      200      404     404      404",
    private="200   200   200      404   404     404      404      404     404      404",
)
DOWNLOAD = table(
    public=" 200   200   403      200   200     200      403      404     404      404",
    shared=" 200   200   403      404   200     200      403      404     404      404",
    private="200   200   403      404   404     404      404      404     404      404",
)
OWN = table(
    public=" 200   200   403      403   403     403      403      404     404      403",
    shared=" 200   200   403      404   403     403      403      404     404      403",
    private="200   200   403      404   404     404      404      404     404      403",
)
ADMINISTER = table(
    public=" 200   403   403      403   403     403      403      404     404      403",
    shared=" 200   403   403      404   403     403      403      404     404      403",
    private="200   403   403      404   404     404      404      404     404      403",
)
# A service, too, has to know of the image.
FETCH_LOCATIONS = table(
    public=" 200   403   403      403   403     403      403      200     404      404",
    shared=" 200   403   403      404   403     403      403      404     404      404",
    private="200   403   403      404   404     404      404      404     404      404",
)
# Members are a thing of shared images.
LIST_MEMBERS = table(
    public=" 403   403   403      403   403     403      403      404     404      404",
    shared=" 200   200   200      404   200     200      200      404     404      404",
    private="403   403   403      404   404     404      404      404     404      404",
)
SHOW_MEMBER = table(
    public=" 404   404   404      404   404     404      404      404     404      404",
    shared=" 200   200   200      404   200     200      200      404     404      404",
    private="404   404   404      404   404     404      404      404     404      404",
)
SHARE = table(
    public=" 403   403   403      403   403     403      403      404     404      403",
    shared=" 200   200   403      404   403     403      403      404     404      403",
    private="403   403   403      404   404     404      404      404     404      403",
)
ANSWER_SHARE = table(
    public=" 403   403   403      403   403     403      403      404     404      403",
    shared=" 200   403   403      404   200     200      403      404     404      403",
    private="403   403   403      404   404     404      404      404     404      403",
)


@dataclass(frozen=True)
class Case:
    """One call. `{own}` in the path is the caller's project where that is a member, else p3."""

    rule: str
    method: str
    path: str
    success: int
    answers: Mapping[str, Mapping[str, int]]
    changes: bool = True
    options: Mapping[str, Any] | None = None


def patch(path: str, value: Any) -> dict[str, Any]:
    return {"json": [{"op": "replace", "path": path, "value": value}], "headers": PATCH_2_1}


UPLOAD = {"content": b"other", "headers": OCTETS}
BEGIN = {"headers": {"tus-resumable": "1.0.0", "upload-length": "5"}}
CASES = [
    Case("get_image", "GET", "", 200, SEE, changes=False),
    Case("download_image", "GET", "/file", 200, DOWNLOAD, changes=False),
    Case("modify_image", "PATCH", "", 200, OWN, options=patch("/name", "new")),
    Case("modify_image", "PUT", "/tags/t", 204, OWN),
    Case("modify_image", "DELETE", "/tags/there", 204, OWN),
    Case("publicize_image", "PATCH", "", 200, ADMINISTER, options=patch("/visibility", "public")),
    Case("communitize_image", "PATCH", "", 200, OWN, options=patch("/visibility", "community")),
    Case("delete_image", "DELETE", "", 204, OWN),
    Case("upload_image", "PUT", "/file", 409, OWN, options=UPLOAD),  # it has data, who may upload learns
    Case("upload_image", "POST", "/upload", 409, OWN, options=BEGIN),
    Case("deactivate", "POST", "/actions/deactivate", 204, OWN),
    Case("reactivate", "POST", "/actions/reactivate", 204, OWN, changes=False),
    Case("fetch_image_location", "GET", "/locations", 200, FETCH_LOCATIONS, changes=False),
    Case("get_members", "GET", "/members", 200, LIST_MEMBERS, changes=False),
    Case("get_member", "GET", "/members/{own}", 200, SHOW_MEMBER, changes=False),
    Case("add_member", "POST", "/members", 200, SHARE, options={"json": {"member": "p9"}}),
    Case("delete_member", "DELETE", "/members/{own}", 204, SHARE),
    Case("modify_member", "PUT", "/members/{own}", 200, ANSWER_SHARE, options={"json": {"status": "rejected"}}),
]


async def call(service: Service, persona: str, method: str, path: str, **options: Any) -> httpx.Response:
    headers = {**personas.headers_of(persona), **options.pop("headers", {})}
    return await service.client.request(method, path, headers=headers, **options)


async def make(service: Service, visibility: str) -> str:
    """An active image of p1's, offered to p2 and accepted by p3 before it got its visibility."""
    image = await service.create_active(b"data", tags=["there"], name="old")
    path = f"/v2/images/{image['id']}"
    for project_id in (personas.PENDING_PROJECT, personas.ACCEPTED_PROJECT):
        response = await call(service, "owner", "POST", f"{path}/members", json={"member": project_id})
        assert response.status_code == 200
    accepting = {"json": {"status": "accepted"}}
    response = await call(service, "accepted", "PUT", f"{path}/members/{personas.ACCEPTED_PROJECT}", **accepting)
    assert response.status_code == 200
    if visibility != "shared":
        response = await call(service, "admin", "PATCH", path, **patch("/visibility", visibility))
        assert response.status_code == 200
    return str(image["id"])


async def state(service: Service, image_id: str) -> list[str]:
    """The image, its members as far as they can be listed, its data."""
    places = ("", "/members", "/file")
    return [(await call(service, "admin", "GET", f"/v2/images/{image_id}{place}")).text for place in places]


@pytest.mark.parametrize("visibility", VISIBILITIES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}-{case.method}")
async def test_calls_on_an_image(service: Service, case: Case, visibility: str) -> None:
    """Who is refused changes nothing."""
    image_id = await make(service, visibility)
    before = await state(service, image_id)
    for persona, status in sorted(case.answers[visibility].items(), key=lambda answer: answer[1], reverse=True):
        project_id = personas.project_of(persona)
        invited = project_id in (personas.PENDING_PROJECT, personas.ACCEPTED_PROJECT)
        own = project_id if invited else personas.ACCEPTED_PROJECT
        path = f"/v2/images/{image_id}{case.path.replace('{own}', str(own))}"
        response = await call(service, persona, case.method, path, **(case.options or {}))
        assert response.status_code == (case.success if status == 200 else status), (persona, response.text)
        if status != 200 or not case.changes:
            assert await state(service, image_id) == before, persona
        else:
            image_id = await make(service, visibility)
            before = await state(service, image_id)


CREATE = row(" 201   201   403      201   201     201      403      403     403      403")
PUBLISH = row("201   403   403      403   403     403      403      403     403      403")
LIST = row("   200   200   200      200   200     200      200      403     403      403")


@pytest.mark.parametrize(
    ("visibility", "answers"),
    [("private", CREATE), ("shared", CREATE), ("community", CREATE), ("public", PUBLISH)],
)
async def test_create(service: Service, visibility: str, answers: Mapping[str, int]) -> None:
    for persona, status in answers.items():
        response = await call(service, persona, "POST", "/v2/images", json={"visibility": visibility})
        assert response.status_code == status, (persona, response.text)
    kept = (await call(service, "admin", "GET", "/v2/images?visibility=all&limit=100")).json()["images"]
    assert len(kept) == sum(status == 201 for status in answers.values())


async def test_create_for_another_project(service: Service) -> None:
    for persona, status in PUBLISH.items():
        response = await call(service, persona, "POST", "/v2/images", json={"owner": "p9"})
        assert response.status_code == status, (persona, response.text)


TASKS = row("  200   403   403      403   403     403      403      403     403      403")
OPENED_TASKS = row("200 200  200      200   200     200      200      403     403      403")


@pytest.mark.parametrize(("rule", "answers"), [(None, TASKS), ("role:reader", OPENED_TASKS)])
async def test_tasks(service: Service, settings: Settings, rule: str | None, answers: Mapping[str, int]) -> None:
    if rule is not None:
        settings.policy.policy_file.write_text(f'tasks_api_access: "{rule}"\n')
    body = {"type": "api_image_import", "input": {}}
    made = (await call(service, "admin", "POST", "/v2/tasks", json=body)).json()
    for persona, status in answers.items():
        before = (await call(service, "admin", "GET", "/v2/tasks?limit=100")).json()
        allowed = status == 200
        started = await call(service, persona, "POST", "/v2/tasks", json=body)
        assert started.status_code == (201 if allowed else status), persona
        listed = await call(service, persona, "GET", "/v2/tasks")
        assert listed.status_code == status, persona
        own = personas.project_of(persona)
        if allowed and persona != "admin":
            assert {task["owner"] for task in listed.json()["tasks"]} == {own}, persona
        shown = await call(service, persona, "GET", f"/v2/tasks/{made['id']}")
        assert shown.status_code == (200 if persona == "admin" else 404 if allowed else status), persona
        deleted = await call(service, persona, "DELETE", f"/v2/tasks/{made['id']}")
        assert deleted.status_code == (405 if allowed else status), persona
        if not allowed:
            assert (await call(service, "admin", "GET", "/v2/tasks?limit=100")).json() == before, persona


async def test_list(service: Service) -> None:
    made = {await make(service, visibility): visibility for visibility in VISIBILITIES}

    async def listed(persona: str, query: str = "") -> set[str]:
        response = await call(service, persona, "GET", f"/v2/images{query}")
        assert response.status_code == LIST[persona], (persona, response.text)
        return {made[image["id"]] for image in response.json()["images"]} if response.status_code == 200 else set()

    for persona, seen in {
        "admin": {"public", "shared", "private"},
        "owner": {"public", "community", "shared", "private"},
        "owner-reader": {"public", "community", "shared", "private"},
        "other": {"public"},
        "pending": {"public"},
        "accepted": {"public", "shared"},
        "shared-reader": {"public", "shared"},
        "service": set(),
        "roleless": set(),
        "anonymous": set(),
    }.items():
        assert await listed(persona) == seen, persona
    assert await listed("pending", "?member_status=pending") == {"public", "shared"}
    assert await listed("accepted", "?member_status=pending") == {"public"}
    assert await listed("other", "?visibility=community") == {"community"}


async def test_members_see_themselves_only(service: Service) -> None:
    image_id = await make(service, "shared")
    everyone = {personas.PENDING_PROJECT, personas.ACCEPTED_PROJECT}
    for persona, seen in {
        "admin": everyone,
        "owner": everyone,
        "owner-reader": everyone,
        "pending": {personas.PENDING_PROJECT},
        "accepted": {personas.ACCEPTED_PROJECT},
        "shared-reader": {personas.ACCEPTED_PROJECT},
    }.items():
        listed = (await call(service, persona, "GET", f"/v2/images/{image_id}/members")).json()["members"]
        assert {member["member_id"] for member in listed} == seen, persona
    for method, options in (("GET", {}), ("PUT", {"json": {"status": "accepted"}})):
        path = f"/v2/images/{image_id}/members/{personas.ACCEPTED_PROJECT}"
        assert (await call(service, "pending", method, path, **options)).status_code == 404


async def test_deactivated_data_is_for_administrators(service: Service) -> None:
    """Decided before any rule, for whoever may know of the image."""
    for visibility in VISIBILITIES:
        image_id = await make(service, visibility)
        deactivated = await call(service, "owner", "POST", f"/v2/images/{image_id}/actions/deactivate")
        assert deactivated.status_code == 204
        for persona, status in SEE[visibility].items():
            known = status == 200 or visibility in ("public", "community") or persona == "roleless"
            expected = 200 if persona == "admin" else 403 if known else 404
            response = await call(service, persona, "GET", f"/v2/images/{image_id}/file")
            assert response.status_code == expected, (visibility, persona)


async def test_protected_images_stay_for_everybody(service: Service) -> None:
    image = await service.create(protected=True)
    for persona in ("owner", "admin"):
        assert (await call(service, persona, "DELETE", f"/v2/images/{image['id']}")).status_code == 403


@pytest.mark.parametrize("scope", [{"openstack-system-scope": "all"}, {"x-domain-id": "d"}])
async def test_tokens_of_other_scopes(service: Service, scope: dict[str, str]) -> None:
    """Every rule refuses them, whatever roles they carry: images do not exist for them."""
    image_id = await make(service, "public")
    before = await state(service, image_id)
    headers = {"x-user-id": "u", "x-roles": "admin,member,reader", **scope}
    for case in CASES:
        path = f"/v2/images/{image_id}{case.path.replace('{own}', personas.ACCEPTED_PROJECT)}"
        options = dict(case.options or {})
        given = {**headers, **options.pop("headers", {})}
        response = await service.client.request(case.method, path, headers=given, **options)
        assert response.status_code == 404, case
    for method, options in (("GET", {}), ("POST", {"json": {}})):
        assert (await service.client.request(method, "/v2/images", headers=headers, **options)).status_code == 403
    assert await state(service, image_id) == before
