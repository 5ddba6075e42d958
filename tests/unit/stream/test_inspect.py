"""The content check: every rule by hand-made bytes, and real images where qemu-img is at hand."""

import contextlib
import random
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blick.conf.settings import ImageFormatSettings
from blick.model.errors import UnsupportedMediaType
from blick.stream.inspect import HEAD_BYTES, Inspection

SETTINGS = ImageFormatSettings()
LENIENT = replace(SETTINGS, require_image_format_match=False)
MIB = 1 << 20


def inspect(
    data: bytes,
    disk_format: str,
    container_format: str = "bare",
    options: ImageFormatSettings = SETTINGS,
    piece_bytes: int = MIB,
) -> int | None:
    inspection = Inspection(disk_format, container_format, options)
    for start in range(0, len(data), piece_bytes):
        view = memoryview(bytearray(data[start : start + piece_bytes]))
        inspection.feed(view)
        view.release()
    return inspection.finish(len(data))


def refused(data: bytes, disk_format: str, options: ImageFormatSettings = SETTINGS) -> str:
    with pytest.raises(UnsupportedMediaType) as caught:
        inspect(data, disk_format, options=options)
    return str(caught.value)


# Bytes made by hand


def qcow2(*, version: int = 3, backing: int = 0, features: int = 0, size_bytes: int = 5 * MIB) -> bytes:
    header = struct.pack(">4sIQIIQ", b"QFI\xfb", version, backing, 0, 16, size_bytes)
    return (header.ljust(0x48, b"\0") + struct.pack(">Q", features)).ljust(2048, b"\0")


def vhd(size_bytes: int = 7 * MIB) -> bytes:
    return (b"conectix".ljust(40, b"\0") + struct.pack(">Q", size_bytes)).ljust(4096, b"\0")


def vdi(size_bytes: int = 3 * MIB) -> bytes:
    header = b"<<< Oracle >>>".ljust(0x40, b"\0") + struct.pack("<I", 0xBEDA107F)
    return (header.ljust(0x170, b"\0") + struct.pack("<Q", size_bytes)).ljust(2048, b"\0")


def iso(blocks: int = 100) -> bytes:
    descriptor = (b"\x01CD001\x01".ljust(80, b"\0") + struct.pack("<L", blocks)).ljust(128, b"\0")
    return (b"\0" * 32768 + descriptor + struct.pack("<H", 2048)).ljust(40960, b"\0")


def partition_table(*, boot: int = 0x80, kinds: tuple[int, ...] = (0x83,), start_lba: int = 2048) -> bytes:
    entries = b"".join(struct.pack("<B3BB3BII", boot, 0, 2, 0, kind, 0, 0, 0, start_lba, 4096) for kind in kinds)
    return (b"\x90" * 446 + entries.ljust(64, b"\0") + b"\x55\xaa").ljust(4096, b"\0")


def with_partition_table(data: bytes) -> bytes:
    return partition_table()[:512] + data[512:]


def luks(version: int = 1, payload_sectors: int = 4) -> bytes:
    header = b"LUKS\xba\xbe" + struct.pack(">H", version)
    return (header.ljust(104, b"\0") + struct.pack(">I", payload_sectors)).ljust(16384, b"\0")


DESCRIPTOR = '# Disk DescriptorFile\nversion=1\ncreateType="{kind}"\n\n{extent}\nddb.adapterType = "ide"\n'
EXTENT = 'RW 128 SPARSE "disk.vmdk"'


def vmdk(
    *,
    kind: str = "monolithicSparse",
    extent: str = EXTENT,
    version: int = 1,
    descriptor_sector: int = 1,
    descriptor_sectors: int = 2,
    sectors: int = 128,
    footer: bytes | None = None,
    filling_bytes: int = 4096,
) -> bytes:
    directory = 0xFFFFFFFFFFFFFFFF if footer is not None else 26
    header = vmdk_header(version, sectors, descriptor_sector, descriptor_sectors, directory)
    text = DESCRIPTOR.format(kind=kind, extent=extent).encode()
    body = header.ljust(512, b"\0") + text.ljust(descriptor_sectors * 512, b"\0")
    return body + b"\x11" * filling_bytes + (footer or b"")


def vmdk_header(version: int, sectors: int, at: int, length: int, directory: int) -> bytes:
    return struct.pack("<4sIIQQQQIQQ", b"KDMV", version, 3, sectors, 128, at, length, 512, 0, directory)


