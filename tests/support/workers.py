"""Real `blick worker` processes, as an operator starts them on any host."""

import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.parts import VENV_BIN
from tests.support.server import STOP_TIMEOUT_S, clean_environment
from tests.support.waiting import eventually


class WorkerProcess:
    """One of them, with its log; made by `workers`."""

    def __init__(self, folder: Path, arguments: Sequence[str]) -> None:
        self.log_path = folder / "worker.log"
        self._home = folder / "home"
        self._command = [str(VENV_BIN / "blick"), "worker", *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """AssertionError before `start`."""
        assert self._process is not None, "the worker was not started"
        return self._process

    def start(self) -> "WorkerProcess":
        """Returns when it says that it works."""
        self._home.mkdir(parents=True, exist_ok=True)
        said_before = self.log_text().count("Working")
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=clean_environment(self._home) | {"PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=tempfile.gettempdir(),
                start_new_session=True,
            )
        eventually(
            lambda: self.log_text().count("Working") > said_before or self.process.poll() is not None,
            what=lambda: f"the worker starts: {self.log_text()}",
        )
        assert self.process.poll() is None, self.log_text()
        return self

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(STOP_TIMEOUT_S)

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Its exit status."""
        self.process.send_signal(signal_number)
        return self.process.wait(STOP_TIMEOUT_S)

    def log_text(self) -> str:
        """Everything that it has said."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""


@contextmanager
def workers(folder: Path, count: int, *arguments: str) -> Iterator[list[WorkerProcess]]:
    """So many of them, started; whatever runs of them in the end is killed."""
    made = [WorkerProcess(folder / f"worker-{number}", arguments) for number in range(count)]
    try:
        for one in made:
            one.start()
        yield made
    finally:
        for one in made:
            if one._process is not None:
                one.kill()
