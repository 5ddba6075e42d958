"""The benchmark of stores: one run for each kind, both services on the same storage, and what it says as a page."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import report
from tests.bench.backends import BACKENDS, Backend
from tests.bench.metrics import Bench, Metric, Scale
from tests.bench.report import Results
from tests.bench.rounds import FAILURES, measure, say
from tests.bench.servers import WORKERS, Blick, Server, Upstream
from tests.bench.store_metrics import METRICS, targets
from tests.support import environments
from tests.support.ceph import CommandFailedError
from tests.support.daemon import DaemonFailedError

TITLES = {
    "file": "file: a folder on the disk",
    "s3": "s3: rclone's S3 server",
    "rbd": "rbd: Ceph in memory",
    "swift": "swift: Swift with one replica",
}
METHOD = """Medians over the rounds; the services take turns (A B A B) on the same storage on the same machine, each
with two worker processes, SQLite and nobody asked who he is; upstream runs under uWSGI as its guide says, with the
drivers of glance_store. CPU is that of the service's whole process tree, not the storage's; during downloads the client
has one processor and the service the others, while the storage has all of them. The storage takes its share of the
machine from both services alike, which pulls the ratios of wall time towards 1. Memory is how much the resident memory
of all processes of the service grows at its peak, after each worker has moved a few small images."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. `only` empty: everything."""

    drivers: Sequence[str]
    services: Sequence[str]
    only: Sequence[str]
    rounds: int
    scale: Scale
    folder: Path

    def metrics(self) -> list[Metric]:
        """In the order they are measured."""
        return [metric for metric in METRICS if not self.only or metric.name in self.only]


def run(plan: Plan) -> dict[str, Results]:
    """The figures by driver."""
    found = {}
    for driver in plan.drivers:
        results = found[driver] = Results()
        try:
            with _bench(plan, driver) as bench:
                for metric in plan.metrics():
                    measure(bench, metric, plan.rounds, results)
                notes = Counter(bench.notes)
            results.notes = [f"{note} ({count} times)" for note, count in sorted(notes.items())]
        except (*FAILURES, DaemonFailedError, CommandFailedError) as failure:
            results.failures[driver] = f"{type(failure).__name__}: {failure}"
            say(f"{driver} failed: {failure}")
    return found


@contextmanager
def _bench(plan: Plan, driver: str) -> Iterator[Bench]:
    """The storage and both services in a temporary folder, which is removed at the end."""
    root = Path(tempfile.mkdtemp(prefix="bench-", dir=plan.folder))
    with ExitStack() as running:
        running.callback(shutil.rmtree, root, ignore_errors=True)
        say(f"starting {driver}, {', '.join(plan.services)}")
        backend = running.enter_context(BACKENDS[driver](root / "backend"))
        servers = {subject: _server(subject, root / subject, backend) for subject in plan.services}
        for server in servers.values():
            running.callback(server.stop)
            server.prepare()
            server.start()

        def fresh(subject: str) -> Server:
            return _server(subject, root / f"{subject}-fresh", backend, workers=1)

        yield Bench(servers, environments.cache_folder(), root, plan.scale, fresh)


def _server(subject: str, folder: Path, backend: Backend, workers: int = WORKERS) -> Server:
    stores = backend.groups(folder)
    if subject == "upstream":
        environment = environments.environment("upstream")
        return Upstream(folder, environment, workers, stores, backend.python_path)
    return Blick(folder, workers, stores)


def plain(plan: Plan, found: dict[str, Results]) -> str:
    """For a terminal."""
    parts = []
    for driver, results in found.items():
        medians = results.medians()
        parts += [
            TITLES[driver],
            report.plain(report.HEADINGS, report.rows(plan.metrics(), medians)),
            report.plain(report.TARGET_HEADINGS, report.target_rows(medians, targets(driver))),
            *(f"note: {note}" for note in results.notes),
            *(f"FAILED {name}: {reason}" for name, reason in results.failures.items()),
        ]
    return "\n\n".join(parts)


def markdown(plan: Plan, found: dict[str, Results], title: str, machine: Sequence[str]) -> str:
    """For docs/benchmarks-stores.md."""
    parts = [
        "# Benchmarks of stores",
        f"The last run of `make bench BENCH=--stores`: {title}.",
        "\n".join(f"- {line}" for line in machine),
        METHOD,
    ]
    for driver, results in found.items():
        medians = results.medians()
        parts += [
            f"## {TITLES[driver]}",
            report.markdown(report.HEADINGS, report.rows(plan.metrics(), medians)),
            report.markdown(report.TARGET_HEADINGS, report.target_rows(medians, targets(driver))),
            *(f"Note: {note}." for note in results.notes),
            *(f"Failed to run: {name} ({reason})" for name, reason in results.failures.items()),
        ]
    return "\n\n".join(parts) + "\n"
