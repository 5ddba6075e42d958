"""Unpacking what real programs packed, and what nobody should: bombs, damage, archives with a trick."""

import asyncio
import bz2
import gzip
import io
import lzma
import os
import random
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blick.model.errors import Invalid, LimitExceeded
from blick.stream.decompress import Bounds, decompress
from blick.stream.packed import recognise
from tests.support.images import MIB, fill

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PLENTY = Bounds(size_bytes=1 << 40, ratio=10_000, small_bytes=64 * MIB, keep_free_bytes=0)
NOISE = random.Random(1).randbytes(MIB)


def zipped(data: bytes, method: int = zipfile.ZIP_DEFLATED, **more: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method) as file:
        file.writestr("disk.img", data)
        for name, other in more.items():
            file.writestr(name, other)
    return archive.getvalue()


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd.compress,
    "zip": zipped,
    "zip, stored": lambda data: zipped(data, zipfile.ZIP_STORED),
    "zip, by bzip2": lambda data: zipped(data, zipfile.ZIP_BZIP2),
}
STREAMS = ("gzip", "bzip2", "xz", "zstd")


async def unpack(source: Path, bounds: Bounds = PLENTY) -> Path:
    target = source.parent / "unpacked"
    packed = recognise(source)
    assert packed is not None, "it was not recognised"
    told: list[tuple[int, int]] = []
    await decompress(packed, source, target, bounds, lambda done, whole: told.append((done, whole)))
    assert told == sorted(told)
    assert all(done <= whole <= source.stat().st_size for done, whole in told)
    return target


async def unpacked(folder: Path, data: bytes, bounds: Bounds = PLENTY) -> bytes:
    source = folder / "packed"
    source.write_bytes(data)
    return (await unpack(source, bounds)).read_bytes()


async def refused(folder: Path, data: bytes, bounds: Bounds = PLENTY) -> str:
    """Why it is not unpacked; nothing is left of it."""
    with pytest.raises((Invalid, LimitExceeded)) as caught:
        await unpacked(folder, data, bounds)
    assert [entry.name for entry in folder.iterdir()] == ["packed"]
    text = str(caught.value)
    assert text.startswith("The image cannot be decompressed: ")
    return text.removeprefix("The image cannot be decompressed: ")


# Real programs


@pytest.mark.needs("packers")
@pytest.mark.parametrize(
    "command",
    [
        "gzip -c {}", "gzip -1 -c {}", "bzip2 -c {}", "bzip2 -1 -c {}",
        "xz -c {}", "xz -9e -c {}", "xz -T2 --block-size=1MiB -c {}", "xz --check=none -c {}",
        "zstd -q -c {}", "zstd -q -19 --long=27 -c {}", "pzstd -q -c -p 3 {}", "zstd -q --no-check -c {}",
        "zip -q -j - {}", "zip -q -0 -j - {}", "zip -q -Z bzip2 -j - {}", "zip -q -j - - < {}", "zip -q -j -fz - {}",
        "(gzip -c {}; printf '' | gzip -c)", "(gzip -c {}; head -c 1000 /dev/zero)",
        "(xz -c {}; head -c 4096 /dev/zero)",
    ],
)  # fmt: skip
async def test_what_real_programs_pack(tmp_path: Path, command: str) -> None:
    image = fill(tmp_path / "disk.img", 8 * MIB)
    packed = tmp_path / "packed"
    with packed.open("wb") as output:
        subprocess.run(command.format(image), shell=True, stdout=output, check=True, timeout=120)
    target = await unpack(packed)
    assert target.read_bytes() == image.read_bytes()
    assert target.stat().st_blocks * 512 < MIB  # holes


def test_a_zip_of_more_than_four_gigabytes(tmp_path: Path) -> None:
    size_bytes, crc32 = (4 << 30) + 5, 0x12345678
    elsewhere = (1 << 32) - 1
    sizes = struct.pack("<HHQQ", 1, 16, size_bytes, size_bytes)
    local = (
        struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 45, 0, 0, 0, 0, crc32, elsewhere, elsewhere, 1, len(sizes))
        + b"x"
        + sizes
    )
    entry = struct.pack(
        "<4sHHHHHHIIIHHHHHII", b"PK\1\2", 45, 45, 0, 0, 0, 0, crc32, elsewhere, elsewhere, 1, len(sizes), 0, 0, 0, 0, 0
    )
    directory, at = entry + b"x" + sizes, len(local) + size_bytes
    end = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(directory), at)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, at + len(directory), 1)
    trailer = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(directory), elsewhere, 0)
    source = tmp_path / "packed"
    with source.open("wb") as file:
        file.write(local)
        file.seek(at)
        file.write(directory + end + locator + trailer)
    with zipfile.ZipFile(source) as archive:  # it is one for others too
        assert archive.infolist()[0].file_size == size_bytes
    packed = recognise(source)
    assert packed is not None
    assert (packed.size_bytes, packed.crc32, packed.begin, packed.end) == (size_bytes, crc32, len(local), at)


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("size_bytes", [0, 1, 65536, MIB + 7])
async def test_every_size_comes_back(tmp_path: Path, kind: str, size_bytes: int) -> None:
    data = (NOISE * 2)[:size_bytes]
    assert await unpacked(tmp_path, PACK[kind](data)) == data
    zeros = bytes(size_bytes)
    assert await unpacked(tmp_path, PACK[kind](zeros)) == zeros


