"""The benchmark of `db purge`: what a million dead rows take to remove, and what the service's users notice of it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from sqlalchemy import create_engine, text

from blick.conf.settings import DatabaseSettings
from blick.db.engine import open_database
from blick.db.upgrade import ensure_current
from tests.bench import report
from tests.bench.cloud import database_server
from tests.bench.http11 import Connection, UnexpectedAnswer
from tests.bench.loading import Row, load
from tests.bench.rounds import say
from tests.support.config_file import configured_server

TITLES = {"sqlite": "SQLite", "mariadb": "MariaDB", "postgresql": "PostgreSQL"}
# Rows of one dead image: itself, properties, tags, a member, a location.
_PROPERTIES, _TAGS = 6, 1
ROWS_PER_IMAGE = 1 + _PROPERTIES + _TAGS + 1 + 1
LIVE_IMAGES = 1000
QUIET_S = 5.0
_WRITE_EVERY_S = 0.05
_OLD, _NEW = "2024-01-01 00:00:00", "2026-01-01 00:00:00"
_LIST = "/v2/images?limit=25"
_NEW_IMAGE = json.dumps({"name": "new", "disk_format": "raw", "container_format": "bare"}).encode()
HEADINGS = (
    "database", "rows", "seconds", "rows a second", "peak memory, MiB", "list 25, ms", "meanwhile, ms", "slowest",
    "create, ms", "meanwhile, ms", "slowest", "failed",
)  # fmt: skip
METHOD = f"""`blick db purge --max_rows -1` and then `purge_images_table` on a database with {LIVE_IMAGES:,} live
images and deleted ones with {_PROPERTIES} properties, {_TAGS} tag, a member and a location each, while one client
lists 25 images again and again and another creates an image every {_WRITE_EVERY_S * 1000:.0f} ms, on a service with
one worker and without Keystone. Beside each other: the medians before and during the purge, and the slowest answer of
all during it. Memory is the whole process of the command."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run: how many dead rows, where."""

    databases: Sequence[str]
    rows: int
    folder: Path


@dataclass(slots=True)
class Client:
    """Asks for the same thing until told to stop, and notes how long each answer took."""

    port: int
    ask: tuple[str, str, int, bytes]
    pause_s: float
    times_s: list[float] = field(default_factory=list)
    failed: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Until `_stop`."""
        method, path, expect, body = self.ask
        headers = {"Content-Type": "application/json"} if body else {}
        with closing(Connection(self.port)) as connection:
            while not self._stop.wait(self.pause_s):
                began = time.perf_counter()
                try:
                    connection.request(method, path, expect, body, headers, discard=True)
                except (OSError, UnexpectedAnswer) as error:
                    say(f"{method} {path}: {error}")
                    self.failed += 1
                    connection.close()
                self.times_s.append(time.perf_counter() - began)

    @contextmanager
    def running(self) -> Iterator[None]:
        """It asks as long as the block lasts."""
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run found. The clients: those before, and those during the purge; readers first."""

    rows: int
    took_s: float
    peak_bytes: int
    before: tuple[Client, Client]
    during: tuple[Client, Client]


def run(plan: Plan) -> dict[str, Figures]:
    """The figures by database. AssertionError where the purge did not remove exactly what was dead."""
    found = {}
    for database in plan.databases:
        root = Path(tempfile.mkdtemp(prefix="bench-", dir=plan.folder))
        try:
            with database_server(database, root) as server:
                url = server.create_database("purge") if server else f"sqlite:///{root}/purge.sqlite"
                found[database] = _measure(url, root, plan.rows)
        finally:
            shutil.rmtree(root, ignore_errors=True)
        say(report.plain(HEADINGS, [_line(database, found[database])]))
    return found


def _measure(url: str, root: Path, rows: int) -> Figures:
    database = open_database(DatabaseSettings(connection=url))
    ensure_current(database)
    database.close()
    dead = rows // ROWS_PER_IMAGE
    say(f"filling {url.split(':')[0]} with {dead * ROWS_PER_IMAGE:,} dead rows")
    load(url, _rows(dead))
    with configured_server(root / "blick", {"database": {"connection": url}}) as server:
        before = _clients(server.port)
        with before[0].running(), before[1].running():
            time.sleep(QUIET_S)
        during = _clients(server.port)
        with during[0].running(), during[1].running():
            began = time.perf_counter()
            peaks = [_purge(action, root / "blick" / "glance-api.conf") for action in ("purge", "purge_images_table")]
            took_s = time.perf_counter() - began
    left = _dead_rows(url)
    assert left == 0, f"{left} dead rows are still there"
    return Figures(dead * ROWS_PER_IMAGE, took_s, max(peaks), before, during)


