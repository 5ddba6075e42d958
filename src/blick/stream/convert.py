"""qemu-img, which knows every disk format, on files that strangers sent.

It runs confined (`confined`), is told the format that content inspection found and never guesses, sees the file under a
name in whose folder there are no others, and is forbidden to open what a disk says is its parent.
"""

import asyncio
import errno
import json
import logging
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from blick.conf.settings import ImportSettings
from blick.model.errors import BlickError, Invalid, LimitExceeded, ServiceUnavailable, UnsupportedMediaType
from blick.stream.confined import CANNOT_START, READABLE, Limits, first_bytes, kill, last_bytes, running
from blick.stream.hop import hop, to_the_end

_log = logging.getLogger(__name__)

QEMU_NAMES: Final[Mapping[str, str]] = {
    "raw": "raw", "qcow2": "qcow2", "vmdk": "vmdk", "vhd": "vpc", "vhdx": "vhdx", "vdi": "vdi",
}  # fmt: skip
"""The disk formats that can be converted, and what qemu calls them."""

_MAY_HAVE_PARENT = ("qcow2", "vmdk")

_INFO_CPU_TIME_S = 2
_INFO_WITHIN_S = 60
"""For machines with other things to do: two seconds of the processor can take long."""
_INFO_BYTES = 4 << 20
_COMPLAINT_BYTES = 4 << 10
_LOOK_EVERY_S = 0.5
_STUCK_AFTER_S = 600
"""One percent of the largest images takes a slow disk some minutes."""
_PERCENT = re.compile(rb"\((\d+\.\d+)/100%\)")

_BLOCK_BYTES = 512  # the unit of st_blocks
_FAILED = "The image cannot be converted"


@dataclass(frozen=True, slots=True)
class QemuImg:
    """The program, the Python that starts it, and what it may use."""

    program: Path
    interpreter: Path
    memory_mib: int
    cpu_time_s: int


@dataclass(frozen=True, slots=True)
class Disk:
    """What qemu-img says of a disk. `needs` are other files that it would open; `create_type` is that of a VMDK."""

    qemu_format: str
    virtual_size_bytes: int
    is_encrypted: bool
    needs: tuple[str, ...]
    create_type: str | None


@dataclass(frozen=True, slots=True)
class Room:
    """How large a result may get: its length, what it takes of the disk, and what has to stay free there."""

    file_bytes: int
    disk_bytes: int
    keep_free_bytes: int


class _FormatSpecific(msgspec.Struct, frozen=True):
    data: dict[str, Any] = {}


class _Info(msgspec.Struct, frozen=True, rename="kebab"):
    format: str
    virtual_size: int
    encrypted: bool = False
    backing_filename: str | None = None
    full_backing_filename: str | None = None
    format_specific: _FormatSpecific = _FormatSpecific()


def find_qemu_img(settings: ImportSettings) -> QemuImg:
    """The program of this node. Raises ServiceUnavailable where there is none."""
    program = shutil.which("qemu-img")
    if program is None:
        _log.error("qemu-img is not installed here: images cannot be converted")
        raise ServiceUnavailable("Images cannot be converted here now.")
    interpreter = settings.python_interpreter or Path(sys.executable)
    return QemuImg(Path(program), interpreter, settings.convert_memory_mib, settings.convert_cpu_time_s)


async def info(tool: QemuImg, file: Path, disk_format: str) -> Disk:
    """What there is in `file`, which has to be of `disk_format`, one of QEMU_NAMES.

    Raises UnsupportedMediaType where qemu-img cannot read it so within 2 seconds of the processor, ServiceUnavailable.
    """
    command = [str(tool.program), "info", "--output=json", _source(disk_format)]
    limits = Limits(tool.memory_mib, min(_INFO_CPU_TIME_S, tool.cpu_time_s), file_bytes=0)
    refusal = UnsupportedMediaType(f"Image content cannot be read as {disk_format}.")
    try:
        async with asyncio.timeout(_INFO_WITHIN_S):
            status, output, complaint = await _ask(tool, command, limits, file)
    except TimeoutError:
        raise refusal from None
    _log_complaint("info", status, complaint)
    if status == CANNOT_START:
        raise _cannot_start()
    if status != 0 or len(output) > _INFO_BYTES:
        raise refusal
    try:
        found = msgspec.json.decode(output, type=_Info)
    except msgspec.DecodeError as error:
        _log.warning("qemu-img info says something else than it should: %s", error)
        raise refusal from error
    return _disk(found)