def vmdk_footer(*, version: int = 1, at: int = 1, directory: int = 26, end_of_stream: int = 0) -> bytes:
    marker = struct.pack("<QII496s", 1, 0, 3, b"")
    copy = vmdk_header(version, 128, at, 2, directory).ljust(512, b"\0")
    return marker + copy + struct.pack("<QII496s", 0, 0, end_of_stream, b"")


FORMATS: dict[str, tuple[bytes, int]] = {
    "qcow2": (qcow2(), 5 * MIB),
    "vhd": (vhd(), 7 * MIB),
    "vdi": (vdi(), 3 * MIB),
    "iso": (iso(), 100 * 2048),
    "vmdk": (vmdk(), 128 * 512),
}


# Declared format against content


@pytest.mark.parametrize("name", FORMATS)
def test_matching_content_gives_the_size_in_its_header(name: str) -> None:
    data, virtual_size = FORMATS[name]
    assert inspect(data, name) == virtual_size


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("declared", [*FORMATS, "vhdx", "aki", "ari", "ami", "ploop"])
def test_other_content_is_refused(name: str, declared: str) -> None:
    if name != declared:
        assert "does not match" in refused(FORMATS[name][0], declared)


@pytest.mark.parametrize("name", FORMATS)
def test_raw_takes_any_safe_content_for_as_long_as_it_is(name: str) -> None:
    data, _ = FORMATS[name]
    assert inspect(data, "raw") == len(data)


@pytest.mark.parametrize("size_bytes", [1, 3, 4, 63, 64, 511, 512, 513, 65537, MIB, MIB + 1, 2 * MIB + 5])
def test_raw_of_any_length(size_bytes: int) -> None:
    assert inspect(b"\x07" * size_bytes, "raw") == size_bytes


@pytest.mark.parametrize("declared", ["raw", "qcow2", "vmdk", "iso", "ami"])
def test_an_empty_body_is_fine_and_has_no_virtual_size(declared: str) -> None:
    assert inspect(b"", declared) is None


@pytest.mark.parametrize("declared", ["aki", "ari", "ami", "ploop", "squashfs"])
def test_formats_nobody_recognises_take_content_nobody_recognises(declared: str) -> None:
    assert inspect(b"\x07" * 100_000, declared) is None


@pytest.mark.parametrize("declared", ["aki", "ari"])
@pytest.mark.parametrize("table", [partition_table(), partition_table(kinds=()), partition_table(boot=0x17)])
def test_a_kernel_may_begin_like_a_partition_table(declared: str, table: bytes) -> None:
    assert inspect(table, declared) is None


@pytest.mark.parametrize("declared", ["ami", "ploop", "iso", "qcow2"])
def test_partition_tables_are_refused_elsewhere(declared: str) -> None:
    assert "found gpt" in refused(partition_table(), declared)


def test_raw_content_is_refused_where_a_format_was_promised() -> None:
    assert refused(b"\x07" * 5000, "qcow2") == ("Image content does not match disk_format: declared qcow2, found raw.")


def test_a_hybrid_cd_is_a_cd() -> None:
    hybrid = with_partition_table(iso())
    assert inspect(hybrid, "iso") == 100 * 2048
    assert inspect(hybrid, "raw") == len(hybrid)
    assert "found iso" in refused(hybrid, "aki")


@pytest.mark.parametrize("declared", ["raw", "iso", "vdi", "ami"])
def test_two_formats_at_once_are_refused(declared: str) -> None:
    both = vdi()[:2048] + iso()[2048:]
    assert refused(both, declared) == "Image content looks like several formats at once: iso, vdi."


@pytest.mark.parametrize("container", ["ami", "ovf", "docker", "compressed"])
def test_other_containers_are_not_looked_into(container: str) -> None:
    assert inspect(qcow2(backing=512), "qcow2", container) is None
    assert inspect(b"anything", "iso", container) is None


# Safety


