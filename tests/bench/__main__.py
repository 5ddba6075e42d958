"""Compare Blick with the reference service on this machine: `python -m tests.bench --help` (or `make bench`)."""

import argparse
import importlib.metadata
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from tests.bench import (
    database_metrics,
    database_run,
    import_metrics,
    import_run,
    install,
    metadef_metrics,
    metadef_run,
    purge_run,
    report,
    store_metrics,
    store_run,
)
from tests.bench.backends import BACKENDS
from tests.bench.cloud import DATABASES
from tests.bench.metrics import METRICS, QUICK, Bench, Metric, Scale
from tests.bench.report import Results
from tests.bench.rounds import measure, say
from tests.bench.servers import Blick, Nginx, Server, Upstream
from tests.support import environments

ALL_SERVERS = ("upstream", "blick", "nginx")
ROUNDS = 3
DATABASE_ROUNDS = 2
KIB_PER_GIB = 1024 * 1024
STORE_ROUNDS = 3
IMPORT_ROUNDS = 3
METADEF_ROUNDS = 3
ELSEWHERE = """On MariaDB and PostgreSQL, with Keystone: `make bench BENCH="--database mariadb,postgresql"`; with
`--million` lists of a million images as well; `--only list,get` some of it; `--markdown FILE` keeps the tables.
On every kind of store: `make bench BENCH=--stores`, or some: `make bench BENCH="--stores s3,rbd"`. Imports:
`make bench BENCH=--imports`. Purging: `make bench BENCH=--purge`. Metadata
definitions: `make bench BENCH=--metadefs`."""
STORES_PAGE = Path(__file__).parents[2] / "docs/benchmarks-stores.md"
IMPORTS_PAGE = STORES_PAGE.with_name("benchmarks-imports.md")
METADEFS_PAGE = STORES_PAGE.with_name("benchmarks-metadefs.md")
PURGE_PAGE = STORES_PAGE.with_name("benchmarks-purge.md")
METHOD = """Medians over the rounds; the servers take turns (A B A B) on the same disk, each with two worker processes,
SQLite and a file store, without Keystone; upstream runs under uWSGI as its guide says. CPU is that of the server's
whole process tree; during downloads the client has one processor and the server the others. The targets of the
metadata requests are judged by CPU, because the wall time holds the client's share. The hash floor is MD5, SHA-512
and a file write side by side over data in memory; its second figure holds the fsync that a crash-safe upload needs
as well."""


def main() -> int:
    """Returns the exit code: 0 unless something failed to run; speed never fails a run."""
    for stop in (signal.SIGTERM, signal.SIGINT):  # the latter is ignored in a shell's background otherwise
        signal.signal(stop, _interrupted)
    options = _options()
    if options.database:
        return _on_databases(options)
    if options.stores:
        return _on_stores(options)
    if options.imports:
        return _of_imports(options)
    if options.metadefs:
        return _of_metadefs(options)
    if options.purge:
        return _of_purge(options)
    metrics = [metric for metric in METRICS if not options.only or metric.name in options.only]
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    results = Results()
    load = f"other work on the machine before the run: load average {os.getloadavg()[0]:.1f}"
    with _bench(options.servers, QUICK if options.quick else Scale(), options.folder) as bench:
        for metric in metrics:
            measure(bench, metric, rounds, results)
        results.notes = [load, *(f"{note} ({count} times)" for note, count in sorted(Counter(bench.notes).items()))]
    title = f"{datetime.now(UTC):%Y-%m-%d}, {rounds} round{'s' * (rounds > 1)}{', quick' * options.quick}"
    print(_plain(title, metrics, results))
    if options.markdown:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text(_markdown(title, metrics, results))
    return 1 if results.failures else 0


def _on_databases(options: argparse.Namespace) -> int:
    folder = options.folder or environments.cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    plan = database_run.Plan(
        databases=options.database,
        services=[name for name in options.servers if name != "nginx"],
        only=options.only or (),
        rounds=options.rounds or (1 if options.quick else DATABASE_ROUNDS),
        limit_s=1.0 if options.quick else 2.0,
        million=options.million,
        folder=folder,
    )
    load = f"other work on the machine before the run: load average {os.getloadavg()[0]:.1f}"
    found = database_run.run(plan)
    print(database_run.plain(plan, found))
    if options.markdown:
        title = f"{datetime.now(UTC):%Y-%m-%d}, {plan.rounds} rounds{', quick' * options.quick}"
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text(database_run.markdown(plan, found, title, [*_machine(), load]))
    return 1 if any(results.failures for results in found.values()) else 0


