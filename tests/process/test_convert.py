"""qemu-img on real disks of every format, and on hostile ones: what it may take, and that it never outlives its use."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from blick.conf.settings import ImportSettings
from blick.model.errors import BlickError, Invalid, LimitExceeded, ServiceUnavailable, UnsupportedMediaType
from blick.stream import convert as module
from blick.stream.convert import QemuImg, Room, convert, find_qemu_img, info
from tests.support import images
from tests.support.hostile_images import repeating_qcow2
from tests.support.images import MIB, run
from tests.support.waiting import eventually_here

pytestmark = pytest.mark.needs("qemu")

GIB = 1 << 30
PLENTY = Room(file_bytes=1 << 40, disk_bytes=1 << 40, keep_free_bytes=0)
NOISE = bytes(range(256)) * 256


@pytest.fixture
def tool() -> QemuImg:
    return find_qemu_img(ImportSettings())


@pytest.fixture
def new_children() -> Callable[[], list[psutil.Process]]:
    """The running processes that this one has started since the test began. Servers of other tests may run on."""
    there_before = set(psutil.Process().children())
    return lambda: [child for child in psutil.Process().children() if child not in there_before]


def converters(parent: int | None = None) -> list[psutil.Process]:
    """The running qemu-img processes that a process, this one by default, has started."""
    return [child for child in psutil.Process(parent).children(recursive=True) if child.name() == "qemu-img"]


async def to_raw(tool: QemuImg, source: Path, target: Path, room: Room = PLENTY) -> list[float]:
    told: list[float] = []
    await convert(tool, source, "qcow2", target, "raw", room, told.append)
    return told


async def failure(tool: QemuImg, source: Path, target: Path, room: Room = PLENTY) -> BlickError:
    """How the conversion fails; afterwards nothing is there, and nothing runs."""
    with pytest.raises(BlickError) as caught:
        await to_raw(tool, source, target, room)
    assert not target.exists()
    assert converters() == []
    return caught.value


# What it is there for


async def test_every_format_is_read_and_becomes_every_target(tool: QemuImg, tmp_path: Path) -> None:
    seen = set()
    for image in images.good_images(tmp_path):
        disk = await info(tool, image.path, image.disk_format)
        assert disk.qemu_format == convert_name(image.disk_format), image.name
        assert disk.virtual_size_bytes == image.virtual_size_bytes, image.name
        assert disk.needs == (), image.name
        assert not disk.is_encrypted, image.name
        seen.add(image.disk_format)
        for target_format in ("raw", "qcow2", "vmdk"):
            target = tmp_path / f"target.{target_format}"
            await convert(tool, image.path, image.disk_format, target, target_format, PLENTY, lambda part: None)
            run("qemu-img", "compare", "-f", convert_name(image.disk_format), "-F", target_format, image.path, target)
    assert seen == set(module.QEMU_NAMES)


def convert_name(disk_format: str) -> str:
    return module.QEMU_NAMES[disk_format]


async def test_options_of_the_target_are_passed_on(tool: QemuImg, tmp_path: Path) -> None:
    source, target = images.fill(tmp_path / "source", MIB), tmp_path / "target"
    await convert(
        tool, source, "raw", target, "vmdk", PLENTY, lambda part: None, {"subformat": "streamOptimized"}
    )  # fmt: skip
    assert (await info(tool, target, "vmdk")).create_type == "streamOptimized"


async def test_progress_grows_from_nothing_to_all(tool: QemuImg, tmp_path: Path) -> None:
    source = repeating_qcow2(tmp_path / "source", 256 * MIB, NOISE)
    told = await to_raw(tool, source, tmp_path / "target")
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) >= 2


async def test_holes_stay_holes(tool: QemuImg, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    run("qemu-img", "create", "-q", "-f", "qcow2", source, str(GIB))
    await to_raw(tool, source, target)
    assert target.stat().st_size == GIB
    assert target.stat().st_blocks * 512 < MIB


async def test_a_left_over_is_replaced_and_no_link_followed(tool: QemuImg, tmp_path: Path) -> None:
    source = images.convert(images.fill(tmp_path / "raw", MIB), "raw", tmp_path / "source", images.QCOW2).path
    target, other = tmp_path / "target", tmp_path / "other"
    other.write_bytes(b"somebody else's")
    target.symlink_to(other)
    await to_raw(tool, source, target)
    assert target.read_bytes() == (tmp_path / "raw").read_bytes()
    assert not target.is_symlink()
    assert other.read_bytes() == b"somebody else's"
    await to_raw(tool, source, target)
    assert target.read_bytes() == (tmp_path / "raw").read_bytes()


@pytest.mark.parametrize("name", ["with space", "a,b=c", "json:{}", "nbd:host:1", "%s", "-x", "über"])
async def test_no_file_name_means_anything_to_it(tool: QemuImg, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    source = images.convert(images.fill(tmp_path / "raw", MIB), "raw", folder / name, images.QCOW2).path
    assert (await info(tool, source, "qcow2")).virtual_size_bytes == MIB
    await to_raw(tool, source, folder / f"{name}.raw")
    assert (folder / f"{name}.raw").read_bytes() == (tmp_path / "raw").read_bytes()


# Other files


async def test_disks_that_need_other_files_are_told_by_what_they_need(tool: QemuImg, tmp_path: Path) -> None:
    needs = {}
    for image in images.unsafe_images(tmp_path):
        if image.disk_format == "raw":
            continue
        try:
            needs[image.name] = (await info(tool, image.path, image.disk_format)).needs
        except UnsupportedMediaType:
            needs[image.name] = ("it could not even be opened",)
    assert len(needs) == 4
    assert all(needs.values()), needs


async def test_a_chain_of_ten_never_leads_to_its_second_link(tool: QemuImg, tmp_path: Path) -> None:
    below, below_format = images.fill(tmp_path / "0.raw", MIB), "raw"
    for number in range(10):
        link = tmp_path / f"{number}.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", below, "-F", below_format, link)
        below, below_format = link, "qcow2"
    assert (await info(tool, below, "qcow2")).needs == (str(tmp_path / "8.qcow2"),)
    await to_raw(tool, below, tmp_path / "target")  # nobody would, after what was found
    assert (tmp_path / "target").read_bytes() == bytes(MIB)


async def test_an_encrypted_disk_is_told(tool: QemuImg, tmp_path: Path) -> None:
    path = images.encrypted_qcow2(tmp_path)
    assert (await info(tool, path, "qcow2")).is_encrypted
    assert isinstance(await failure(tool, path, tmp_path / "target"), Invalid)


async def test_the_format_is_never_guessed(tool: QemuImg, tmp_path: Path) -> None:
    source = images.convert(images.fill(tmp_path / "raw", MIB), "raw", tmp_path / "source", images.QCOW2).path
    assert (await info(tool, source, "raw")).virtual_size_bytes == source.stat().st_size
    for wrong in ("vmdk", "vdi", "vhdx", "vhd"):
        with pytest.raises(UnsupportedMediaType, match=f"cannot be read as {wrong}"):
            await info(tool, source, wrong)


# Limits


async def test_too_little_memory_ends_it(tool: QemuImg, tmp_path: Path) -> None:
    source = repeating_qcow2(tmp_path / "source", GIB, NOISE)
    error = await failure(replace(tool, memory_mib=64), source, tmp_path / "target")
    assert isinstance(error, Invalid)
    assert str(error) == "The image cannot be converted: it takes more memory than it may have."


async def test_too_much_of_the_processor_ends_it(tool: QemuImg, tmp_path: Path) -> None:
    source = repeating_qcow2(tmp_path / "source", 256 * GIB, b"", compressed=True)
    error = await failure(replace(tool, cpu_time_s=1), source, tmp_path / "target")
    assert isinstance(error, Invalid)
    assert str(error) == "The image cannot be converted: it takes too long."


@pytest.mark.parametrize("target_format", ["raw", "qcow2"])
async def test_a_result_that_is_too_long_ends_it(tool: QemuImg, tmp_path: Path, target_format: str) -> None:
    source = repeating_qcow2(tmp_path / "source", GIB, NOISE)
    room = replace(PLENTY, file_bytes=100 * MIB)
    target = tmp_path / "target"
    with pytest.raises(LimitExceeded, match="larger than an image may be here"):
        await convert(tool, source, "qcow2", target, target_format, room, lambda part: None)
    assert not target.exists()


async def test_a_bomb_is_stopped_long_before_the_disk_is_full(tool: QemuImg, tmp_path: Path) -> None:
    source = repeating_qcow2(tmp_path / "source", 256 * GIB, NOISE)
    free_bytes = psutil.disk_usage(str(tmp_path)).free
    for room, complaint in (
        (replace(PLENTY, disk_bytes=64 * MIB), "its data grows too much"),
        (replace(PLENTY, keep_free_bytes=free_bytes - 64 * MIB), "there is no room for the result"),
    ):
        error = await failure(tool, source, tmp_path / "target", room)
        assert isinstance(error, LimitExceeded)
        assert complaint in str(error)


async def test_one_that_hangs_is_ended(tool: QemuImg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STUCK_AFTER_S", 1)
    source = repeating_qcow2(tmp_path / "source", 256 * GIB, b"", compressed=True)
    failing = asyncio.create_task(failure(tool, source, tmp_path / "target"))
    await eventually_here(converters)
    converters()[0].send_signal(signal.SIGSTOP)
    error = await failing
    assert isinstance(error, Invalid)
    assert "nothing comes of it any more" in str(error)


async def test_one_that_is_killed_is_told(tool: QemuImg, tmp_path: Path) -> None:
    source = repeating_qcow2(tmp_path / "source", 256 * GIB, b"", compressed=True)
    failing = asyncio.create_task(failure(tool, source, tmp_path / "target"))
    await eventually_here(converters)
    converters()[0].kill()
    assert "it was broken off" in str(await failing)


# It never outlives its use


async def test_cancelling_ends_it(tool: QemuImg, tmp_path: Path) -> None:
    source = repeating_qcow2(tmp_path / "source", 256 * GIB, b"", compressed=True)
    target = tmp_path / "target"
    converting = asyncio.create_task(to_raw(tool, source, target))
    await eventually_here(converters)
    process = converters()[0]
    converting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await converting
    assert not process.is_running()
    assert not target.exists()


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13])
async def test_cancelling_while_it_starts_leaves_nothing(
    tool: QemuImg, tmp_path: Path, turns: int, new_children: Callable[[], list[psutil.Process]]
) -> None:
    source = repeating_qcow2(tmp_path / "source", 256 * GIB, b"", compressed=True)
    converting = asyncio.create_task(to_raw(tool, source, tmp_path / "target"))
    for _ in range(turns):
        await asyncio.sleep(0)
    converting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await converting
    assert new_children() == []
    assert not (tmp_path / "target").exists()


async def test_cancelling_as_soon_as_there_is_a_process_leaves_nothing(
    tool: QemuImg, tmp_path: Path, new_children: Callable[[], list[psutil.Process]]
) -> None:
    source = repeating_qcow2(tmp_path / "source", 256 * GIB, b"", compressed=True)
    for _ in range(10):
        converting = asyncio.create_task(to_raw(tool, source, tmp_path / "target"))
        await eventually_here(new_children)
        converting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await converting
        assert new_children() == []
        assert not (tmp_path / "target").exists()


PARENT = """
import asyncio, pathlib, sys
from blick.conf.settings import ImportSettings
from blick.stream.convert import Room, convert, find_qemu_img