@pytest.mark.parametrize(
    "data",
    [
        qcow2(backing=0x200), qcow2(features=1 << 2), qcow2(features=1 << 4), qcow2(features=1 << 40),
        qcow2(version=1), qcow2(version=4),
        vmdk(kind="monolithicFlat"), vmdk(kind="twoGbMaxExtentSparse"), vmdk(kind="custom"),
        vmdk(extent='RW 128 FLAT "/etc/passwd"'), vmdk(extent=""), vmdk(extent="surprise"),
        vmdk(version=4), vmdk(descriptor_sector=2), vmdk(descriptor_sectors=0),
        vmdk(footer=b"\0" * 1536), vmdk(footer=vmdk_footer(version=2)), vmdk(footer=vmdk_footer(at=9)),
        vmdk(footer=vmdk_footer(directory=0xFFFFFFFFFFFFFFFF)), vmdk(footer=vmdk_footer(end_of_stream=1)),
        vmdk()[:700],
        DESCRIPTOR.format(kind="monolithicFlat", extent='RW 128 FLAT "/etc/passwd" 0').encode(),
        b"QED\0".ljust(4096, b"\0"),
        luks(version=2), luks()[:300],
        partition_table(boot=0x17), partition_table(kinds=()), partition_table(kinds=(0xEE, 0x83)),
        partition_table(kinds=(0xEE,), start_lba=63),
    ],
)  # fmt: skip
@pytest.mark.parametrize("declared", ["raw", "its own"])
def test_unsafe_content_is_refused_whatever_it_is_declared_as(data: bytes, declared: str) -> None:
    own = "qcow2" if data.startswith(b"QFI") else "vmdk" if b"KDMV" in data[:4] or b"#" in data[:1] else "raw"
    text = refused(data, own if declared == "its own" else "raw")
    assert "safety checks" in text or "cannot be read" in text
    assert "safety checks" in refused(data, own if declared == "its own" else "raw", LENIENT)


@pytest.mark.parametrize(
    "data", [qcow2(version=2), qcow2(features=0b1011), qcow2(features=0b1), partition_table(kinds=(0x83, 0x82))]
)
def test_harmless_variants_pass(data: bytes) -> None:
    assert inspect(data, "qcow2" if data.startswith(b"QFI") else "raw") is not None


def test_a_protective_partition_table_passes() -> None:
    data = partition_table(boot=0, kinds=(0xEE,), start_lba=1)
    assert inspect(data, "raw") == len(data)


def test_a_fat_boot_sector_is_no_partition_table() -> None:
    sector = bytearray(partition_table(boot=0x17))
    sector[0x10], sector[0x15] = 2, 0xF8
    assert inspect(bytes(sector), "raw") == len(sector)


def test_the_partition_table_check_can_be_made_a_warning() -> None:
    tolerant = replace(SETTINGS, gpt_safety_checks_nonfatal=("mbr",))
    data = partition_table(kinds=())
    assert inspect(data, "raw", options=tolerant) == len(data)
    assert inspect(data, "gpt", options=tolerant) == len(data)
    assert "safety checks" in refused(qcow2(backing=1), "qcow2", tolerant)


@pytest.mark.parametrize("filling_bytes", [0, 4096, HEAD_BYTES, HEAD_BYTES - 100, 3 * MIB + 17])
@pytest.mark.parametrize("piece_bytes", [MIB, 700_001, 65536])
def test_a_stream_optimised_disk_is_judged_by_its_footer(filling_bytes: int, piece_bytes: int) -> None:
    data = vmdk(kind="streamOptimized", footer=vmdk_footer(), filling_bytes=filling_bytes)
    assert inspect(data, "vmdk", piece_bytes=piece_bytes) == 128 * 512
    with pytest.raises(UnsupportedMediaType, match="safety"):
        inspect(data + b"\0" * 512, "vmdk", piece_bytes=piece_bytes)


@pytest.mark.parametrize("last_bytes", [1, 100, 1000, 1535, 1536, 1537])
def test_the_footer_may_come_in_short_pieces(last_bytes: int) -> None:
    data = vmdk(kind="streamOptimized", footer=vmdk_footer(), filling_bytes=2 * MIB)
    inspection = Inspection("vmdk", "bare", SETTINGS)
    inspection.feed(memoryview(data)[:-last_bytes])
    for position in range(len(data) - last_bytes, len(data), 97):
        inspection.feed(memoryview(data)[position : min(position + 97, len(data))])
    assert inspection.finish(len(data)) == 128 * 512


def test_a_bad_descriptor_is_refused_before_the_footer_arrives() -> None:
    data = vmdk(kind="streamOptimized", extent='RW 1 FLAT "/x"', footer=vmdk_footer(), filling_bytes=2 * MIB)
    inspection = Inspection("vmdk", "bare", SETTINGS)
    with pytest.raises(UnsupportedMediaType, match="safety"):
        inspection.feed(memoryview(data)[:MIB])


