"""Real disk images, made on the spot by the programs of the field: qemu-img, sfdisk and xorriso.

Every function writes below the folder it is given. A program that fails raises ProgramFailedError.
"""

import json
import random
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.parts import PACKAGED_ISO, system_program

MIB = 1024 * 1024
KEY_ATTEMPTS = 100
"""qemu-img measures the processor to make a key, and gives up where processor time is counted in long ticks: every
other time on some virtual machines."""
ISO_BLOCK_BYTES = 2048
ISO_PRIMARY_VOLUME_AT = 16 * ISO_BLOCK_BYTES
ISO_VOLUME_BLOCKS_AT = 80
"""Where, inside the primary volume descriptor, the number of blocks of the volume is (ECMA-119, 8.4.8)."""


class ProgramFailedError(Exception):
    """A program ended with an error; the text is the command and its complaint."""


@dataclass(frozen=True, slots=True)
class RealImage:
    """A file, the disk_format to declare for it, and the virtual size the service has to find (None: null)."""

    name: str
    path: Path
    disk_format: str
    virtual_size_bytes: int | None


@dataclass(frozen=True, slots=True)
class QemuFormat:
    """One way of qemu-img to write a disk: the format as Glance and as qemu call it, and options for the flavour."""

    name: str
    disk_format: str
    qemu_format: str
    options: str = ""


Maker = Callable[[Path], Iterator[RealImage]]

QCOW2 = QemuFormat("qcow2", "qcow2", "qcow2")
GOOD_FORMATS = (
    QemuFormat("raw", "raw", "raw"),
    QCOW2,
    QemuFormat("qcow2-version-2", "qcow2", "qcow2", "compat=0.10"),
    QemuFormat("qcow2-zstd", "qcow2", "qcow2", "compression_type=zstd"),
    QemuFormat("vhd-dynamic", "vhd", "vpc", "subformat=dynamic,force_size=on"),
    QemuFormat("vhdx", "vhdx", "vhdx"),
    QemuFormat("vmdk-monolithic-sparse", "vmdk", "vmdk", "subformat=monolithicSparse"),
    QemuFormat("vmdk-stream-optimized", "vmdk", "vmdk", "subformat=streamOptimized"),
    QemuFormat("vdi", "vdi", "vdi"),
)
"""Every disk format that both qemu-img can write and the service knows, in each flavour that is safe to take in."""


