"""Programs that read what strangers sent: run with little room, few rights, and never longer than they are wanted."""

import asyncio
import json
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from blick.stream import launcher
from blick.stream.hop import to_the_end

READABLE: Final = f"/proc/self/fd/{launcher.SOURCE_DESCRIPTOR}"
"""How the program's command line names the file that it may read."""

CANNOT_START: Final = launcher.CANNOT_START
"""Exit status where the program never ran; the reason is what it wrote to its standard error."""

_MIB = 1 << 20
_READ_BYTES = 64 << 10
# Heaps of threads reserve 64 MiB of address space each, of which there is a limited amount.
_ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/bin:/bin", "MALLOC_ARENA_MAX": "2"}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use: address space, processor time of all its threads, and the length of a file it writes."""

    memory_mib: int
    cpu_time_s: int
    file_bytes: int


@asynccontextmanager
async def running(
    interpreter: Path, command: Sequence[str], limits: Limits, *, reads: Path, writes: Path | None = None
) -> AsyncGenerator[Process, None]:
    """Start `command` (a full path, and arguments) confined; `interpreter` is a Python that prepares that.

    It may read `reads`, under the name `READABLE`, and write to `writes`, which has to exist, and no other file of
    users; it has no terminal, no network and the priority of what can wait. Its output comes through pipes, which the
    caller has to read. It ends with this process at the latest. On leaving, also when cancelled, it is killed unless
    it has ended, and waited for. Raises OSError where the interpreter cannot be started.
    """
    given = {
        "parent": os.getpid(),
        "reads": str(reads),
        "writes": str(writes) if writes is not None else None,
        "memory_bytes": limits.memory_mib * _MIB,
        "cpu_time_s": limits.cpu_time_s,
        "file_bytes": limits.file_bytes,
    }
    arguments = [str(interpreter), "-I", "-S", launcher.__file__, json.dumps(given), *command]
    process = await _start(arguments)
    try:
        yield process
    finally:
        await to_the_end(_end(process))


async def first_bytes(stream: asyncio.StreamReader, most_bytes: int) -> bytes:
    """Read to the end, keep the first `most_bytes` and one more if there are more."""
    kept = bytearray()
    while piece := await stream.read(_READ_BYTES):
        kept += piece[: most_bytes + 1 - len(kept)]
    return bytes(kept)


async def last_bytes(stream: asyncio.StreamReader, most_bytes: int) -> bytes:
    """Read to the end, keep the last `most_bytes`."""
    kept = b""
    while piece := await stream.read(_READ_BYTES):
        kept = (kept + piece)[-most_bytes:]
    return kept


def kill(process: Process) -> None:
    """End it, and whatever it started, now."""
    if process.returncode is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


async def _start(arguments: Sequence[str]) -> Process:
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *arguments, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, cwd="/", env=_ENVIRONMENT, start_new_session=True
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await to_the_end(_end_when_started(starting))
        raise


async def _end_when_started(starting: "asyncio.Future[Process]") -> None:
    try:
        process = await starting
    except OSError:
        return
    await _end(process)


async def _end(process: Process) -> None:
    kill(process)
    await process.communicate()  # waits, and takes what is left in the pipes, which would keep them open