@pytest.mark.parametrize("piece_bytes", [300_000, MIB, 3 * MIB])
def test_a_long_embedded_descriptor_is_read_to_its_end(piece_bytes: int) -> None:
    comment = "\n".join(["#" * 500] * 2200)

    def long(last_extent: str) -> bytes:
        room = 2048 * 512 - 1 - len(DESCRIPTOR) - len(EXTENT) - len(last_extent) - 40
        extent = f"{EXTENT}\n{comment[:room]}\n{last_extent}"
        return vmdk(extent=extent, descriptor_sectors=2048, filling_bytes=MIB)

    assert long("RW 1 MARK").index(b"MARK") > HEAD_BYTES
    assert inspect(long('RW 1 SPARSE "disk"'), "vmdk", piece_bytes=piece_bytes) == 128 * 512
    with pytest.raises(UnsupportedMediaType, match="safety"):
        inspect(long('RW 1 FLAT "/etc/shadow"'), "vmdk", piece_bytes=piece_bytes)


def test_text_that_turns_binary_is_raw_unless_it_is_a_disk_descriptor() -> None:
    script = b"#!/bin/sh\n" * 100 + b"\xff\xfe" * 1000
    assert inspect(script, "raw") == len(script)
    descriptor = DESCRIPTOR.format(kind="monolithicFlat", extent='RW 1 FLAT "/x"').encode()
    text = refused(descriptor.ljust(600, b"\n") + b"\xff", "raw")
    assert text == "Image failed safety checks: its header cannot be read."


def test_the_reason_of_a_refusal_is_told() -> None:
    assert refused(qcow2(backing=1), "raw") == "Image failed safety checks: Image has a backing file"


def test_a_descriptor_is_found_however_the_body_is_cut() -> None:
    descriptor = DESCRIPTOR.format(kind="monolithicFlat", extent='RW 1 FLAT "/x"').encode()
    for piece_bytes in (1, 5, 33, 64, 200):
        with pytest.raises(UnsupportedMediaType, match="safety"):
            inspect(descriptor, "raw", piece_bytes=piece_bytes)


# Sizes


@pytest.mark.parametrize("data", [qcow2(size_bytes=1 << 63), vmdk(sectors=1 << 60), vhd((1 << 64) - 1)])
def test_impossible_sizes_are_refused(data: bytes) -> None:
    declared = {b"QFI\xfb": "qcow2", b"KDMV": "vmdk", b"cone": "vhd"}[data[:4]]
    assert "impossible size" in refused(data, declared)
    assert inspect(data, "raw") == len(data)


def test_an_encrypted_disk_is_what_comes_behind_its_header() -> None:
    data = luks(payload_sectors=4) + b"\0" * MIB
    assert inspect(data, "luks") == len(data) - 4 * 512
    assert "impossible size" in refused(luks(payload_sectors=1 << 20), "luks")


def test_a_partitioned_disk_declared_as_such_is_as_long_as_it_is() -> None:
    data = partition_table() + b"\0" * 2 * MIB
    assert inspect(data, "gpt") == len(data)


def vhdx(*, metadata_at: int = 2 * MIB, item_length: int = 8, mark: bytes = b"metadata") -> bytes:
    def guid(text: str) -> bytes:
        a, b, c, d, e = text.split("-")
        return struct.pack("<IHH", int(a, 16), int(b, 16), int(c, 16)) + bytes.fromhex(d + e)

    disk = bytearray(b"vhdxfile".ljust(metadata_at + MIB, b"\0"))
    disk[0x30000:0x30010] = struct.pack("<IIII", 0x69676572, 0, 1, 0)
    region = guid("8B7CA206-4790-4B9A-B8FE-575F050F886E") + struct.pack("<QII", metadata_at, MIB, 1)
    disk[0x30010:0x30030] = region
    disk[metadata_at : metadata_at + 12] = struct.pack("<8sHH", mark, 0, 1)
    item = guid("2FA54224-CD1B-4876-B211-5DBED83BF4B8") + struct.pack("<III", 65536, item_length, 0)
    disk[metadata_at + 32 : metadata_at + 60] = item
    disk[metadata_at + 65536 : metadata_at + 65544] = struct.pack("<Q", 9 * MIB)
    return bytes(disk)


@pytest.mark.parametrize("piece_bytes", [65536, 1_000_003, MIB, 8 * MIB])
@pytest.mark.parametrize("metadata_at", [300_000, MIB - 7, MIB, 2 * MIB, 5 * MIB])
def test_vhdx_metadata_is_found_wherever_it_lies(piece_bytes: int, metadata_at: int) -> None:
    assert inspect(vhdx(metadata_at=metadata_at), "vhdx", piece_bytes=piece_bytes) == 9 * MIB