def _on_stores(options: argparse.Namespace) -> int:
    folder = options.folder or environments.cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    plan = store_run.Plan(
        drivers=options.stores,
        services=[name for name in options.servers if name != "nginx"],
        only=options.only or (),
        rounds=options.rounds or (1 if options.quick else STORE_ROUNDS),
        scale=QUICK if options.quick else Scale(),
        folder=folder,
    )
    load = f"other work on the machine before the run: load average {os.getloadavg()[0]:.1f}"
    found = store_run.run(plan)
    print(store_run.plain(plan, found))
    whole = set(plan.drivers) == set(BACKENDS) and not (options.quick or options.only)
    page = options.markdown or (STORES_PAGE if whole else None)
    if page:
        title = f"{datetime.now(UTC):%Y-%m-%d}, {plan.rounds} round{'s' * (plan.rounds > 1)}{', quick' * options.quick}"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(store_run.markdown(plan, found, title, [*_machine(), load]))
    return 1 if any(results.failures for results in found.values()) else 0


def _of_imports(options: argparse.Namespace) -> int:
    folder = options.folder or environments.cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    plan = import_run.Plan(
        services=[name for name in options.servers if name != "nginx"],
        only=options.only or (),
        rounds=options.rounds or (1 if options.quick else IMPORT_ROUNDS),
        quick=options.quick,
        folder=folder,
    )
    load = f"other work on the machine before the run: load average {os.getloadavg()[0]:.1f}"
    found = import_run.run(plan)
    print(import_run.plain(plan, found))
    whole = len(plan.services) == len(ALL_SERVERS) - 1 and not (options.quick or options.only)
    page = options.markdown or (IMPORTS_PAGE if whole else None)
    if page:
        title = f"{datetime.now(UTC):%Y-%m-%d}, {plan.rounds} round{'s' * (plan.rounds > 1)}{', quick' * options.quick}"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(import_run.markdown(plan, found, title, [*_machine(), load]))
    return 1 if any(results.failures for results in found.values()) else 0


def _of_metadefs(options: argparse.Namespace) -> int:
    folder = options.folder or environments.cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    plan = metadef_run.Plan(
        databases=options.metadefs,
        services=[name for name in options.servers if name != "nginx"],
        only=options.only or (),
        rounds=options.rounds or (1 if options.quick else METADEF_ROUNDS),
        limit_s=1.0 if options.quick else 3.0,
        folder=folder,
    )
    load = f"other work on the machine before the run: load average {os.getloadavg()[0]:.1f}"
    found = metadef_run.run(plan)
    print(metadef_run.plain(plan, found))
    whole = set(plan.databases) == set(DATABASES) and len(plan.services) > 1 and not (options.quick or options.only)
    page = options.markdown or (METADEFS_PAGE if whole else None)
    if page:
        title = f"{datetime.now(UTC):%Y-%m-%d}, {plan.rounds} round{'s' * (plan.rounds > 1)}{', quick' * options.quick}"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(metadef_run.markdown(plan, found, title, [*_machine(), load]))
    return 1 if any(results.failures for results in found.values()) else 0


