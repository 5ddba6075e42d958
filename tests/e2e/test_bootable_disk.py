"""The bootable disk itself works: it boots from every format, and it can be changed from outside and by its guest."""

from pathlib import Path

import pytest

from tests.support import bootimage
from tests.support.images import GOOD_FORMATS, QemuFormat, convert, run

pytestmark = pytest.mark.needs("qemu", "boot")


def test_guest_finds_what_was_changed_from_outside_and_what_it_wrote_itself(tmp_path: Path) -> None:
    disk = bootimage.make(tmp_path / "disk.raw", marker="first")
    assert bootimage.boot(disk, "raw") == bootimage.Booted("first", "")
    bootimage.set_marker(disk, "second")
    assert bootimage.boot(disk, "raw") == bootimage.Booted("second", "first")


def test_disk_that_does_not_boot_is_told_from_one_that_does(tmp_path: Path) -> None:
    disk = tmp_path / "empty.raw"
    with disk.open("wb") as file:
        file.truncate(1024 * 1024)
    with pytest.raises(bootimage.BootFailedError):
        bootimage.boot(disk, "raw", timeout_s=5)


@pytest.mark.parametrize("wanted", GOOD_FORMATS, ids=lambda wanted: wanted.name)
def test_boots_from_every_format(tmp_path: Path, wanted: QemuFormat) -> None:
    disk = bootimage.make(tmp_path / "disk.raw", marker=wanted.name)
    converted = convert(disk, "raw", tmp_path / "converted", wanted)
    overlay = tmp_path / "overlay.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", converted.path, "-F", wanted.qemu_format, overlay)
    assert bootimage.boot(overlay, "qcow2").marker == wanted.name