@pytest.mark.parametrize("data", [vhdx(mark=b"nonsense"), vhdx(item_length=3), vhdx()[: 2 * MIB], vhdx()[:5000]])
def test_broken_vhdx_is_refused(data: bytes) -> None:
    text = refused(data, "vhdx")
    assert "cannot be read" in text or "safety" in text


def test_vhdx_without_a_region_table_is_refused_only_where_formats_must_match() -> None:
    data = b"vhdxfile".ljust(MIB, b"\0")
    assert "cannot be read" in refused(data, "vhdx")
    assert inspect(data, "vhdx", options=LENIENT) is None


# Formats need not match


def test_a_mismatch_is_let_through_when_formats_need_not_match() -> None:
    assert inspect(b"\x07" * 5000, "qcow2", options=LENIENT) is None
    assert inspect(qcow2(), "vmdk", options=LENIENT) is None
    assert inspect(vdi()[:2048] + iso()[2048:], "raw", options=LENIENT) is None
    assert inspect(qcow2(), "qcow2", options=LENIENT) == 5 * MIB


@pytest.mark.parametrize("data", [qcow2(backing=1), b"QED\0".ljust(4096, b"\0"), partition_table(kinds=())])
def test_what_is_unsafe_is_refused_also_where_formats_need_not_match(data: bytes) -> None:
    assert "safety checks" in refused(data, "vmdk", LENIENT)


# Early, and cheap


@pytest.mark.parametrize("data", [b"\x07" * MIB, qcow2(backing=7).ljust(MIB, b"\0"), vmdk().ljust(MIB, b"\0")])
def test_the_first_mebibyte_is_enough_to_refuse(data: bytes) -> None:
    with pytest.raises(UnsupportedMediaType):
        Inspection("qcow2", "bare", SETTINGS).feed(memoryview(data))


def test_the_piece_is_not_kept() -> None:
    for data, name in [
        (vmdk(kind="streamOptimized", footer=vmdk_footer(), filling_bytes=MIB), "vmdk"),
        (vhdx(), "vhdx"),
    ]:
        inspection = Inspection(name, "bare", SETTINGS)
        buffer = bytearray(MIB)
        for start in range(0, len(data), MIB):
            piece = data[start : start + MIB]
            buffer[: len(piece)] = piece
            inspection.feed(memoryview(buffer)[: len(piece)])
            buffer[:] = b"\xee" * MIB
            buffer.append(0)  # raises BufferError while somebody holds a view
            buffer.pop()
        assert inspection.finish(len(data)) is not None


@pytest.mark.parametrize(("data", "name"), [(b"\x07" * MIB, "raw"), (qcow2().ljust(MIB, b"\0"), "qcow2")])
def test_after_the_head_nothing_is_looked_at(data: bytes, name: str) -> None:
    inspection = Inspection(name, "bare", SETTINGS)
    inspection.feed(memoryview(data))
    rest = memoryview(b"")
    rest.release()
    inspection.feed(rest)  # a released view cannot be read
    assert inspection.finish(4 * MIB) in (4 * MIB, 5 * MIB)


# Hostile bytes


_MAGICS = [data for data, _ in FORMATS.values()] + [
    vhdx(metadata_at=300_000)[: 400_000], luks(), partition_table(), b"QED\0", iso(),
    vmdk(kind="streamOptimized", footer=vmdk_footer()), DESCRIPTOR.encode(), b"vhdxfile", b"KDMV", b"LUKS\xba\xbe",
]  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    base=st.sampled_from(_MAGICS),
    noise=st.lists(st.tuples(st.integers(0, 700), st.binary(min_size=1, max_size=12)), max_size=6),
    cut=st.integers(0, 500_000),
    tail=st.binary(max_size=40),
    declared=st.sampled_from(["raw", "qcow2", "vhd", "vhdx", "vmdk", "vdi", "iso", "ami", "luks", "gpt", "qed"]),
    lenient=st.booleans(),
)
def test_hostile_bytes_raise_nothing_but_our_refusal(
    base: bytes, noise: list[tuple[int, bytes]], cut: int, tail: bytes, declared: str, lenient: bool
) -> None:
    data = bytearray(base)
    for position, piece in noise:
        data[position : position + len(piece)] = piece
    body = bytes(data[:cut]) + tail
    options = LENIENT if lenient else SETTINGS
    outcomes = set()
    for piece_bytes in (MIB, 4099):
        try:
            outcomes.add(inspect(body, declared, options=options, piece_bytes=piece_bytes))
        except UnsupportedMediaType:
            outcomes.add(-1)
    assert len(outcomes) == 1
    assert outcomes.pop() in (None, -1) or body


