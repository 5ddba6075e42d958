"""A server of somebody else's, run by the tests as an ordinary process that leaves nothing behind."""

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from tests.support.parts import system_program

START_TIMEOUT_S = 120.0
"""A start takes a second or two; this is for a machine that is busy with other things."""
STOP_TIMEOUT_S = 60.0
POLL_S = 0.05


class DaemonFailedError(Exception):
    """It ended, or did not answer in time; the text is the end of its log."""


class Daemon:
    """One foreground process with its children. Whatever kills the tests kills it too.

    Start it from the main thread: the kernel ends it with the thread that did.
    """

    def __init__(
        self,
        command: Sequence[str],
        log_path: Path,
        *,
        user: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`user` None: as whom the tests run. `environment` None: a PATH and little else."""
        self.log_path = log_path
        # The kernel ends the server with the tests, even if those are killed.
        self._command = [system_program("setpriv"), "--pdeathsig", "KILL", *command]
        self._user = user
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, is_ready: Callable[[], bool]) -> None:
        """Start it, unless it runs, and return once `is_ready()`. DaemonFailedError carries the end of its log."""
        if self._process is None or self._process.poll() is not None:
            self._process = run_as(self._user, self._command, self.log_path, self._environment)
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while not is_ready():
            if self._process.poll() is not None or time.monotonic() > give_up_at:
                self.kill()
                raise DaemonFailedError(f"{self._command[3]}: {self.log_path.read_text(errors='replace')[-2000:]}")
            time.sleep(POLL_S)

    @property
    def pid(self) -> int:
        """Of the program itself, which has children or not."""
        assert self._process is not None, "not started"
        return self._process.pid

    def stop(self, signal_number: int = signal.SIGTERM) -> None:
        """Ask it to end, and wait for that; killed after STOP_TIMEOUT_S."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal_number)
        try:
            self._process.wait(timeout=STOP_TIMEOUT_S)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it and its children in the middle of whatever they do."""
        if self._process is None or self._process.poll() is not None:
            return
        first = psutil.Process(self._process.pid)
        running = [first, *first.children(recursive=True)]
        for process in running:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue  # it ended meanwhile
        self._process.wait(timeout=STOP_TIMEOUT_S)
        psutil.wait_procs(running[1:], timeout=STOP_TIMEOUT_S)

    def pause(self) -> None:
        """Let it hang: connections stay open, nothing answers. Until `go_on`."""
        self._send_to_all(signal.SIGSTOP)

    def go_on(self) -> None:
        """The end of `pause`."""
        self._send_to_all(signal.SIGCONT)

    def _send_to_all(self, signal_number: int) -> None:
        assert self._process is not None, "not started"
        first = psutil.Process(self._process.pid)
        for process in (first, *first.children(recursive=True)):
            process.send_signal(signal_number)


def run_as(
    user: str | None, command: Sequence[str], log_path: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """A process of a session of its own, so that a Ctrl-C at the tests reaches it through us only."""
    switched = (
        {} if user is None else {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": list[str | int]()}
    )
    with log_path.open("ab") as log:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=environment or {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8"},
            start_new_session=True,
            **switched,  # type: ignore[call-overload]
        )


def run_to_end(command: Sequence[str], log_path: Path, *, user: str | None = None) -> None:
    """Run a command that sets something up. DaemonFailedError carries the end of what it said."""
    status = run_as(user, command, log_path).wait(timeout=START_TIMEOUT_S)
    if status:
        raise DaemonFailedError(f"{command[0]} ended with {status}: {log_path.read_text(errors='replace')[-2000:]}")
