"""openstacksdk, the library under Ansible, the dashboards and most scripts of the field."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.images import MIB, QCOW2, convert, fill
from tests.support.site import Site, on_every_identity, sdk_connection

pytestmark = [
    pytest.mark.needs("clients", "qemu"),
    on_every_identity,
    # The library's own affairs, as are those of what it imports.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning"),
]


@pytest.fixture
def images(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The library's image service for user demo, version 2 (its types allow for version 1 too)."""
    with sdk_connection(site, "demo", monkeypatch) as connection:
        yield connection.image


def test_life_of_an_image(images: Any, tmp_path: Path) -> None:
    disk = convert(fill(tmp_path / "disk.raw", 4 * MIB), "raw", tmp_path / "disk.qcow2", QCOW2).path
    with disk.open("rb") as data:  # given a filename, the library leaves the file open
        image = images.create_image(
            "by the sdk", data=data, disk_format="qcow2", container_format="bare", tags=["sdk"], os_distro="debian"
        )
    image = images.get_image(image.id)
    assert (image.status, image.size, image.virtual_size) == ("active", disk.stat().st_size, 4 * MIB)
    assert image.checksum == hashlib.md5(disk.read_bytes(), usedforsecurity=False).hexdigest()
    assert images.find_image("by the sdk").id == image.id
    assert [found.id for found in images.images(tag="sdk")] == [image.id]

    images.update_image(image, name="renamed", min_ram=64, os_version="13")
    images.add_tag(image, "two")
    images.remove_tag(image, "sdk")
    changed = images.get_image(image.id)
    assert (changed.name, changed.min_ram, changed.os_version, changed.tags) == ("renamed", 64, "13", ["two"])

    images.download_image(image, output=str(tmp_path / "fetched"))
    assert (tmp_path / "fetched").read_bytes() == disk.read_bytes()
    images.delete_image(image)
    assert images.find_image(image.id) is None


def test_pages_of_a_list_are_followed_to_the_end(images: Any) -> None:
    made = {images.create_image(f"page {number}", data=None, tags=["paged"]).id for number in range(5)}
    assert len(made) == 5
    assert {image.id for image in images.images(limit=2, tag="paged")} == made
    for image_id in made:
        images.delete_image(image_id)
