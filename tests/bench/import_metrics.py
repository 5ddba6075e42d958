"""What is measured of imports: a large one into one store and into three, one from the web, and many small ones."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote

from tests.bench import import_client, procfs
from tests.bench.http11 import MIB, Connection, UnexpectedAnswer
from tests.bench.install import random_data
from tests.bench.metrics import SERVICES, Bench, Figures, Metric, State, check_bytes, delete, run_client
from tests.bench.servers import Server
from tests.bench.targets import Target, at_least, at_most, at_most_times

STORES = ("one", "two", "three")
MANY = 200
FEW = 40
CLIENTS = 16
SMALL_BYTES = MIB
WARM_UPS = 8
PROGRAM = "tests.bench.import_client"
LOCKED = "database is locked"


@dataclass(slots=True)
class ImportBench(Bench):
    """A bench with a web server beside the services: `web_url` is where `data` lies there.

    `database_cpu_s` is what a database server has used so far; nothing for SQLite.
    """

    web_url: str = ""
    many: int = MANY
    database_cpu_s: Callable[[], float] = float


def large(bench: Bench, subject: str, state: State, *, stores: int, from_web: bool) -> Figures:
    """One file into so many stores: seconds until active, CPU, and the growth of memory at its peak."""
    assert isinstance(bench, ImportBench)
    server = bench.servers[subject]
    job = {
        "job": "one",
        "port": server.port,
        "headers": server.headers,
        "data": str(bench.data),
        "size_bytes": bench.scale.transfer_bytes,
        "uri": bench.web_url if from_web else None,
        "stores": STORES[:stores],
    }
    os.sync()  # what earlier work left to be written must not slow down this one
    before, cpu_before = sum(procfs.resident_bytes(server.root_pid)), server.cpu_s()
    procfs.reset_peaks(server.root_pid)
    outcome = run_client(job, PROGRAM)
    cpu_s = server.cpu_s() - cpu_before
    image_id = outcome["image"]
    grown = sum(procfs.peak_resident_bytes(server.root_pid)) - before
    for store in STORES[:stores]:
        check_bytes(server, image_id, bench.data, f"?prefer={quote(store)}")
    check_stores(server, image_id, stores)
    delete(server, [image_id])
    amount = outcome["amount"]
    figures = {"wall": outcome["wall_s"] / amount, "cpu": cpu_s / amount, "memory": grown / MIB}
    return figures if from_web else {**figures, "stage": outcome["stage_s"] / amount}


def check_stores(server: Server, image_id: str, count: int) -> None:
    """Raises RuntimeError where the image is not in the first `count` stores, as it was asked for."""
    connection = Connection(server.port, server.headers)
    found = import_client.show(connection, image_id)["stores"]
    connection.close()
    if sorted(found.split(",")) != sorted(STORES[:count]):
        raise RuntimeError(f"{server.name} imported into {found}")


def small(bench: Bench, subject: str, state: State) -> Figures:
    """Many imports at once: seconds and CPU for all of them, and what went wrong on the way."""
    assert isinstance(bench, ImportBench)
    server = bench.servers[subject]
    data = random_data(bench.cache, SMALL_BYTES)
    job = {
        "job": "many",
        "port": server.port,
        "headers": server.headers,
        "data": str(data),
        "size_bytes": SMALL_BYTES,
        "count": bench.many,
        "clients": CLIENTS,
        "stores": STORES[:1],
    }
    os.sync()
    locked = _locked(server)
    cpu_before = server.cpu_s() + bench.database_cpu_s()
    outcome = run_client(job, PROGRAM)
    cpu_s = server.cpu_s() + bench.database_cpu_s() - cpu_before
    for status, count in outcome["errors"].items():
        bench.notes.append(f"{subject}: {count} of the requests of {bench.many} imports were answered {status}")
    if not outcome["amount"]:
        raise RuntimeError(f"{server.name} imported nothing: {outcome}")
    share = bench.many / outcome["amount"]
    return {
        "wall": outcome["wall_s"] * share,
        "cpu": cpu_s * share,
        "lost": bench.many - outcome["amount"],
        "refused": sum(outcome["errors"].values()),
        "locked": _locked(server) - locked,
    }


def _locked(server: Server) -> int:
    return server.log.read_text(errors="replace").count(LOCKED)


@contextmanager
def used(bench: Bench) -> Iterator[None]:
    """Each worker has imported before: what is loaded on demand is there."""
    data = random_data(bench.cache, SMALL_BYTES)
    for server in bench.services().values():
        job = {"job": "one", "port": server.port, "headers": server.headers, "data": str(data), "uri": None}
        for _ in range(WARM_UPS):
            outcome = import_client.one({**job, "size_bytes": SMALL_BYTES, "stores": STORES})
            delete(server, [outcome["image"]])
    yield


@contextmanager
def emptied(bench: Bench) -> Iterator[None]:
    """What the metric has made is removed at its end, as far as the service lets it."""
    yield
    for server in bench.services().values():
        connection = Connection(server.port, server.headers)
        while True:
            page = connection.request("GET", "/v2/images?limit=100", 200).body
            ids = [image["id"] for image in json.loads(page)["images"]]
            try:
                delete(server, ids)
            except UnexpectedAnswer as failure:
                bench.notes.append(f"{server.name}: not all images could be deleted: {failure}")
                break
            if not ids:
                break
        connection.close()


LARGE_UNITS = {
    "wall": "s/GiB",
    "cpu": "CPU-s/GiB",
    "stage": "s/GiB, of it staging",
    "memory": "MiB, growth at its peak",
}
WEB_UNITS = {name: unit for name, unit in LARGE_UNITS.items() if name != "stage"}
SMALL_UNITS = {
    "wall": "s",
    "cpu": "CPU-s",
    "lost": "images that did not get active",
    "refused": "requests that failed and were repeated",
    "locked": f"times “{LOCKED}” in the log",
}


def _large(name: str, label: str, stores: int, from_web: bool = False) -> Metric:
    units = WEB_UNITS if from_web else LARGE_UNITS
    return Metric(name, label, SERVICES, units, used, partial(large, stores=stores, from_web=from_web))


METRICS: tuple[Metric, ...] = (
    _large("import", "stage and import into one store", 1),
    _large("import-3", "stage and import into three stores", 3),
    _large("web-download", "web-download", 1, from_web=True),
    Metric("small-imports", "many small imports at once", SERVICES, SMALL_UNITS, emptied, small),
)
_LEAST = {"import": 2.0, "import-3": 2.0, "web-download": 1.5, "small-imports": 5.0}
_LABELS = {metric.name: metric.label for metric in METRICS}

TARGETS: tuple[Target, ...] = (
    *(
        at_least(f"{_LABELS[name]}: upstream's wall time at least {factor:g} times ours", name, "wall", factor)
        for name, factor in _LEAST.items()
    ),
    *(at_most_times(f"{_LABELS[name]}: CPU not above upstream's", name, "cpu", "upstream", 1.0) for name in _LEAST),
    at_most("small imports: none lost", "small-imports", "lost", 0, "images"),
    at_most("small imports: no request failed", "small-imports", "refused", 0, "requests"),
    at_most("small imports: no locked database", "small-imports", "locked", 0, "times"),
)