def run(*command: str | Path, stdin: str | None = None) -> str:
    """Runs a program of the system and returns its standard output; ProgramFailedError carries its complaint."""
    program, *arguments = command
    done = subprocess.run(
        [system_program(str(program)), *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=300
    )
    if done.returncode != 0:
        raise ProgramFailedError(f"{' '.join(map(str, command))}: {done.stderr or done.stdout}")
    return done.stdout


def fill(path: Path, size_bytes: int, *, seed: int = 1) -> Path:
    """A sparse file with noise at start, middle and end, the same for the same seed; never an MBR signature."""
    noise = random.Random(seed).randbytes(min(size_bytes, 64 * 1024))
    if noise[510:512] == b"\x55\xaa":
        noise = noise[:510] + b"\0\0" + noise[512:]
    with path.open("wb") as file:
        file.truncate(size_bytes)
        file.write(noise)
        for at in (size_bytes // 2, size_bytes - len(noise)):
            file.seek(max(at, 0))
            file.write(noise[: size_bytes - max(at, 0)])
    return path


def virtual_size_bytes(path: Path, qemu_format: str) -> int:
    """The size a guest would see, as qemu-img reads it."""
    found = json.loads(run("qemu-img", "info", "--output=json", "-f", qemu_format, path))
    return int(found["virtual-size"])


def convert(source: Path, source_format: str, target: Path, wanted: QemuFormat) -> RealImage:
    """Writes `source` anew as `wanted`, compressed where that is what the flavour is for."""
    options = ["-o", wanted.options] if wanted.options else []
    compressed = ["-c"] if "compression_type" in wanted.options else []
    run(
        "qemu-img", "convert", "-f", source_format, "-O", wanted.qemu_format, *options, *compressed, source, target
    )  # fmt: skip
    return RealImage(wanted.name, target, wanted.disk_format, virtual_size_bytes(target, wanted.qemu_format))


def good_images(folder: Path, *, size_bytes: int = 8 * MIB) -> Iterator[RealImage]:
    """One image per line of GOOD_FORMATS, all with the same content."""
    source = fill(folder / "source.raw", size_bytes)
    for wanted in GOOD_FORMATS:
        yield convert(source, "raw", folder / f"{wanted.name}.img", wanted)


def gpt_disk(folder: Path, *, size_bytes: int = 8 * MIB) -> RealImage:
    """A raw disk with a GUID partition table and one partition, as sfdisk writes it."""
    path = folder / "gpt.raw"
    with path.open("wb") as file:
        file.truncate(size_bytes)
    run("sfdisk", "--quiet", path, stdin="label: gpt\nstart=2048, type=linux\n")
    return RealImage("gpt", path, "raw", size_bytes)


def luks_disk(folder: Path) -> RealImage:
    """An encrypted disk (LUKS 1), declared raw as the field does: its virtual size is then the length of the file."""
    path = folder / "luks.raw"
    _encrypt(path, "luks", "key-secret=key,iter-time=10")
    return RealImage("luks", path, "raw", path.stat().st_size)


def encrypted_qcow2(folder: Path) -> Path:
    """A qcow2 whose clusters are encrypted, as LUKS does it."""
    path = folder / "encrypted.qcow2"
    _encrypt(path, "qcow2", "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10")
    return path


def _encrypt(path: Path, qemu_format: str, options: str) -> None:
    attempt = 1
    while not _try_to_encrypt(path, qemu_format, options):
        attempt += 1
        assert attempt < KEY_ATTEMPTS, "qemu-img never got to measure the processor"


def _try_to_encrypt(path: Path, qemu_format: str, options: str) -> bool:
    """Makes an encrypted disk; False when qemu-img found its measurement of the processor, 10 ms long, too short."""
    secret = ["--object", "secret,id=key,data=only-a-test"]
    try:
        run("qemu-img", "create", "-q", "-f", qemu_format, *secret, "-o", options, path, str(MIB))
    except ProgramFailedError as error:
        if "Unable to get accurate CPU usage" not in str(error):
            raise
        return False
    return True


def iso_volume_bytes(path: Path) -> int:
    """The size the ISO itself says its volume has; the file may be longer, it is usually padded."""
    with path.open("rb") as file:
        file.seek(ISO_PRIMARY_VOLUME_AT + ISO_VOLUME_BLOCKS_AT)
        (blocks,) = struct.unpack("<I", file.read(4))
    return int(blocks) * ISO_BLOCK_BYTES


def made_iso(folder: Path) -> RealImage:
    """An ISO as people make them for cloud-init: xorriso over a folder with two files."""
    content = folder / "seed"
    content.mkdir()
    (content / "meta-data").write_text("instance-id: one\n")
    (content / "user-data").write_text("#cloud-config\n")
    path = folder / "seed.iso"
    run("xorriso", "-as", "genisoimage", "-quiet", "-volid", "cidata", "-joliet", "-rock", "-o", path, content)
    return RealImage("iso-made", path, "iso", iso_volume_bytes(path))


def packaged_iso() -> RealImage:
    """The rescue disk of a Debian package: an ISO that is bootable from a CD, made by somebody else."""
    return RealImage("iso-from-debian", PACKAGED_ISO, "iso", iso_volume_bytes(PACKAGED_ISO))


def unsafe_images(folder: Path) -> Iterator[RealImage]:
    """Images that would read another file, or that qemu itself gave up: each has to be refused."""
    base = fill(folder / "base.raw", MIB)
    size = str(MIB)

    backed = folder / "backing-file.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", backed)
    yield RealImage("qcow2 with a backing file", backed, "qcow2", None)
    yield RealImage("qcow2 with a backing file, declared raw", backed, "raw", None)

    external = folder / "data-file.qcow2"
    data = folder / "data-file.raw"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={data},data_file_raw=on", external, size)
    yield RealImage("qcow2 with an external data file", external, "qcow2", None)

    for subformat in ("monolithicFlat", "twoGbMaxExtentSparse"):
        descriptor = folder / f"{subformat}.vmdk"
        run("qemu-img", "create", "-q", "-f", "vmdk", "-o", f"subformat={subformat}", descriptor, size)
        yield RealImage(f"vmdk {subformat}", descriptor, "vmdk", None)

    qed = folder / "old.qed"
    run("qemu-img", "create", "-q", "-f", "qed", qed, size)
    yield RealImage("qed, declared raw", qed, "raw", None)


def mislabelled_images(folder: Path) -> Iterator[RealImage]:
    """Good images under a wrong name: a qcow2 called vmdk, noise called qcow2, a disk with partitions called ami."""
    source = fill(folder / "noise.raw", MIB)
    qcow2 = convert(source, "raw", folder / "good.qcow2", QCOW2)
    yield RealImage("qcow2 declared vmdk", qcow2.path, "vmdk", None)
    yield RealImage("noise declared qcow2", source, "qcow2", None)
    yield RealImage("gpt declared ami", gpt_disk(folder).path, "ami", None)
