"""A real Cinder for tests: its API, scheduler and volume service, with volumes on a Ceph cluster."""

import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support import environments
from tests.support.ceph import Ceph
from tests.support.config_file import ini_text
from tests.support.daemon import Daemon, run_to_end
from tests.support.keystone import Keystone
from tests.support.keystone_accounts import REGION
from tests.support.keystone_api import KeystoneApi
from tests.support.rabbitmq import RabbitMQ
from tests.support.server import HOST, clean_environment, free_port

POOL = "volumes"
USER = "cinder"
"""Of Ceph: the one that connections are made as."""

BACKEND = "ceph"
# As waitress-serve cannot be told: Cinder reads the command line of whatever imports it.
API = """
import sys
import waitress
_, address = sys.argv
del sys.argv[1:]
from cinder.wsgi.api import application
waitress.serve(application, listen=address, threads=4)
"""
NO_QUOTA = {"quota_volumes": -1, "quota_gigabytes": -1}
BINDINGS = Path("/usr/lib/python3/dist-packages")
READY = "Driver initialization completed successfully"


class Cinder:
    """Cinder with RabbitMQ, on a Ceph and a Keystone that run already (50 s, 800 MiB); use it in a `with`.

    Volumes outlive `stop`. Ceph's client `cinder`, whose keyring lies where `ceph.conf_path` says, reaches them.
    """

    def __init__(self, folder: Path, ceph: Ceph, keystone: Keystone, database_url: str) -> None:
        """`database_url`: of an empty database. SQLite would do for one request at a time only."""
        self.folder = folder
        self.port = free_port()
        self._ceph = ceph
        self._keystone = keystone
        self._database_url = database_url
        self._queue = RabbitMQ(folder / "rabbitmq")
        self._running = ExitStack()
        self.volume: Daemon | None = None

    @property
    def url(self) -> str:
        """What the catalog says."""
        return f"http://{HOST}:{self.port}/v3"

    def start(self) -> Self:
        """Start all of it, and return when it makes volumes."""
        self._prepare()
        with ExitStack() as started:
            started.enter_context(self._queue)
            self._make_tables()
            self._start(started, "scheduler", str(self._bin / "cinder-scheduler"), *self._configured)
            api = self._start(started, "api", "-c", API, f"{HOST}:{self.port}")
            self.volume = self._start(started, "volume", str(self._bin / "cinder-volume"), *self._configured)
            api.start(self._answers)
            self.volume.start(lambda: READY in (self.folder / "volume.log").read_text(errors="replace"))
            self._enter_catalog()
            self._running = started.pop_all()
        return self

    def stop(self) -> None:
        """End all of it."""
        self._running.close()

    def volumes(self) -> list[dict[str, Any]]:
        """What Cinder shows of the volumes of the image service's project."""
        with self._api("glance") as api:
            found: list[dict[str, Any]] = api.request("GET", "/volumes/detail").json()["volumes"]
            return found

    @contextmanager
    def quota(self, project_id: str, **limits: int) -> Iterator[None]:
        """A project's own quotas (volumes, gigabytes) for the body."""
        with self._api("admin") as api:
            api.request("PUT", f"/os-quota-sets/{project_id}", {"quota_set": limits})
            yield
            api.request("DELETE", f"/os-quota-sets/{project_id}")

    def _api(self, user: str) -> KeystoneApi:
        """Requests as one of Keystone's users."""
        return KeystoneApi(self.url, self._keystone.token(user))

    def _make_tables(self) -> None:
        program = str(self._bin / "cinder-manage")
        python = [str(self._bin / "python"), "-W", "ignore"]
        run_to_end([*python, program, *self._configured, "db", "sync"], self.folder / "tables.log")

    def _start(self, started: ExitStack, name: str, *command: str) -> Daemon:
        """Begin to start a process; the caller waits."""
        python = [str(self._bin / "python"), "-W", "ignore"]
        daemon = Daemon([*python, *command], self.folder / f"{name}.log", environment=self._environment())
        started.callback(daemon.kill)
        daemon.start(lambda: True)
        return daemon

    def _prepare(self) -> None:
        for name in ("state/locks", "state/conversion", "bindings", ".cinder"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for library in [*BINDINGS.glob("rados.*.so"), *BINDINGS.glob("rbd.*.so")]:
            link = self.folder / "bindings" / library.name
            if not link.exists():
                link.symlink_to(library)
        self._ceph.create_user(
            USER, mon="profile rbd", osd=f"profile rbd pool={POOL}, profile rbd pool=images", mgr="profile rbd"
        )
        (self.folder / ".cinder/cinder.conf").write_text(ini_text(self._options()))

    def _options(self) -> dict[str, dict[str, object]]:
        etc = self._bin.parent / "etc/cinder"
        return {
            "DEFAULT": {
                "transport_url": self._queue.transport_url,
                "auth_strategy": "keystone",
                "my_ip": HOST,
                "host": "blick-test",
                "state_path": self.folder / "state",
                "api_paste_config": etc / "api-paste.ini",
                "rootwrap_config": etc / "rootwrap.conf",
                "resource_query_filters_file": etc / "resource_filters.json",
                "image_conversion_dir": self.folder / "state/conversion",
                "enabled_backends": BACKEND,
                "default_volume_type": "__DEFAULT__",
                # A Ceph without its manager does not tell how much room it has.
                "scheduler_default_filters": "AvailabilityZoneFilter",
                **NO_QUOTA,
                "report_interval": 5,
                "service_down_time": 600,
                "osapi_volume_workers": 1,
            },
            "database": {"connection": self._database_url},
            "oslo_concurrency": {"lock_path": self.folder / "state/locks"},
            "keystone_authtoken": self._keystone.authtoken_options() | {"service_token_roles_required": "true"},
            BACKEND: {
                "volume_driver": "cinder.volume.drivers.rbd.RBDDriver",
                "volume_backend_name": BACKEND,
                "rbd_pool": POOL,
                "rbd_user": USER,
                "rbd_ceph_conf": self._ceph.conf_path,
                "rbd_secret_uuid": "00000000-0000-0000-0000-000000000001",
            },
        }

    def _enter_catalog(self) -> None:
        with self._keystone.admin() as api:
            if api.list("services", type="volumev3"):
                return
            for kind in ("volumev3", "block-storage"):
                service = api.create("service", name=kind, type=kind)["id"]
                for interface in ("public", "internal"):
                    api.create("endpoint", service_id=service, interface=interface, url=self.url, region_id=REGION)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.port}/", timeout=60) as answer:
                return bool(answer.status in (200, 300))
        except urllib.error.HTTPError as error:
            return error.code == 300
        except OSError:
            return False

    def _environment(self) -> Mapping[str, str]:
        home = clean_environment(self.folder)
        return {**home, "PATH": f"{self._bin}:{home['PATH']}", "PYTHONPATH": str(self.folder / "bindings")}

    @property
    def _configured(self) -> tuple[str, str]:
        return "--config-file", str(self.folder / ".cinder/cinder.conf")

    @property
    def _bin(self) -> Path:
        return environments.environment("cinder") / "bin"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
