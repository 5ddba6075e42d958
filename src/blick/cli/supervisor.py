"""Several worker processes behind one listening socket: started, replaced when they die, reloaded by SIGHUP."""

import logging
import signal
from socket import socket

from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from blick.model.errors import StartRefused

_log = logging.getLogger(__name__)


class Supervisor(Multiprocess):
    """uvicorn's, with two differences.

    A worker is replaced when it has died, not when it is slow to answer: its transfers would end with it, and whoever
    asks a worker that is just dying waits for an answer that never comes. And at a stop the address is given up at
    once, so that nobody is let in who would not be served.
    """

    def __init__(self, config: Config, sockets: list[socket]) -> None:
        super().__init__(config, sockets)
        self._failed = False

    def run(self) -> None:
        """Block until told to stop, and until every worker has ended. Raises StartRefused if none can start."""
        super().run()
        if self._failed:
            raise StartRefused("A worker process could not start; the log says why.")

    def keep_subprocess_alive(self) -> None:
        """Put a new worker in the place of every one that has died."""
        for index, process in enumerate(self.processes):
            if self.should_exit.is_set() or process.process.is_alive():
                continue
            process.join()
            if process.exitcode == STARTUP_FAILURE:  # the next one would fail in the same way
                self._failed = True
                self.should_exit.set()
                return
            _log.error("worker process %s died (%s); starting another", process.pid, _cause(process.exitcode))
            self.processes[index] = Process(self.config, self.sockets)
            self.processes[index].start()

    def terminate_all(self) -> None:
        """Tell every worker to end, once what it is doing is done."""
        for listening in self.sockets:
            listening.close()
        super().terminate_all()


def _cause(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"by {signal.Signals(-exit_code).name}"
    return f"with exit code {exit_code}"
