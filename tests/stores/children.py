"""Programs that the file store's tests run as processes of their own, to kill them or to take their room away.

Each is called with the directory of a store: `python -m tests.stores.children NAME DIRECTORY`.
"""

import asyncio
import os
import resource
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from blick.model.errors import StoreDenied, StoreError, StoreFull
from blick.stores.conformance import MIB, get, put
from blick.stores.file.store import FileStore

KEY = "11111111-2222-4333-8444-555555555555"


def _store(folder: Path) -> FileStore:
    return FileStore("file", {"filesystem_store_datadir": str(folder)})


async def write_without_end(folder: Path) -> None:
    """Say so when the first bytes are written, and go on until killed."""
    async with _store(folder).writer(KEY, None) as writer:
        while True:
            await writer.write(memoryview(b"partial" * 1000))
            print("written", flush=True)


async def commit_and_wait(folder: Path) -> None:
    """Store an object that nobody records, and wait to be killed."""
    await put(_store(folder), KEY, b"committed")
    print("committed", flush=True)
    await asyncio.Event().wait()


async def write_too_much_for_the_limit(folder: Path) -> None:
    """Meet the limit on the size of a file."""
    store = _store(folder)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, resource.RLIM_INFINITY))
    await _require_refusal(StoreFull, put(store, KEY, bytes(MIB), bytes(MIB), bytes(MIB)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    _require_empty(folder)
    await put(store, KEY, b"fits")
    await store.aclose()


async def fill_a_small_disk(folder: Path) -> None:
    """On a disk of 4 MiB: run full while writing, be refused beforehand, and find the room free again."""
    store = _store(folder)
    await _require_refusal(StoreFull, put(store, KEY, *[b"x" * MIB] * 5))
    _require_empty(folder)
    await _require_refusal(StoreFull, _begin(store, 5 * MIB))
    _require_empty(folder)
    location = await put(store, KEY, *[b"x" * MIB] * 3)
    assert len(await get(store, location)) == 3 * MIB
    await store.aclose()


async def write_to_a_read_only_disk(folder: Path) -> None:
    """On a disk that has become read-only since the start."""
    store = _store(folder)
    location = await put(store, KEY, b"data")
    os.system(f"mount -o remount,ro {folder}")
    await _require_refusal(StoreDenied, put(store, "another", b"data"))
    await _require_refusal(StoreDenied, store.delete(location))
    assert await get(store, location) == b"data"
    await store.aclose()


async def prefer_the_disk_with_room(folder: Path) -> None:
    """The small disk has the higher priority; what does not fit there goes to the other one."""
    beside = folder.parent / "beside"
    store = FileStore("file", {"filesystem_store_datadirs": [f"{folder}:2", f"{beside}:1"]})
    async with store.writer("small", MIB) as writer:
        await writer.commit()
    async with store.writer("large", 8 * MIB) as writer:
        await writer.commit()
    assert [path.name for path in folder.iterdir()] == ["small"]
    assert [path.name for path in beside.iterdir()] == ["large"]
    await store.aclose()


async def _begin(store: FileStore, size_bytes: int) -> None:
    async with store.writer(KEY, size_bytes):
        pass


async def _require_refusal(kind: type[StoreError], work: Awaitable[object]) -> None:
    with pytest.raises(kind) as refused:
        await work
    assert "/" not in str(refused.value), "a path of this machine in an error"


def _require_empty(folder: Path) -> None:
    assert list(folder.iterdir()) == []


CHILDREN: Mapping[str, Callable[[Path], Awaitable[None]]] = {
    child.__name__: child
    for child in (
        write_without_end,
        commit_and_wait,
        write_too_much_for_the_limit,
        fill_a_small_disk,
        write_to_a_read_only_disk,
        prefer_the_disk_with_room,
    )
}


if __name__ == "__main__":
    name, directory = sys.argv[1:]
    asyncio.run(CHILDREN[name](Path(directory)))  # type: ignore[arg-type]  # coroutine functions, all of them
