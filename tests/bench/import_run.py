"""The benchmark of imports: three file stores and a web server, both services side by side; what it says as a page."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench import procfs, report
from tests.bench.file_server import FileServer
from tests.bench.import_metrics import CLIENTS, FEW, MANY, METRICS, SMALL_BYTES, STORES, TARGETS, ImportBench
from tests.bench.install import MIB, nginx_program
from tests.bench.metrics import Metric, Scale
from tests.bench.report import Results
from tests.bench.rounds import FAILURES, measure, say
from tests.bench.servers import WORKERS, Blick, Groups, Nginx, Server, Upstream
from tests.support import environments
from tests.support.daemon import DaemonFailedError
from tests.support.mariadb import MariaDB
from tests.support.upstream import upstream_url

QUICK_BYTES = 64 * MIB
DATABASES = ("sqlite", "mariadb")
TITLES = {"sqlite": "SQLite", "mariadb": "MariaDB"}
CALLER = {
    "X-Identity-Status": "Confirmed",
    "X-User-Id": "importer",
    "X-Project-Id": "importers",
    "X-Roles": "admin,member,reader",
}
"""Whom both services take for their caller, as an authenticating proxy tells them."""
ON_SERVERS = ("small-imports",)
"""What is measured on a database server as well: the rest is the work on one image."""
METHOD = f"""Medians over the rounds; the services take turns (A B A B) on the same disk, each with two worker
processes, three file stores and the staging folder on one file system, and the caller known by headers; upstream runs
under uWSGI as its guide says, where its imports go on in the background threads of the two processes. An import
begins with the first byte of PUT stage, or with POST import, and ends when the image is seen active, which is looked
at every 50 ms. Its bytes are then compared with what was sent, from each store. The web server is on the same
machine: nginx, or where that is missing, a small one that sends files with sendfile. CPU is that of the service's
whole process tree, programs that it ran included, and of the database server if there is one. Memory is how much the
resident memory of all processes of the service grows at its peak, after each worker has imported before. Small
imports are {MANY} of {SMALL_BYTES // MIB} MiB (create, stage, import) by {CLIENTS} clients at once, until the last is
active; where not all became so, seconds are those for as many as were asked for, at the same pace. Requests that fail
are repeated with a new image."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. `only` empty: everything."""

    services: Sequence[str]
    only: Sequence[str]
    rounds: int
    quick: bool
    folder: Path

    def metrics(self, database: str) -> list[Metric]:
        """In the order they are measured."""
        wanted = [metric for metric in METRICS if not self.only or metric.name in self.only]
        return [metric for metric in wanted if database == "sqlite" or metric.name in ON_SERVERS]

    @property
    def many(self) -> int:
        return FEW if self.quick else MANY


def run(plan: Plan) -> dict[str, Results]:
    """The figures by database."""
    found = {}
    for database in DATABASES:
        if not plan.metrics(database):
            continue
        results = found[database] = Results()
        try:
            with _bench(plan, database) as bench:
                for metric in plan.metrics(database):
                    measure(bench, metric, plan.rounds, results)
                notes = Counter(bench.notes)
            results.notes = [f"{note} ({count} times)" for note, count in sorted(notes.items())]
        except (*FAILURES, DaemonFailedError) as failure:
            results.failures[database] = f"{type(failure).__name__}: {failure}"
            say(f"{database} failed: {failure}")
    return found


@contextmanager
def _bench(plan: Plan, database: str) -> Iterator[ImportBench]:
    """Everything that runs, in a temporary folder, which is removed at the end."""
    root = Path(tempfile.mkdtemp(prefix="bench-", dir=plan.folder))
    scale = replace(Scale(), transfer_bytes=QUICK_BYTES) if plan.quick else Scale()
    with ExitStack() as running:
        running.callback(shutil.rmtree, root, ignore_errors=True)

        def fresh(subject: str) -> Server:
            return _server(subject, root / f"{subject}-fresh", web.port, None)

        bench = ImportBench({}, environments.cache_folder(), root, scale, fresh, many=plan.many)
        web = _web_server(root, bench)
        create = running.enter_context(_databases(database, root, bench))
        say(f"starting {', '.join(plan.services)} on {TITLES[database]}, and {web.name}")
        for subject in plan.services:
            bench.servers[subject] = _server(subject, root / subject, web.port, create(subject))
        for server in (web, *bench.servers.values()):
            running.callback(server.stop)
            server.prepare()
            server.start()
        bench.web_url = f"http://127.0.0.1:{web.port}/{bench.data.name}"
        yield bench


@contextmanager
def _databases(database: str, root: Path, bench: ImportBench) -> Iterator[Callable[[str], str | None]]:
    """What makes a database of a name and gives its URL; None where the services make their own files."""
    if database == "sqlite":
        yield lambda _name: None
        return
    (root / "mariadb").mkdir()
    with MariaDB(root / "mariadb") as server:
        bench.database_cpu_s = lambda: procfs.cpu_s(server.pid)
        yield server.create_database


def _web_server(root: Path, bench: ImportBench) -> Server:
    program = nginx_program(bench.cache)
    files = bench.data.parent
    return Nginx(root / "nginx", program, files) if program else FileServer(root / "web", files)


class _Upstream(Upstream):
    """Upstream, with a pipeline that believes the headers of whoever is in front: its tasks need an owner."""

    def prepare(self) -> None:
        super().prepare()
        paste = self.folder / "glance-api-paste.ini"
        told = paste.read_text()
        pipeline = "\ndefault = cors http_proxy_to_wsgi versionnegotiation osprofiler unauthenticated-context rootapp\n"
        if pipeline not in told:
            raise RuntimeError("upstream's pipelines are other than they were")
        paste.write_text(told.replace(pipeline, pipeline.replace("unauthenticated-context", "context")))


def _server(subject: str, folder: Path, web_port: int, database_url: str | None) -> Server:
    groups = _groups(folder, web_port)
    server: Server
    if subject == "upstream":
        database = {"database": {"connection": upstream_url(database_url)}} if database_url else {}
        server = _Upstream(folder, environments.environment("upstream"), WORKERS, {**groups, **database})
    else:
        believing = {"paste_deploy": {"flavor": "trusted-headers"}, "blick": {"trusted_proxies": "127.0.0.1"}}
        database = {"database": {"connection": database_url}} if database_url else {}
        server = Blick(folder, WORKERS, {**groups, **believing, **database})
    server.headers = dict(CALLER)
    return server


def _groups(folder: Path, web_port: int) -> Groups:
    """What both services are told of stores, staging, and where data may come from."""
    own = {name: {"filesystem_store_datadir": folder / name} for name in ("staging", "tasks")}
    groups: dict[str, Mapping[str, object]] = {
        "DEFAULT": {"enabled_backends": ",".join(f"{store}:file" for store in STORES)},
        "glance_store": {"default_backend": STORES[0]},
        "import_filtering_opts": {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{web_port}]"},
    }
    groups |= {store: {"filesystem_store_datadir": folder / "images" / store} for store in STORES}
    return groups | {f"os_glance_{name}_store": options for name, options in own.items()}


def plain(plan: Plan, found: dict[str, Results]) -> str:
    """For a terminal."""
    parts = []
    for database, results in found.items():
        medians = results.medians()
        parts += [
            TITLES[database],
            report.plain(report.HEADINGS, report.rows(plan.metrics(database), medians)),
            report.plain(report.TARGET_HEADINGS, report.target_rows(medians, TARGETS)),
            *(f"note: {note}" for note in results.notes),
            *(f"FAILED {name}: {reason}" for name, reason in results.failures.items()),
        ]
    return "\n\n".join(parts)


def markdown(plan: Plan, found: dict[str, Results], title: str, machine: Sequence[str]) -> str:
    """For docs/benchmarks-imports.md."""
    parts = [
        "# Benchmarks of imports",
        f"The last run of `make bench BENCH=--imports`: {title}.",
        "\n".join(f"- {line}" for line in machine),
        METHOD,
    ]
    for database, results in found.items():
        medians = results.medians()
        parts += [
            f"## {TITLES[database]}",
            report.markdown(report.HEADINGS, report.rows(plan.metrics(database), medians)),
            report.markdown(report.TARGET_HEADINGS, report.target_rows(medians, TARGETS)),
            *(f"Note: {note}." for note in results.notes),
            *(f"Failed to run: {name} ({reason})" for name, reason in results.failures.items()),
        ]
    return "\n\n".join(parts) + "\n"
