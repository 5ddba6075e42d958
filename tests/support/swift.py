"""A real Swift: proxy, account, container and object server, one replica each; S3 is on the same port."""

import configparser
import getpass
import secrets
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.support import environments
from tests.support.daemon import DaemonFailedError
from tests.support.keystone import Keystone
from tests.support.keystone_accounts import REGION
from tests.support.loopback_server import LoopbackServer
from tests.support.memcached import Memcached
from tests.support.server import HOST

KINDS = ("account", "container", "object")
ACCOUNT, USER = "AUTH_test", "test:tester"
MAX_FILE_BYTES = 5368709122
"""Swift's own default: 5 GiB and 2 bytes."""

_MIDDLEWARE = (
    "catch_errors gatekeeper proxy-logging listing_formats cache bulk tempurl {auth} copy container_quotas "
    "account_quotas slo dlo versioned_writes symlink proxy-logging proxy-server"
)
_RINGS = """
import sys
from swift.common.ring import RingBuilder
folder, host, *ports = sys.argv[1:]
for kind, port in zip(("account", "container", "object"), ports):
    builder = RingBuilder(3, 1, 0)
    where = {"ip": host, "port": int(port), "replication_ip": host, "replication_port": int(port)}
    builder.add_dev({"id": 0, "region": 1, "zone": 1, "device": "disk", "weight": 1, "meta": "", **where})
    builder.rebalance()
    builder.get_ring().save(f"{folder}/{kind}.ring.gz")
"""
# Swift reads its limits while it is imported, from /etc/swift unless somebody says otherwise before that.
_PROGRAM = """
import runpy, sys
from swift.common import utils
utils.SWIFT_CONF_FILE = sys.argv[1]
del sys.argv[:2]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
Section = Mapping[str, object]


class _SwiftProcess(LoopbackServer):
    """One of Swift's servers. Its configuration and rings are in `folder`, the data in `folder`/data."""

    def __init__(self, folder: Path, kind: str, port: int | None = None) -> None:
        self.kind = kind
        self.name = f"swift-{kind}"
        super().__init__(folder, port)

    def command(self) -> list[str]:
        limits, program = self.folder / "swift.conf", _bin() / f"swift-{self.kind}-server"
        python = [str(_bin() / "python"), "-W", "ignore", "-c", _PROGRAM]
        return [*python, str(limits), str(program), str(self._configuration_path), "-v"]

    def configure(self, pipeline: str, sections: Mapping[str, Section], default: Section | None = None) -> None:
        """Write the configuration; `sections` are the filters of the pipeline and the options of the server itself."""
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = configparser.RawConfigParser()
        configuration.read_dict(
            {
                "DEFAULT": {
                    "bind_ip": HOST,
                    "bind_port": self.port,
                    "workers": 0,
                    "user": getpass.getuser(),
                    "swift_dir": self.folder,
                    "devices": self.folder / "data",
                    "mount_check": "false",
                    "fallocate_reserve": 0,
                    **(default or {}),
                },
                f"app:{self.kind}-server": {"use": f"egg:swift#{self.kind}"},
                "pipeline:main": {"pipeline": pipeline},
            }
        )
        configuration.read_dict(sections)
        with self._configuration_path.open("w") as file:
            configuration.write(file)

    @property
    def _configuration_path(self) -> Path:
        return self.folder / f"{self.kind}.conf"


