"""The load: runs as a process of its own (`python -m tests.bench.client`), so that its CPU time is not the server's.

A job comes as JSON on standard input, its outcome goes out as JSON on standard output: wall seconds and the amount
of work done in them (GiB or requests), or a list of latencies.
"""

import json
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from tests.bench.http11 import MIB, Connection, UnexpectedAnswer

GIB = 1024 * MIB
PATCH_TYPE = "application/openstack-images-v2.1-json-patch"
MINIMUM_REQUESTS = 5
START_GAP_S = 0.1
LISTING_SHARE = 0.7  # of the time a slow upload takes: all of them are there from the first list to the last

Job = dict[str, Any]
Outcome = dict[str, Any]


def new_image(port: int, name: str) -> str:
    """Create a queued image that takes any bytes; returns its id."""
    connection = Connection(port)
    body = {"name": name, "disk_format": "raw", "container_format": "bare"}
    answer = connection.request("POST", "/v2/images", 201, json.dumps(body).encode())
    connection.close()
    return str(json.loads(answer.body)["id"])


def upload(job: Job) -> Outcome:
    """Send slices of the data file, one image and one thread each, all at once."""

    def one(image_id: str, index: int) -> None:
        with _source(job) as source:
            connection = Connection(job["port"])
            path = f"/v2/images/{image_id}/file"
            connection.upload(path, source, index * job["size_bytes"], job["size_bytes"], job["chunk_bytes"])
            connection.close()

    pairs = [(image_id, index) for index, image_id in enumerate(job["images"])]
    wall_s = _together([lambda pair=pair: one(*pair) for pair in pairs])  # type: ignore[misc]
    return {"wall_s": wall_s, "amount": len(pairs) * job["size_bytes"] / GIB}


def download(job: Job) -> Outcome:
    """Fetch each path `repeat` times, a thread each; with `range_bytes` as a row of ranges instead of at once."""

    def one(path: str) -> None:
        connection = Connection(job["port"])
        for _ in range(job["repeat"]):
            if job["range_bytes"]:
                _fetch_ranges(connection, path, job["size_bytes"], job["range_bytes"])
            else:
                answer = connection.request("GET", path, 200, discard=True)
                assert answer.body_bytes == job["size_bytes"], f"{answer.body_bytes} bytes of {path}"
        connection.close()

    wall_s = _together([lambda path=path: one(path) for path in job["paths"]])  # type: ignore[misc]
    return {"wall_s": wall_s, "amount": len(job["paths"]) * job["repeat"] * job["size_bytes"] / GIB}


def requests(job: Job) -> Outcome:
    """One after the other over one connection, kept where the server keeps it, until the count or the time is up."""
    connection = Connection(job["port"])
    step = STEPS[job["kind"]]
    for number in range(job["warm_up"]):
        step(connection, job, number)
    started = time.perf_counter()
    done = 0
    while done < job["count"]:
        step(connection, job, done)
        done += 1
        if done >= MINIMUM_REQUESTS and time.perf_counter() - started > job["limit_s"]:
            break
    wall_s = time.perf_counter() - started
    connection.close()
    return {"wall_s": wall_s, "amount": done}


def latency(job: Job) -> Outcome:
    """List at fixed moments, whether earlier answers have come or not, while slow uploads trickle in beside it.

    Fixed moments matter: a client that waits for each answer would hardly ever look while the server hangs.
    """
    latencies: list[float] = []
    failures: list[str] = []
    uploads = [
        threading.Thread(target=_trickle, args=(job["port"], image, job["limit_s"], failures))
        for image in job["images"]
    ]
    lists = [threading.Thread(target=_timed_list, args=(job, latencies)) for _ in range(job["count"])]
    for thread in uploads:
        thread.start()
        time.sleep(START_GAP_S)
    for thread in lists:
        thread.start()
        time.sleep(job["limit_s"] * LISTING_SHARE / job["count"])
    for thread in [*lists, *uploads]:
        thread.join()
    if len(latencies) != job["count"]:
        raise RuntimeError("a list failed, see above")
    return {"latencies_s": latencies, "failed_uploads": failures}


