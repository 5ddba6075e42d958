"""The processes of a running service: one, or several behind one listening socket, and what signals do to them."""

import contextlib
import logging
import signal
from collections.abc import Callable
from socket import socket

import uvicorn
from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from blick import boot
from blick.conf.settings import Settings
from blick.http.server.protocol import protocol_class
from blick.model.errors import StartRefused
from blick.worker import WorkerApp

_log = logging.getLogger(__name__)

# A new worker has to be ready after so long for a reload to go on; on a busy machine a start may take a while.
READY_AFTER_S = 60

Reread = Callable[[], Settings]


def serve(settings: Settings, listening: socket, reread: Reread | None = None) -> None:
    """Serve on a socket that listens already; blocks until told to stop and all work has ended. Raises StartRefused.

    SIGTERM and SIGINT stop. SIGHUP reads the settings again by `reread`: workers are replaced, one after the other;
    a single process goes on with the new ones. Where `reread` is None the service belongs to a terminal, whose end
    is its own.
    """
    with contextlib.suppress(KeyboardInterrupt):  # it has been stopped properly by then
        if settings.server.workers == 1:
            _end_at_hangup(reread)
            uvicorn.Server(_config(settings, reread)).run(sockets=[listening])
        else:
            Supervisor(settings, listening, reread).run()


class Supervisor(Multiprocess):
    """uvicorn's, with three differences.

    A worker is replaced when it has died, not when it is slow to answer: its transfers would end with it, and whoever
    asks a worker that is just dying waits for an answer that never comes. At a stop the address is given up at once,
    so that nobody is let in who would not be served. A reload reads the configuration again.
    """

    def __init__(self, settings: Settings, listening: socket, reread: Reread | None) -> None:
        super().__init__(_config(settings), [listening])
        self._reread = reread
        self._failed = False

    def run(self) -> None:
        """Block until told to stop, and until every worker has ended. Raises StartRefused if none can start."""
        super().run()
        if self._failed:
            raise StartRefused("A worker process could not start; the log says why.")

    def init_processes(self) -> None:
        """Start the first workers."""
        self.processes += [self._started() for _ in range(self.processes_num)]

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
            self.processes[index] = self._started()

    def handle_hup(self) -> None:
        """Reload; go on as before if the configuration is wrong now."""
        if self._reread is None:
            self.should_exit.set()
            return
        try:
            self.config = _config(self._reread())
        except StartRefused as error:
            _log.error("not reloaded: %s", error)
            return
        self.restart_all()

    def terminate_all(self) -> None:
        """Tell every worker to end, once what it is doing is done."""
        for listening in self.sockets:
            listening.close()
        super().terminate_all()

    def _started(self) -> Process:
        """A new worker. Ctrl-C reaches it too; it must not die of that while it loads, our SIGTERM will tell it."""
        process = Process(self.config, self.sockets)
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # which the new process inherits
        try:
            process.start()
        finally:
            signal.signal(signal.SIGINT, handler)
        return process


def _config(settings: Settings, reread: Reread | None = None) -> Config:
    server = settings.server
    return Config(
        WorkerApp(settings, reread),
        http=protocol_class(boot.protocol_limits(settings)),
        ws="none",
        loop="uvloop",
        lifespan="on",
        workers=server.workers,
        log_config=None,
        access_log=settings.log.debug,
        server_header=False,
        proxy_headers=False,  # who is at the other end of the connection is not a header's to say
        backlog=server.backlog,
        timeout_graceful_shutdown=server.grace_s,
        timeout_worker_healthcheck=READY_AFTER_S,
        ssl_certfile=server.cert_file,
        ssl_keyfile=server.key_file,
        ssl_ca_certs=str(server.ca_file) if server.ca_file else None,
    )


def _end_at_hangup(reread: Reread | None) -> None:
    """What SIGHUP does to a service of one process by default would end it in the middle of everything."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return  # nohup
    if reread is None:
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    else:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the application is there to reload


def _cause(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"by {signal.Signals(-exit_code).name}"
    return f"with exit code {exit_code}"
