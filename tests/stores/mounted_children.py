"""Programs that the tests of mounts run as processes of their own, with mounts that nobody else sees.

Each is called with a directory of its own: `python -m tests.stores.mounted_children NAME DIRECTORY`. There, `disk` is
what is mounted on `images`, and `loop` a disk of its own with XFS, where the test says so.
"""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from blick.conf.settings import StoreSettings, StoresSettings
from blick.model.blob import Location
from blick.model.errors import DataNotFound, StartRefused, StoreError, StoreFull, StoreReadOnly, StoreUnavailable
from blick.stores.conformance import MIB, get, listed, put
from blick.stores.file.store import FileStore
from blick.stores.registry import open_stores
from tests.stores.children import KEY
from tests.support.waiting import DEADLINE_S, eventually

OTHER = KEY.replace("1", "9")
TIMEOUT_S = 4


def guarded(folder: Path, **options: object) -> FileStore:
    return FileStore(
        "file", {"filesystem_store_datadir": str(folder), "filesystem_store_require_mount": True, **options}
    )


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True)


def mount(folder: Path) -> Path:
    """Mount `disk` on `images`."""
    (folder / "disk").mkdir(exist_ok=True)
    (folder / "images").mkdir(exist_ok=True)
    run("mount", "--bind", folder / "disk", folder / "images")
    return folder / "images"


async def refuse_to_start_unmounted(folder: Path) -> None:
    """Nothing is created, or written, where something is to be mounted; later it is, and the store opens."""
    with pytest.raises(StartRefused, match="cannot create files"):
        guarded(folder / "images")
    assert not (folder / "images").exists()
    (folder / "images").mkdir()
    with pytest.raises(StartRefused, match="nothing is mounted"):
        guarded(folder / "images")
    assert list((folder / "images").iterdir()) == []
    store = guarded(mount(folder))
    assert await get(store, await put(store, KEY, b"data")) == b"data"
    await store.probe()
    await store.aclose()


async def open_late(folder: Path) -> None:
    """A store that is not the default is left out, and opened when its disk is there."""
    options = {"filesystem_store_datadir": str(folder / "images"), "filesystem_store_require_mount": True}
    main = StoreSettings("main", "file", {"filesystem_store_datadir": str(folder / "main")})
    stores = open_stores(StoresSettings("main", (main, StoreSettings("disk", "file", options)), multi_store=True))
    assert "mounted" in stores.left_out["disk"] or "cannot create files" in stores.left_out["disk"]
    with pytest.raises(StoreUnavailable):
        stores.by_id("disk")
    await stores.look_after(DEADLINE_S)
    assert list(stores.left_out) == ["disk"]
    mount(folder)
    await stores.look_after(DEADLINE_S)
    assert not stores.left_out
    await put(stores.by_id("disk"), KEY, b"data")
    assert (folder / "disk" / KEY).read_bytes() == b"data"
    assert not stores.trouble
    run("umount", folder / "images")
    await stores.look_after(DEADLINE_S)
    assert "not mounted" in stores.trouble["disk"]
    await stores.aclose()
    with pytest.raises(StartRefused, match="nothing is mounted"):
        open_stores(StoresSettings("disk", (StoreSettings("disk", "file", options),)))


async def lose_the_mount(folder: Path) -> None:
    """Everything fails, and nothing is touched, until it is mounted again."""
    images = mount(folder)
    store = guarded(images)
    there = await put(store, KEY, b"data")
    missing = Location("file", f"file://{images}/{OTHER}")
    run("umount", images)
    # Even what lies under the mount point by somebody's mistake is not ours now.
    (images / KEY).write_bytes(b"stray")
    (images / f".blick-{OTHER}.part").write_bytes(b"stray")
    await _require(StoreReadOnly, put(store, OTHER, b"more"))
    for location in (there, missing):
        for call in (
            store.delete(location),
            store.size_bytes(location),
            get(store, location),
            store.open_file(location),
            store.copy_from(store, location, OTHER),
            store.adopt(store, location, OTHER),
        ):
            await _require(StoreUnavailable, call)
    for call in (store.discard(KEY), store.discard(OTHER), store.probe()):
        await _require(StoreUnavailable, call)
    await _require(StoreUnavailable, store.free_bytes())
    await _require(StoreUnavailable, listed(store, KEY))
    assert sorted(path.name for path in images.iterdir()) == [f".blick-{OTHER}.part", KEY]
    mount(folder)
    await store.probe()
    assert await get(store, there) == b"data"
    await _require(DataNotFound, get(store, missing))
    await put(store, OTHER, b"more")
    await store.delete(there)
    await store.aclose()