@pytest.mark.parametrize("kind", STREAMS)
async def test_streams_that_follow_each_other_belong_together(tmp_path: Path, kind: str) -> None:
    pieces = [NOISE[:1000], b"", NOISE[:70_000], b"end"]
    packed = b"".join(map(PACK[kind], pieces))
    assert await unpacked(tmp_path, packed) == b"".join(pieces)
    padded = b"".join(PACK[kind](piece) + bytes(512) for piece in pieces)
    assert await unpacked(tmp_path, padded) == b"".join(pieces)


async def test_members_whose_mark_is_cut_by_the_buffer(tmp_path: Path) -> None:
    first = gzip.compress(NOISE[:65_000])
    for missing in range(4):
        padding = bytes(65536 - len(first) % 65536 - missing)
        assert await unpacked(tmp_path, first + padding + gzip.compress(b"more")) == NOISE[:65_000] + b"more"


async def test_a_left_over_is_replaced_and_no_link_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"somebody else's")
    (tmp_path / "unpacked").symlink_to(tmp_path / "other")
    assert await unpacked(tmp_path, gzip.compress(b"data")) == b"data"
    assert (tmp_path / "other").read_bytes() == b"somebody else's"
    assert await unpacked(tmp_path, gzip.compress(b"more")) == b"more"


# What is not packed


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\x1f", b"\x1f\x8b", b"\x1f\x8b\x07" + bytes(30), b"BZ", b"BZh", b"BZh9" + bytes(30),
        b"\xfd7zX", b"PK\x03", b"PK\x07\x08" + bytes(40), b"\x28\xb5\x2f", b"\x50\x2a\x4d\x18" + bytes(30),
        b"QFI\xfb" + bytes(500), bytes(5000), b"\x21\x00-lh5-" + bytes(40), NOISE,
    ],
)  # fmt: skip
def test_other_data_is_left_alone(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "data").write_bytes(data)
    assert recognise(tmp_path / "data") is None


# Damage


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("cut", [1, 5, 100, 5000, 200_000])
async def test_data_that_ends_early(tmp_path: Path, kind: str, cut: int) -> None:
    packed = PACK[kind](NOISE[:300_000])
    text = await refused(tmp_path, packed[:-cut])
    assert text == f"the {kind} data ends early."


@pytest.mark.parametrize("kind", [kind for kind in PACK if kind.startswith("zip")])
@pytest.mark.parametrize("cut", [1, 22, 60, 5000])
async def test_an_archive_that_ends_early(tmp_path: Path, kind: str, cut: int) -> None:
    assert "damaged" in await refused(tmp_path, PACK[kind](NOISE[:300_000])[:-cut])


