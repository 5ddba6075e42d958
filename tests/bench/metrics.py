"""What is measured: one row of METRICS each, one function for each kind.

A metric is set up once for all its servers; then each round measures every subject in turn (A B A B), so that
whatever else the machine does meets all of them alike.
"""

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import Any

from tests.bench import client, procfs
from tests.bench.dataset import Shape, fill
from tests.bench.http11 import MIB, Connection
from tests.bench.install import random_data
from tests.bench.placement import apart
from tests.bench.servers import Server

REPOSITORY = Path(__file__).parents[2]
MANY_STREAMS = 4
SLOW_UPLOADS = 6
ATTEMPTS = 5
CHUNK_BYTES = MIB
RANGE_BYTES = 16 * MIB
SMALL, LARGE = Shape(1000, 10, 2), Shape(1000, 40, 20)

UPLOADERS = ("upstream", "blick", "floor")
DOWNLOADERS = ("upstream", "blick", "nginx")
SERVICES = ("upstream", "blick")


@dataclass(frozen=True, slots=True)
class Scale:
    """How much work one measurement is."""

    transfer_bytes: int = 1024 * MIB
    download_repeat: int = 3  # a fast server needs little CPU for one GiB: more than the clock's 10 ms steps
    request_limit_s: float = 4.0
    slow_upload_s: float = 10.0
    slow_lists: int = 40


QUICK = Scale(transfer_bytes=128 * MIB, download_repeat=8, request_limit_s=1.0, slow_upload_s=3.0, slow_lists=12)


@dataclass(slots=True)
class Bench:
    """The running servers by subject, the folders, and what one measurement is made of.

    `fresh` makes another server of a subject with one worker, in a folder of its own, not yet started.
    """

    servers: dict[str, Server]
    cache: Path
    folder: Path
    scale: Scale
    fresh: Callable[[str], Server]
    notes: list[str] = field(default_factory=list)  # what a reader of the figures must know
    data: Path = field(init=False)

    def __post_init__(self) -> None:
        self.data = random_data(self.cache, self.scale.transfer_bytes)

    def services(self) -> dict[str, Server]:
        """The image services among the servers."""
        return {subject: self.servers[subject] for subject in SERVICES if subject in self.servers}


State = Any  # what a metric's set-up hands to its measurements
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Metric:
    """`units` names the figures that `measure` returns for one subject, in the order they are printed."""

    name: str
    label: str
    subjects: tuple[str, ...]
    units: dict[str, str]
    setup: Callable[[Bench], AbstractContextManager[State]]
    measure: Callable[[Bench, str, State], Figures]


def run_client(job: client.Job, program: str = "tests.bench.client") -> client.Outcome:
    """Run one job in a process of its own; raises CalledProcessError when it failed (its traceback is on stderr)."""
    done = subprocess.run(
        [sys.executable, "-m", program],
        input=json.dumps(job).encode(),
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        check=True,
    )
    return dict(json.loads(done.stdout))


def costs(server: Server, job: client.Job) -> Figures:
    """Wall and server CPU seconds of a job per unit of its amount (GiB or request)."""
    os.sync()  # what earlier work left to be written must not slow down this one
    cpu_before = server.cpu_s()
    outcome = run_client({**job, "port": server.port})
    cpu_s = server.cpu_s() - cpu_before
    return {"wall": outcome["wall_s"] / outcome["amount"], "cpu": cpu_s / outcome["amount"]}


def upload(bench: Bench, subject: str, state: State, *, streams: int, chunk_bytes: int | None) -> Figures:
    """One GiB into new images, which are deleted again."""
    if subject == "floor":
        return floor(bench)
    server = bench.servers[subject]
    job = {
        "job": "upload",
        "data": str(bench.data),
        "size_bytes": bench.scale.transfer_bytes // streams,
        "chunk_bytes": chunk_bytes,
    }
    return with_new_images(bench, subject, streams, lambda images: costs(server, {**job, "images": images}))


def with_new_images(bench: Bench, subject: str, count: int, work: Callable[[list[str]], Figures]) -> Figures:
    """Do `work` with queued images, deleted afterwards; again with new ones when the server failed it.

    Upstream fails parallel uploads now and then ("database is locked"); a note says how often.
    """
    server = bench.servers[subject]
    for _ in range(ATTEMPTS - 1):
        try:
            return _once_with_new_images(server, count, work)
        except subprocess.CalledProcessError:
            bench.notes.append(f"{subject}: {count} uploads at once failed and were repeated")
    return _once_with_new_images(server, count, work)


def _once_with_new_images(server: Server, count: int, work: Callable[[list[str]], Figures]) -> Figures:
    images = [client.new_image(server.port, f"upload {number}") for number in range(count)]
    try:
        return work(images)
    finally:
        delete(server, images)


def floor(bench: Bench) -> Figures:
    """The hash floor per GiB, measured in the same round as the uploads."""
    os.sync()
    size_bytes = bench.scale.transfer_bytes
    arguments = [str(bench.data), str(size_bytes), str(bench.folder / "floor.copy")]
    command = [sys.executable, "-m", "tests.bench.floor", *arguments]
    outcome = json.loads(subprocess.run(command, stdout=subprocess.PIPE, cwd=REPOSITORY, check=True).stdout)
    amount = size_bytes / client.GIB
    return {key: outcome[f"{key}_s"] / amount for key in ("wall", "cpu", "synced")}


