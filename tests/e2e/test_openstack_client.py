"""The `openstack` program, as users type it. A call takes more than a second, so each test is one short story."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import ClientFailedError, Clients
from tests.support.images import MIB, QCOW2, convert, fill
from tests.support.images_api import ImagesApi
from tests.support.server import BlickServer
from tests.support.site import on_every_identity

pytestmark = [pytest.mark.needs("clients", "qemu"), on_every_identity]


def test_life_of_an_image_from_create_to_delete(demo: Clients, tmp_path: Path) -> None:
    disk = convert(fill(tmp_path / "disk.raw", 4 * MIB), "raw", tmp_path / "disk.qcow2", QCOW2).path
    create(demo, disk, "life")

    assert_shown_as_created(demo.openstack_json("image", "show", "life"), disk)
    assert [image["Name"] for image in demo.openstack_json("image", "list", "--tag", "one")] == ["life"]
    assert demo.openstack_json("image", "list", "--tag", "one", "--tag", "nine") == []

    demo.openstack("image", "set", "--name", "second life", "--property", "os_distro=trixie",
                   "--property", "hw_disk_bus=scsi", "--tag", "three", "--min-ram", "128",
                   "--protected", "life")  # fmt: skip
    with pytest.raises(ClientFailedError, match="403"):
        demo.openstack("image", "delete", "second life")
    demo.openstack("image", "unset", "--tag", "one", "--property", "hw_disk_bus", "second life")
    demo.openstack("image", "set", "--unprotected", "second life")
    changed = demo.openstack_json("image", "show", "second life")
    assert (changed["min_ram"], changed["min_disk"], changed["protected"]) == (128, 1, False)
    assert sorted(changed["tags"]) == ["three", "two"]
    assert changed["properties"]["os_distro"] == "trixie"
    assert "hw_disk_bus" not in changed["properties"]

    demo.openstack("image", "save", "--file", tmp_path / "saved.qcow2", "second life")
    assert (tmp_path / "saved.qcow2").read_bytes() == disk.read_bytes()

    demo.openstack("image", "delete", "second life")
    with pytest.raises(ClientFailedError, match="No Image found for second life"):
        demo.openstack("image", "show", "second life")


def create(demo: Clients, disk: Path, name: str) -> None:
    """Creates an image on a terminal, where the client draws its progress bar."""
    said = demo.run_on_terminal(
        "openstack", "image", "create", "--progress", "--disk-format", "qcow2", "--container-format", "bare",
        "--property", "os_distro=debian", "--tag", "one", "--tag", "two", "--min-disk", "1", "--file", disk, name,
    )  # fmt: skip
    assert "=>] 100%" in said
    assert "active" in said


def assert_shown_as_created(shown: dict[str, Any], disk: Path) -> None:
    data = disk.read_bytes()
    assert shown["status"] == "active"
    assert (shown["disk_format"], shown["container_format"]) == ("qcow2", "bare")
    assert (shown["size"], shown["virtual_size"]) == (len(data), 4 * MIB)
    assert shown["checksum"] == hashlib.md5(data, usedforsecurity=False).hexdigest()
    assert shown["properties"]["os_hash_algo"] == "sha512"
    assert shown["properties"]["os_hash_value"] == hashlib.sha512(data).hexdigest()
    assert (shown["visibility"], shown["protected"], shown["min_disk"]) == ("shared", False, 1)
    assert sorted(shown["tags"]) == ["one", "two"]
    assert shown["properties"]["os_distro"] == "debian"


def test_image_is_shared_with_another_project_and_accepted(
    server: BlickServer, demo: Clients, partner: Clients, partner_auth: dict[str, Any], api: ImagesApi
) -> None:
    image_id = api.create(name="for the partner", disk_format="raw", container_format="bare")["id"]
    with ImagesApi(server.url, partner_auth) as partner_api:
        project_id = partner_api.project_id

    with pytest.raises(ClientFailedError, match="No Image found"):
        partner.openstack("image", "show", image_id)
    added = demo.openstack_json("image", "add", "project", image_id, project_id)
    assert (added["member_id"], added["status"]) == (project_id, "pending")

    partner.openstack("image", "set", "--accept", image_id)
    assert "for the partner" in [image["Name"] for image in partner.openstack_json("image", "list", "--shared")]
    members = demo.openstack_json("image", "member", "list", image_id)
    assert [(member["Member ID"], member["Status"]) for member in members] == [(project_id, "accepted")]

    demo.openstack("image", "remove", "project", image_id, project_id)
    with pytest.raises(ClientFailedError, match="No Image found"):
        partner.openstack("image", "show", image_id)
    api.delete(image_id)


def test_deactivated_image_keeps_its_data_from_users_until_it_is_activated(
    demo: Clients, admin: Clients, api: ImagesApi, tmp_path: Path
) -> None:
    data = fill(tmp_path / "data.raw", MIB)
    image_id = api.create(name="suspect", disk_format="raw", container_format="bare")["id"]
    assert api.upload(image_id, data).status_code == 204

    demo.openstack("image", "set", "--deactivate", image_id)
    assert api.show(image_id)["status"] == "deactivated"
    assert api.http.get(f"/v2/images/{image_id}/file").status_code == 403
    with pytest.raises(ClientFailedError, match="checksum mismatch"):  # the client takes any answer's body for data
        demo.openstack("image", "save", "--file", tmp_path / "refused", image_id)
    admin.openstack("image", "save", "--file", tmp_path / "looked-at", image_id)
    assert (tmp_path / "looked-at").read_bytes() == data.read_bytes()

    demo.openstack("image", "set", "--activate", image_id)
    demo.openstack("image", "save", "--file", tmp_path / "saved", image_id)
    assert (tmp_path / "saved").read_bytes() == data.read_bytes()
    api.delete(image_id)
