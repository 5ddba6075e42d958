"""The speed and memory Blick promises, each as a text and a judgement over the medians of one run."""

from collections.abc import Callable
from dataclasses import dataclass

Medians = dict[tuple[str, str, str], float]  # by metric, subject and figure

LATENCY_NOISE_MS = 5.0  # what a shared machine adds now and then to one request


@dataclass(frozen=True, slots=True)
class Verdict:
    found: str
    met: bool


@dataclass(frozen=True, slots=True)
class Target:
    """`judge` returns None when the run did not measure what it needs."""

    text: str
    judge: Callable[[Medians], Verdict | None]


def at_least(text: str, metric: str, figure: str, factor: float) -> Target:
    """Upstream's figure must be at least `factor` times Blick's."""
    return _ratio(text, (metric, "upstream", figure), (metric, "blick", figure), lambda ratio: ratio >= factor)


def at_most_times(text: str, metric: str, figure: str, other: str, factor: float) -> Target:
    """Blick's figure must be at most `factor` times the other subject's."""
    return _ratio(text, (metric, "blick", figure), (metric, other, figure), lambda ratio: ratio <= factor)


def at_most(text: str, metric: str, figure: str, limit: float, unit: str) -> Target:
    """Blick's figure must not exceed the limit."""

    def judge(medians: Medians) -> Verdict | None:
        value = medians.get((metric, "blick", figure))
        return None if value is None else Verdict(f"{value:.2f} {unit}", value <= limit)

    return Target(text, judge)


def unchanged_latency(medians: Medians) -> Verdict | None:
    """Half of the answers and 95 of 100 come within 1.5 times the idle server's time, or a few milliseconds of it."""
    if ("latency", "blick", "busy_p95") not in medians:
        return None
    pairs = [
        tuple(medians["latency", "blick", f"{when}_{part}"] for when in ("idle", "busy")) for part in ("p50", "p95")
    ]
    found = ", ".join(f"{busy:.1f} ms (idle {idle:.1f})" for idle, busy in pairs)
    return Verdict(found, all(busy <= max(1.5 * idle, idle + LATENCY_NOISE_MS) for idle, busy in pairs))


def _ratio(text: str, above: tuple[str, str, str], below: tuple[str, str, str], met: Callable[[float], bool]) -> Target:
    def judge(medians: Medians) -> Verdict | None:
        if above not in medians or below not in medians:
            return None
        if medians[below] == 0:  # less than one step of the clock
            return Verdict("too little to measure", False)
        ratio = medians[above] / medians[below]
        return Verdict(f"{ratio:.2f} ×", met(ratio))

    return Target(text, judge)


def _upload_targets(metric: str, label: str) -> list[Target]:
    return [
        at_least(f"{label}: upstream's wall time at least 2 times ours", metric, "wall", 2.0),
        at_most_times(f"{label}: wall time within 15 % of the hash floor", metric, "wall", "floor", 1.15),
        at_most_times(f"{label}: CPU not above upstream's", metric, "cpu", "upstream", 1.0),
    ]


def _download_targets(metric: str, label: str) -> list[Target]:
    return [
        at_most_times(f"{label}: CPU at most a quarter of upstream's", metric, "cpu", "upstream", 0.25),
        at_most_times(f"{label}: CPU at most 1.3 times nginx's", metric, "cpu", "nginx", 1.3),
    ]


TARGETS: tuple[Target, ...] = (
    *_download_targets("download", "download"),
    *_download_targets("download-4", "download, 4 streams"),
    *_download_targets("ranges", "ranges"),
    *_upload_targets("upload", "upload"),
    *_upload_targets("upload-chunked", "upload, chunked"),
    at_least("GET one image: at least 6 times less CPU", "get", "cpu", 6),
    at_least("PATCH: at least 8 times less CPU", "patch", "cpu", 8),
    at_least("POST + DELETE: at least 5 times less CPU", "post-delete", "cpu", 5),
    at_least("list, 10 properties and 2 tags: at least 15 times less CPU", "list", "cpu", 15),
    at_least("list, 40 properties and 20 tags: at least 30 times less CPU", "list-large", "cpu", 30),
    Target("list beside six slow uploads: latency unchanged", unchanged_latency),
    at_most("memory per upload at most 16 MiB", "memory", "upload", 16, "MiB"),
    at_most("memory per download at most 16 MiB", "memory", "download", 16, "MiB"),
    at_most("idle worker at most 60 MiB", "memory", "worker", 60, "MiB"),
    at_most("start of a worker at most 1 CPU second", "start", "cpu", 1, "CPU-s"),
)
