"""Records for tests of the database: an image with nothing special about it, and threads that race."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from threading import Barrier
from typing import Any, TypeVar

from blick.model.image import Image

T = TypeVar("T")

NOW = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 - times in the database are naive UTC
ID = "9f1f4d5e-9c4b-4d42-8a5f-2c4f9d3b7a10"


def image(image_id: str = ID, **attributes: Any) -> Image:
    """A queued, shared image of project p1."""
    usual: dict[str, Any] = {
        "name": None, "status": "queued", "visibility": "shared", "owner": "p1", "disk_format": "raw",
        "container_format": "bare", "size": None, "virtual_size": None, "checksum": None, "os_hash_algo": None,
        "os_hash_value": None, "min_disk": 0, "min_ram": 0, "protected": False, "os_hidden": False,
        "created_at": NOW, "updated_at": NOW,
    }  # fmt: skip
    return Image(image_id, **{**usual, **attributes})


def race(calls: list[Callable[[], T]]) -> list[T | Exception]:
    """What each call gave or raised; all of them start at the same moment, in threads of their own."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], T]) -> T | Exception:
        barrier.wait()
        try:
            return call()
        except Exception as error:  # handed to the test
            return error

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))
