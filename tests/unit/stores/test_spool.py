"""Files that grow over many requests."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from blick.model.errors import Invalid, StoreDenied, StoreFull, StoreUnavailable
from blick.stores.spool import Spool

NAME = "image.upload.part"


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool("staging", tmp_path / "new" / "folder")
    yield made
    made.close()


async def test_a_file_grows_over_several_openings(spool: Spool) -> None:
    assert await spool.size_bytes(NAME) == 0
    for number, data in enumerate((b"first", b"second")):
        with await spool.open(NAME) as file:
            assert file.size_bytes == 5 * number
            await file.append(memoryview(data))
            await file.sync()
    assert (spool.folder / NAME).read_bytes() == b"firstsecond"
    assert await spool.size_bytes(NAME) == 11
    with await spool.open(NAME) as file:
        await file.cut(3)
        assert file.size_bytes == 3
        await file.append(memoryview(b"xyz"))
    assert (spool.folder / NAME).read_bytes() == b"firxyz"
    await spool.remove(NAME)
    await spool.remove(NAME)
    assert list(spool.folder.iterdir()) == []


async def test_only_one_has_it(spool: Spool) -> None:
    with await spool.open(NAME):
        with pytest.raises(StoreUnavailable):
            await spool.open(NAME)
        assert await spool.size_bytes(NAME) == 0
    with await spool.open(NAME):
        pass


def _hold(path: Path, held: "multiprocessing.synchronize.Event") -> None:
    import fcntl

    fcntl.flock(os.open(path, os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)
    held.set()
    signal.pause()


async def test_the_lock_ends_with_its_process(spool: Spool) -> None:
    spool.folder.mkdir(parents=True)
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=_hold, args=(spool.folder / NAME, held))
    process.start()
    assert held.wait(60)
    with pytest.raises(StoreUnavailable):
        await spool.open(NAME)
    process.kill()
    process.join()
    with await spool.open(NAME) as file:
        assert file.size_bytes == 0


async def test_no_link_is_followed(spool: Spool, tmp_path: Path) -> None:
    spool.folder.mkdir(parents=True)
    secret = tmp_path / "secret"
    secret.write_bytes(b"x")
    (spool.folder / NAME).symlink_to(secret)
    with pytest.raises(StoreDenied):
        await spool.open(NAME)
    with pytest.raises(StoreDenied):
        await spool.size_bytes(NAME)


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "..", "a\0b", "/etc/passwd"])
async def test_only_plain_names(spool: Spool, name: str) -> None:
    for use in (spool.open, spool.size_bytes, spool.remove):
        with pytest.raises(Invalid):
            await use(name)


async def test_a_full_disk(spool: Spool) -> None:
    spool.folder.mkdir(parents=True)
    (spool.folder / "full").symlink_to("/dev/full")
    with await spool.open(NAME) as file:
        inner = os.open("/dev/full", os.O_WRONLY)
        assert file._file is not None
        os.dup2(inner, file._file)  # the same descriptor, of a device that is full
        os.close(inner)
        with pytest.raises(StoreFull):
            await file.append(memoryview(b"x"))
        assert file.size_bytes == 0
