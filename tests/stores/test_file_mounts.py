"""File stores on real mounts: lost ones, full ones, hanging ones, and copies between them."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.parts import OWN_MOUNTS

XFS_DISK = 'truncate -s 320M "$1/disk.img" && mkfs.xfs -q "$1/disk.img" && mkdir "$1/loop"'
MOUNT_DISK = 'mount -o loop "$1/disk.img" "$1/loop"'


def run_child(name: str, folder: Path, setup: str = ":") -> None:
    """Run it with mounts of its own, after the shell's `setup`, whose $1 is the folder."""
    script = f'{setup} && exec "$2" -m tests.stores.mounted_children {name} "$1"'
    done = subprocess.run(
        ["unshare", *OWN_MOUNTS, "sh", "-c", script, "sh", str(folder), sys.executable],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.needs("mounts")
@pytest.mark.parametrize(
    "name",
    [
        "refuse_to_start_unmounted",
        "open_late",
        "lose_the_mount",
        "lose_the_mount_while_writing",
        "lose_one_of_two_mounts",
        "leave_what_is_reserved",
        "copy_between_disks",
        "adopt_within_a_mount",
    ],
)
def test_mounts(tmp_path: Path, name: str) -> None:
    run_child(name, tmp_path)


@pytest.mark.needs("loop-disk")
@pytest.mark.parametrize("name", ["share_blocks", "hang"])
def test_a_disk_of_our_own(tmp_path: Path, name: str) -> None:
    run_child(name, tmp_path, f"{XFS_DISK} && {MOUNT_DISK}")