async def main():
    room = Room(1 << 40, 1 << 40, 0)
    source, target = map(pathlib.Path, sys.argv[2:])
    await convert(find_qemu_img(ImportSettings()), source, "qcow2", target, "raw", room, print)

if sys.argv[1] == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_it_ends_with_its_parent_however_that_ends(tmp_path: Path, loop: str) -> None:
    source = repeating_qcow2(tmp_path / "source", 256 * GIB, b"", compressed=True)
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, loop, source, tmp_path / "target"], stdout=subprocess.DEVNULL
    ) as parent:
        await eventually_here(lambda: converters(parent.pid))
        child = converters(parent.pid)[0]
        os.kill(parent.pid, signal.SIGKILL)
    await eventually_here(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


# What is missing


def test_without_qemu_img_it_is_told_that_nothing_can_be_converted_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ServiceUnavailable, match="cannot be converted here now"):
        find_qemu_img(ImportSettings())


@pytest.mark.parametrize(
    "broken",
    [{"program": Path("/nowhere/qemu-img")}, {"interpreter": Path("/nowhere/python")}, {"interpreter": Path("/etc")}],
)
async def test_a_program_that_cannot_be_started_is_told(
    tool: QemuImg, tmp_path: Path, broken: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    source = images.convert(images.fill(tmp_path / "raw", MIB), "raw", tmp_path / "source", images.QCOW2).path
    without = replace(tool, **broken)
    with pytest.raises(ServiceUnavailable):
        await info(without, source, "qcow2")
    assert isinstance(await failure(without, source, tmp_path / "target"), ServiceUnavailable)
    assert str(next(iter(broken.values()))) in caplog.text


async def test_another_interpreter_serves(tmp_path: Path) -> None:
    source = images.convert(images.fill(tmp_path / "raw", MIB), "raw", tmp_path / "source", images.QCOW2).path
    tool = find_qemu_img(ImportSettings(python_interpreter=Path(sys.executable).resolve()))
    assert tool.interpreter != Path(sys.executable)
    assert (await info(tool, source, "qcow2")).virtual_size_bytes == MIB
