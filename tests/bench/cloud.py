"""What the database benchmark runs on: a database server, a Keystone, and both services asking them.

Both services keep what Keystone said about a token, in one memcached; each has a database of its own on one server.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import procfs
from tests.bench.catalogue import Cast
from tests.support.config_file import configured_server
from tests.support.keystone import Keystone
from tests.support.keystone_api import KeystoneApi, Record, password_identity
from tests.support.mariadb import MariaDB
from tests.support.memcached import Memcached
from tests.support.postgresql import PostgreSQL
from tests.support.upstream import UpstreamGlance

WORKERS = 2
DATABASES = ("mariadb", "postgresql", "sqlite")
# Tables of a million images must fit into memory: what is measured is the work, not this machine's disk.
_MARIADB_OPTIONS = ("--innodb-buffer-pool-size=3G", "--innodb-log-file-size=1G")
_POSTGRESQL_OPTIONS = ("shared_buffers=2GB", "maintenance_work_mem=512MB", "max_wal_size=8GB")
_PEOPLE = ("ordinary", "newcomer", "member", "owner")


@dataclass(frozen=True, slots=True)
class Service:
    """One image service under test, with the pids whose CPU time is its own and its database's (None: none)."""

    port: int
    root_pid: int
    database_pid: int | None
    database_url: str

    def cpu_s(self) -> tuple[float, float]:
        """CPU seconds so far: of the service, and of the database server."""
        return procfs.cpu_s(self.root_pid), 0 if self.database_pid is None else procfs.cpu_s(self.database_pid)


@dataclass(frozen=True, slots=True)
class Cloud:
    """Everything that runs. `tokens` by name of the caller: those of the cast, and admin."""

    services: dict[str, Service]
    cast: Cast
    tokens: dict[str, str]


@contextmanager
def cloud(database: str, wanted: list[str], folder: Path) -> Iterator[Cloud]:
    """Start all of it; `wanted` names the services. Stops everything at the end."""
    with ExitStack() as running:
        keystone = running.enter_context(Keystone(folder / "keystone"))
        memcached = running.enter_context(Memcached(folder / "memcached"))
        server = running.enter_context(database_server(database, folder))
        cast, tokens = _accounts(keystone)
        authtoken = keystone.authtoken_options() | {"memcached_servers": memcached.address}
        services: dict[str, Service] = {}
        for name in wanted:
            url = server.create_database(name) if server else f"sqlite:///{folder}/{name}.sqlite"
            groups = {
                "DEFAULT": {"workers": WORKERS},
                "database": {"connection": url},
                "paste_deploy": {"flavor": "keystone"},
                "keystone_authtoken": authtoken,
            }
            if name == "upstream":
                upstream = running.enter_context(
                    UpstreamGlance(folder / name, url, keystone, {"keystone_authtoken": authtoken}, workers=WORKERS)
                )
                port, pid = upstream.port, upstream.pid
            else:
                blick = running.enter_context(configured_server(folder / name, groups))
                port, pid = blick.port, blick.process.pid
            services[name] = Service(port, pid, server.pid if server else None, url)
        yield Cloud(services, cast, tokens)


@contextmanager
def database_server(database: str, folder: Path) -> Iterator[MariaDB | PostgreSQL | None]:
    """A server of that kind with room for large tables, its files in `folder`; None for SQLite, which has none."""
    if database == "mariadb":
        (folder / "mariadb").mkdir()
        with MariaDB(folder / "mariadb", *_MARIADB_OPTIONS) as mariadb:
            yield mariadb
    elif database == "postgresql":
        # The server is not root's: it needs a folder that everybody reaches.
        with (
            tempfile.TemporaryDirectory(prefix="blick-bench-") as own,
            PostgreSQL(Path(own), *_POSTGRESQL_OPTIONS) as it,
        ):
            yield it
    else:
        yield None


def _accounts(keystone: Keystone) -> tuple[Cast, dict[str, str]]:
    """A project and a user for each of the cast, and their tokens."""
    projects: dict[str, str] = {}
    tokens = {"admin": keystone.token("admin")}
    with keystone.admin() as api:
        roles = {role["name"]: role["id"] for role in api.list("roles")}
        for person in _PEOPLE:
            projects[person] = api.create("project", name=f"bench-{person}", domain_id="default")["id"]
            account = {"name": f"bench-{person}", "password": keystone.password, "domain_id": "default"}
            user = api.create("user", **account)["id"]
            api.put(f"/projects/{projects[person]}/users/{user}/roles/{roles['member']}")
    for person, project in projects.items():
        scope: Record = {"project": {"id": project}}
        with KeystoneApi(keystone.url) as api:
            identity = password_identity(f"bench-{person}", keystone.password)
            tokens[person] = api.token(identity, scope).headers["X-Subject-Token"]
    return Cast(**projects), tokens
