"""Property protections over HTTP: every way into an image's properties, and every way out (spec: policies §6)."""

import html
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from blick import boot
from blick.conf.settings import Settings
from blick.model.errors import StartRefused
from tests.support.service import PATCH_2_0, PATCH_2_1, Service

PROTECTIONS = """
[^open_]
create = @
read = @
update = @
delete = @

[^secret$]
create = admin
read = admin
update = admin
delete = admin

[^billing_]
create = admin,member
read = admin,billing
update = admin
delete = admin

[^fixed_]
create = member
read = @
update = !
delete = !
"""


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    file = tmp_path / "protections.conf"
    file.write_text(PROTECTIONS)
    return replace(settings, policy=replace(settings.policy, property_protection_file=file))


async def patch(service: Service, image_id: str, *changes: dict[str, Any], who: str = "owner") -> httpx.Response:
    return await service.call(who, "PATCH", f"/v2/images/{image_id}", json=list(changes), headers=PATCH_2_1)


def add(name: str, value: str = "new") -> dict[str, Any]:
    return {"op": "add", "path": f"/{name}", "value": value}


def replace_(name: str, value: str = "new") -> dict[str, Any]:
    return {"op": "replace", "path": f"/{name}", "value": value}


def remove(name: str) -> dict[str, Any]:
    return {"op": "remove", "path": f"/{name}"}


async def properties(service: Service, image_id: str, who: str = "admin") -> dict[str, str]:
    image = await service.show(image_id, who)
    return {name: value for name, value in image.items() if name.startswith(("open_", "secret", "billing_", "fixed_"))}


@pytest.fixture
async def image_id(service: Service) -> str:
    """An image of the owner's that holds something of each kind."""
    made = await service.create(open_a="1", fixed_a="1", billing_a="1")
    assert (await patch(service, made["id"], add("secret", "1"), who="admin")).status_code == 200
    return str(made["id"])


EVERYTHING = {"open_a": "1", "fixed_a": "1", "billing_a": "1", "secret": "1"}


async def test_create(service: Service) -> None:
    for name in ("secret", "unnamed"):
        refused = await service.call("owner", "POST", "/v2/images", json={"open_a": "1", name: "1"})
        assert refused.status_code == 403
        assert f"Attribute '{name}' is reserved." in html.unescape(refused.text)
    assert (await service.call("admin", "GET", "/v2/images")).json()["images"] == []
    made = await service.call("owner", "POST", "/v2/images", json={"open_a": "1", "billing_a": "1"})
    assert made.status_code == 201
    assert "open_a" in made.json()
    assert "billing_a" not in made.json()
    assert await properties(service, made.json()["id"]) == {"open_a": "1", "billing_a": "1"}


async def test_reading(service: Service, image_id: str) -> None:
    for who, seen in (
        ("owner", {"open_a": "1", "fixed_a": "1"}),
        ("reader", {"open_a": "1", "fixed_a": "1"}),
        ("admin", EVERYTHING),
    ):
        assert await properties(service, image_id, who) == seen, who
        (listed,) = (await service.call(who, "GET", "/v2/images")).json()["images"]
        assert listed == await service.show(image_id, who)
        nothing_changed = await patch(service, image_id, who=who)
        assert nothing_changed.json() == listed
    billing = {"x-roles": "reader,billing", "x-user-id": "b", "x-project-id": "p1"}
    shown = await service.client.get(f"/v2/images/{image_id}", headers=billing)
    assert shown.json()["billing_a"] == "1"
    through_service = {"x-roles": "reader", "x-service-roles": "Billing", "x-user-id": "b", "x-project-id": "p1"}
    shown = await service.client.get(f"/v2/images/{image_id}", headers=through_service)
    assert shown.json()["billing_a"] == "1"
    assert "secret" not in shown.json()


async def test_filters_match_what_is_not_shown(service: Service, image_id: str) -> None:
    found = (await service.call("owner", "GET", "/v2/images?secret=1")).json()["images"]
    assert [image["id"] for image in found] == [image_id]
    assert "secret" not in found[0]


@pytest.mark.parametrize(
    ("change", "status", "text"),
    [
        (add("open_a"), 200, ""),
        (add("open_b"), 200, ""),
        (replace_("open_a"), 200, ""),
        (remove("open_a"), 200, ""),
        (add("fixed_a"), 403, "Attribute 'fixed_a' is reserved."),
        (add("fixed_b"), 200, ""),
        (replace_("fixed_a"), 403, "Attribute 'fixed_a' is reserved."),
        (remove("fixed_a"), 403, "Attribute 'fixed_a' is reserved."),
        (add("secret"), 403, "Attribute 'secret' is reserved."),
        (replace_("secret"), 409, "Property secret does not exist."),
        (remove("secret"), 409, "Property secret does not exist."),
        (add("billing_a"), 200, ""),
        (add("billing_b"), 200, ""),
        (replace_("billing_a"), 409, "Property billing_a does not exist."),
        (remove("billing_a"), 409, "Property billing_a does not exist."),
        (add("unnamed"), 403, "Attribute 'unnamed' is reserved."),
        (replace_("unnamed"), 409, "Property unnamed does not exist."),
        (replace_("name"), 200, ""),
    ],
)
async def test_patch(service: Service, image_id: str, change: dict[str, Any], status: int, text: str) -> None:
    """Whatever is changed, and whether it may be: nothing else of the image changes."""
    before = await service.show(image_id, "admin")
    answer = await patch(service, image_id, change)
    assert answer.status_code == status, answer.text
    assert text in html.unescape(answer.text)
    after = await service.show(image_id, "admin")
    name = change["path"].removeprefix("/")
    expected = {**before, "updated_at": after["updated_at"]}
    if status == 200:
        expected.pop(name, None)
        if change["op"] != "remove":
            expected[name] = change["value"]
        assert "secret" not in answer.json()
        assert not [shown for shown in answer.json() if shown.startswith("billing_")]
    assert after == expected