async def convert(
    tool: QemuImg,
    source: Path,
    source_format: str,
    target: Path,
    target_format: str,
    room: Room,
    tell: Callable[[float], None],
    options: Mapping[str, str] | None = None,
) -> None:
    """Write the disk in `source` anew to `target`, in the place of what is there; both formats are of QEMU_NAMES.

    `tell` hears which part is done, from 0 to 1. Afterwards the result is on the disk, whole; otherwise, also when
    cancelled, nothing is there. Raises Invalid, LimitExceeded, ServiceUnavailable, OSError for `target` itself.
    """
    arguments = [f"{name}={value}" for name, value in (options or {}).items()]
    command = [
        str(tool.program), "convert", "-p", "-O", QEMU_NAMES[target_format],
        *(["-o", ",".join(arguments)] if arguments else []), _source(source_format), f"file:{target}",
    ]  # fmt: skip
    limits = Limits(tool.memory_mib, tool.cpu_time_s, room.file_bytes)
    try:
        await hop(None, _create, target)
        conversion = _Conversion(target, room, tell)
        status = await conversion.run(tool, command, limits, source)
        _log_complaint("convert", status, conversion.complaint)
        error = conversion.verdict or _error(status, conversion.complaint)
        if error is not None:
            raise error
        await hop(None, _bring_to_disk, target)
    except BaseException:
        await to_the_end(hop(None, target.unlink, missing_ok=True))
        raise


class _Conversion:
    """One run of qemu-img convert, watched while it goes on."""

    def __init__(self, target: Path, room: Room, tell: Callable[[float], None]) -> None:
        self.verdict: BlickError | None = None
        self.complaint = b""
        self._target = target
        self._room = room
        self._tell = tell
        self._percent = b""
        self._seen: tuple[bytes, int] = (b"", 0)
        self._seen_at_s = time.monotonic()

    async def run(self, tool: QemuImg, command: Sequence[str], limits: Limits, source: Path) -> int:
        """To the end, or to where `verdict` says why it went on no longer; gives the exit status."""
        try:
            async with (
                running(tool.interpreter, command, limits, reads=source, writes=self._target) as process,
                asyncio.TaskGroup() as group,
            ):
                assert process.stdout is not None
                assert process.stderr is not None
                complaint = group.create_task(last_bytes(process.stderr, _COMPLAINT_BYTES))
                group.create_task(self._follow(process.stdout))
                ended = group.create_task(process.wait())
                while not (await asyncio.wait({ended}, timeout=_LOOK_EVERY_S))[0]:
                    self.verdict = await hop(None, self._look)
                    if self.verdict is not None:
                        kill(process)
                        break
        except OSError as error:
            raise _cannot_start(error) from error
        self.complaint = complaint.result()
        return ended.result()

    async def _follow(self, output: asyncio.StreamReader) -> None:
        """Progress, as a line that is written over and over."""
        text = b""
        while piece := await output.read(4096):
            text = (text + piece)[-64:]
            if found := _PERCENT.findall(text):
                self._percent = found[-1]
                self._tell(min(float(self._percent) / 100, 1.0))

    def _look(self) -> BlickError | None:
        """What is against going on. Blocks."""
        try:
            taken_bytes = self._target.stat().st_blocks * _BLOCK_BYTES
            numbers = os.statvfs(self._target)
        except OSError as error:
            return _cannot_start(error)
        if taken_bytes > self._room.disk_bytes:
            return LimitExceeded(f"{_FAILED}: its data grows too much.")
        if numbers.f_bavail * numbers.f_frsize < self._room.keep_free_bytes:
            return LimitExceeded(f"{_FAILED}: there is no room for the result.")
        if (self._percent, taken_bytes) != self._seen:
            self._seen, self._seen_at_s = (self._percent, taken_bytes), time.monotonic()
        elif time.monotonic() - self._seen_at_s > _STUCK_AFTER_S:
            return Invalid(f"{_FAILED}: nothing comes of it any more.")
        return None


