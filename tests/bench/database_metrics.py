"""What is measured on a database server, with Keystone's tokens: lists of every kind, and the work on one image."""

import json
import os
from dataclasses import dataclass, field

from tests.bench.catalogue import PUBLIC_IMAGES, Catalogue, marker
from tests.bench.client import Job
from tests.bench.cloud import Cloud, Service
from tests.bench.http11 import Connection
from tests.bench.loading import load
from tests.bench.metrics import Figures, run_client
from tests.bench.targets import Medians, Target, Verdict, at_least

SMALL, LARGE, HUGE = 1000, 20_000, 1_000_000
LAST_PAGE = LARGE - 250  # images that come before it; some are hidden, some nobody lists
UNITS = {
    "wall": "ms",
    "cpu": "CPU-s/1,000, all",
    "server": "CPU-s/1,000, service",
    "database": "CPU-s/1,000, database",
}


@dataclass(frozen=True, slots=True)
class DatabaseMetric:
    """Requests of one kind by one caller, on a catalogue of `images`."""

    name: str
    label: str
    who: str
    images: int = LARGE
    public: int = PUBLIC_IMAGES
    kind: str = "path"
    path: str = ""
    target: float | None = None  # how many times less CPU than upstream's
    subjects: tuple[str, ...] = ("upstream", "blick")
    units: dict[str, str] = field(default_factory=lambda: UNITS)


def _list(name: str, label: str, who: str, query: str = "", target: float | None = None) -> DatabaseMetric:
    return DatabaseMetric(name, f"{label}, {who}", who, path=f"/v2/images?limit=25{query}", target=target)


def _public(name: str, label: str, query: str = "", target: float = 20) -> DatabaseMetric:
    label = f"{label}, all of them public"
    return DatabaseMetric(
        f"{name}-public", label, "ordinary", public=LARGE, path=f"/v2/images?limit=25{query}", target=target
    )


_BATCH = LARGE // 80  # a batch in the middle
METRICS: tuple[DatabaseMetric, ...] = (
    DatabaseMetric("list-1000", "list 25 of 1,000, admin", "admin", SMALL, path="/v2/images?limit=25", target=15),
    _list("list", "list 25 of 20,000", "ordinary", target=40),
    _list("list-admin", "list 25 of 20,000", "admin", target=40),
    _list("list-owner", "list 25 of 20,000", "owner", target=40),
    _list("member", "as a member of 500 shared images", "member", "&visibility=shared", target=20),
    _list("property", "by a property that few have", "admin", f"&build=build-{_BATCH}", target=20),
    _list("property-common", "by a property that many have", "ordinary", "&os_distro=debian", target=20),
    _list("tag", "by a tag that few have", "admin", f"&tag=batch-{_BATCH}", target=20),
    _list("tag-common", "by a tag that many have", "ordinary", "&tag=kind-3", target=20),
    _list("name", "by name", "admin", f"&name=nightly-{_BATCH}", target=20),
    _list("sort-size", "sorted by size", "ordinary", "&sort=size:desc", target=20),
    _list("sort-size-admin", "sorted by size", "admin", "&sort=size:desc", target=20),
    _public("list", "list 25 of 20,000", target=40),
    _public("property", "by a property that many have", "&os_distro=debian"),
    _public("tag", "by a tag that many have", "&tag=kind-3"),
    _public("name", "by name", f"&name=nightly-{_BATCH}"),
    _public("sort-size", "sorted by size", "&sort=size:desc"),
    DatabaseMetric("page-1", "page 1, 200 images", "admin", path="/v2/images?limit=200"),
    DatabaseMetric(
        "page-last",
        "the last full page, 200 images",
        "admin",
        path=f"/v2/images?limit=200&marker={marker(LARGE - LAST_PAGE)}",
    ),
    DatabaseMetric(
        "walk", "paging by 200, per 200 images", "admin", kind="walk", path="/v2/images?limit=200", target=10
    ),
    DatabaseMetric("get", "GET one image", "ordinary", kind="get", target=6),
    DatabaseMetric("patch", "PATCH", "ordinary", kind="patch", target=8),
    DatabaseMetric("post-delete", "POST + DELETE", "ordinary", kind="post_delete", target=5),
)
GROWING = ("list", "list-admin", "list-owner", "member", "property", "tag", "name", "sort-size", "sort-size-admin")
HUGE_METRICS: tuple[DatabaseMetric, ...] = tuple(
    DatabaseMetric(
        f"{metric.name}-huge", metric.label.replace("20,000", "1,000,000") + ", of 1,000,000", metric.who, HUGE,
        path=metric.path, subjects=("blick",),
    )
    for metric in METRICS
    if metric.name in GROWING
)  # fmt: skip


def targets() -> tuple[Target, ...]:
    """The promises of METRICS, judged by the CPU of service and database together."""
    found = [
        at_least(f"{metric.label}: at least {metric.target:g} times less CPU", metric.name, "cpu", metric.target)
        for metric in METRICS
        if metric.target is not None
    ]
    found.append(_within("the last page costs what page 1 costs (± 20 %)", "page-last", "page-1", 1.2))
    by_name = {metric.name: metric for metric in METRICS}
    for name in GROWING:
        text = f"{by_name[name].label}: of 1,000,000 less than twice that"
        found.append(_within(text, f"{name}-huge", name, 2))
    return tuple(found)


def _within(text: str, metric: str, other: str, factor: float) -> Target:
    def judge(medians: Medians) -> Verdict | None:
        above, below = medians.get((metric, "blick", "cpu")), medians.get((other, "blick", "cpu"))
        return Verdict(f"{above / below:.2f} ×", above < below * factor) if above and below else None

    return Target(text, judge)


def fill(service: Service, cloud: Cloud, metric: DatabaseMetric) -> None:
    """The metric's catalogue in the service's database, the same for every service."""
    load(service.database_url, Catalogue(metric.images, cloud.cast, metric.public).rows())


def own_images(service: Service, token: str, owner: str) -> list[str]:
    """Ids of a project's images."""
    connection = Connection(service.port)
    answer = connection.request("GET", f"/v2/images?limit=40&owner={owner}", 200, headers={"X-Auth-Token": token})
    connection.close()
    return [image["id"] for image in json.loads(answer.body)["images"]]


def measure(metric: DatabaseMetric, service: Service, cloud: Cloud, limit_s: float) -> Figures:
    """Milliseconds per request, and CPU seconds per 1,000 of them: service, database, and both."""
    token = cloud.tokens[metric.who]
    job: Job = {
        "job": "requests",
        "port": service.port,
        "kind": metric.kind,
        "path": metric.path,
        "headers": {"X-Auth-Token": token},
        "images": own_images(service, token, cloud.cast.ordinary) if metric.kind in ("get", "patch") else [],
        "warm_up": 4,
        "count": 1000,
        "limit_s": limit_s,
    }
    os.sync()  # what earlier work left to be written must not slow down this one
    run_client({**job, "count": 0})  # each worker has seen the token and the statement
    before = service.cpu_s()
    outcome = run_client({**job, "warm_up": 0})
    server, database = (after - start for after, start in zip(service.cpu_s(), before, strict=True))
    amount = outcome["amount"] / 1000
    return {
        "wall": outcome["wall_s"] / amount,
        "cpu": (server + database) / amount,
        "server": server / amount,
        "database": database / amount,
    }