@settings(max_examples=100, deadline=None)
@given(body=st.binary(max_size=2000), declared=st.sampled_from(["raw", "vmdk", "qcow2"]))
def test_arbitrary_bytes_raise_nothing_but_our_refusal(body: bytes, declared: str) -> None:
    with contextlib.suppress(UnsupportedMediaType):
        assert inspect(body, declared) is None or declared == "raw" or body


# The real thing

needs_qemu = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")
VARIANTS = {
    "qcow2": ("qcow2", "qcow2", []),
    "qcow2-v2": ("qcow2", "qcow2", ["-o", "compat=0.10"]),
    "vmdk": ("vmdk", "vmdk", []),
    "vmdk-stream": ("vmdk", "vmdk", ["-o", "subformat=streamOptimized"]),
    "vdi": ("vdi", "vdi", []),
    "vhd": ("vhd", "vpc", ["-o", "force_size=on"]),
    "vhdx": ("vhdx", "vhdx", []),
    "raw": ("raw", "raw", []),
}


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("disk") / "source"
    content = bytearray(8 * MIB)
    generator = random.Random(7)
    content[3 * MIB : 5 * MIB] = generator.randbytes(2 * MIB)
    path.write_bytes(content)
    yield path
    path.unlink()


@needs_qemu
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("piece_bytes", [MIB, 100_003])
def test_what_qemu_makes(variant: str, disk: Path, tmp_path: Path, piece_bytes: int) -> None:
    name, qemu_name, options = VARIANTS[variant]
    target = tmp_path / "image"
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", qemu_name, *options, str(disk), str(target)], check=True)
    data = target.read_bytes()
    assert inspect(data, name, piece_bytes=piece_bytes) == 8 * MIB
    assert inspect(data, "raw", piece_bytes=piece_bytes) == len(data)
    other = "vdi" if name != "vdi" else "qcow2"
    with pytest.raises(UnsupportedMediaType):
        inspect(data, other, piece_bytes=piece_bytes)


@needs_qemu
@pytest.mark.parametrize(
    "arguments",
    [
        ["-f", "qcow2", "-b", "/etc/hostname", "-F", "raw", "-u", "{image}", "8M"],
        ["-f", "qcow2", "-o", "data_file={image}.data", "{image}", "8M"],
        ["-f", "qcow2", "-o", "extended_l2=on,cluster_size=128k", "{image}", "8M"],
        ["-f", "vmdk", "-o", "subformat=monolithicFlat", "{image}", "8M"],
        ["-f", "qed", "{image}", "8M"],
    ],
)
def test_what_qemu_makes_and_nobody_should_take(arguments: list[str], tmp_path: Path) -> None:
    target = tmp_path / "image"
    subprocess.run(
        ["qemu-img", "create", *(part.format(image=target) for part in arguments)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    data = target.read_bytes()
    for declared in ("raw", arguments[1]):
        assert "safety" in refused(data, declared)


@needs_qemu
def test_the_formats_are_those_that_the_library_finds(disk: Path, tmp_path: Path) -> None:
    from oslo_utils.imageutils import format_inspector

    for variant, (name, qemu_name, options) in VARIANTS.items():
        target = tmp_path / variant
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", qemu_name, *options, disk, target], check=True)
        assert str(format_inspector.detect_file_format(str(target))) == name


def test_the_library_offers_what_the_feeding_relies_on() -> None:
    """Fails when a new release of oslo.utils changes what is relied on beyond its documented interface."""
    from oslo_utils.imageutils import format_inspector as library

    assert set(library.ALL_FORMATS) == {
        "raw", "qcow2", "vhd", "vhdx", "vmdk", "vdi", "qed", "iso", "gpt", "luks",
    }  # fmt: skip
    # After the first MiB only these two may still be waiting for bytes:
    for name, kind in library.ALL_FORMATS.items():
        inspector = kind()
        with contextlib.suppress(library.ImageFormatError):
            inspector.eat_chunk(b"\0" * MIB)
        assert inspector.complete, name
    inspector = library.VMDKInspector()
    inspector.eat_chunk(vmdk(footer=vmdk_footer()))
    assert inspector.region("descriptor").complete
    assert isinstance(inspector.region("footer"), library.EndCaptureRegion)
    assert inspector.region("footer").length == 1536
    assert callable(inspector.check_descriptor)