async def _ask(tool: QemuImg, command: Sequence[str], limits: Limits, file: Path) -> tuple[int, bytes, bytes]:
    try:
        async with running(tool.interpreter, command, limits, reads=file) as process, asyncio.TaskGroup() as group:
            assert process.stdout is not None
            assert process.stderr is not None
            output = group.create_task(first_bytes(process.stdout, _INFO_BYTES))
            complaint = group.create_task(last_bytes(process.stderr, _COMPLAINT_BYTES))
            status = await process.wait()
    except OSError as error:
        raise _cannot_start(error) from error
    return status, output.result(), complaint.result()


def _source(disk_format: str) -> str:
    """How qemu is to open what it may read: as that format and no other, without a parent."""
    # Nobody writes to the file; some network file systems have no locks.
    file = {"driver": "file", "filename": READABLE, "locking": "off"}
    alone = {"backing": None} if disk_format in _MAY_HAVE_PARENT else {}
    return "json:" + json.dumps({"driver": QEMU_NAMES[disk_format], **alone, "file": file})


def _disk(found: _Info) -> Disk:
    details = found.format_specific.data
    extents = details.get("extents", ()) if found.format == "vmdk" else ()
    named = (found.backing_filename, found.full_backing_filename, details.get("data-file"))
    others = (extent.get("filename") for extent in extents)
    return Disk(
        qemu_format=found.format,
        virtual_size_bytes=found.virtual_size,
        is_encrypted=found.encrypted or "encrypt" in details,
        needs=tuple(dict.fromkeys(str(name) for name in (*named, *others) if name not in (None, READABLE))),
        create_type=details.get("create-type"),
    )


def _create(target: Path) -> None:
    """An empty file that is nobody else's: the program is allowed to write to this one only."""
    target.unlink(missing_ok=True)
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))


def _bring_to_disk(target: Path) -> None:
    for path in (target, target.parent):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _error(status: int, complaint: bytes) -> BlickError | None:
    """What to tell the caller; what the program said of it is in the log."""
    if status == 0:
        return None
    if status == CANNOT_START:
        return _cannot_start()
    if status == -signal.SIGXFSZ or _names(complaint, errno.EFBIG):
        return LimitExceeded(f"{_FAILED}: the result is larger than an image may be here.")
    if _names(complaint, errno.ENOSPC, errno.EDQUOT):
        return LimitExceeded(f"{_FAILED}: there is no room for the result.")
    if status == -signal.SIGXCPU:
        return Invalid(f"{_FAILED}: it takes too long.")
    if status == -signal.SIGKILL:
        return Invalid(f"{_FAILED}: it was broken off.")
    if status in (-signal.SIGABRT, -signal.SIGTRAP) or _names(complaint, errno.ENOMEM, errno.EAGAIN):
        return Invalid(f"{_FAILED}: it takes more memory than it may have.")
    return Invalid(f"{_FAILED}: its data is damaged, or of a kind that is not supported.")


def _names(complaint: bytes, *errors: int) -> bool:
    return any(os.strerror(number).encode() in complaint for number in errors)


def _cannot_start(error: OSError | None = None) -> ServiceUnavailable:
    if error is not None:
        _log.error("images cannot be converted here: %s", error)
    return ServiceUnavailable("Images cannot be converted here now.")


def _log_complaint(command: str, status: int, complaint: bytes) -> None:
    if complaint or status != 0:
        text = complaint.decode(errors="replace").strip()
        _log.warning("qemu-img %s ended with %d: %s", command, status, text or "it said nothing")
