"""The benchmark of metadata definitions: the same rows for both services, on each engine; what it says as a page."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import procfs, report
from tests.bench.cloud import database_server
from tests.bench.loading import load
from tests.bench.metadef_metrics import COLUMNS, METRICS, TARGETS, MetadefMetric, measure, rows
from tests.bench.report import Results
from tests.bench.rounds import FAILURES, say
from tests.bench.servers import WORKERS, Blick, Groups, Server, Upstream
from tests.support import environments
from tests.support.daemon import DaemonFailedError
from tests.support.upstream import single_store, upstream_url

TITLES = {"sqlite": "SQLite", "mariadb": "MariaDB", "postgresql": "PostgreSQL"}
METHOD = """Medians over the rounds; the services take turns (A B A B) on databases of the same rows, each with two
worker processes and without Keystone; upstream runs under uWSGI as its guide says. The caller is an administrator.
There are 1,000 namespaces with 50 properties, 4 objects of 5 properties, 3 tags and 2 resource types each. CPU is that
of the service's whole process tree, and of the database server's if there is one; the targets are judged by it, because
the wall time holds the client's share."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. `only` empty: everything."""

    databases: Sequence[str]
    services: Sequence[str]
    only: Sequence[str]
    rounds: int
    limit_s: float
    folder: Path

    def metrics(self) -> list[MetadefMetric]:
        """In the order they are measured."""
        return [metric for metric in METRICS if not self.only or metric.name in self.only]


def run(plan: Plan) -> dict[str, Results]:
    """The figures by database."""
    found = {}
    for database in plan.databases:
        results = found[database] = Results()
        try:
            with _servers(plan, database) as servers:
                _measure_all(plan, servers, results, database)
        except (*FAILURES, DaemonFailedError) as failure:
            results.failures[database] = f"{type(failure).__name__}: {failure}"
            say(f"{database} failed: {failure}")
    return found


@contextmanager
def _servers(plan: Plan, database: str) -> Iterator[dict[str, Server]]:
    """Both services, with their databases filled, in a temporary folder that is removed at the end."""
    root = Path(tempfile.mkdtemp(prefix="bench-", dir=plan.folder))
    with ExitStack() as running:
        running.callback(shutil.rmtree, root, ignore_errors=True)
        engine = running.enter_context(database_server(database, root))
        servers: dict[str, Server] = {}
        for subject in plan.services:
            say(f"starting {subject} on {TITLES[database]}")
            url = engine.create_database(subject) if engine else f"sqlite:///{root / subject}.sqlite"
            server = servers[subject] = _server(subject, root / subject, url, engine.pid if engine else None)
            running.callback(server.stop)
            server.prepare()
            server.start()
            load(url, rows(), COLUMNS)
        yield servers


class _CountedUpstream(Upstream):
    database_pid: int | None = None

    def cpu_s(self) -> float:
        return super().cpu_s() + _cpu_s(self.database_pid)


class _CountedBlick(Blick):
    database_pid: int | None = None

    def cpu_s(self) -> float:
        return super().cpu_s() + _cpu_s(self.database_pid)


def _cpu_s(pid: int | None) -> float:
    return 0.0 if pid is None else procfs.cpu_s(pid)


def _server(subject: str, folder: Path, url: str, database_pid: int | None) -> Server:
    """A service that counts the database server's CPU as its own: only one of them is asked at a time."""
    groups: Groups = {"glance_store": single_store(folder / "images"), "database": {"connection": url}}
    server: _CountedUpstream | _CountedBlick
    if subject == "upstream":
        groups = {**groups, "database": {"connection": upstream_url(url)}}
        server = _CountedUpstream(folder, environments.environment("upstream"), WORKERS, groups)
    else:
        server = _CountedBlick(folder, WORKERS, groups)
    server.database_pid = database_pid
    return server


def _measure_all(plan: Plan, servers: dict[str, Server], results: Results, database: str) -> None:
    for metric in plan.metrics():
        try:
            for number in range(plan.rounds):
                for subject, server in servers.items():
                    figures = measure(metric, server, plan.limit_s)
                    results.add(metric.name, subject, figures)
                    shown = ", ".join(f"{key} {report.number(value)}" for key, value in figures.items())
                    say(f"{database}: {metric.name} {number + 1}/{plan.rounds} {subject}: {shown}")
        except FAILURES as failure:
            results.failures[metric.name] = f"{type(failure).__name__}: {failure}"
            say(f"{metric.name} failed: {results.failures[metric.name]}")


def plain(plan: Plan, found: dict[str, Results]) -> str:
    """For a terminal."""
    parts = []
    for database, results in found.items():
        medians = results.medians()
        parts += [
            TITLES[database],
            report.plain(report.HEADINGS, report.rows(plan.metrics(), medians)),
            report.plain(report.TARGET_HEADINGS, report.target_rows(medians, TARGETS)),
            *(f"FAILED {name}: {reason}" for name, reason in results.failures.items()),
        ]
    return "\n\n".join(parts)


def markdown(plan: Plan, found: dict[str, Results], title: str, machine: Sequence[str]) -> str:
    """For docs/benchmarks-metadefs.md."""
    parts = [
        "# Benchmarks of metadata definitions",
        f"The last run of `make bench BENCH=--metadefs`: {title}.",
        "\n".join(f"- {line}" for line in machine),
        METHOD,
    ]
    for database, results in found.items():
        medians = results.medians()
        parts += [
            f"## {TITLES[database]}",
            report.markdown(report.HEADINGS, report.rows(plan.metrics(), medians)),
            report.markdown(report.TARGET_HEADINGS, report.target_rows(medians, TARGETS)),
            *(f"Failed to run: {name} ({reason})" for name, reason in results.failures.items()),
        ]
    return "\n\n".join(parts) + "\n"
