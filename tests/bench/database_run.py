"""The benchmark on database servers: one run for each, both services side by side, and what it says as a page."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import report
from tests.bench.cloud import Cloud, cloud
from tests.bench.database_metrics import (
    HUGE_METRICS,
    METRICS,
    DatabaseMetric,
    fill,
    measure,
    targets,
)
from tests.bench.report import Results
from tests.bench.rounds import FAILURES, say

TITLES = {"mariadb": "MariaDB", "postgresql": "PostgreSQL", "sqlite": "SQLite"}
METHOD = """Medians over the rounds; the services take turns (A B A B) on databases of the same rows on one server, each
with two worker processes, with Keystone's tokens, which both have cached before the clock starts; upstream runs under
uWSGI as its guide says. A catalogue has 10 properties and 2 tags for each image, 400 projects, every visibility, and a
tenth as many deleted rows. CPU is that of the service's processes and of the database server's together; the targets
are judged by it, because the wall time holds the client's share."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. `only` empty: everything; `million`: the lists of GROWING out of a million images as well."""

    databases: Sequence[str]
    services: Sequence[str]
    only: Sequence[str]
    rounds: int
    limit_s: float
    million: bool
    folder: Path

    def metrics(self) -> list[DatabaseMetric]:
        """In the order of the catalogues that they need."""
        known = [*METRICS, *(HUGE_METRICS if self.million else ())]
        wanted = [metric for metric in known if not self.only or metric.name.removesuffix("-huge") in self.only]
        return sorted(wanted, key=lambda metric: (metric.images, metric.public))


def run(plan: Plan) -> dict[str, Results]:
    """The figures by database."""
    found = {}
    for database in plan.databases:
        root = Path(tempfile.mkdtemp(prefix="bench-", dir=plan.folder))
        results = found[database] = Results()
        try:
            say(f"starting {database}, Keystone, {', '.join(plan.services)}")
            with cloud(database, list(plan.services), root) as running:
                _measure_all(plan, running, results, database)
        except FAILURES as failure:
            results.failures[database] = f"{type(failure).__name__}: {failure}"
        finally:
            shutil.rmtree(root, ignore_errors=True)
    return found


def _measure_all(plan: Plan, running: Cloud, results: Results, database: str) -> None:
    held = None
    for metric in plan.metrics():
        subjects = [subject for subject in metric.subjects if subject in running.services]
        if (metric.images, metric.public) != held:
            held = metric.images, metric.public
            for subject in subjects:
                say(f"filling {subject}'s database with {metric.images:,} images, {metric.public:,} of them public")
                fill(running.services[subject], running, metric)
        try:
            for number in range(plan.rounds):
                for subject in subjects:
                    figures = measure(metric, running.services[subject], running, plan.limit_s)
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
            report.plain(report.TARGET_HEADINGS, report.target_rows(medians, targets())),
            *(f"FAILED {name}: {reason}" for name, reason in results.failures.items()),
        ]
    return "\n\n".join(parts)


def markdown(plan: Plan, found: dict[str, Results], title: str, machine: Sequence[str]) -> str:
    """For docs/benchmarks-databases.md."""
    parts = [
        "# Benchmarks on database servers",
        f"The last run: {title}.",
        "\n".join(f"- {line}" for line in machine),
        METHOD,
    ]
    for database, results in found.items():
        medians = results.medians()
        parts += [
            f"## {TITLES[database]}",
            report.markdown(report.HEADINGS, report.rows(plan.metrics(), medians)),
            report.markdown(report.TARGET_HEADINGS, report.target_rows(medians, targets())),
            *(f"Failed to run: {name} ({reason})" for name, reason in results.failures.items()),
        ]
    return "\n\n".join(parts) + "\n"
