"""The reference service, from PyPI under uWSGI in an environment of its own, to compare with and to share data with."""

import http.client
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support import environments
from tests.support.config_file import ini_text
from tests.support.keystone import Keystone
from tests.support.loopback_server import LoopbackServer
from tests.support.server import HOST

Options = Mapping[str, Mapping[str, object]]
MANAGE_TIMEOUT_S = 600.0
# The drivers in upstream's environment; SQLAlchemy's own choice for a bare name may be another one.
DRIVERS = {"mysql": "mysql+pymysql", "mariadb": "mysql+pymysql", "postgresql": "postgresql+psycopg2"}


class UpstreamGlance(LoopbackServer):
    """glance-api with a file store; use it in a `with`. The first start makes the tables, with upstream's own commands.

    With a Keystone it asks that one; without, everybody is admin. Data outlives `stop`.
    """

    name = "upstream"

    def __init__(
        self,
        folder: Path,
        database_url: str | None = None,
        keystone: Keystone | None = None,
        options: Options | None = None,
        *,
        port: int | None = None,
        workers: int = 1,
    ) -> None:
        """`database_url` None is SQLite in `folder`. `options` come last in glance-api.conf, by group and name."""
        super().__init__(folder, port)
        self.database_url = upstream_url(database_url or f"sqlite:///{folder / 'glance.sqlite'}")
        self._keystone = keystone
        self._options = options or {}
        self._workers = workers
        self._synced = False

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def config_file(self) -> Path:
        """Its glance-api.conf; there after `write_files`."""
        return self.folder / "glance-api.conf"

    @property
    def images_folder(self) -> Path:
        """Where its file store keeps data."""
        return self.folder / "images"

    def write_files(self) -> None:
        """Writes its configuration; `start` and `manage` do it too."""
        for folder in (self.images_folder, self.folder / "staging", self.folder / "locks"):
            folder.mkdir(parents=True, exist_ok=True)
        self.config_file.write_text(ini_text(self._usual_options(), self._options))
        # Without Keystone upstream's callers have no role at all, and its default rules refuse them even a list.
        (self.folder / "policy.yaml").write_text("" if self._keystone else 'context_is_admin: "@"\n')
        environment = environments.environment("upstream")
        shutil.copy(environment / "etc/glance/glance-api-paste.ini", self.folder)
        (self.folder / "uwsgi.ini").write_text(uwsgi_settings(environment, self.port, self._workers))

    def prepare(self) -> None:
        self.write_files()
        if not self._synced:
            self.manage("db_sync")
            self._synced = True

    def command(self) -> list[str]:
        return [str(environments.environment("upstream") / "bin/uwsgi"), "--ini", str(self.folder / "uwsgi.ini")]

    def environment(self) -> Mapping[str, str]:
        return {**super().environment(), "OS_GLANCE_CONFIG_DIR": str(self.folder), "PYTHONWARNINGS": "ignore"}

    def is_ready(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=60)
        try:
            connection.request("GET", "/v2/images?limit=1")  # answered only when routes, policy and database work
            return connection.getresponse().status == (401 if self._keystone else 200)
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def manage(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs upstream's glance-manage on its configuration. With `check`, AssertionError when it fails."""
        return self._run("glance-manage", arguments, check=check)

    def scrub(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs upstream's glance-scrubber, as `manage` does."""
        return self._run("glance-scrubber", arguments, check=check)

    def _run(self, name: str, arguments: Sequence[str], *, check: bool) -> subprocess.CompletedProcess[str]:
        self.write_files()
        program = str(environments.environment("upstream") / "bin" / name)
        done = subprocess.run(
            [program, "--config-file", str(self.config_file), *arguments],
            env=dict(self.environment()),
            capture_output=True,
            text=True,
            timeout=MANAGE_TIMEOUT_S,
        )
        assert not (check and done.returncode), f"{name} {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
        return done

    def _usual_options(self) -> Options:
        many_stores = "enabled_backends" in self._options.get("DEFAULT", {})
        stores: Options = {} if many_stores else {"glance_store": single_store(self.images_folder)}
        reserved = {
            f"os_glance_{name}_store": {"filesystem_store_datadir": self.folder / name}
            for name in ("staging", "tasks")
            if many_stores
        }
        identity: Options = {"paste_deploy": {"flavor": ""}}
        if self._keystone:
            identity = {"paste_deploy": {"flavor": "keystone"}}
            identity |= {"keystone_authtoken": self._keystone.authtoken_options()}
        return {
            "DEFAULT": {
                "bind_host": HOST,
                "bind_port": self.port,
                "workers": self._workers,
                "node_staging_uri": f"file://{self.folder / 'staging'}",
                "worker_self_reference_url": self.url,
            },
            "database": {"connection": self.database_url},
            "oslo_policy": {"policy_file": self.folder / "policy.yaml"},
            "oslo_concurrency": {"lock_path": self.folder / "locks"},  # one of the locks is called tasks
            **stores,
            **reserved,
            **identity,
        }


def single_store(images: Path) -> Mapping[str, object]:
    """The options of [glance_store] for one file store, as deployments from before multiple stores have them."""
    return {"stores": "file,http", "default_store": "file", "filesystem_store_datadir": images}


def upstream_url(url: str) -> str:
    """A database URL with the driver that upstream's environment has, whichever driver it names."""
    scheme, rest = url.split("://", 1)
    engine = re.sub(r"\+.*", "", scheme)
    return f"{DRIVERS.get(engine, scheme)}://{rest}"


def uwsgi_settings(environment: Path, port: int, workers: int) -> str:
    """A uwsgi.ini with the settings of upstream's guide."""
    # `http-socket`: no router process in front. The guide's `plugins` line is for distributions that split uWSGI.
    settings = {
        "http-socket": f"{HOST}:{port}",
        "module": "glance.wsgi.api:application",
        "processes": str(workers),
        "virtualenv": str(environment),
        "socket-timeout": "10",
        "http-auto-chunked": "true",
        "http-chunked-input": "true",
        "http-raw-body": "true",
        "chunked-input-limit": "4194304",  # not in the guide: chunks of 1 MiB are refused without it
        "lazy-apps": "true",
        "add-header": "Connection: close",
        "buffer-size": "65535",
        "thunder-lock": "true",
        "enable-threads": "true",
        "exit-on-reload": "true",
        "die-on-term": "true",
        "master": "true",
    }
    return "[uwsgi]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items())