@contextmanager
def stored(bench: Bench, streams: int) -> Iterator[dict[str, list[str]]]:
    """The paths to download by subject: images uploaded to the services, plain files for nginx."""
    size_bytes = bench.scale.transfer_bytes // streams
    file = random_data(bench.cache, size_bytes)
    images: dict[str, list[str]] = {}
    paths = {"nginx": [f"/{file.name}"] * streams}
    try:
        for subject, server in bench.services().items():
            images[subject] = [client.new_image(server.port, f"download {n}") for n in range(streams)]
            job = {"job": "upload", "port": server.port, "data": str(file), "chunk_bytes": None}
            for image_id in images[subject]:
                run_client({**job, "images": [image_id], "size_bytes": size_bytes})
                check_bytes(server, image_id, file)
            paths[subject] = [f"/v2/images/{image_id}/file" for image_id in images[subject]]
        yield paths
    finally:
        for subject, ids in images.items():
            delete(bench.servers[subject], ids)


def check_bytes(server: Server, image_id: str, file: Path, query: str = "") -> None:
    """Compare all of it: a fast server that delivers other bytes would win. Without ranges, which some stores lack."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", f"/v2/images/{image_id}/file{query}", headers=server.headers)
    with file.open("rb") as source, connection.getresponse() as answer:
        pieces = iter(partial(source.read, MIB), b"")
        same = answer.status == 200 and all(answer.read(len(piece)) == piece for piece in pieces) and not answer.read(1)
    connection.close()
    if not same:
        raise RuntimeError(f"{server.name} delivers other bytes than were uploaded")


def delete(server: Server, image_ids: list[str]) -> None:
    connection = Connection(server.port, server.headers)
    for image_id in image_ids:
        connection.request("DELETE", f"/v2/images/{image_id}", 204)
    connection.close()


def download(bench: Bench, subject: str, paths: State, *, streams: int, range_bytes: int | None) -> Figures:
    job = {
        "job": "download",
        "paths": paths[subject],
        "size_bytes": bench.scale.transfer_bytes // streams,
        "repeat": bench.scale.download_repeat,
        "range_bytes": range_bytes,
    }
    server = bench.servers[subject]
    with apart(server.root_pid):
        return costs(server, job)


@contextmanager
def filled(bench: Bench, shape: Shape) -> Iterator[list[str]]:
    """The same records in every service's database; yields their ids."""
    ids: list[str] = []
    for server in bench.services().values():
        ids = fill(server.database, shape)
    yield ids


def requests(bench: Bench, subject: str, ids: State, *, kind: str) -> Figures:
    """Milliseconds per request, and CPU seconds per 1,000 requests."""
    job = {
        "job": "requests",
        "kind": kind,
        "images": ids,
        "warm_up": 4,
        "count": 2000,
        "limit_s": bench.scale.request_limit_s,
    }
    figures = costs(bench.servers[subject], job)
    return {key: value * 1000 for key, value in figures.items()}


def latency(bench: Bench, subject: str, state: State) -> Figures:
    """Milliseconds a list takes, on an idle server and beside six slow uploads."""
    job = {
        "job": "latency",
        "port": bench.servers[subject].port,
        "limit_s": bench.scale.slow_upload_s,
        "count": bench.scale.slow_lists,
    }

    def both(images: list[str]) -> Figures:
        idle = run_client({**job, "images": []})
        busy = run_client({**job, "images": images})
        for reason in busy["failed_uploads"]:
            bench.notes.append(f"{subject}: one of {SLOW_UPLOADS} slow uploads failed: {reason}")
        return {**_percentiles("idle", idle["latencies_s"]), **_percentiles("busy", busy["latencies_s"])}

    return with_new_images(bench, subject, SLOW_UPLOADS, both)


def _percentiles(when: str, latencies_s: list[float]) -> Figures:
    cuts = quantiles(latencies_s, n=20, method="inclusive")
    return {f"{when}_p50": cuts[9] * 1000, f"{when}_p95": cuts[18] * 1000}


def memory(bench: Bench, subject: str, state: State, *, streams: int = MANY_STREAMS) -> Figures:
    """MiB of a server just started, after a little use, and what each of `streams` transfers adds at its peak."""
    server = bench.servers[subject]
    server.stop()
    server.start()
    idle = procfs.resident_bytes(server.root_pid)
    _use_a_little(bench, server)
    used = procfs.resident_bytes(server.root_pid)
    size_bytes = bench.scale.transfer_bytes // streams
    job = {"port": server.port, "data": str(bench.data), "size_bytes": size_bytes}
    job |= {"chunk_bytes": None, "range_bytes": None, "repeat": 1}

    def transfers(images: list[str]) -> Figures:
        paths = [f"/v2/images/{image}/file" for image in images]
        return {
            "upload": _growth_mib(server, {**job, "job": "upload", "images": images}) / streams,
            "download": _growth_mib(server, {**job, "job": "download", "paths": paths}) / streams,
        }

    figures = with_new_images(bench, subject, streams, transfers)
    sizes = {"worker": max(idle), "worker_used": max(used), "tree": sum(idle)}
    return {**{name: size / MIB for name, size in sizes.items()}, **figures}