class Swift(_SwiftProcess):
    """All of Swift; this object itself is the proxy, which clients talk to. Use it in a `with`.

    Without `keystone` users log in with tempauth: `user` and `key` at `auth_url`, and with the same two as
    `s3_access_key` and `s3_secret_key` at `s3_endpoint`. With a running `keystone`, whose catalog then gets the
    service, its members and admins may use their project's account. `stop` and `kill` end everything, the data stays
    in `folder`, which has to be on a file system with extended attributes; `pause` and `go_on` concern the proxy alone.
    """

    account = ACCOUNT
    user = s3_access_key = USER
    s3_region = "us-east-1"

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        *,
        keystone: Keystone | None = None,
        max_file_bytes: int = MAX_FILE_BYTES,
        without: Sequence[str] = (),
        options: Mapping[str, Section] | None = None,
    ) -> None:
        """`max_file_bytes` is what a single object may have; `without` names middleware to leave out, such as slo;
        `options` are further ones of the proxy, by middleware.
        """
        super().__init__(folder, "proxy", port)
        self.key = self.s3_secret_key = secrets.token_hex(16)
        self._keystone = keystone
        self._max_file_bytes = max_file_bytes
        self._without = frozenset(without)
        self._options = options or {}
        self._servers = [_SwiftProcess(folder, kind) for kind in KINDS]
        self._cache = Memcached(folder / "memcached")  # tempauth keeps its tokens there

    @property
    def url(self) -> str:
        """Where clients talk to it."""
        return f"http://{self.address}"

    s3_endpoint = url

    @property
    def auth_url(self) -> str:
        """Where users of tempauth log in."""
        return f"{self.url}/auth/v1.0"

    @property
    def storage_url(self) -> str:
        """The account of `user`, of tempauth."""
        return f"{self.url}/v1/{ACCOUNT}"

    def prepare(self) -> None:
        (self.folder / "data/disk").mkdir(parents=True, exist_ok=True)
        self._configure_cluster()
        for server in self._servers:
            server.configure(f"{server.kind}-server", {})
        self._configure_proxy()
        self._make_rings()
        if self._keystone is not None:
            _enter_into_catalog(self._keystone, f"{self.url}/v1/AUTH_%(project_id)s")

    def is_ready(self) -> bool:
        if not super().is_ready():
            return False
        try:
            with urllib.request.urlopen(f"{self.url}/info", timeout=60) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.HTTPError):
            return False

    def start(self) -> Self:
        self.prepare()
        for part in (self._cache, *self._servers):
            part.start()
        return super().start()

    def stop(self) -> None:
        super().stop()
        for part in (*self._servers, self._cache):
            part.stop()

    def kill(self) -> None:
        super().kill()
        for part in (*self._servers, self._cache):
            part.kill()

    def stop_objects(self) -> None:
        """The object server ends, the proxy goes on: it answers 503 until `start_objects`."""
        self._servers[-1].stop()

    def start_objects(self) -> None:
        """The end of `stop_objects`."""
        self._servers[-1].start()

    def forget_tokens(self) -> None:
        """Makes every token of tempauth invalid at once; one of Keystone's is asked about anew."""
        self._cache.flush()

    def _configure_cluster(self) -> None:
        configuration = configparser.RawConfigParser()
        configuration.read_dict(
            {
                "swift-hash": {"swift_hash_path_suffix": "blick-tests"},
                "swift-constraints": {"max_file_size": self._max_file_bytes},
            }
        )
        with (self.folder / "swift.conf").open("w") as file:
            configuration.write(file)

    def _configure_proxy(self) -> None:
        auth = "s3api tempauth" if self._keystone is None else "s3api s3token authtoken keystoneauth"
        pipeline = [name for name in _MIDDLEWARE.format(auth=auth).split() if name not in self._without]
        filters: dict[str, dict[str, object]] = {
            f"filter:{name}": {"use": f"egg:swift#{name.replace('-', '_')}"}
            for name in pipeline
            if name not in ("cache", "authtoken", "proxy-server")
        }
        filters["filter:cache"] = {"use": "egg:swift#memcache", "memcache_servers": self._cache.address}
        filters["filter:s3api"] |= {"location": self.s3_region, "s3_acl": "false", "check_bucket_owner": "false"}
        filters["filter:versioned_writes"] |= {"allow_object_versioning": "true"}
        own: dict[str, object] = {"account_autocreate": "true", "allow_account_management": "true"}
        filters["app:proxy-server"] = {"use": "egg:swift#proxy", **own}
        if self._keystone is None:
            filters["filter:tempauth"] |= self._tempauth_options()
        else:
            filters |= _keystone_filters(self._keystone)
        for name, options in self._options.items():
            filters[f"filter:{name}"] |= options
        self.configure(" ".join(pipeline), filters, {"max_clients": 1024})

    def _tempauth_users(self) -> Mapping[str, str]:
        return {"admin:admin": ".admin .reseller_admin", USER: ".admin", "test:tester3": "", "test2:tester2": ".admin"}

    def _tempauth_options(self) -> dict[str, object]:
        users = {
            f"user_{user.replace(':', '_')}": f"{self.key} {groups}" for user, groups in self._tempauth_users().items()
        }
        return {"allow_account_management": "true", **users}

    def _make_rings(self) -> None:
        if (self.folder / "object.ring.gz").exists():
            return
        ports = [str(server.port) for server in self._servers]
        command = [str(_bin() / "python"), "-W", "ignore", "-c", _RINGS, str(self.folder), HOST, *ports]
        done = subprocess.run(command, env=dict(self.environment()), capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise DaemonFailedError(f"Swift's rings could not be made: {done.stderr[-2000:]}")


def _bin() -> Path:
    return environments.environment("swift") / "bin"


def _keystone_filters(keystone: Keystone) -> dict[str, dict[str, object]]:
    return {
        "filter:s3token": {"use": "egg:swift#s3token", "auth_uri": keystone.url},
        "filter:authtoken": {
            "paste.filter_factory": "keystonemiddleware.auth_token:filter_factory",
            "delay_auth_decision": "true",
            "service_token_roles_required": "true",
            "cache": "swift.cache",  # Swift's memcached, rather than one of the process that nobody can empty
            **keystone.authtoken_options(),
        },
        "filter:keystoneauth": {"use": "egg:swift#keystoneauth", "operator_roles": "admin, member"},
    }


def _enter_into_catalog(keystone: Keystone, url: str) -> None:
    """Once: the ports stay the same over a restart."""
    with keystone.admin() as api:
        if api.list("services", type="object-store"):
            return
        service: dict[str, Any] = api.create("service", name="swift", type="object-store")
        for interface in ("public", "internal", "admin"):
            api.create("endpoint", service_id=service["id"], interface=interface, url=url, region_id=REGION)