def _clients(port: int) -> tuple[Client, Client]:
    reader = Client(port, ("GET", _LIST, 200, b""), 0)
    writer = Client(port, ("POST", "/v2/images", 201, _NEW_IMAGE), _WRITE_EVERY_S)
    return reader, writer


def _purge(action: str, config: Path) -> int:
    """Run it to its end; gives its peak memory in bytes."""
    program = "from blick.cli.main import main; main()"
    command = [sys.executable, "-c", program, "db", "--config-file", str(config), action, "--max_rows", "-1"]
    process = subprocess.Popen([*command, "--age_in_days", "30"], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{action} ended with {process.returncode}"
    return usage.ru_maxrss * 1024


def _dead_rows(url: str) -> int:
    engine = create_engine(url)
    tables = ("images", "image_properties", "image_tags", "image_members", "image_locations")
    with closing(engine.connect()) as connection:
        counts = [
            connection.execute(text(f"SELECT COUNT(*) FROM {table} WHERE deleted_at IS NOT NULL")) for table in tables
        ]
        total = sum(int(count.scalar_one()) for count in counts)
    engine.dispose()
    return total


def _rows(dead: int) -> Iterator[tuple[str, list[Row]]]:
    """The dead ones lie between the live ones, as they do."""
    every = max(1, dead // LIVE_IMAGES)
    for number in range(dead):
        yield from _image(number * 2, (_OLD, _OLD, _OLD, 1))
        if number % every == 0 and number // every < LIVE_IMAGES:
            yield from _image(number * 2 + 1, (_NEW, _NEW, None, 0))


def _image(number: int, stamp: Row) -> Iterator[tuple[str, list[Row]]]:
    image_id = f"{number:08x}-0000-4000-8000-{number:012x}"
    status = "deleted" if stamp[-1] else "active"
    image: Row = (
        image_id, f"image {number}", "qcow2", "bare", 1 << 30, None, status, "public", f"{number:032x}", "sha512",
        f"{number:0128x}", 0, 0, f"{number % 400:032x}", 0, 0, *stamp,
    )  # fmt: skip
    yield "images", [image]
    yield (
        "image_properties",
        [(image_id, f"property_{each}", f"value {each} of {number}", *stamp) for each in range(_PROPERTIES)],
    )
    yield "image_tags", [(image_id, f"tag-{each}", *stamp) for each in range(_TAGS)]
    yield "image_members", [(image_id, f"{number % 300:032x}", 0, "accepted", *stamp)]
    yield "image_locations", [(image_id, f"file:///images/{image_id}", '{"store": "file"}', status, *stamp)]


def _line(database: str, figures: Figures) -> tuple[str, ...]:
    cells = [TITLES[database], f"{figures.rows:,}", report.number(figures.took_s)]
    cells += [report.number(figures.rows / figures.took_s), report.number(figures.peak_bytes / (1 << 20))]
    for before, during in zip(figures.before, figures.during, strict=True):
        for value_s in (median(before.times_s), median(during.times_s), max(during.times_s)):
            cells.append(report.number(value_s * 1000))
    cells.append(str(sum(client.failed for client in (*figures.before, *figures.during))))
    return tuple(cells)


def plain(found: dict[str, Figures]) -> str:
    """For a terminal."""
    return report.plain(HEADINGS, [_line(database, figures) for database, figures in found.items()])


def markdown(found: dict[str, Figures], title: str, machine: Sequence[str]) -> str:
    """The page."""
    parts = [
        "# Purging a million rows",
        f'The last full run of `make bench BENCH="--purge"`: {title}.',
        "\n".join(f"- {line}" for line in machine),
        METHOD,
        report.markdown(HEADINGS, [_line(database, figures) for database, figures in found.items()]),
    ]
    return "\n\n".join(parts) + "\n"