async def lose_the_mount_while_writing(folder: Path) -> None:
    """What was begun on the disk ends on the disk."""
    images = mount(folder)
    store = guarded(images)
    async with store.writer(KEY, None) as writer:
        await writer.write(memoryview(b"begun, "))
        run("umount", "--lazy", images)
        await writer.write(memoryview(b"ended"))
        location = await writer.commit()
    assert list(images.iterdir()) == []
    await _require(StoreUnavailable, get(store, location))
    mount(folder)
    assert await get(store, location) == b"begun, ended"
    await store.aclose()


async def lose_one_of_two_mounts(folder: Path) -> None:
    """The other one takes new objects, and is read."""
    images = mount(folder)
    (folder / "second").mkdir()
    run("mount", "-t", "tmpfs", "second", folder / "second")
    options = {"filesystem_store_datadirs": [f"{images}:2", f"{folder}/second:1"]}
    store = FileStore("file", {**options, "filesystem_store_require_mount": True})
    first = await put(store, KEY, b"data")
    run("umount", images)
    second = await put(store, OTHER, b"more")
    assert (folder / "second" / OTHER).exists()
    assert await get(store, second) == b"more"
    assert await store.free_bytes() > 0
    for call in (get(store, first), store.discard(KEY), store.probe()):
        await _require(StoreUnavailable, call)
    assert list(images.iterdir()) == []
    await store.aclose()


async def leave_what_is_reserved(folder: Path) -> None:
    """A disk of 100 MiB, of which 30 are for others."""
    images = folder / "images"
    images.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=100m", "images", images)
    store = guarded(images, filesystem_store_reserved_space=30)
    assert 60 * MIB < await store.free_bytes() <= 70 * MIB
    await _require(StoreFull, _begin(store, 71 * MIB))
    await _require(StoreFull, put(store, KEY, *[b"x" * MIB] * 99))
    assert list(images.iterdir()) == []
    await put(store, KEY, *[b"x" * MIB] * 64)
    await store.aclose()


async def copy_between_disks(folder: Path) -> None:
    """Onto another file system: byte by byte, but holes stay holes."""
    images = mount(folder)
    (folder / "second").mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=8m", "second", folder / "second")
    first, second = guarded(images, filesystem_thin_provisioning=True), guarded(folder / "second")
    data = b"begin" + bytes(40 * MIB) + b"end" + bytes(5 * MIB)
    source = await put(first, KEY, data)
    copy = await second.copy_from(first, source, KEY)
    assert copy == Location("file", f"file://{folder}/second/{KEY}")
    assert await get(second, copy) == data
    back = await first.copy_from(second, copy, OTHER)
    assert back is not None
    assert await get(first, back) == data
    assert await first.adopt(second, copy, OTHER) is None
    large = await put(first, KEY.replace("1", "8"), b"x" * 9 * MIB)
    await _require(StoreFull, second.copy_from(first, large, OTHER))
    assert [path.name for path in (folder / "second").iterdir()] == [KEY]
    await first.aclose()
    await second.aclose()


async def adopt_within_a_mount(folder: Path) -> None:
    """Not from another mount, even of the same disk; and only while more is free than what is reserved."""
    images = mount(folder)
    (images / "staging").mkdir()
    staging = FileStore("staging", {"filesystem_store_datadir": str(images / "staging")})
    source = await put(staging, KEY, b"data")
    store = guarded(images)
    assert await store.adopt(staging, source, KEY) == Location("file", f"file://{images}/{KEY}")
    full = guarded(images, filesystem_store_reserved_space=1 << 40)
    assert await full.adopt(staging, source, OTHER) is None
    (folder / "again").mkdir()
    run("mount", "--bind", folder / "disk", folder / "again")
    again = guarded(folder / "again")
    assert await again.adopt(staging, source, OTHER) is None
    run("umount", folder / "again")
    await _require(StoreReadOnly, again.adopt(staging, source, OTHER))
    assert list((folder / "again").iterdir()) == []
    assert sorted(path.name for path in images.iterdir()) == sorted([KEY, "staging"])
    for opened in (staging, store, full, again):
        await opened.aclose()


