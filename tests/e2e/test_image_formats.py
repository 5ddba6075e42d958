"""Every format that real programs write: kept as it is, with its virtual size, or refused for good reason."""

from pathlib import Path

import pytest

from tests.support import images
from tests.support.images import RealImage
from tests.support.images_api import ImagesApi

pytestmark = pytest.mark.needs("qemu", "boot", "iso")


def assert_round_trip(api: ImagesApi, image: RealImage, folder: Path) -> None:
    """Stores an image, looks at what the service found in it, and compares what comes back."""
    record = api.create(name=image.name, disk_format=image.disk_format, container_format="bare")
    answer = api.upload(record["id"], image.path)
    assert answer.status_code == 204, f"{image.name}: {answer.status_code} {answer.text}"
    found = api.show(record["id"])
    assert found["status"] == "active", image.name
    assert found["size"] == image.path.stat().st_size, image.name
    assert found["virtual_size"] == image.virtual_size_bytes, image.name
    assert api.download(record["id"], folder / "fetched").read_bytes() == image.path.read_bytes(), image.name
    api.delete(record["id"])


def test_every_format_of_qemu_img_keeps_its_bytes_and_gets_its_virtual_size(api: ImagesApi, tmp_path: Path) -> None:
    names = []
    for image in images.good_images(tmp_path):
        assert_round_trip(api, image, tmp_path)
        names.append(image.name)
    assert len(names) == len(images.GOOD_FORMATS)


@pytest.mark.parametrize("made", ["gpt", "luks", "made iso", "packaged iso"])
def test_partitioned_encrypted_and_optical_disks_are_taken_in(api: ImagesApi, tmp_path: Path, made: str) -> None:
    image = {
        "gpt": lambda: images.gpt_disk(tmp_path),
        "luks": lambda: images.luks_disk(tmp_path),
        "made iso": lambda: images.made_iso(tmp_path),
        "packaged iso": images.packaged_iso,
    }[made]()
    assert_round_trip(api, image, tmp_path)


def assert_refused(api: ImagesApi, image: RealImage, good: Path) -> None:
    """Tries to store an image, which leaves nothing behind: afterwards the same record takes a good image."""
    record = api.create(name=image.name, disk_format=image.disk_format, container_format="bare")
    answer = api.upload(record["id"], image.path)
    assert answer.status_code == 415, f"{image.name}: {answer.status_code} {answer.text}"
    found = api.show(record["id"])
    left = {name: found[name] for name in ("status", "size", "virtual_size", "checksum", "os_hash_value")}
    nothing = {"status": "queued", "size": None, "virtual_size": None, "checksum": None, "os_hash_value": None}
    assert left == nothing, image.name
    assert api.http.get(f"/v2/images/{record['id']}/file").status_code == 204, image.name
    if image.disk_format == "qcow2":
        assert api.upload(record["id"], good).status_code == 204, image.name
    api.delete(record["id"])


@pytest.mark.parametrize("make", [images.unsafe_images, images.mislabelled_images])
def test_unsafe_and_mislabelled_images_are_refused_and_leave_nothing(
    api: ImagesApi, tmp_path: Path, make: images.Maker
) -> None:
    good = images.convert(images.fill(tmp_path / "good.raw", images.MIB), "raw", tmp_path / "good", images.QCOW2)
    folder = tmp_path / "bad"
    folder.mkdir()
    refused = 0
    for image in make(folder):
        assert_refused(api, image, good.path)
        refused += 1
    assert refused >= 3
