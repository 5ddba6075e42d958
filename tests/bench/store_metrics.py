"""What is measured on each kind of store: a whole image in, out, and the memory that takes; and what is promised."""

from dataclasses import replace
from functools import partial

from tests.bench.metrics import (
    CHUNK_BYTES,
    MEMORY_UNITS,
    SERVICES,
    Metric,
    download_metric,
    memory,
    nothing,
    upload_metric,
)
from tests.bench.targets import Target, at_least, at_most, at_most_times

MEMORY_MIB = 32
_UPLOADS = {"upload": "upload", "upload-chunked": "upload, chunked"}
_LEAST: dict[str, tuple[float, float]] = {
    "file": (2, 4),
    "s3": (1.5, 2),
    "rbd": (1.5, 1.5),
    "swift": (1.2, 1.5),
}
"""By driver: how many times our time upstream takes, in and out. A file out is judged by CPU: the kernel sends it."""


METRICS: tuple[Metric, ...] = tuple(
    replace(metric, subjects=SERVICES)
    for metric in (
        upload_metric("upload", _UPLOADS["upload"], 1, None),
        upload_metric("upload-chunked", _UPLOADS["upload-chunked"], 1, CHUNK_BYTES),
        download_metric("download", "download", 1, None),
        Metric(
            "memory",
            "memory of one transfer, at its peak",
            SERVICES,
            {"upload": "MiB, upload", "download": "MiB, download"},
            nothing,
            partial(memory, streams=1),
        ),
        Metric(
            "memory-4",
            "memory of each of four transfers, at their peak",
            SERVICES,
            {name: unit.removesuffix(" of four") for name, unit in MEMORY_UNITS.items() if unit.endswith(" of four")},
            nothing,
            memory,
        ),
    )
)


def targets(driver: str) -> tuple[Target, ...]:
    """The promises for a store of this type."""
    up, down = _LEAST[driver]
    figure, what = ("cpu", "CPU") if driver == "file" else ("wall", "wall time")
    found = [
        at_least(f"{label}: upstream's wall time at least {up:g} times ours", name, "wall", up)
        for name, label in _UPLOADS.items()
    ]
    found.append(at_least(f"download: upstream's {what} at least {down:g} times ours", "download", figure, down))
    found += [
        at_most_times(f"{label}: CPU not above upstream's", name, "cpu", "upstream", 1.0)
        for name, label in {**_UPLOADS, "download": "download"}.items()
    ]
    found += [
        at_most(f"memory per {transfer}{streams} at most {MEMORY_MIB} MiB", name, transfer, MEMORY_MIB, "MiB")
        for name, streams in (("memory", ""), ("memory-4", " of four"))
        for transfer in ("upload", "download")
    ]
    return tuple(found)
