"""What the service is for: a machine's disk is stored, fetched, booted, changed, and its snapshot boots again."""

from pathlib import Path

import pytest

from tests.support import bootimage
from tests.support.bootimage import Booted
from tests.support.clients import Clients
from tests.support.images import QCOW2, convert, run

pytestmark = pytest.mark.needs("clients", "qemu", "boot")


def test_a_disk_boots_after_every_trip_through_the_service(demo: Clients, tmp_path: Path) -> None:
    base = convert(bootimage.make(tmp_path / "made.raw", marker="first"), "raw", tmp_path / "made.qcow2", QCOW2)
    store(demo, base.path, "machine")

    fetched = fetch(demo, "machine", tmp_path / "fetched.qcow2")
    assert fetched.read_bytes() == base.path.read_bytes()
    machine = new_machine(fetched, tmp_path / "machine.qcow2")
    assert bootimage.boot(machine, "qcow2") == Booted("first", "")
    assert bootimage.boot(machine, "qcow2") == Booted("first", "first"), "what the guest writes stays on its disk"

    snapshot = snapshot_with_marker(machine, "second", tmp_path)
    store(demo, snapshot, "machine-snapshot")
    fetched_snapshot = fetch(demo, "machine-snapshot", tmp_path / "fetched-snapshot.qcow2")
    assert bootimage.boot(fetched_snapshot, "qcow2") == Booted("second", "first")

    again = new_machine(fetched, tmp_path / "another-machine.qcow2")
    assert bootimage.boot(again, "qcow2") == Booted("first", ""), "the image that the machine came from is as it was"


def store(demo: Clients, path: Path, name: str) -> None:
    demo.openstack("image", "create", "--disk-format", "qcow2", "--container-format", "bare", "--file", path, name)


def fetch(demo: Clients, name: str, path: Path) -> Path:
    demo.openstack("image", "save", "--file", path, name)
    return path


def new_machine(image: Path, disk: Path) -> Path:
    """The disk of a new machine: an overlay over the fetched image, as a hypervisor makes it."""
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", "qcow2", disk)
    return disk


def snapshot_with_marker(machine: Path, marker: str, folder: Path) -> Path:
    """The machine's disk on its own feet, with a new marker: overlay and base in one file, ready for upload."""
    flat = folder / "flat.raw"
    run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", machine, flat)
    bootimage.set_marker(flat, marker)
    return convert(flat, "raw", folder / "snapshot.qcow2", QCOW2).path
