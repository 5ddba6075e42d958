"""Every rule for everybody: whom the defaults let pass, on a shared image of project p1 and on what belongs to it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.support import personas
from tests.support.records import image as stored_image

from blick.conf.settings import PolicySettings
from blick.model.context import RequestContext
from blick.policy.enforcer import Enforcer, image_target
from blick.policy.rules import ALL

EVERYBODY = frozenset(personas.NAMES)
ADMIN = frozenset({"admin"})
SERVICES = ADMIN | {"service"}
OWNER = ADMIN | {"owner"}
OWNING_PROJECT = OWNER | {"owner-reader"}
INVITED = frozenset({"pending", "accepted"})
READERS = OWNING_PROJECT | INVITED | {"other", "shared-reader"}
MEMBERS = READERS - {"owner-reader", "shared-reader"}

# Rules on images do not know who may know of an image: that `other` does not see a shared image is the query's doing.
ALLOWED: Mapping[frozenset[str], str] = {
    EVERYBODY: "default metadef_default get_task get_tasks add_task modify_task",
    ADMIN: "context_is_admin publicize_image delete_image_location manage_image_cache copy_image list_cached_nodes "
    "tasks_api_access cache_image cache_list cache_delete cache_clean cache_prune metadef_admin "
    "modify_metadef_namespace add_metadef_namespace delete_metadef_namespace modify_metadef_object "
    "add_metadef_object delete_metadef_object add_metadef_resource_type_association "
    "remove_metadef_resource_type_association modify_metadef_property add_metadef_property remove_metadef_property "
    "modify_metadef_tag add_metadef_tag add_metadef_tags delete_metadef_tag delete_metadef_tags",
    SERVICES: "service_api fetch_image_location stores_info_detail",
    OWNER: "modify_image delete_image upload_image deactivate reactivate communitize_image set_image_location "
    "add_member delete_member",
    OWNER | SERVICES: "add_image_location",
    OWNING_PROJECT: "get_image_location",
    OWNING_PROJECT | INVITED | {"shared-reader"}: "get_member get_members",
    ADMIN | INVITED: "modify_member",
    READERS: "get_image",
    MEMBERS: "download_image download_from_store",
}
# Of what is the caller's own: the new image, the list.
ALLOWED_OF_OWN: Mapping[frozenset[str], str] = {
    MEMBERS: "add_image jobs_modify",
    READERS: "get_images jobs_get get_metadef_namespaces",
}
# Of what p1 has and shows to all, or keeps to itself.
_METADEF_READS = (
    "get_metadef_namespace get_metadef_object get_metadef_objects list_metadef_resource_types "
    "get_metadef_resource_type get_metadef_property get_metadef_properties get_metadef_tag get_metadef_tags"
)


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Enforcer:
    return Enforcer(PolicySettings(tmp_path_factory.mktemp("rules") / "none.yaml", ()))


async def caller(rules: Enforcer, persona: str) -> RequestContext:
    context = RequestContext(
        "req-1",
        user_id=None if persona == "anonymous" else f"u-{persona}",
        project_id=personas.project_of(persona),
        roles=personas.roles_of(persona),
        read_only=persona == "anonymous",
    )
    return replace(context, is_admin=await rules.is_admin(context))


def seen_by(persona: str) -> dict[str, Any]:
    project_id = personas.project_of(persona)
    invited = project_id in (personas.PENDING_PROJECT, personas.ACCEPTED_PROJECT)
    return image_target(stored_image(owner=personas.OWNER_PROJECT, member_id=project_id if invited else None))


def cases(table: Mapping[frozenset[str], str]) -> list[tuple[str, frozenset[str]]]:
    return [(rule, allowed) for allowed, names in table.items() for rule in names.split()]


def test_the_tables_have_every_rule() -> None:
    listed = [rule for table in (ALLOWED, ALLOWED_OF_OWN) for rule, _ in cases(table)] + _METADEF_READS.split()
    assert sorted(listed) == sorted(rule.name for rule in ALL)


@pytest.mark.parametrize(("rule", "allowed"), cases(ALLOWED))
async def test_on_a_shared_image(rules: Enforcer, rule: str, allowed: frozenset[str]) -> None:
    passed = {name for name in personas.NAMES if await rules.allows(rule, await caller(rules, name), seen_by(name))}
    assert passed == allowed


@pytest.mark.parametrize(("rule", "allowed"), cases(ALLOWED_OF_OWN))
async def test_on_ones_own(rules: Enforcer, rule: str, allowed: frozenset[str]) -> None:
    passed = set()
    for name in personas.NAMES:
        own = {"project_id": personas.project_of(name), "owner": personas.project_of(name), "visibility": "private"}
        if await rules.allows(rule, await caller(rules, name), own):
            passed.add(name)
    assert passed == allowed


@pytest.mark.parametrize("rule", _METADEF_READS.split())
@pytest.mark.parametrize(("visibility", "allowed"), [("public", READERS), ("private", OWNING_PROJECT)])
async def test_on_definitions(rules: Enforcer, rule: str, visibility: str, allowed: frozenset[str]) -> None:
    target = {"project_id": personas.OWNER_PROJECT, "visibility": visibility}
    passed = {name for name in personas.NAMES if await rules.allows(rule, await caller(rules, name), target)}
    assert passed == allowed


@pytest.mark.parametrize("rule", [rule.name for rule in ALL])
async def test_roles_of_a_service_token_do_not_count(rules: Enforcer, rule: str) -> None:
    for name in personas.NAMES:
        alone = await caller(rules, name)
        accompanied = replace(alone, service_roles=frozenset({"service", "admin"}))
        target = seen_by(name)
        assert await rules.allows(rule, accompanied, target) == await rules.allows(rule, alone, target)
