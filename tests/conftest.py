"""What every tier shares: `--require`, the databases, Keystone and memcached.

`--require` names real parts whose absence fails a run instead of skipping tests. See tests/support/parts.py.
"""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.azurite import Azurite
from tests.support.ceph import Ceph
from tests.support.databases import Databases
from tests.support.keystone import Keystone
from tests.support.mariadb import MariaDB
from tests.support.memcached import Memcached
from tests.support.moto import Moto
from tests.support.parts import PARTS
from tests.support.postgresql import PostgreSQL
from tests.support.radosgw import RadosGw
from tests.support.swift import Swift

# No test depends on how fast the machine happens to be.
settings.register_profile("any-pace", deadline=None)
settings.load_profile("any-pace")

REQUIRED = pytest.StashKey[frozenset[str]]()
MISSING = pytest.StashKey[dict[str, str | None]]()
"""What each probe said, so that a part is looked for once a run."""
WANTING = re.compile(r"needs ([\w-]+): (.*)", re.DOTALL)
"""How a skip says which part is missing, and why; read back from the reports, which come from several processes."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require",
        action="append",
        default=[],
        metavar="PART[,PART]",
        help=f"fail instead of skipping where one of these is missing: {', '.join(PARTS)}, or all",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*parts): real parts this test uses, named in tests/support/parts.py")
    config.addinivalue_line("markers", "alone: servers hang and give up in it; nothing else is to run meanwhile")
    config.addinivalue_line("markers", "long: takes many minutes, so it begins before all others")
    config.addinivalue_line("markers", "database_server: needs a server for its database; `make check` leaves it out")
    named = {name.strip() for value in config.getoption("--require") for name in value.split(",") if name.strip()}
    unknown = named - PARTS.keys() - {"all"}
    if unknown:
        raise pytest.UsageError(
            f"--require: no part called {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}"
        )
    if "all" in named:
        named |= {name for name, part in PARTS.items() if not part.on_demand}
    config.stash[REQUIRED] = frozenset(named)
    config.stash[MISSING] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        unknown = {name for marker in item.iter_markers("needs") for name in marker.args} - PARTS.keys()
        if unknown:
            raise pytest.UsageError(
                f"{item.nodeid} needs {', '.join(sorted(unknown))}, which tests/support/parts.py lacks"
            )
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for name in [name for marker in item.iter_markers("needs") for name in marker.args]:
        _demand(item.config, name)


def _demand(config: pytest.Config, name: str) -> None:
    """Lets the test go on, skips it, or fails it, as the part called `name` and `--require` say."""
    probed = config.stash[MISSING]
    if name not in probed:
        is_idle = PARTS[name].on_demand and name not in config.stash[REQUIRED]
        probed[name] = f"on demand only: --require {name}" if is_idle else PARTS[name].missing()
    reason = probed[name]
    if reason is None:
        return
    if name in config.stash[REQUIRED]:
        pytest.fail(f"{name} is required, but there is {reason}", pytrace=False)
    pytest.skip(f"needs {name}: {reason}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped: dict[str, list[str]] = {}
    for report in terminalreporter.stats.get("skipped", ()):
        if found := WANTING.search(str(report.longrepr)):
            skipped.setdefault(found[1], []).append(found[2].rstrip("')"))
    if not skipped:
        return
    terminalreporter.section("missing parts (make deps)", yellow=True)
    for name, reasons in sorted(skipped.items()):
        terminalreporter.line(f"{name}: {len(reasons)} test(s) skipped, {reasons[0]} — {PARTS[name].what}")


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """A running server, shared by the whole run: make databases of your own. Ask for the part too."""
    with MariaDB(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A running server, shared by the whole run: make databases of your own. Ask for the part too."""
    # pytest's own folders let no other user in, and the server is not root's.
    with tempfile.TemporaryDirectory(prefix="blick-postgresql-") as folder, PostgreSQL(Path(folder)) as server:
        yield server


@pytest.fixture(scope="session")
def databases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Databases:
    """Databases of every kind; the servers start when they are first needed."""

    def create(engine: str, name: str) -> str:
        server: MariaDB | PostgreSQL = request.getfixturevalue(engine)
        return server.create_database(name)

    return Databases(tmp_path_factory.mktemp("databases"), create)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """`sqlite`, unless a test says `on_every_engine` (tests/support/databases.py)."""
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture
def database_url(engine: str, databases: Databases, tmp_path: Path) -> str:
    """A database at our revision, without rows, for this test alone."""
    return databases.fresh(engine, tmp_path)


@pytest.fixture(scope="session")
def keystone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keystone]:
    """A running Keystone with its usual accounts, shared by the whole run. Ask for the part too.

    Leave it running, and its accounts but `spare` as they are; to stop it or to change its limits, make your own.
    """
    with Keystone(tmp_path_factory.mktemp("keystone")) as server:
        yield server


@pytest.fixture(scope="session")
def memcached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Memcached]:
    """A running memcached, shared by the whole run and not empty. Ask for the part too; to stop it, make your own."""
    with Memcached(tmp_path_factory.mktemp("memcached")) as server:
        yield server


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    """A running Swift with tempauth and S3, shared by the whole run: use containers of your own. Ask for the part too;
    to stop it or to make it forget tokens, make your own.
    """
    with Swift(tmp_path_factory.mktemp("swift")) as server:
        yield server


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    """A running Ceph cluster with the pools images and volumes, shared by the whole run. Ask for the part too.

    Leave it running and its pools with room; to break it, make your own.
    """
    with Ceph(tmp_path_factory.mktemp("ceph")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def radosgw(ceph: Ceph, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RadosGw]:
    """A running S3 server of Ceph's, shared by the whole run: make buckets of your own. Ask for ceph too."""
    with RadosGw(tmp_path_factory.mktemp("radosgw"), ceph) as server:
        yield server


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    """A running S3 server, shared by the whole run: make buckets of your own. Ask for the part too."""
    with Moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """A running Azure Blob Storage, shared by the whole run: make containers of your own. Ask for the part too."""
    with Azurite(tmp_path_factory.mktemp("azurite")) as server:
        yield server
