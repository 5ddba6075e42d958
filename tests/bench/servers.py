"""The servers under test: how each is configured, started, watched and stopped. All listen on 127.0.0.1."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench import procfs
from tests.bench.http11 import Connection, UnexpectedAnswer
from tests.support.config_file import ini_text
from tests.support.upstream import single_store, uwsgi_settings

Groups = Mapping[str, Mapping[str, object]]  # options of a configuration file, by group and name
READY_TIMEOUT_S = 60
STOP_TIMEOUT_S = 15
PROBE_INTERVAL_S = 0.01  # short against the second a start takes
READY_PATH = "/v2/images?limit=1"  # answered only when routes, policy and database all work
WORKERS = 2


@dataclass(frozen=True, slots=True)
class Start:
    """What a start took until the first good answer: wall seconds and CPU seconds of the whole tree."""

    wall_s: float
    cpu_s: float


class Server(ABC):
    """One server in its own folder. `start` returns when it answers, `stop` when the last process is gone.

    Subclasses give the command and the files it needs.
    """

    name = ""
    ready_status = 200
    ready_path = READY_PATH

    def __init__(self, folder: Path, workers: int = WORKERS, stores: Groups | None = None) -> None:
        """`stores` are the groups of an image service's configuration that say where images go; None: into a folder."""
        self.folder = folder
        self.workers = workers
        self.stores = stores or {"glance_store": single_store(folder / "images")}
        self.port = free_port()
        self.database = folder / "images.sqlite"
        self.headers: dict[str, str] = {}  # of every request that is made of it here
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def prepare(self) -> None:
        """Write the configuration and whatever must exist before the first start."""

    @abstractmethod
    def command(self) -> list[str]:
        """The program and its arguments; it must stay in the foreground."""

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def start(self) -> Start:
        """Raises RuntimeError with the end of the log when it exits or does not answer in time."""
        started = time.perf_counter()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment(),
                start_new_session=True,  # a process group of its own: the whole tree gets the signal
            )
        while not self._answers():
            if self._process.poll() is not None or time.perf_counter() - started > READY_TIMEOUT_S:
                self.stop()
                raise RuntimeError(f"{self.name} does not answer:\n{self._log_end()}")
            time.sleep(PROBE_INTERVAL_S)
        return Start(time.perf_counter() - started, self.cpu_s())

    def stop(self) -> None:
        if self._process is None:
            return
        group = self._process.pid
        with contextlib.suppress(ProcessLookupError):
            os.kill(group, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_TIMEOUT_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        self._process.wait()
        self._process = None

    @property
    def root_pid(self) -> int:
        assert self._process is not None, f"{self.name} is not running"
        return self._process.pid

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def cpu_s(self) -> float:
        """CPU seconds of the whole process tree so far."""
        return procfs.cpu_s(self.root_pid)

    def _answers(self) -> bool:
        connection = Connection(self.port, self.headers)
        try:
            connection.request("GET", self.ready_path, self.ready_status, discard=True)
        except (OSError, UnexpectedAnswer):
            return False
        finally:
            connection.close()
        return True

    def _log_end(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


class Blick(Server):
    """`blick serve` on a Glance configuration file, installed in the environment this program runs in."""

    name = "blick"

    def prepare(self) -> None:
        _write_common_files(self)
        self._configuration.write_text(_glance_configuration(self))

    def command(self) -> list[str]:
        blick = Path(sys.executable).parent / "blick"
        return [str(blick), "serve", "--config-file", str(self._configuration)]

    @property
    def _configuration(self) -> Path:
        return self.folder / "blick.conf"


class Upstream(Server):
    """Glance in its own environment under uWSGI, with the settings of its admin guide's uWSGI page."""

    name = "upstream"

    def __init__(
        self,
        folder: Path,
        environment: Path,
        workers: int = WORKERS,
        stores: Groups | None = None,
        python_path: Path | None = None,
    ) -> None:
        """`environment` is its virtual one; modules that are not in it are found in `python_path`."""
        super().__init__(folder, workers, stores)
        self._environment = environment
        self._python_path = python_path

    def prepare(self) -> None:
        _write_common_files(self)
        (self.folder / "glance-api.conf").write_text(_glance_configuration(self))
        shutil.copy(self._environment / "etc/glance/glance-api-paste.ini", self.folder)
        (self.folder / "uwsgi.ini").write_text(uwsgi_settings(self._environment, self.port, self.workers))
        with self.log.open("ab") as log:
            configuration = str(self.folder / "glance-api.conf")
            manage = [str(self._environment / "bin/glance-manage"), "--config-file", configuration]
            subprocess.run([*manage, "db_sync"], stdout=log, stderr=log, check=True)

    def command(self) -> list[str]:
        return [str(self._environment / "bin/uwsgi"), "--ini", str(self.folder / "uwsgi.ini")]

    def environment(self) -> dict[str, str]:
        modules = {"PYTHONPATH": str(self._python_path)} if self._python_path else {}
        return {**os.environ, **modules, "OS_GLANCE_CONFIG_DIR": str(self.folder)}


class Nginx(Server):
    """nginx serving one folder of files with sendfile: what a download costs at least."""

    name = "nginx"
    ready_status = 404
    ready_path = "/ready"

    def __init__(self, folder: Path, program: Path, files: Path, workers: int = WORKERS) -> None:
        super().__init__(folder, workers)
        self._program = program
        self._files = files

    def prepare(self) -> None:
        self.folder.mkdir(parents=True)
        (self.folder / "nginx.conf").write_text(
            f"""daemon off; pid {self.folder}/pid; worker_processes {self.workers};
{"user root;" if os.geteuid() == 0 else ""}
error_log {self.folder}/server.log; events {{ }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000;
  {"".join(f"{kind}_temp_path {self.folder}/{kind}; " for kind in NGINX_TEMPORARY)}
  server {{ listen 127.0.0.1:{self.port}; root {self._files}; default_type application/octet-stream; }}
}}
"""
        )

    def command(self) -> list[str]:
        return [str(self._program), "-c", str(self.folder / "nginx.conf"), "-e", str(self.log)]


NGINX_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _glance_configuration(server: Server) -> str:
    usual: Groups = {
        "DEFAULT": {"bind_host": "127.0.0.1", "bind_port": server.port, "workers": server.workers},
        "database": {"connection": f"sqlite:///{server.database}"},
        "paste_deploy": {"flavor": ""},
        "oslo_policy": {"policy_file": server.folder / "policy.yaml"},
        "oslo_concurrency": {"lock_path": server.folder / "locks"},
    }
    return ini_text(usual, server.stores)


def _write_common_files(server: Server) -> None:
    for name in ("images", "staging", "tasks", "locks"):
        (server.folder / name).mkdir(parents=True)
    # Without Keystone upstream's callers have no role at all, and its default rules refuse them even a list.
    (server.folder / "policy.yaml").write_text('context_is_admin: "@"\n')
