"""The `glance` program with the openrc that the server wrote. It names images by id, so each step asks for one."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import ClientFailedError, Clients
from tests.support.images import MIB, QCOW2, convert, fill
from tests.support.images_api import ImagesApi
from tests.support.server import BlickServer
from tests.support.site import on_every_identity

pytestmark = [pytest.mark.needs("clients", "qemu"), on_every_identity]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return convert(fill(tmp_path / "disk.raw", 4 * MIB), "raw", tmp_path / "disk.qcow2", QCOW2).path


def test_life_of_an_image_from_create_to_delete(demo_by_openrc: Clients, api: ImagesApi, disk: Path) -> None:
    glance = demo_by_openrc
    said = glance.run_on_terminal(
        "glance", "image-create", "--progress", "--name", "by glance", "--disk-format", "qcow2",
        "--container-format", "bare", "--property", "os_distro=debian", "--tags", "one", "two", "--file", disk,
    )  # fmt: skip
    assert "=>] 100%" in said
    (listed,) = api.http.get("/v2/images", params={"name": "by glance"}).json()["images"]
    image_id = listed["id"]
    assert (listed["status"], listed["size"], listed["virtual_size"]) == ("active", disk.stat().st_size, 4 * MIB)
    assert image_id in glance.glance("image-list")

    glance.glance("image-tag-update", image_id, "three")
    glance.glance("image-tag-delete", image_id, "one")
    changed = glance.glance_record("image-update", "--name", "renamed", "--property", "os_version=13",
                                   "--protected", "true", "--remove-property", "os_distro", image_id)  # fmt: skip
    assert (changed["name"], changed["os_version"], changed["protected"]) == ("renamed", "13", "True")
    assert "os_distro" not in changed
    assert sorted(api.show(image_id)["tags"]) == ["three", "two"]
    with pytest.raises(ClientFailedError, match="not permitted to delete"):
        glance.glance("image-delete", image_id)

    fetched = disk.with_name("fetched.qcow2")
    said = glance.run_on_terminal("glance", "image-download", "--progress", "--file", fetched, image_id)
    assert "=>] 100%" in said
    assert fetched.read_bytes() == disk.read_bytes()

    glance.glance("image-update", "--protected", "false", image_id)
    glance.glance("image-delete", image_id)
    with pytest.raises(ClientFailedError, match="404"):
        glance.glance("image-show", image_id)


def test_image_is_shared_accepted_and_deactivated(
    server: BlickServer, demo_by_openrc: Clients, partner_auth: dict[str, Any], api: ImagesApi, disk: Path
) -> None:
    glance = demo_by_openrc
    image_id = api.create(name="shared by glance", disk_format="qcow2", container_format="bare")["id"]
    glance.glance("image-upload", "--file", disk, image_id)

    with ImagesApi(server.url, partner_auth) as partner:
        glance.glance("member-create", image_id, partner.project_id)
        assert partner.http.get(f"/v2/images/{image_id}/members").json()["members"][0]["status"] == "pending"
        partner_settings = {
            "OS_USERNAME": partner_auth["username"],
            "OS_PROJECT_NAME": partner_auth["project_name"],
            "OS_PASSWORD": partner_auth["password"],
        }
        by_partner = Clients({**glance.environment, **partner_settings})
        by_partner.glance("member-update", image_id, partner.project_id, "accepted")
        assert [image["id"] for image in partner.http.get("/v2/images").json()["images"]] == [image_id]

    glance.glance("image-deactivate", image_id)
    assert api.show(image_id)["status"] == "deactivated"
    glance.glance("image-reactivate", image_id)
    assert api.show(image_id)["status"] == "active"
    api.delete(image_id)
