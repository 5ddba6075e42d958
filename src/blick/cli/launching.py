"""Starting a server so that it outlives whoever started it, and starting it again whenever it ends."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from blick.cli.pid_file import PidFile
from blick.model.errors import StartRefused

_OPEN_FILES = 32768
_DATA_BYTES = 2 << 30
# What ends sooner than that would end again, and again.
_BOUNCES_WITHIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Program:
    """What to start: the server's name, where it is, its configuration file, and whether its output goes to syslog."""

    name: str
    path: Path
    conf: Path | None = None
    captures_output: bool = False


def find_program(name: str) -> Path:
    """Beside the Python that runs, else where the shell would find it. Raises StartRefused."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise StartRefused(f"{name} is not installed: there is no such program.")
    return Path(found)


def set_limits(tell: Callable[[str], None]) -> None:
    """Let servers have many files open, and keep them from taking all of the memory."""
    for kind, wanted, what in (
        (resource.RLIMIT_NOFILE, _OPEN_FILES, "open files"),
        (resource.RLIMIT_DATA, _DATA_BYTES, "bytes of data"),
    ):
        _, hard = resource.getrlimit(kind)
        possible = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (possible, hard))
        if possible < wanted:
            tell(f"The limit of {what} is {possible}: this user may not raise it to {wanted}.")


def launch(program: Program) -> "subprocess.Popen[bytes]":
    """Start it in a session of its own, with no terminal. Raises StartRefused."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup's would be inherited, and no reload would get through
    conf = ["--config-file", str(program.conf)] if program.conf is not None else []
    with ExitStack() as stack:
        output: int | None = subprocess.DEVNULL
        if program.captures_output:
            pipe = _logger(program.name).stdin
            assert pipe is not None, "that is what it was started with"
            output = stack.enter_context(pipe).fileno()
        try:
            return subprocess.Popen(  # noqa: S603 - what the operator named
                [str(program.path), *conf],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except OSError as error:
            raise StartRefused(f"{program.path} cannot be started: {error.strerror}.") from error


def launch_and_watch(program: Program, pid_file: PidFile) -> None:
    """Start it, and have a process in the background that starts it again whenever it ends, while `pid_file` names it.

    Returns when it was started. Raises StartRefused.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    if os.fork():
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            trouble = pipe.read().decode()
        if trouble:
            raise StartRefused(trouble)
        return
    status = 1
    try:
        # The lock of whoever starts it is his; here it would be held as long as the server runs.
        os.closerange(3, writing)
        os.closerange(writing + 1, os.sysconf("SC_OPEN_MAX"))
        os.setsid()
        try:
            process = launch(program)
            pid_file.write(process.pid)
        except StartRefused as error:
            os.write(writing, str(error).encode())
            return
        _leave_terminal()
        os.close(writing)
        _watch(process, program, pid_file)
        status = 0
    finally:
        os._exit(status)  # what the first process has to do at its end is not ours to do


def _watch(process: "subprocess.Popen[bytes]", program: Program, pid_file: PidFile) -> None:
    while True:
        started = time.monotonic()
        process.wait()
        with pid_file.held():
            if not pid_file.names(process.pid):
                return  # it was stopped, or is somebody else's now
            if time.monotonic() - started < _BOUNCES_WITHIN_S:
                pid_file.remove()
                return
            process = launch(program)
            pid_file.write(process.pid)


def _leave_terminal() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)


def _logger(name: str) -> "subprocess.Popen[bytes]":
    """What takes lines to syslog until the server's last process has ended. Raises StartRefused."""
    try:
        return subprocess.Popen(  # noqa: S603 - one of two names
            ["logger", "-t", name],  # noqa: S607 - where the system has it
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise StartRefused(f"--capture-output needs the program logger: {error.strerror}.") from error