async def test_all_or_nothing(service: Service, image_id: str) -> None:
    for refused in (add("secret"), remove("fixed_a"), replace_("secret")):
        answer = await patch(service, image_id, replace_("name"), replace_("open_a"), refused)
        assert answer.status_code in (403, 409)
        assert await properties(service, image_id) == EVERYTHING
        assert (await service.show(image_id))["name"] is None


async def test_the_first_fault_is_told(service: Service, image_id: str) -> None:
    assert (await patch(service, image_id, remove("fixed_a"), replace_("secret"))).status_code == 403
    assert (await patch(service, image_id, replace_("secret"), remove("fixed_a"))).status_code == 409


async def test_what_was_just_made_unseen_stays_unseen(service: Service, image_id: str) -> None:
    assert (await patch(service, image_id, add("billing_b"), replace_("billing_b"))).status_code == 409
    assert (await patch(service, image_id, add("billing_b", "1"), add("billing_b", "2"))).status_code == 200
    assert (await properties(service, image_id))["billing_b"] == "2"


async def test_the_older_notation_does_not_tell_what_is_there_unseen(service: Service, image_id: str) -> None:
    async def add_2_0(name: str) -> httpx.Response:
        body = [{"add": f"/{name}", "value": "new"}]
        return await service.call("owner", "PATCH", f"/v2/images/{image_id}", json=body, headers=PATCH_2_0)

    assert (await add_2_0("open_a")).status_code == 409
    assert (await add_2_0("billing_a")).status_code == (await add_2_0("billing_b")).status_code == 200
    assert (await add_2_0("secret")).status_code == 403


async def test_administrators_are_bound_as_well(service: Service, image_id: str) -> None:
    assert (await patch(service, image_id, remove("fixed_a"), who="admin")).status_code == 403
    assert (await patch(service, image_id, add("unnamed"), who="admin")).status_code == 403
    assert (await patch(service, image_id, remove("secret"), who="admin")).status_code == 200


async def test_base_attributes_are_never_protected(service: Service, image_id: str) -> None:
    changes = [replace_("name"), {"op": "replace", "path": "/tags", "value": ["a"]}, add("min_disk", 3)]  # type: ignore[arg-type]
    assert (await patch(service, image_id, *changes)).status_code == 200


async def test_rules_see_what_the_caller_does_not(service: Service, settings: Settings, image_id: str) -> None:
    settings.policy.policy_file.write_text("get_image: \"'1':%(secret)s\"\nmodify_image: \"not '1':%(secret)s\"\n")
    assert (await service.call("owner", "GET", f"/v2/images/{image_id}")).status_code == 200
    assert (await patch(service, image_id, replace_("name"))).status_code == 403


async def test_a_bad_file_refuses_the_start(settings: Settings) -> None:
    assert settings.policy.property_protection_file is not None
    settings.policy.property_protection_file.write_text("[x]\ncreate = @\n")
    with pytest.raises(StartRefused, match=r"section \[x\], key read: missing"):
        boot.prepare(settings)


class TestQuota:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, quotas=replace(settings.quotas, image_property_quota=4))

    async def test_it_counts_what_is_not_shown(self, service: Service, image_id: str) -> None:
        """Four are there, the owner sees two."""
        assert (await patch(service, image_id, add("open_b"))).status_code == 413
        assert (await patch(service, image_id, add("billing_a"))).status_code == 200


class TestRequiredProperties:
    """An operator may demand a property that the caller may not even read."""

    @pytest.fixture
    def settings(self, settings: Settings, tmp_path: Path) -> Settings:
        file = tmp_path / "schema-image.json"
        file.write_text('{"properties": {"billing_a": {"type": "string"}}, "required": ["billing_a"]}')
        return replace(settings, api=replace(settings.api, schema_image_file=file))

    async def test_an_unseen_one_is_there_all_the_same(self, service: Service) -> None:
        image = await service.create(billing_a="1")
        assert (await patch(service, image["id"], replace_("name"))).status_code == 200
        assert await properties(service, image["id"]) == {"billing_a": "1"}


class TestRules:
    """The other format names policy rules."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        assert settings.policy.property_protection_file is not None
        settings.policy.property_protection_file.write_text(
            "[.*]\ncreate = labellers\nread = @\nupdate = context_is_admin\ndelete = !\n"
        )
        settings.policy.policy_file.write_text('labellers: "user_id:u-owner"\n')
        return replace(settings, policy=replace(settings.policy, property_protection_rule_format="policies"))

    async def test_rules_decide(self, service: Service) -> None:
        assert (await service.call("other", "POST", "/v2/images", json={"x": "1"})).status_code == 403
        image = await service.create(x="1")
        assert (await patch(service, image["id"], replace_("x"))).status_code == 403
        assert (await patch(service, image["id"], replace_("x"), who="admin")).status_code == 200
        assert (await patch(service, image["id"], remove("x"), who="admin")).status_code == 403