def _trickle(port: int, image_id: str, duration_s: float, failures: list[str]) -> None:
    pieces, piece = 20, b"\0" * (64 * 1024)
    connection = Connection(port)
    stream = connection.open_upload(f"/v2/images/{image_id}/file", pieces * len(piece))
    try:
        for _ in range(pieces):
            stream.sendall(piece)
            time.sleep(duration_s / pieces)
        connection.finish_upload()
    except (OSError, UnexpectedAnswer) as failure:
        failures.append(" ".join(str(failure).split())[:80])  # the run goes on and says so
    finally:
        connection.close()


def _timed_list(job: Job, latencies: list[float]) -> None:
    started = time.perf_counter()
    connection = Connection(job["port"])
    connection.request("GET", "/v2/images?limit=25", 200)
    connection.close()
    latencies.append(time.perf_counter() - started)


def _get(connection: Connection, job: Job, number: int) -> None:
    path = f"/v2/images/{job['images'][number % len(job['images'])]}"
    connection.request("GET", path, 200, headers=_headers(job))


def _list(connection: Connection, job: Job, number: int) -> None:
    answer = connection.request("GET", "/v2/images?limit=25", 200)
    if number == 0:
        assert len(json.loads(answer.body)["images"]) == 25, "a page holds other than 25 images"


def _patch(connection: Connection, job: Job, number: int) -> None:
    unique = uuid.uuid4().hex  # every request must change something
    changes = [
        {"op": "replace", "path": "/name", "value": f"renamed-{unique}"},
        {"op": "add", "path": "/bench_changed", "value": unique},
    ]
    path = f"/v2/images/{job['images'][number % len(job['images'])]}"
    headers = {"Content-Type": PATCH_TYPE, **_headers(job)}
    connection.request("PATCH", path, 200, json.dumps(changes).encode(), headers)


def _post_delete(connection: Connection, job: Job, number: int) -> None:
    body = {
        "name": f"short-lived-{number}",
        "disk_format": "raw",
        "container_format": "bare",
        "os_distro": "debian",
        "hw_disk_bus": "virtio",
    }
    answer = connection.request("POST", "/v2/images", 201, json.dumps(body).encode(), _headers(job))
    connection.request("DELETE", f"/v2/images/{json.loads(answer.body)['id']}", 204, headers=_headers(job))


def _path(connection: Connection, job: Job, number: int) -> None:
    connection.request("GET", job["path"], 200, headers=_headers(job), discard=True)


def _walk(connection: Connection, job: Job, number: int) -> None:
    """The next page of a list, and the first one again after the last."""
    answer = connection.request("GET", job.get("next") or job["path"], 200, headers=_headers(job))
    job["next"] = json.loads(answer.body).get("next")


def _headers(job: Job) -> dict[str, str]:
    return dict(job.get("headers", {}))


def _fetch_ranges(connection: Connection, path: str, size_bytes: int, range_bytes: int) -> None:
    for start in range(0, size_bytes, range_bytes):
        end = min(start + range_bytes, size_bytes) - 1
        answer = connection.request("GET", path, 206, headers={"Range": f"bytes={start}-{end}"}, discard=True)
        assert answer.body_bytes == end - start + 1, f"{answer.body_bytes} bytes of range {start}-{end}"


def _together(works: list[Callable[[], None]]) -> float:
    """Run all in threads, beginning one shortly after the other; seconds from the first start to the last end.

    Raises the first failure after all have ended. The short gaps are for the reference service: it fails with
    "database is locked" when uploads touch its SQLite file in the same moment.
    """
    failures: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    started = time.perf_counter()
    for number, thread in enumerate(threads):
        time.sleep(START_GAP_S if number else 0)
        thread.start()
    for thread in threads:
        thread.join()
    wall_s = time.perf_counter() - started
    if failures:
        raise failures[0]
    return wall_s


def _source(job: Job) -> BinaryIO:
    return Path(job["data"]).open("rb", buffering=0)


STEPS: dict[str, Callable[[Connection, Job, int], None]] = {
    "get": _get,
    "list": _list,
    "patch": _patch,
    "post_delete": _post_delete,
    "path": _path,
    "walk": _walk,
}
JOBS: dict[str, Callable[[Job], Outcome]] = {
    "upload": upload,
    "download": download,
    "requests": requests,
    "latency": latency,
}


def main() -> None:
    job = json.load(sys.stdin)
    json.dump(JOBS[job["job"]](job), sys.stdout)


if __name__ == "__main__":
    main()
