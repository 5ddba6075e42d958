"""The operator's policy files: what they can say, and that a change of them counts at once (spec: policies §1)."""

import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest

from blick.conf.settings import PolicySettings, Settings
from blick.identity.base import IdentityRequest
from blick.model.context import RequestContext
from blick.model.errors import StartRefused
from blick.policy.enforcer import Enforcer
from tests.support import callers
from tests.support.service import OCTETS, PATCH_2_1, Service

DENY = 'get_images: "!"\n'


async def listing(service: Service, who: str = "owner") -> int:
    return (await service.call(who, "GET", "/v2/images")).status_code


async def test_changes_count_at_once(service: Service, settings: Settings, tmp_path: Path) -> None:
    file = settings.policy.policy_file
    assert await listing(service) == 200
    file.write_text(DENY)
    assert await listing(service) == 403
    file.write_text('get_images: "@"\n')
    assert await listing(service, "roleless") == 200
    replacement = tmp_path / "new.yaml"
    replacement.write_text(DENY)
    os.replace(replacement, file)
    assert await listing(service) == 403
    file.unlink()
    assert await listing(service) == 200
    assert await listing(service, "roleless") == 403
    file.write_text('{"get_images": "!"}')  # JSON is YAML, too
    assert await listing(service) == 403


async def test_same_size_and_another_time(service: Service, settings: Settings) -> None:
    file = settings.policy.policy_file
    file.write_text('get_images: "!"\n')
    assert await listing(service) == 403
    file.write_text('get_images: "@"\n')
    os.utime(file, ns=(0, 1))
    assert await listing(service) == 200


