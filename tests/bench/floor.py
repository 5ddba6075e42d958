"""The hash floor: what any service must at least spend on an upload that yields an MD5 and a SHA-512.

Runs as a process of its own (`python -m tests.bench.floor DATA SIZE_BYTES TARGET`) and prints JSON. Three threads walk
the same 1 MiB pieces of a file in the page cache: one feeds MD5, one SHA-512, one writes a copy and syncs it.
"""

import hashlib
import json
import mmap
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

PIECE_BYTES = 1024 * 1024  # large enough that each call runs outside the interpreter lock for milliseconds


def measure(data: Path, size_bytes: int, target: Path) -> dict[str, float]:
    """Wall and CPU seconds for `size_bytes` of `data`; `synced_s` is the wall with the copy on disk. Removes it."""
    flags = mmap.MAP_SHARED | mmap.MAP_POPULATE  # every page is mapped before the clock runs
    with data.open("rb") as source, target.open("wb", buffering=0) as copy:
        target.unlink()
        with mmap.mmap(source.fileno(), size_bytes, flags, mmap.PROT_READ) as mapped, memoryview(mapped) as view:
            cpu_before, started = _cpu_s(), time.perf_counter()
            sinks = [hashlib.md5().update, hashlib.sha512().update, copy.write]
            threads = [threading.Thread(target=_walk, args=(view, sink)) for sink in sinks]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            wall_s, cpu_s = time.perf_counter() - started, _cpu_s() - cpu_before
            os.fsync(copy.fileno())
            return {"wall_s": wall_s, "cpu_s": cpu_s, "synced_s": time.perf_counter() - started}


def _walk(view: memoryview, sink: Callable[[memoryview], object]) -> None:
    for start in range(0, len(view), PIECE_BYTES):
        with view[start : start + PIECE_BYTES] as piece:
            sink(piece)


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    data, size_bytes, target = sys.argv[1:]
    json.dump(measure(Path(data), int(size_bytes), Path(target)), sys.stdout)


if __name__ == "__main__":
    main()
