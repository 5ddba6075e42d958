"""The drivers that need nothing but this machine, through the suite for all stores."""

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest

from blick.stores.base import Store
from blick.stores.conformance import StoreConformance
from blick.stores.file.store import FileStore
from blick.stores.memory import MemoryStore


def _memory(folder: Path) -> Store:
    return MemoryStore("memory", {})


def _file(folder: Path) -> Store:
    return FileStore("file", {"filesystem_store_datadir": str(folder / "images")})


def _file_with_holes(folder: Path) -> Store:
    options = {"filesystem_store_datadir": str(folder / "images"), "filesystem_thin_provisioning": True}
    return FileStore("file", options)


def _several_directories(folder: Path) -> Store:
    return FileStore("file", {"filesystem_store_datadirs": [f"{folder}/one:1", f"{folder}/two:1", f"{folder}/three"]})


def _file_with_time_limit(folder: Path) -> Store:
    options = {"filesystem_store_timeout": 300, "filesystem_store_thread_pool_size": 3}
    return FileStore("file", {"filesystem_store_datadir": str(folder / "images"), **options})


STORES: Mapping[str, Callable[[Path], Store]] = {
    "memory": _memory,
    "file": _file,
    "file, thin": _file_with_holes,
    "file, time limit": _file_with_time_limit,
    "file, several directories": _several_directories,
}


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Each kind of store in turn, empty."""
    opened = STORES[request.param](tmp_path)
    yield opened
    await opened.aclose()


class TestEveryStore(StoreConformance):
    """The suite itself is in blick.stores.conformance."""
