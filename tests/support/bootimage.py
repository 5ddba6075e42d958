"""A tiny disk that boots: proves that an image which was stored, changed and snapshotted is still a working machine.

The disk is a BIOS one of 8 MiB: GRUB in front of the first partition, which is FAT and holds GRUB's settings and its
environment block. The guest says on its serial port which marker it finds there, and which marker it left behind at its
last boot; then it writes the marker down as the last one and switches itself off. So a disk can be changed in both ways
that matter: from outside (`set_marker`), and by the running guest itself.
"""

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.support.images import MIB, run
from tests.support.parts import GRUB_BIOS_FOLDER, system_program

DISK_BYTES = 8 * MIB
PARTITION_AT = MIB
SECTOR_BYTES = 512
BOOT_CODE_BYTES = 440
"""What of the first sector is code; partition table and disk identifier follow."""

GRUB_MODULES = (
    "biosdisk",
    "part_msdos",
    "fat",
    "normal",
    "configfile",
    "serial",
    "terminal",
    "echo",
    "loadenv",
    "halt",
)
GRUB_PREFIX = "(hd0,msdos1)/grub"
GRUB_SETTINGS = """\
serial --unit=0 --speed=115200
terminal_output serial
load_env
echo "BLICK-BOOT marker=$marker last=$last."
set last=$marker
save_env last
echo "BLICK-BOOT written."
halt
"""
DONE = "BLICK-BOOT written."


class BootFailedError(Exception):
    """The guest did not get to its end in time; the text is all it said, and all qemu said."""


@dataclass(frozen=True, slots=True)
class Booted:
    """What a guest found on its disk."""

    marker: str
    last_marker: str


def make(path: Path, *, marker: str) -> Path:
    """Writes a raw bootable disk to `path`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        core = folder / "core.img"
        run("grub-mkimage", "-O", "i386-pc", "-p", GRUB_PREFIX, "-o", core, *GRUB_MODULES)
        _write_boot_sectors(path, core.read_bytes())
        run("sfdisk", "--quiet", path, stdin=f"label: dos\nstart={PARTITION_AT // SECTOR_BYTES}, type=c, bootable\n")
        sectors = (DISK_BYTES - PARTITION_AT) // SECTOR_BYTES
        run("mformat", "-i", f"{path}@@{PARTITION_AT}", "-T", str(sectors), "-h", "16", "-s", "63", "::")
        settings = folder / "grub.cfg"
        settings.write_text(GRUB_SETTINGS)
        run("mmd", "-i", f"{path}@@{PARTITION_AT}", "::/grub")
        run("mcopy", "-i", f"{path}@@{PARTITION_AT}", settings, "::/grub/grub.cfg")
    set_marker(path, marker)
    return path


def _write_boot_sectors(path: Path, core: bytes) -> None:
    """GRUB's first sector, and its core in the gap before the first partition, where that sector looks for it."""
    first_sector = (GRUB_BIOS_FOLDER / "boot.img").read_bytes()
    assert SECTOR_BYTES + len(core) <= PARTITION_AT, "GRUB's core does not fit in front of the partition"
    with path.open("wb") as disk:
        disk.truncate(DISK_BYTES)
        disk.write(first_sector[:BOOT_CODE_BYTES])
        disk.seek(SECTOR_BYTES)
        disk.write(core)


def set_marker(path: Path, marker: str) -> None:
    """Changes the marker of a raw bootable disk from outside, keeping what the guest wrote there."""
    with tempfile.TemporaryDirectory() as name:
        environment = Path(name) / "grubenv"
        existing = run("mdir", "-i", f"{path}@@{PARTITION_AT}", "-b", "::/grub")
        if "grubenv" in existing:
            run("mcopy", "-i", f"{path}@@{PARTITION_AT}", "::/grub/grubenv", environment)
        else:
            run("grub-editenv", environment, "create")
        run("grub-editenv", environment, "set", f"marker={marker}")
        run("mcopy", "-o", "-i", f"{path}@@{PARTITION_AT}", environment, "::/grub/grubenv")


def boot(path: Path, qemu_format: str, *, timeout_s: float = 120) -> Booted:
    """Boots a disk in a plain emulated PC until it has said its marker and written it down. The disk is written to.

    Raises BootFailedError when the guest does not get that far; no qemu is left running in any case.
    """
    with tempfile.TemporaryDirectory() as name:
        serial = Path(name) / "serial"
        command = [
            system_program("qemu-system-x86_64"), "-accel", "tcg", "-m", "64", "-nodefaults", "-display", "none",
            "-no-reboot", "-serial", f"file:{serial}", "-drive", f"if=virtio,format={qemu_format},file={path}",
        ]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL)
            complaint = done.stderr
        except subprocess.TimeoutExpired:
            complaint = f"still running after {timeout_s} s"
        said = serial.read_text(errors="replace") if serial.exists() else ""
    if DONE not in said:
        raise BootFailedError(f"{path} as {qemu_format}: {complaint}\n{said}")
    line = next(line for line in said.splitlines() if "BLICK-BOOT marker=" in line)
    marker, last = line[line.index("marker=") :].removeprefix("marker=").removesuffix(".").split(" last=")
    return Booted(marker, last)