def _of_purge(options: argparse.Namespace) -> int:
    folder = options.folder or environments.cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    plan = purge_run.Plan(options.purge, 20_000 if options.quick else 1_000_000, folder)
    load = f"other work on the machine before the run: load average {os.getloadavg()[0]:.1f}"
    found = purge_run.run(plan)
    print(purge_run.plain(found))
    whole = set(plan.databases) == set(DATABASES) and not options.quick
    page = options.markdown or (PURGE_PAGE if whole else None)
    if page:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(purge_run.markdown(found, f"{datetime.now(UTC):%Y-%m-%d}", [*_machine(), load]))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round with small sizes")
    parser.add_argument("--rounds", type=int, help=f"rounds per metric (default {ROUNDS}, with --quick 1)")
    names = ", ".join(metric.name for metric in METRICS)
    on_databases = [metric.name for metric in database_metrics.METRICS]
    on_stores = [metric.name for metric in store_metrics.METRICS]
    of_imports = [metric.name for metric in import_metrics.METRICS]
    of_metadefs = [metric.name for metric in metadef_metrics.METRICS]
    parser.add_argument(
        "--only",
        type=_names([*(metric.name for metric in METRICS), *on_databases, *on_stores, *of_imports, *of_metadefs]),
        help=f"some metrics of: {names}; with --database of: {', '.join(on_databases)}; "
        f"with --stores of: {', '.join(on_stores)}; with --imports of: {', '.join(of_imports)}; "
        f"with --metadefs of: {', '.join(of_metadefs)}",
    )
    parser.add_argument(
        "--database",
        type=_names(list(DATABASES)),
        help=f"measure lists and the work on one image there, with Keystone, and nothing else: {', '.join(DATABASES)}",
    )
    parser.add_argument(
        "--stores",
        nargs="?",
        const=list(BACKENDS),
        type=_names(list(BACKENDS)),
        help=f"measure uploads and downloads there and nothing else: all, or some of: {', '.join(BACKENDS)}; a full "
        f"run of all also writes {STORES_PAGE.name}",
    )
    parser.add_argument(
        "--imports",
        action="store_true",
        help=f"measure imports and nothing else; a full run also writes {IMPORTS_PAGE.name}",
    )
    parser.add_argument(
        "--metadefs",
        nargs="?",
        const=list(DATABASES),
        type=_names(list(DATABASES)),
        help=f"measure metadata definitions and nothing else, on all or some of: {', '.join(DATABASES)}; a full run of "
        f"all also writes {METADEFS_PAGE.name}",
    )
    parser.add_argument(
        "--purge",
        nargs="?",
        const=list(DATABASES),
        type=_names(list(DATABASES)),
        help=f"measure `db purge` and nothing else, on all or some of: {', '.join(DATABASES)}; a full run of all also "
        f"writes {PURGE_PAGE.name}",
    )
    parser.add_argument("--million", action="store_true", help="with --database: our lists of a million images as well")
    parser.add_argument(
        "--servers",
        type=_names(list(ALL_SERVERS)),
        default=list(ALL_SERVERS),
        help=f"some servers of: {', '.join(ALL_SERVERS)}",
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the tables there")
    parser.add_argument("--folder", type=Path, help="where databases and images go (default: the cache folder)")
    return parser.parse_args()


def _names(known: list[str]) -> type[list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}")
        return names

    return parse  # type: ignore[return-value]


def _interrupted(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt  # the one way out that stops every server


@contextmanager
def _bench(wanted: list[str], scale: Scale, folder: Path | None) -> Iterator[Bench]:
    """Start the wanted servers in a temporary folder; stop them and remove it at the end."""
    cache = environments.cache_folder()
    base = folder or cache
    base.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="bench-", dir=base))
    with ExitStack() as cleanup:
        cleanup.callback(shutil.rmtree, root, ignore_errors=True)
        upstream = environments.environment("upstream") if "upstream" in wanted else cache

        def make(subject: str, name: str, workers: int) -> Server:
            if subject == "upstream":
                return Upstream(root / name, upstream, workers)
            return Blick(root / name, workers)

        bench = Bench({}, cache, root, scale, lambda subject: make(subject, f"{subject}-fresh", 1))
        for subject in wanted:
            server = _nginx(root, cache, bench.data.parent) if subject == "nginx" else make(subject, subject, 2)
            if server is not None:
                say(f"starting {subject}")
                cleanup.callback(server.stop)
                server.prepare()
                server.start()
                bench.servers[subject] = server
        yield bench


def _nginx(root: Path, cache: Path, files: Path) -> Server | None:
    program = install.nginx_program(cache)
    if program is None:
        say("nginx left out: neither installed nor to be had from Debian's packages")
        return None
    return Nginx(root / "nginx", program, files)


def _plain(title: str, metrics: list[Metric], results: Results) -> str:
    medians = results.medians()
    parts = [
        f"Blick against upstream, {title}",
        *_machine(),
        "",
        report.plain(report.HEADINGS, report.rows(metrics, medians)),
        "",
        report.plain(report.TARGET_HEADINGS, report.target_rows(medians)),
        *(f"note: {note}" for note in results.notes),
        *(f"FAILED {name}: {reason}" for name, reason in results.failures.items()),
    ]
    return "\n".join(parts)


def _markdown(title: str, metrics: list[Metric], results: Results) -> str:
    medians = results.medians()
    parts = [
        "# Benchmarks",
        ELSEWHERE,
        f"The last full run of `make bench`: {title}.",
        "\n".join(f"- {line}" for line in _machine()),
        METHOD,
        report.markdown(report.HEADINGS, report.rows(metrics, medians)),
        "## Targets",
        report.markdown(report.TARGET_HEADINGS, report.target_rows(medians)),
        *(f"Note: {note}." for note in results.notes),
        *(f"Failed to run: {name} ({reason})" for name, reason in results.failures.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _machine() -> list[str]:
    """The machine and the versions, for a reader of the figures."""
    model = _field("/proc/cpuinfo", "model name")
    memory_kib = int(_field("/proc/meminfo", "MemTotal").split()[0])
    pins = dict(
        line.split("==") for line in environments.requirements_file("upstream").read_text().splitlines() if "==" in line
    )
    return [
        f"machine: {len(os.sched_getaffinity(0))} processors ({model}), {memory_kib / KIB_PER_GIB:.0f} GiB of memory",
        f"system: {platform.system()} {platform.release()}, Python {platform.python_version()}",
        f"Blick {importlib.metadata.version('blick')}; upstream: Glance {pins['glance']}, uWSGI {pins['uWSGI']}",
    ]


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted: every server is stopped")