@pytest.mark.parametrize("kind", [*STREAMS, "zip", "zip, stored", "zip, by bzip2"])
async def test_a_bit_that_fell_over(tmp_path: Path, kind: str) -> None:
    options = {zstd.CompressionParameter.checksum_flag: 1}
    packed = bytearray(zstd.compress(NOISE, options=options) if kind == "zstd" else PACK[kind](NOISE))
    packed[len(packed) // 2] ^= 16
    assert "damaged" in await refused(tmp_path, bytes(packed))


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("rubbish", [b"x", b"rubbish" * 20_000, bytes(100_000) + b"x"])
async def test_something_behind_the_end(tmp_path: Path, kind: str, rubbish: bytes) -> None:
    text = await refused(tmp_path, PACK[kind](NOISE[:100_000]) + rubbish)
    assert "something else follows" in text or "ends early" in text or "damaged" in text
    if kind != "zstd":
        assert text == f"something else follows the {kind} data."


# Bombs


def bomb(kind: str, size_bytes: int) -> bytes:
    """Zeros, packed so well that they take next to nothing."""
    return PACK[kind](bytes(size_bytes))


@pytest.mark.parametrize("kind", [*STREAMS, "zip", "zip, by bzip2"])
async def test_a_bomb_is_stopped_by_how_much_it_grows(tmp_path: Path, kind: str) -> None:
    bounds = replace(PLENTY, ratio=200, small_bytes=4 * MIB)
    assert await refused(tmp_path, bomb(kind, 24 * MIB), bounds) == "it grows to more than 200 times its size."
    assert len(await unpacked(tmp_path, bomb(kind, 4 * MIB), bounds)) == 4 * MIB


@pytest.mark.parametrize("kind", PACK)
async def test_nothing_becomes_larger_than_an_image_may_be(tmp_path: Path, kind: str) -> None:
    bounds = replace(PLENTY, size_bytes=MIB)
    data = NOISE
    assert await unpacked(tmp_path, PACK[kind](data), bounds) == data
    assert await refused(tmp_path, PACK[kind](data + b"x"), bounds) == "it becomes larger than an image may be here."


async def test_there_is_room_left_for_others(tmp_path: Path) -> None:
    data = gzip.compress(bytes(64 * MIB), 1)
    free_bytes = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    bounds = replace(PLENTY, keep_free_bytes=2 * free_bytes)
    assert await refused(tmp_path, data, bounds) == "there is no room for the result."


async def test_a_file_that_may_not_grow_so_far_is_no_room(tmp_path: Path) -> None:
    script = """
import asyncio, pathlib, resource, sys
from blick.model.errors import LimitExceeded
from blick.stream.decompress import Bounds, decompress
from blick.stream.packed import recognise
source = pathlib.Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    asyncio.run(decompress(recognise(source), source, source.with_name("out"), Bounds(1 << 40, 9, 1 << 30, 0), print))
except LimitExceeded as error:
    print(error)
"""
    source = tmp_path / "packed"
    source.write_bytes(gzip.compress(NOISE * 3))
    done = subprocess.run(
        [sys.executable, "-c", script, source], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.endswith("The image cannot be decompressed: there is no room for the result.\n"), done
    assert not (tmp_path / "out").exists()


async def test_what_takes_too_much_memory(tmp_path: Path) -> None:
    packer = lzma.LZMACompressor(lzma.FORMAT_XZ, filters=[{"id": lzma.FILTER_LZMA2, "preset": 0}])
    packed = bytearray(packer.compress(b"data") + packer.flush())
    # The dictionary's size is one byte of the block's header, which has a checksum.
    header = packed[12:24]
    at = header.index(b"\x21\x01") + 2
    header[at] = 36  # 1 GiB
    length = (header[0] + 1) * 4
    header[length - 4 : length] = struct.pack("<I", zlib.crc32(bytes(header[: length - 4])))
    packed[12:24] = header
    assert await refused(tmp_path, bytes(packed)) == "it takes more memory than it may have."
    parameters = {zstd.CompressionParameter.window_log: 30, zstd.CompressionParameter.content_size_flag: 0}
    frame = zstd.ZstdCompressor(options=parameters)
    assert await refused(tmp_path, frame.compress(b"data") + frame.flush()) == "it takes more memory than it may have."


@pytest.mark.parametrize("kind", STREAMS)
async def test_no_time_is_spent_on_streams_without_end(tmp_path: Path, kind: str) -> None:
    begun_at_s = time.process_time()
    text = await refused(tmp_path, PACK[kind](b"") * 200_000)
    assert text == f"the {kind} data is made of too many small pieces."
    assert time.process_time() - begun_at_s < 5


# Archives


async def test_an_archive_holds_one_file_and_nothing_else(tmp_path: Path) -> None:
    assert await refused(tmp_path, zipped(b"one", second=b"two")) == "the zip archive holds 2 files, not one."
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    assert await refused(tmp_path, empty.getvalue()) == "the zip archive holds 0 files, not one."


def archive_of(name: str, data: bytes = b"data", mode: int = 0o100644) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        file.writestr(entry, data)
    return archive.getvalue()


@pytest.mark.parametrize("name", ["../../etc/cron.d/evil", "/etc/passwd", "C:\\boot.ini", "..", "a" * 60_000, "über"])
async def test_no_name_of_a_member_means_anything(tmp_path: Path, name: str) -> None:
    assert await unpacked(tmp_path, archive_of(name)) == b"data"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["packed", "unpacked"]


async def test_folders_and_links_are_no_files(tmp_path: Path) -> None:
    assert await refused(tmp_path, archive_of("folder/", b"", 0o040755)) == "the zip archive holds no file."
    assert await refused(tmp_path, archive_of("link", b"/etc/passwd", 0o120777)) == "the zip archive holds no file."


@pytest.mark.needs("packers")
async def test_an_encrypted_archive(tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(NOISE)
    command = ["zip", "-q", "-j", "-P", "secret", tmp_path / "packed.zip", tmp_path / "disk.img"]
    subprocess.run(command, check=True, timeout=60)
    with pytest.raises(Invalid, match="the zip archive is encrypted"):
        recognise(tmp_path / "packed.zip")


def patched(data: bytes, at: int, form: str, value: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, at % len(data), value)
    return bytes(changed)


GOOD_ZIP = zipped(NOISE[:1000])
ENTRY = GOOD_ZIP.index(b"PK\x01\x02")


@pytest.mark.parametrize(
    ("at", "form", "value", "text"),
    [
        (-14, "<H", 7, "damaged"),  # entries here
        (-12, "<H", 7, "holds 7 files"),  # entries in all, and here
        (-12, "<H", 65535, "damaged"),  # says: look into the zip64 trailer, which there is not
        (-10, "<I", 1 << 30, "damaged"),  # length of the directory
        (-6, "<I", 5, "damaged"),  # its place
        (-2, "<H", 3, "damaged"),  # length of a comment
        (ENTRY + 10, "<H", 99, "method 99, which is not supported"),
        (ENTRY + 10, "<H", 0, "damaged"),  # stored, says the directory
        (ENTRY + 20, "<I", 1 << 31, "damaged"),  # packed size
        (ENTRY + 24, "<I", 999, "damaged"),  # unpacked size
        (ENTRY + 24, "<I", 1001, "damaged"),
        (ENTRY + 24, "<I", 0xFFFFFFFF, "damaged"),
        (ENTRY + 16, "<I", 5, "damaged"),  # check sum
        (ENTRY + 42, "<I", 5, "damaged"),  # place of the member
        (ENTRY + 28, "<H", 500, "damaged"),  # length of the name
        (ENTRY, "<I", 5, "damaged"),
        (26, "<H", 60_000, "damaged"),  # length of the name in the member's own header
        (8, "<H", 8 + 4, "damaged"),  # its own method
    ],
)
async def test_an_archive_that_contradicts_itself(tmp_path: Path, at: int, form: str, value: int, text: str) -> None:
    data = patched(GOOD_ZIP, at, form, value)
    if text.startswith("holds"):
        data = patched(data, -14, form, value)
    if "method" in text:
        data = patched(data, 8, form, value)
    assert text in await refused(tmp_path, data)


async def test_a_directory_without_end_is_not_read(tmp_path: Path) -> None:
    entry = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, 400 * MIB, 100)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, 100 + 400 * MIB, 1)
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path = tmp_path / "packed"
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.seek(100 + 400 * MIB)
        file.write(entry + locator + end)
    with pytest.raises(Invalid, match="damaged"):
        recognise(path)


# Cancelled


@pytest.mark.parametrize("kind", STREAMS)
async def test_a_cancellation_is_heard_between_two_steps(tmp_path: Path, kind: str) -> None:
    source, target = tmp_path / "packed", tmp_path / "unpacked"
    source.write_bytes(bomb(kind, 24 * MIB))
    packed = recognise(source)
    assert packed is not None
    steps = 0

    def tell(done: int, whole: int) -> None:
        nonlocal steps
        steps += 1
        if steps == 3:
            working.cancel()

    working = asyncio.create_task(decompress(packed, source, target, PLENTY, tell))
    with pytest.raises(asyncio.CancelledError):
        await working
    assert steps == 3
    assert not target.exists()


# Whatever comes


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(sorted(PACK)),
    length=st.integers(0, 5000),
    noise=st.lists(st.tuples(st.integers(0, 6000), st.binary(min_size=1, max_size=8)), max_size=4),
    cut=st.integers(0, 6000),
    tail=st.binary(max_size=40),
)
def test_nothing_but_a_refusal_comes_of_broken_data(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    length: int,
    noise: list[tuple[int, bytes]],
    cut: int,
    tail: bytes,
) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    folder.mkdir(exist_ok=True)
    data = bytearray(PACK[kind](NOISE[:length]))
    for at, piece in noise:
        data[at : at + len(piece)] = piece
    source, target = folder / "packed", folder / "unpacked"
    source.write_bytes(bytes(data[:cut]) + tail)
    target.unlink(missing_ok=True)
    try:
        packed = recognise(source)
        if packed is not None:
            asyncio.run(decompress(packed, source, target, replace(PLENTY, small_bytes=MIB), lambda done, whole: None))
    except (Invalid, LimitExceeded):
        assert not target.exists()