def _use_a_little(bench: Bench, server: Server) -> None:
    """Let every worker load what it loads on demand, so that it does not count as memory of a transfer."""
    for _ in range(8 * server.workers):
        images = [client.new_image(server.port, "warm-up")]
        job = {"port": server.port, "data": str(bench.data), "size_bytes": MIB, "images": images}
        client.upload({**job, "chunk_bytes": None})
        paths = [f"/v2/images/{image}/file" for image in images]
        client.download({**job, "paths": paths, "repeat": 1, "range_bytes": None})
        delete(server, images)


def _growth_mib(server: Server, job: client.Job) -> float:
    before = sum(procfs.resident_bytes(server.root_pid))
    procfs.reset_peaks(server.root_pid)
    run_client(job)
    return (sum(procfs.peak_resident_bytes(server.root_pid)) - before) / MIB


@contextmanager
def idle_servers(bench: Bench) -> Iterator[dict[str, Server]]:
    """A server of each service with one worker that has run once: database there, byte code compiled."""
    servers = {subject: bench.fresh(subject) for subject in bench.services()}
    try:
        for server in servers.values():
            server.prepare()
            server.start()
            server.stop()
        yield servers
    finally:
        for server in servers.values():
            server.stop()


def start(bench: Bench, subject: str, servers: State) -> Figures:
    """Seconds until the first good answer, and CPU seconds of the whole tree till then, with one worker."""
    started = servers[subject].start()
    servers[subject].stop()
    return {"wall": started.wall_s, "cpu": started.cpu_s}


def nothing(bench: Bench) -> AbstractContextManager[State]:
    """The set-up of a metric that needs none."""
    return nullcontext()


TRANSFER_UNITS = {"wall": "s/GiB", "cpu": "CPU-s/GiB"}
REQUEST_UNITS = {"wall": "ms", "cpu": "CPU-s/1,000"}
LATENCY_UNITS = {
    "idle_p50": "ms, idle, p50",
    "idle_p95": "ms, idle, p95",
    "busy_p50": "ms, busy, p50",
    "busy_p95": "ms, busy, p95",
}
MEMORY_UNITS = {
    "worker": "MiB, largest process, idle",
    "worker_used": "MiB, largest process, after a little use",
    "tree": "MiB, all processes, idle",
    "upload": "MiB per upload of four",
    "download": "MiB per download of four",
}


def upload_metric(name: str, label: str, streams: int, chunk_bytes: int | None) -> Metric:
    measure = partial(upload, streams=streams, chunk_bytes=chunk_bytes)
    # The floor is that of one stream: more of them share the processors.
    subjects = UPLOADERS if streams == 1 else SERVICES
    units = {**TRANSFER_UNITS, "synced": "s/GiB, copy synced"}
    return Metric(name, label, subjects, units, nothing, measure)


def download_metric(name: str, label: str, streams: int, range_bytes: int | None) -> Metric:
    measure = partial(download, streams=streams, range_bytes=range_bytes)
    return Metric(name, label, DOWNLOADERS, TRANSFER_UNITS, partial(stored, streams=streams), measure)


def _requests(name: str, label: str, kind: str, shape: Shape = SMALL) -> Metric:
    setup, measure = partial(filled, shape=shape), partial(requests, kind=kind)
    return Metric(name, label, SERVICES, REQUEST_UNITS, setup, measure)


METRICS: tuple[Metric, ...] = (
    upload_metric("upload", "upload, Content-Length", 1, None),
    upload_metric("upload-chunked", "upload, chunked", 1, CHUNK_BYTES),
    upload_metric("upload-4", "upload, Content-Length, 4 streams", MANY_STREAMS, None),
    upload_metric("upload-chunked-4", "upload, chunked, 4 streams", MANY_STREAMS, CHUNK_BYTES),
    download_metric("download", "download", 1, None),
    download_metric("download-4", "download, 4 streams", MANY_STREAMS, None),
    download_metric("ranges", "download in ranges of 16 MiB", 1, RANGE_BYTES),
    _requests("get", "GET one image", "get"),
    _requests("patch", "PATCH", "patch"),
    _requests("post-delete", "POST + DELETE", "post_delete"),
    _requests("list", "list 25 of 1,000 (10 properties, 2 tags)", "list"),
    _requests("list-large", "list 25 of 1,000 (40 properties, 20 tags)", "list", LARGE),
    Metric(
        "latency",
        "list beside six slow uploads",
        SERVICES,
        LATENCY_UNITS,
        partial(filled, shape=SMALL),
        latency,
    ),
    Metric("memory", "resident memory", SERVICES, MEMORY_UNITS, nothing, memory),
    Metric(
        "start",
        "start with one worker",
        SERVICES,
        {"wall": "s until ready", "cpu": "CPU-s"},
        idle_servers,
        start,
    ),
)
