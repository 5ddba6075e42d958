"""Disks that lean on another file, made by qemu-img and then turned so: refused, though the library lets them pass."""

import struct
import subprocess
import uuid
from pathlib import Path

import pytest

from blick.conf.settings import ImageFormatSettings
from blick.model.errors import UnsupportedMediaType
from blick.stream.inspect import END_BYTES, HEAD_BYTES, Inspection, inspect_file
from tests.support.images import MIB, fill, run
from tests.unit.stream.test_inspect import vmdk, vmdk_footer

pytestmark = pytest.mark.needs("qemu")

SETTINGS = ImageFormatSettings()


def made(folder: Path, qemu_format: str, options: str = "", size_bytes: int = 4 * MIB) -> Path:
    source = fill(folder / "source.raw", size_bytes)
    path = folder / f"disk.{qemu_format}"
    run("qemu-img", "convert", "-O", qemu_format, *(["-o", options] if options else []), source, path)
    return path


def patched(path: Path, at: int, value: bytes) -> Path:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(value)
    return path


def found(path: Path, declared: str) -> int | None:
    return inspect_file(path, Inspection(declared, "bare", SETTINGS))


def refused(path: Path, declared: str) -> str:
    with pytest.raises(UnsupportedMediaType) as caught:
        found(path, declared)
    return str(caught.value)


def test_a_vmdk_that_names_a_parent(tmp_path: Path) -> None:
    path = made(tmp_path, "vmdk")
    assert found(path, "vmdk") == 4 * MIB
    text = path.read_bytes()[512 : 512 + 10240].partition(b"\0")[0]
    hint = text.replace(b"parentCID=ffffffff", b'parentCID=12345678\nparentFileNameHint="/etc/passwd"')
    patched(path, 512, hint)
    assert (
        b"/etc/passwd"
        in subprocess.run(["qemu-img", "info", "-f", "vmdk", path], capture_output=True, check=True).stdout
    )  # what it would have led to
    for declared in ("vmdk", "raw"):
        assert refused(path, declared) == "Image failed safety checks: It names a parent disk."


def test_a_vmdk_that_names_a_parent_behind_the_announced_end_of_its_descriptor(tmp_path: Path) -> None:
    path = made(tmp_path, "vmdk")
    text = (
        path.read_bytes()[512 : 512 + 10240].partition(b"\0")[0].replace(b"parentCID=ffffffff", b"parentCID=12345678")
    )
    patched(path, 512, text.rstrip(b"\n").ljust(511, b" ") + b'\nparentFileNameHint="/etc/passwd"\n\0')
    patched(path, 36, struct.pack("<Q", 1))
    assert refused(path, "vmdk") == "Image failed safety checks: It names a parent disk."


def test_a_vmdk_whose_data_is_in_its_extents(tmp_path: Path) -> None:
    header = struct.pack("<4sIIQQQQIQQ", b"KDMV", 1, 3, 0, 128, 1, 1, 512, 0, 26).ljust(512, b"\0")
    first = b'# Disk DescriptorFile\nCREATETYPE="monolithicSparse"\nCID=fffffffe\nparentCID=ffffffff\nRW 1 MARK\n#'
    second = b'createType="monolithicFlat"\nRW 1 FLAT "/etc/passwd" 0\n'
    path = tmp_path / "flat.vmdk"
    path.write_bytes(header + first.ljust(511, b"x") + b"\n" + second.ljust(4096, b"\0"))
    stolen = tmp_path / "stolen"
    run("qemu-img", "convert", "-f", "vmdk", "-O", "raw", path, stolen)
    assert Path("/etc/passwd").read_bytes().startswith(stolen.read_bytes()[:16])  # what it would have led to
    assert refused(path, "vmdk") == "Image failed safety checks: Its data lies in other files."


@pytest.mark.parametrize(
    ("qemu_format", "options", "declared", "at", "value"),
    [
        ("vpc", "force_size=on", "vhd", 60, struct.pack(">I", 4)),
        ("vdi", "", "vdi", 76, struct.pack("<I", 4)),
        ("vdi", "", "vdi", 76, struct.pack("<I", 3)),
    ],
)
def test_differences_to_a_parent(
    tmp_path: Path, qemu_format: str, options: str, declared: str, at: int, value: bytes
) -> None:
    path = made(tmp_path, qemu_format, options)
    assert found(path, declared) == 4 * MIB
    for wrong in (declared, "raw"):
        assert (
            refused(patched(path, at, value), wrong)
            == "Image failed safety checks: It is the difference to a parent disk."
        )


def test_a_vhdx_with_a_parent_locator(tmp_path: Path) -> None:
    path = made(tmp_path, "vhdx")
    assert found(path, "vhdx") == 4 * MIB
    # In the place of the logical sector size's entry in the table of metadata.
    data = path.read_bytes()
    entry = uuid.UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f").bytes_le
    assert data.count(entry) >= 1
    path.write_bytes(data.replace(entry, uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c").bytes_le))
    for declared in ("vhdx", "raw"):
        assert refused(path, declared) == "Image failed safety checks: It is the difference to a parent disk."


# Files


def test_a_file_is_read_no_further_than_there_is_something_to_learn(tmp_path: Path) -> None:
    path = made(tmp_path, "qcow2")
    asked = []
    inspection = Inspection("qcow2", "bare", SETTINGS)
    assert inspection.content is None
    assert inspect_file(path, inspection, lambda: not asked.append(None)) == 4 * MIB
    assert len(asked) == 1
    assert inspection.is_settled
    assert inspection.content == "qcow2"


def test_of_a_disk_that_ends_in_a_footer_only_head_and_end_are_read(tmp_path: Path) -> None:
    path = tmp_path / "disk.vmdk"
    path.write_bytes(vmdk(kind="streamOptimized", footer=vmdk_footer(), filling_bytes=6 * MIB))
    asked: list[None] = []
    assert inspect_file(path, Inspection("vmdk", "bare", SETTINGS), lambda: not asked.append(None)) == 128 * 512
    assert len(asked) == 2
    assert "safety" in refused(patched(path, path.stat().st_size - END_BYTES, b"\xff" * 64), "vmdk")


def test_reading_can_be_broken_off(tmp_path: Path) -> None:
    path = made(tmp_path, "vhdx")
    with pytest.raises(InterruptedError):
        inspect_file(path, Inspection("vhdx", "bare", SETTINGS), lambda: False)


def test_other_containers_and_empty_files_are_settled_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    assert found(path, "raw") is None
    path.write_bytes(b"\x07" * (HEAD_BYTES + 5))
    inspection = Inspection("qcow2", "ova", SETTINGS)
    assert inspection.is_settled
    assert inspect_file(path, inspection) is None
    assert inspection.content is None
    raw = Inspection("raw", "bare", SETTINGS)
    assert inspect_file(path, raw) == HEAD_BYTES + 5
    assert raw.content == "raw"
