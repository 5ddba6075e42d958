"""A server of somebody else's on a port of the loopback interface, which says what it needs before it can run."""

import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.daemon import Daemon
from tests.support.server import HOST, clean_environment, free_port


class LoopbackServer(ABC):
    """One program with its folder, from start to stop; use it in a `with`.

    Port and folder stay the same over `restart`. Everything it prints is in `log_path`. Subclasses give the command,
    what must exist before the first start, and how to tell that it is ready.
    """

    name: str

    def __init__(self, folder: Path, port: int | None = None) -> None:
        """`folder` is the program's own; `port` None takes a free port."""
        self.folder = folder
        self.port = port if port is not None else free_port()
        self.log_path = folder / f"{self.name}.log"
        self._daemon: Daemon | None = None

    @property
    def address(self) -> str:
        """HOST:PORT"""
        return f"{HOST}:{self.port}"

    @abstractmethod
    def command(self) -> list[str]:
        """The program with its arguments; it has to stay in the foreground."""

    def prepare(self) -> None:
        """Makes the files that the program needs; called before every start. Here: its folder."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def environment(self) -> Mapping[str, str]:
        """What the program sees, without what the caller's shell has set for clients of a cloud."""
        return clean_environment(self.folder)

    def is_ready(self) -> bool:
        """Whether it answers now; here: whether it listens."""
        try:
            socket.create_connection((HOST, self.port), timeout=10).close()
        except OSError:
            return False
        return True

    def start(self) -> Self:
        """Starts it and returns when it is ready. DaemonFailedError carries the end of its log."""
        self.prepare()
        self._daemon = Daemon(self.command(), self.log_path, environment=self.environment())
        self._daemon.start(self.is_ready)
        return self

    @property
    def pid(self) -> int:
        """Of the program's first process, while it runs."""
        assert self._daemon is not None, f"{self.name} was not started"
        return self._daemon.pid

    def stop(self) -> None:
        """Asks it to end (SIGTERM) and waits."""
        if self._daemon is not None:
            self._daemon.stop()

    def kill(self) -> None:
        """Ends it and all its children at once (SIGKILL)."""
        if self._daemon is not None:
            self._daemon.kill()

    def pause(self) -> None:
        """Lets it hang, with all its connections open, until `go_on`."""
        assert self._daemon is not None, f"{self.name} was not started"
        self._daemon.pause()

    def go_on(self) -> None:
        """The end of `pause`."""
        assert self._daemon is not None, f"{self.name} was not started"
        self._daemon.go_on()

    def restart(self) -> Self:
        """Stops it if it runs, and starts it again with the same data on the same port."""
        self.stop()
        return self.start()

    def log_text(self) -> str:
        """Everything it printed since its first start."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