async def test_broken_file_keeps_the_old_rules(
    service: Service, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    file = settings.policy.policy_file
    file.write_text(DENY)
    assert await listing(service) == 403
    for broken in ("get_images: [", "\t", "- a\n- b\n", b"\xff\xfe\x00"):
        caplog.clear()
        file.write_bytes(broken if isinstance(broken, bytes) else broken.encode())
        with caplog.at_level(logging.ERROR):
            assert await listing(service) == 403, broken
        assert "old rules stay" in caplog.text
    file.write_text('get_images: "@"\n')
    assert await listing(service) == 200
    file.write_text('get_images: "role:reader and ("\n')  # one bad rule fails closed, the others count
    assert await listing(service) == 403


async def test_folder(service: Service, settings: Settings) -> None:
    folder = settings.policy.policy_dirs[0]
    folder.mkdir()
    (folder / "10.yaml").write_text(DENY)
    assert await listing(service) == 200  # only beside a main file
    settings.policy.policy_file.write_text('get_image: "@"\n')
    assert await listing(service) == 403
    (folder / "20.yaml").write_text('get_images: "@"\n')  # later wins
    assert await listing(service) == 200
    (folder / "20.yaml").unlink()
    assert await listing(service) == 403
    (folder / "10.yaml").unlink()
    assert await listing(service) == 200


async def test_rules_may_look_at_anything_of_the_image(service: Service, settings: Settings) -> None:
    image = await service.create_active(b"data", team="blue", name="n", tags=["t"])
    path = f"/v2/images/{image['id']}"
    for rule, status in (
        ("'blue':%(team)s", 200),
        ("'red':%(team)s", 404),
        ("'n':%(name)s", 200),
        ("'raw':%(disk_format)s", 200),
        ("project_id:%(owner)s", 200),
        ("not role:member", 404),
        ("role:MEMBER", 200),
        ("role:member and ('x':%(name)s or 'n':%(name)s)", 200),
        ("rule:own", 200),
        ("rule:nowhere", 200),  # the default rule, which lets pass
        ("user_id:u-owner", 200),
        ("'4':%(size)s", 200),
    ):
        settings.policy.policy_file.write_text(f'own: "project_id:%(project_id)s"\nget_image: "{rule}"\n')
        assert (await service.call("owner", "GET", path)).status_code == status, rule
        listed = (await service.call("owner", "GET", "/v2/images")).json()["images"]
        assert len(listed) == (status == 200), rule


async def test_who_is_an_administrator(service: Service, settings: Settings) -> None:
    image = await service.create(visibility="private")
    settings.policy.policy_file.write_text('context_is_admin: "user_id:u-other"\n')
    assert (await service.call("other", "GET", f"/v2/images/{image['id']}")).status_code == 200
    assert (await service.call("admin", "GET", f"/v2/images/{image['id']}")).status_code == 404


async def test_a_project_never_writes_anothers_image(service: Service, settings: Settings) -> None:
    """Whatever policy says (spec: policies §3)."""
    image = await service.create(visibility="community")
    rules = ("delete_image", "modify_image", "upload_image", "deactivate", "reactivate")
    settings.policy.policy_file.write_text("".join(f'{rule}: "@"\n' for rule in rules))
    path = f"/v2/images/{image['id']}"
    change = [{"op": "replace", "path": "/name", "value": "x"}]
    for method, place, options in (
        ("PATCH", path, {"json": change, "headers": PATCH_2_1}),
        ("PUT", f"{path}/tags/t", {}),
        ("DELETE", f"{path}/tags/t", {}),
        ("PUT", f"{path}/file", {"content": b"x", "headers": {"content-type": "application/octet-stream"}}),
        ("POST", f"{path}/actions/deactivate", {}),
        ("DELETE", path, {}),
    ):
        assert (await service.call("other", method, place, **options)).status_code == 403, place
    assert await service.show(image["id"]) == image


async def test_tokens_of_another_scope(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every rule is for project-scoped tokens."""

    class Scoped(callers.HeaderIdentity):
        async def authenticate(self, request: IdentityRequest) -> RequestContext:
            return RequestContext(request.request_id, "u", roles=frozenset({"reader", "member"}), system_scope="all")

    monkeypatch.setattr(service.app, "identity", Scoped())
    assert await listing(service) == 403
    assert (await service.call("owner", "POST", "/v2/images", json={})).status_code == 403


class TestOldDefaults:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, policy=replace(settings.policy, enforce_new_defaults=False))

    async def test_roles_do_not_matter(self, service: Service) -> None:
        image = await service.create("reader")
        assert image["owner"] == "p1"
        path = f"/v2/images/{image['id']}"
        assert (await service.call("roleless", "GET", path)).status_code == 200
        assert (await service.call("roleless", "PUT", f"{path}/tags/t")).status_code == 204
        assert (await service.call("roleless", "POST", "/v2/images", json={"visibility": "public"})).status_code == 403
        community = await service.create(visibility="community")
        assert (await service.call("other", "PUT", f"/v2/images/{community['id']}/tags/t")).status_code == 403
        assert (await service.call("other", "DELETE", f"/v2/images/{community['id']}")).status_code == 403

    async def test_members_are_the_owners_business(self, service: Service) -> None:
        image = await service.create()
        path = f"/v2/images/{image['id']}/members"
        assert (await service.call("owner", "POST", path, json={"member": "p2"})).status_code == 200
        assert (await service.call("other", "POST", path, json={"member": "p3"})).status_code == 403
        assert (await service.call("other", "DELETE", f"{path}/p2")).status_code == 403
        assert (await service.call("owner", "PUT", f"{path}/p2", json={"status": "accepted"})).status_code == 403
        assert (await service.call("other", "PUT", f"{path}/p2", json={"status": "accepted"})).status_code == 200

    async def test_an_overridden_rule_is_not_widened(self, service: Service, settings: Settings) -> None:
        settings.policy.policy_file.write_text('get_images: "role:reader"\n')
        assert await listing(service, "roleless") == 403
        assert await listing(service, "reader") == 200


class TestAnonymousByOldDefaults:
    """They asked for no role: who comes without token sees what is public, and changes nothing."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        policy = replace(settings.policy, enforce_new_defaults=False)
        return replace(settings, policy=policy, api=replace(settings.api, allow_anonymous_access=True))

    async def test_looking(self, service: Service) -> None:
        public = await service.create("admin", visibility="public")
        own = await service.create()
        listed = (await service.call("anonymous", "GET", "/v2/images")).json()["images"]
        assert [image["id"] for image in listed] == [public["id"]]
        assert (await service.call("anonymous", "GET", f"/v2/images/{public['id']}")).status_code == 200
        assert (await service.call("anonymous", "GET", f"/v2/images/{own['id']}")).status_code == 404

    async def test_changing(self, service: Service) -> None:
        public = await service.create("admin", visibility="public")
        path = f"/v2/images/{public['id']}"
        for method, place, options in (
            ("POST", "/v2/images", {"json": {}}),
            ("PATCH", path, {"json": [], "headers": PATCH_2_1}),
            ("PUT", f"{path}/file", {"content": b"x", "headers": OCTETS}),
            ("PUT", f"{path}/tags/t", {}),
            ("POST", f"{path}/actions/deactivate", {}),
            ("POST", f"{path}/members", {"json": {"member": "p2"}}),
            ("DELETE", path, {}),
        ):
            refused = await service.call("anonymous", method, place, **options)
            assert refused.status_code == 403, place
            assert "Read-only access" in refused.text
        assert await service.show(public["id"]) == public


class TestStart:
    def test_broken_file_stops_the_start(self, tmp_path: Path) -> None:
        file = tmp_path / "policy.yaml"
        file.write_text("get_images: [")
        with pytest.raises(StartRefused, match=r"policy\.yaml"):
            Enforcer(PolicySettings(policy_file=file, policy_dirs=()))

    async def test_absent_file_is_fine(self, tmp_path: Path) -> None:
        enforcer = Enforcer(PolicySettings(policy_file=tmp_path / "none.yaml", policy_dirs=(tmp_path / "none.d",)))
        admin = RequestContext("req-1", "u", "p", roles=frozenset({"admin"}))
        assert await enforcer.is_admin(admin)
        assert not await enforcer.is_admin(replace(admin, roles=frozenset({"member"})))
