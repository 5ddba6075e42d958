"""A real Blick process on a free port of the loopback interface, as a user starts it."""

import http.client
import os
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import psutil
import yaml

from tests.support.parts import VENV_BIN

HOST = "127.0.0.1"
START_TIMEOUT_S = 120.0
"""A start takes two seconds; this is for a machine that is busy with other things."""
STOP_TIMEOUT_S = 60.0
POLL_S = 0.05


class StartFailedError(Exception):
    """The server ended, or did not answer in time; the text is its log."""


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def clean_environment(home: Path) -> dict[str, str]:
    """An environment without the caller's OS_ and BLICK_ settings, with `home` as home: nothing leaks in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "BLICK_", "XDG_"))}
    return kept | {"HOME": str(home), "PATH": f"{VENV_BIN}:{os.environ.get('PATH', '/usr/bin:/bin')}"}


class BlickServer:
    """`blick serve` with a data folder of its own or with a configuration file, from start to stop; use it in a `with`.

    Port and data folder stay the same over `restart`. Everything the process says is in `log_path`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        config_file: Path | None = None,
        port: int | None = None,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        tls: ssl.SSLContext | None = None,
        program: str = "blick",
        name_data: bool = True,
    ) -> None:
        """`folder` holds the data folder, the log and the home of the clients; `port` None takes a free port.

        With `config_file`, that file decides about address and data, and `port` has to be the one it names.
        `prefix` is a command that starts the server's with other limits, rights or mounts (prlimit, setpriv …).
        `tls` is how to reach a server whose `arguments` give it a certificate. `program` glance-api stands for
        `blick serve`. Without `name_data` the command line names no data folder: `environment` has to.
        """
        self.folder = folder
        self.data_dir = folder / "blick-data"
        self.log_path = folder / "server.log"
        self.port = port if port is not None else free_port()
        self._config_file = config_file
        self.arguments = tuple(arguments)
        self._environment = dict(environment or {})
        self.prefix = tuple(prefix)
        self._tls = tls
        self._program = program
        self._name_data = name_data
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{HOST}:{self.port}"

    @property
    def command(self) -> list[str]:
        """The command line that starts this server."""
        serve = ["serve"] if self._program == "blick" else []
        command = [*self.prefix, str(VENV_BIN / self._program), *serve]
        if self._config_file is not None:
            return [*command, "--config-file", str(self._config_file), *self.arguments]
        data = ["--data", str(self.data_dir)] if self._name_data else []
        return [*command, *data, "--host", HOST, "--port", str(self.port), *self.arguments]

    @property
    def environment(self) -> dict[str, str]:
        """What the server's process sees, and what a client of this server should see at least."""
        home = self.folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        return clean_environment(home) | self._environment

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The first process of the server; AssertionError before `start`."""
        assert self._process is not None, "the server was not started"
        return self._process

    def launch(self) -> subprocess.Popen[bytes]:
        """Starts the server's process, and does not wait for anything."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._process = _popen(self.command, self.environment, log)
        return self._process

    def start(self, *, timeout_s: float = START_TIMEOUT_S) -> Self:
        """Starts the server and returns when it answers its health check. StartFailedError carries its log."""
        process = self.launch()
        give_up_at = time.monotonic() + timeout_s
        while not self.is_healthy():
            if process.poll() is not None:
                raise StartFailedError(f"ended with {process.returncode}:\n{self.log_text()}")
            if time.monotonic() > give_up_at:
                self.kill()
                raise StartFailedError(f"does not answer after {timeout_s} s:\n{self.log_text()}")
            time.sleep(POLL_S)
        return self

    def is_healthy(self) -> bool:
        """Whether GET /healthcheck is answered with 200 now."""
        connection = (
            http.client.HTTPSConnection(HOST, self.port, timeout=10, context=self._tls)
            if self._tls
            else http.client.HTTPConnection(HOST, self.port, timeout=10)
        )
        try:
            connection.request("GET", "/healthcheck")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def processes(self) -> list[psutil.Process]:
        """The live processes of the server, the first one first, then its workers."""
        if self.process.poll() is not None:
            return []
        first = psutil.Process(self.process.pid)
        return [first, *first.children(recursive=True)]

    def kill(self, signal_number: int = signal.SIGKILL) -> int:
        """Sends a signal to every process of the server, waits for their end, and returns the exit status of the first.

        subprocess.TimeoutExpired when the server outlives the signal by STOP_TIMEOUT_S.
        """
        running = self.processes()
        for process in running:
            _signal(process, signal_number)
        status = self.process.wait(timeout=STOP_TIMEOUT_S)
        psutil.wait_procs(running[1:], timeout=STOP_TIMEOUT_S)
        return status

    def kill_all(self) -> None:
        """Kills whatever still runs of the server, orphaned workers too; for cleaning up, in whatever state it is."""
        if self._process is None:
            return
        for process in psutil.process_iter(["pid"]):
            if _session_of(process) == self._process.pid:  # _popen made it the leader of a session of its own
                _signal(process, signal.SIGKILL)
        self._process.wait(timeout=STOP_TIMEOUT_S)

    def stop(self) -> int:
        """Asks the first process to end (SIGTERM), as a service manager does, and returns its exit status.

        One that does not end in STOP_TIMEOUT_S is killed, and subprocess.TimeoutExpired says so.
        """
        running = self.processes()
        self.process.terminate()
        try:
            status = self.process.wait(timeout=STOP_TIMEOUT_S)
            psutil.wait_procs(running[1:], timeout=STOP_TIMEOUT_S)
        finally:
            for process in running:
                _signal(process, signal.SIGKILL)
        return status

    def restart(self) -> Self:
        """Stops the server if it runs, and starts it again on the same data and port."""
        if self.process.poll() is None:
            self.stop()
        return self.start()

    def log_text(self) -> str:
        """Everything the server printed since its first start."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def clouds(self) -> dict[str, Any]:
        """What the server wrote for the clients: the clouds of clouds.yaml by name."""
        document = yaml.safe_load((self.data_dir / "clouds.yaml").read_text())
        clouds: dict[str, Any] = document["clouds"]
        return clouds

    def openrc(self, name: str = "openrc") -> dict[str, str]:
        """The OS_ variables that sourcing one of the server's openrc files sets."""
        script = 'set -e; source "$1"; env -0'
        said = subprocess.run(
            ["/bin/bash", "-c", script, "openrc", str(self.data_dir / name)],
            env=self.environment,
            capture_output=True,
            check=True,
            text=True,
            timeout=60,
        ).stdout
        variables = dict(line.split("=", 1) for line in said.split("\0") if line)
        return {name: value for name, value in variables.items() if name.startswith("OS_")}

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()


def _popen(command: list[str], environment: Mapping[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    """A process of its own session, so that a Ctrl-C at the tests reaches it through us only."""
    return subprocess.Popen(
        command,
        env=dict(environment) | {"PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=tempfile.gettempdir(),
        start_new_session=True,
    )


def _session_of(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except OSError:
        return None


def _signal(process: psutil.Process, signal_number: int) -> None:
    try:
        process.send_signal(signal_number)
    except psutil.NoSuchProcess:
        return  # it ended meanwhile, which is what the signal is for