async def share_blocks(folder: Path) -> None:
    """On one file system that can, a copy takes no room."""
    options = [{"filesystem_store_datadir": str(folder / "loop" / name)} for name in ("one", "two")]
    one, two = (FileStore(f"file{number}", each) for number, each in enumerate(options))
    data = os.urandom(64 * MIB)
    source = await put(one, KEY, data)
    before = await two.free_bytes()
    copy = await two.copy_from(one, source, KEY)
    assert copy is not None
    assert before - await two.free_bytes() < 16 * MIB
    await one.delete(source)
    assert await get(two, copy) == data
    await one.aclose()
    await two.aclose()


async def hang(folder: Path) -> None:
    """A disk that answers nobody who writes: callers are told, threads are bounded, nothing is mixed up afterwards."""
    images = folder / "loop"
    store = guarded(images, filesystem_store_timeout=TIMEOUT_S, filesystem_store_thread_pool_size=2)
    doomed, buffer = await put(store, OTHER, b"doomed"), bytearray(b"x" * MIB)
    writing = store.writer(KEY, None)
    writer = await writing.__aenter__()
    await writer.write(memoryview(buffer))
    with frozen(images):
        view = memoryview(buffer)
        told = await asyncio.gather(writer.write(view), store.delete(doomed), return_exceptions=True)
        assert [type(error) for error in told] == [StoreUnavailable] * 2
        # The buffer is ours again: a thread that held it would make one of these raise BufferError.
        view.release()
        buffer.clear()
        await writing.__aexit__(None, None, None)
        for call in (put(store, KEY, b"more"), get(store, doomed), store.discard(OTHER)):
            with pytest.raises(StoreUnavailable, match="all threads"):
                await call
    # The threads wake up, remove what they had been told to remove, and clean up behind the writer.
    await asyncio.to_thread(eventually, lambda: list(images.iterdir()) == [], within_s=DEADLINE_S)
    await eventually_free(store)
    await _require(DataNotFound, store.delete(doomed))
    assert await get(store, await put(store, KEY, b"new")) == b"new"
    await store.aclose()


async def eventually_free(store: FileStore) -> None:
    """Wait until threads that woke up have said so: they do that behind the last thing that one sees of them."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await store.probe()
            except StoreUnavailable:
                await asyncio.sleep(0.01)


@contextmanager
def frozen(images: Path) -> Iterator[None]:
    """Nothing can be written there, for as long. Whatever happens it ends: nobody could kill who waits for it."""
    rescue = threading.Timer(DEADLINE_S, run, ("fsfreeze", "-u", str(images)))
    rescue.start()
    run("fsfreeze", "-f", images)
    try:
        yield
    finally:
        rescue.cancel()
        run("fsfreeze", "-u", images)


async def _begin(store: FileStore, size_bytes: int) -> None:
    async with store.writer(OTHER, size_bytes):
        pass


async def _require(kind: type[StoreError], call: Awaitable[object]) -> None:
    with pytest.raises(kind) as refused:
        await call
    assert type(refused.value) is kind
    assert "/" not in str(refused.value), "a path of this machine in an error"


CHILDREN: Mapping[str, Callable[[Path], Awaitable[None]]] = {
    child.__name__: child
    for child in (
        refuse_to_start_unmounted,
        open_late,
        lose_the_mount,
        lose_the_mount_while_writing,
        lose_one_of_two_mounts,
        leave_what_is_reserved,
        copy_between_disks,
        adopt_within_a_mount,
        share_blocks,
        hang,
    )
}


if __name__ == "__main__":
    name, directory = sys.argv[1:]
    asyncio.run(CHILDREN[name](Path(directory)))  # type: ignore[arg-type]  # coroutine functions, all of them
