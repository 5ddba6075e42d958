"""What only the file store does: names, directories, permissions, holes, and what is left of killed processes."""

import asyncio
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from blick.model.blob import ByteRange, Location
from blick.model.errors import (
    DataExists,
    DataNotFound,
    Invalid,
    RangeInvalid,
    StartRefused,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
)
from blick.stores.conformance import MIB, get, listed, new_key, put
from blick.stores.file.store import READ_BYTES, FileStore
from blick.stores.memory import MemoryStore
from tests.stores.children import KEY

NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The store's directory."""
    return tmp_path / "images"


@pytest.fixture
async def store(folder: Path) -> AsyncIterator[FileStore]:
    opened = FileStore("file", {"filesystem_store_datadir": str(folder)})
    yield opened
    await opened.aclose()


@pytest.fixture
def unwritable() -> Iterator[Path]:
    """A directory that this process may list but not write; for as long, root is an ordinary user."""
    with tempfile.TemporaryDirectory() as outer:
        inner = Path(outer, "images")
        inner.mkdir()
        os.chmod(outer, 0o755)
        os.chmod(inner, 0o555)
        is_root = os.geteuid() == 0
        if is_root:
            os.chown(inner, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        yield inner
        if is_root:
            os.seteuid(0)
        os.chmod(inner, 0o755)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def start_child(name: str, folder: Path, *prefix: str) -> subprocess.Popen[str]:
    command = [*prefix, sys.executable, "-m", "tests.stores.children", name, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run_child(name: str, folder: Path, *prefix: str) -> None:
    child = start_child(name, folder, *prefix)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 0, errors


def kill_child_after(line: str, name: str, folder: Path) -> None:
    child = start_child(name, folder)
    assert child.stdout is not None
    assert child.stdout.readline() == f"{line}\n"
    child.kill()
    child.communicate(timeout=60)


class TestNames:
    async def test_the_file_is_named_like_the_image_and_the_uri_says_where(
        self, store: FileStore, folder: Path
    ) -> None:
        location = await put(store, KEY, b"data")
        assert location == Location("file", f"file://{folder}/{KEY}")
        assert (folder / KEY).read_bytes() == b"data"
        assert names_in(folder) == [KEY]
        assert (folder / KEY).stat().st_nlink == 1

    async def test_a_growing_object_is_hidden(self, store: FileStore, folder: Path) -> None:
        async with store.writer(KEY, None) as writer:
            await writer.write(memoryview(b"data"))
            assert names_in(folder) == [f".blick-{KEY}.part"]
        assert names_in(folder) == []

    @pytest.mark.parametrize(
        "key", ["", ".", "..", "../x", "a/b", "/etc/passwd", ".hidden", "a\0b", "é", "a b", "x" * 201]
    )
    async def test_refuses_keys_that_are_not_plain_names(self, store: FileStore, key: str) -> None:
        with pytest.raises(Invalid):
            await put(store, key, b"data")
        with pytest.raises(Invalid):
            await store.discard(key)

    async def test_reads_the_other_scheme(self, store: FileStore, folder: Path) -> None:
        await put(store, KEY, b"data")
        assert await get(store, Location("file", f"filesystem://{folder}/{KEY}")) == b"data"

    async def test_reads_an_old_name_of_the_directory(self, store: FileStore, folder: Path, tmp_path: Path) -> None:
        await put(store, KEY, b"data")
        (tmp_path / "old").symlink_to(folder)
        assert await get(store, Location("file", f"file://{tmp_path}/old/{KEY}")) == b"data"
        assert await get(store, Location("file", f"file://{tmp_path}//images/./{KEY}")) == b"data"

    async def test_metadata_of_the_closest_mount_goes_with_the_location(self, folder: Path, tmp_path: Path) -> None:
        outer = {"id": "outer", "mountpoint": str(tmp_path)}
        inner = {"id": "inner", "mountpoint": str(folder), "more": ["x"]}
        beside = {"id": "beside", "mountpoint": str(folder)[:-1]}
        metadata_file = tmp_path / "metadata.json"
        metadata_file.write_text(repr([outer, inner, beside]).replace("'", '"'))
        store = FileStore(
            "file", {"filesystem_store_datadir": str(folder), "filesystem_store_metadata_file": str(metadata_file)}
        )
        assert (await put(store, KEY)).metadata == inner
        await store.aclose()


class TestNothingOutsideTheDirectory:
    @pytest.mark.parametrize(
        "uri",
        [
            "file://{outside}",
            "file://{folder}/../secret",
            "file://{folder}/../images/../secret",
            "file://{folder}/sub/secret",
            "file://{folder}/..",
            "file://{folder}/.",
            "file://{folder}/",
            "file://{folder}",
            "file://{folder}/.blick-x.part",
            "file://localhost{folder}/secret",
            "file:{folder}/secret",
            "file://images/secret",
            "file://",
            "file:///",
            "{outside}",
            "http://{folder}/secret",
            "file://{folder}/secret\0",
            "",
        ],
    )
    async def test_uris_that_lead_elsewhere(self, store: FileStore, folder: Path, tmp_path: Path, uri: str) -> None:
        outside = tmp_path / "secret"
        (folder / "sub").mkdir()
        everything = [outside, folder / "secret", folder / "sub" / "secret", folder / ".blick-x.part"]
        for path in everything:
            path.write_bytes(b"secret")
        location = Location("file", uri.format(outside=outside, folder=folder))
        for look in (get(store, location), store.size_bytes(location), store.open_file(location)):
            with pytest.raises(StoreDenied):
                await look
        with pytest.raises(StoreDenied):
            store.local_path(location)
        with pytest.raises(DataNotFound):
            await store.delete(location)
        assert not store.owns(location.uri)
        assert all(path.read_bytes() == b"secret" for path in everything)

    async def test_links_are_not_followed(self, store: FileStore, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "secret").write_bytes(b"secret")
        (folder / KEY).symlink_to(tmp_path / "secret")
        location = Location("file", f"file://{folder}/{KEY}")
        for look in (get(store, location), store.size_bytes(location), store.open_file(location)):
            with pytest.raises(StoreDenied):
                await look
        with pytest.raises(DataExists):
            await put(store, KEY, b"data")
        await store.delete(location)
        assert (tmp_path / "secret").read_bytes() == b"secret"

    async def test_a_link_under_the_hidden_name_is_not_written_through(
        self, store: FileStore, folder: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "secret").write_bytes(b"secret")
        (folder / f".blick-{KEY}.part").symlink_to(tmp_path / "secret")
        assert await get(store, await put(store, KEY, b"data")) == b"data"
        assert (tmp_path / "secret").read_bytes() == b"secret"

    async def test_pipes_and_folders_are_no_objects(self, store: FileStore, folder: Path) -> None:
        os.mkfifo(folder / "pipe")
        (folder / "folder").mkdir()
        for name in ("pipe", "folder"):
            location = Location("file", f"file://{folder}/{name}")
            with pytest.raises(DataNotFound):
                await get(store, location)
            with pytest.raises(DataNotFound):
                await store.size_bytes(location)
        with pytest.raises(DataNotFound):
            await store.delete(Location("file", f"file://{folder}/folder"))


class TestPermissions:
    async def test_new_files_get_the_configured_mode(self, folder: Path) -> None:
        store = FileStore("file", {"filesystem_store_datadir": str(folder), "filesystem_store_file_perm": 640})
        async with store.writer(KEY, None) as writer:
            assert stat.S_IMODE((folder / f".blick-{KEY}.part").stat().st_mode) == 0o640
            await writer.commit()
        assert stat.S_IMODE((folder / KEY).stat().st_mode) == 0o640
        await store.aclose()

    @pytest.mark.parametrize(
        ("digits", "expected"), [(0, 0o700), (600, 0o700), (640, 0o710), (644, 0o711), (604, 0o701)]
    )
    async def test_readers_can_pass_the_directory(self, folder: Path, digits: int, expected: int) -> None:
        folder.mkdir(mode=0o700)
        store = FileStore("file", {"filesystem_store_datadir": str(folder), "filesystem_store_file_perm": digits})
        assert stat.S_IMODE(folder.stat().st_mode) == expected
        await store.aclose()

    async def test_a_directory_that_lost_its_permissions(self, unwritable: Path) -> None:
        unwritable.chmod(0o755)
        store = FileStore("file", {"filesystem_store_datadir": str(unwritable)})
        location = await put(store, KEY, b"data")
        unwritable.chmod(0o555)
        with pytest.raises(StoreDenied):
            await put(store, new_key(), b"data")
        with pytest.raises(StoreDenied):
            await store.delete(location)
        with pytest.raises(StoreDenied):
            await store.discard(KEY)
        assert await get(store, location) == b"data"
        await store.aclose()


class TestStart:
    async def test_creates_its_directories(self, tmp_path: Path) -> None:
        folder = tmp_path / "a" / "b"
        store = FileStore("file", {"filesystem_store_datadir": str(folder)})
        assert names_in(folder) == []
        await store.aclose()

    def test_refuses_a_file_in_the_place_of_its_directory(self, folder: Path) -> None:
        folder.write_bytes(b"")
        with pytest.raises(StartRefused, match="is not a directory"):
            FileStore("file", {"filesystem_store_datadir": str(folder)})

    def test_refuses_a_directory_that_it_cannot_write(self, unwritable: Path) -> None:
        with pytest.raises(StartRefused, match="cannot create files"):
            FileStore("file", {"filesystem_store_datadir": str(unwritable)})

    def test_refuses_a_directory_that_it_cannot_create(self, unwritable: Path) -> None:
        with pytest.raises(StartRefused, match="cannot create files"):
            FileStore("file", {"filesystem_store_datadir": str(unwritable / "below")})


class TestSeveralDirectories:
    async def test_the_highest_priority_takes_new_objects(self, tmp_path: Path) -> None:
        entries = [f"{tmp_path}/low:1", f"{tmp_path}/high:2", f"{tmp_path}/none"]
        store = FileStore("file", {"filesystem_store_datadirs": entries})
        location = await put(store, KEY, b"data")
        assert location.uri == f"file://{tmp_path}/high/{KEY}"
        await store.aclose()

    async def test_every_directory_is_read_and_cleaned(self, tmp_path: Path) -> None:
        store = FileStore("file", {"filesystem_store_datadirs": [f"{tmp_path}/one:2", f"{tmp_path}/two:1"]})
        low = tmp_path / "two" / KEY
        low.write_bytes(b"old")
        (tmp_path / "two" / f".blick-{KEY}.part").write_bytes(b"partial")
        assert await get(store, Location("file", f"file://{low}")) == b"old"
        with pytest.raises(DataExists):
            await put(store, KEY, b"new")
        assert low.read_bytes() == b"old"
        assert names_in(tmp_path / "two") == [KEY]
        await store.discard(KEY)
        assert names_in(tmp_path / "two") == names_in(tmp_path / "one") == []
        await store.aclose()

    async def test_refuses_more_than_any_directory_holds(self, store: FileStore, folder: Path) -> None:
        with pytest.raises(StoreFull):
            async with store.writer(KEY, 1 << 60):
                pass
        assert names_in(folder) == []

    async def test_tells_the_room_of_the_roomiest(self, tmp_path: Path) -> None:
        store = FileStore("file", {"filesystem_store_datadirs": [f"{tmp_path}/one", f"{tmp_path}/two"]})
        numbers = os.statvfs(tmp_path)
        assert 0 < await store.free_bytes() <= numbers.f_blocks * numbers.f_frsize
        await store.aclose()

    async def test_goes_on_without_a_directory_that_is_gone(self, tmp_path: Path) -> None:
        store = FileStore("file", {"filesystem_store_datadirs": [f"{tmp_path}/one:2", f"{tmp_path}/two:1"]})
        (tmp_path / "one").rmdir()
        assert (await put(store, KEY, b"data")).uri == f"file://{tmp_path}/two/{KEY}"
        (tmp_path / "two" / KEY).rename(tmp_path / "kept")
        (tmp_path / "two").rmdir()
        with pytest.raises(StoreUnavailable):
            await put(store, KEY, b"data")
        with pytest.raises(StoreUnavailable):
            await store.free_bytes()
        # The disk may come back with the data: that is not the same as no data.
        with pytest.raises(StoreUnavailable):
            await store.delete(Location("file", f"file://{tmp_path}/two/{KEY}"))
        await store.aclose()

    async def test_a_missing_directory_is_not_missing_data(self, store: FileStore, folder: Path) -> None:
        location = await put(store, KEY, b"data")
        folder.rename(folder.with_name("away"))
        for call in (get(store, location), store.size_bytes(location), store.open_file(location), store.probe()):
            with pytest.raises(StoreUnavailable):
                await call
        with pytest.raises(StoreUnavailable):
            await listed(store, KEY)
        folder.with_name("away").rename(folder)
        assert await get(store, location) == b"data"


class TestProbing:
    async def test_a_directory_that_may_be_read_only(self, unwritable: Path) -> None:
        unwritable.chmod(0o755)
        store = FileStore("file", {"filesystem_store_datadir": str(unwritable)})
        await store.probe()
        unwritable.chmod(0o555)
        with pytest.raises(StoreReadOnly):
            await store.probe()
        unwritable.chmod(0o000)
        with pytest.raises(StoreDenied):
            await store.probe()
        await store.aclose()

    async def test_it_changes_nothing(self, store: FileStore, folder: Path) -> None:
        before = folder.stat().st_mtime_ns
        await store.probe()
        assert folder.stat().st_mtime_ns == before


class TestListing:
    async def test_every_directory_with_what_is_unfinished(self, tmp_path: Path) -> None:
        store = FileStore("file", {"filesystem_store_datadirs": [f"{tmp_path}/one:2", f"{tmp_path}/two:1"]})
        location = await put(store, KEY, b"data")
        (tmp_path / "two" / f".blick-{KEY}.part").write_bytes(b"par")
        (tmp_path / "two" / "by-hand").write_bytes(b"")
        os.utime(tmp_path / "one" / KEY, (1000, 1000))
        async with aclosing(store.objects()) as found:
            entries = [(entry.key, entry.location, entry.size_bytes) async for entry in found]
        assert sorted(entries, key=lambda entry: entry[2] or 0) == [
            ("by-hand", Location("file", f"file://{tmp_path}/two/by-hand"), 0),
            (KEY, None, 3),
            (KEY, location, 4),
        ]
        assert [entry.modified_at_s for entry in await listed(store, KEY) or () if entry.location] == [1000]
        await store.aclose()

    async def test_what_is_no_object_is_left_out(self, store: FileStore, folder: Path) -> None:
        for name in (".hidden", "a b", ".blick-.part", ".blick-a b.part", "x" * 201):
            (folder / name).write_bytes(b"")
        (folder / "lost+found").mkdir()
        (folder / "folder").mkdir()
        (folder / "link").symlink_to(folder / ".hidden")
        os.mkfifo(folder / "pipe")
        async with aclosing(store.objects()) as found:
            assert [entry async for entry in found] == []

    async def test_more_than_fits_in_one_batch(self, store: FileStore, folder: Path) -> None:
        names = {f"object-{number}" for number in range(1234)}
        for name in names:
            (folder / name).write_bytes(b"x")
        async with aclosing(store.objects()) as found:
            assert {entry.key async for entry in found} == names
        before = len(os.listdir("/proc/self/fd"))
        async with aclosing(store.objects()) as found:
            await anext(found)
        assert len(os.listdir("/proc/self/fd")) == before


class TestCopying:
    async def test_from_another_store_with_the_holes_that_it_has(self, store: FileStore, tmp_path: Path) -> None:
        options = {"filesystem_store_datadir": str(tmp_path / "other"), "filesystem_thin_provisioning": True}
        other = FileStore("other", options)
        data = b"begin" + bytes(40 * MIB) + b"end" + bytes(MIB)
        source = await put(other, KEY, data)
        copy = await store.copy_from(other, source, KEY)
        assert copy == Location("file", f"file://{tmp_path}/images/{KEY}")
        assert (tmp_path / "images" / KEY).stat().st_blocks * 512 <= MIB
        await other.delete(source)
        assert await get(store, copy) == data
        await other.aclose()

    async def test_not_from_a_store_without_files(self, store: FileStore, folder: Path) -> None:
        memory = MemoryStore("memory", {})
        assert await store.copy_from(memory, await put(memory, KEY, b"data"), KEY) is None
        assert names_in(folder) == []

    async def test_no_descriptor_stays_open(self, store: FileStore, folder: Path) -> None:
        location = await put(store, KEY, bytes(MIB))
        before = len(os.listdir("/proc/self/fd"))
        for rounds in range(8):
            task = asyncio.create_task(store.copy_from(store, location, new_key()))
            for _ in range(rounds):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        with pytest.raises(DataExists):
            await store.copy_from(store, location, KEY)
        assert len(os.listdir("/proc/self/fd")) == before
        assert not [name for name in names_in(folder) if name.startswith(".")]


class TestAdopting:
    async def test_takes_no_room_and_no_time(self, store: FileStore, folder: Path, tmp_path: Path) -> None:
        staging = FileStore("staging", {"filesystem_store_datadir": str(tmp_path / "staging")})
        source = await put(staging, KEY, bytes(MIB), b"end")
        adopted = await store.adopt(staging, source, KEY)
        assert adopted == Location("file", f"file://{folder}/{KEY}")
        assert (folder / KEY).samefile(tmp_path / "staging" / KEY)
        await staging.delete(source)
        assert await get(store, adopted) == bytes(MIB) + b"end"
        await staging.aclose()

    async def test_gets_the_mode_that_files_have_here(self, folder: Path, tmp_path: Path) -> None:
        store = FileStore("file", {"filesystem_store_datadir": str(folder), "filesystem_store_file_perm": 640})
        staging = FileStore("staging", {"filesystem_store_datadir": str(tmp_path / "staging")})
        await store.adopt(staging, await put(staging, KEY, b"data"), KEY)
        assert stat.S_IMODE((folder / KEY).stat().st_mode) == 0o640
        await store.aclose()
        await staging.aclose()

    async def test_into_the_directory_of_highest_priority(self, store: FileStore, tmp_path: Path) -> None:
        source = await put(store, KEY, b"data")
        folders = [f"{tmp_path}/one:1", f"{tmp_path}/two:2"]
        several = FileStore("several", {"filesystem_store_datadirs": folders})
        adopted = await several.adopt(store, source, KEY)
        assert adopted == Location("several", f"file://{tmp_path}/two/{KEY}")
        assert await several.adopt(store, source, KEY) == adopted
        assert names_in(tmp_path / "one") == []
        await several.aclose()

    async def test_not_where_another_directory_has_that_object(self, store: FileStore, tmp_path: Path) -> None:
        source = await put(store, KEY, b"data")
        several = FileStore("several", {"filesystem_store_datadirs": [f"{tmp_path}/one:1", f"{tmp_path}/two:2"]})
        (tmp_path / "one" / KEY).write_bytes(b"other")
        with pytest.raises(DataExists):
            await several.adopt(store, source, KEY)
        assert names_in(tmp_path / "two") == []
        await several.aclose()

    async def test_removes_what_writers_left_in_any_directory(self, store: FileStore, tmp_path: Path) -> None:
        source = await put(store, KEY, b"data")
        several = FileStore("several", {"filesystem_store_datadirs": [f"{tmp_path}/one:1", f"{tmp_path}/two:2"]})
        for name in ("one", "two"):
            (tmp_path / name / f".blick-{KEY}.part").write_bytes(b"half")
        await several.adopt(store, source, KEY)
        assert names_in(tmp_path / "one") == []
        assert names_in(tmp_path / "two") == [KEY]
        await several.aclose()

    async def test_a_link_in_the_place_of_the_object_is_no_object_of_ours(self, store: FileStore, folder: Path) -> None:
        source, other = await put(store, KEY, b"data"), new_key()
        (folder / other).symlink_to(folder / KEY)
        with pytest.raises(DataExists):
            await store.adopt(store, source, other)

    async def test_only_plain_names(self, store: FileStore) -> None:
        source = await put(store, KEY, b"data")
        with pytest.raises(Invalid):
            await store.adopt(store, source, "../elsewhere")

    async def test_no_descriptor_stays_open(self, store: FileStore, folder: Path) -> None:
        source, taken = await put(store, KEY, b"data"), new_key()
        await put(store, taken, b"other")
        before = len(os.listdir("/proc/self/fd"))
        for key in (new_key(), taken, "..", KEY):
            with suppress(StoreError, Invalid):
                await store.adopt(store, source, key)
        with pytest.raises(DataNotFound):
            await store.adopt(store, Location("file", f"file://{folder}/{new_key()}"), new_key())
        assert len(os.listdir("/proc/self/fd")) == before


class TestHoles:
    @pytest.fixture
    async def thin(self, folder: Path) -> AsyncIterator[FileStore]:
        opened = FileStore("file", {"filesystem_store_datadir": str(folder), "filesystem_thin_provisioning": True})
        yield opened
        await opened.aclose()

    async def test_zeros_take_no_room(self, thin: FileStore, folder: Path) -> None:
        location = await put(thin, KEY, bytes(8 * MIB), b"x" * 4096, bytes(8 * MIB))
        status = (folder / KEY).stat()
        assert status.st_size == 16 * MIB + 4096
        assert status.st_blocks * 512 <= 256 << 10
        assert await get(thin, location) == bytes(8 * MIB) + b"x" * 4096 + bytes(8 * MIB)

    async def test_nothing_but_zeros(self, thin: FileStore, folder: Path) -> None:
        location = await put(thin, KEY, bytes(3 * MIB + 1))
        assert (folder / KEY).stat().st_blocks == 0
        assert await get(thin, location) == bytes(3 * MIB + 1)

    async def test_sizes_beyond_four_gibibytes(self, thin: FileStore) -> None:
        zeros = bytes(64 * MIB)
        async with thin.writer(KEY, 80 * len(zeros) + 3) as writer:
            for _ in range(80):
                await writer.write(memoryview(zeros))
            await writer.write(memoryview(b"end"))
            location = await writer.commit()
        assert await thin.size_bytes(location) == 80 * len(zeros) + 3
        assert await get(thin, location, ByteRange(80 * len(zeros) - 2, 5)) == b"\0\0end"

    async def test_without_the_option_zeros_are_written(self, store: FileStore, folder: Path) -> None:
        await put(store, KEY, bytes(MIB))
        assert (folder / KEY).stat().st_blocks * 512 >= MIB


class TestReading:
    async def test_an_object_that_shrinks_meanwhile(self, store: FileStore, folder: Path) -> None:
        location = await put(store, KEY, bytes(3 * READ_BYTES))
        async with aclosing(store.read(location)) as pieces:
            await anext(pieces)
            os.truncate(folder / KEY, READ_BYTES + 10)
            assert len(await anext(pieces)) == 10
            with pytest.raises(RangeInvalid):
                await anext(pieces)

    async def test_no_descriptor_stays_open(self, store: FileStore, folder: Path) -> None:
        location = await put(store, KEY, bytes(3 * READ_BYTES))
        before = len(os.listdir("/proc/self/fd"))
        for rounds in range(6):
            for work in (get(store, location), store.open_file(location), put(store, new_key(), bytes(MIB))):
                task = asyncio.create_task(work)
                for _ in range(rounds):
                    await asyncio.sleep(0)
                task.cancel()
                (outcome,) = await asyncio.gather(task, return_exceptions=True)
                if isinstance(outcome, int):
                    os.close(outcome)
        async with aclosing(store.read(location)) as pieces:
            await anext(pieces)
        for bad in (ByteRange(0, 1 << 40), ByteRange(1 << 40, 0)):
            with pytest.raises(RangeInvalid):
                await get(store, location, bad)
        with pytest.raises(DataExists):
            await put(store, KEY, b"again")
        (folder / "folder").mkdir()
        with suppress(StoreError):
            await store.open_file(Location("file", f"file://{folder}/folder"))
        assert len(os.listdir("/proc/self/fd")) == before
        assert not [name for name in names_in(folder) if name.startswith(".")]


class TestKilledProcesses:
    async def test_discard_cleans_up_behind_a_killed_writer(self, store: FileStore, folder: Path) -> None:
        kill_child_after("written", "write_without_end", folder)
        assert names_in(folder) == [f".blick-{KEY}.part"]
        await store.discard(KEY)
        assert names_in(folder) == []

    async def test_the_next_writer_replaces_what_a_killed_one_left(self, store: FileStore, folder: Path) -> None:
        kill_child_after("written", "write_without_end", folder)
        assert await get(store, await put(store, KEY, b"new")) == b"new"
        assert names_in(folder) == [KEY]

    async def test_discard_removes_what_was_committed_but_never_recorded(self, store: FileStore, folder: Path) -> None:
        kill_child_after("committed", "commit_and_wait", folder)
        assert names_in(folder) == [KEY]
        await store.discard(KEY)
        assert names_in(folder) == []

    async def test_discard_while_the_other_process_still_writes(self, store: FileStore, folder: Path) -> None:
        child = start_child("write_without_end", folder)
        assert child.stdout is not None
        child.stdout.readline()
        await store.discard(KEY)
        child.stdout.readline()
        location = await put(store, KEY, b"new")
        child.stdout.readline()
        child.kill()
        child.communicate(timeout=60)
        assert await get(store, location) == b"new"
        assert names_in(folder) == [KEY]


class TestFull:
    def test_a_limit_on_the_size_of_files(self, folder: Path) -> None:
        run_child("write_too_much_for_the_limit", folder)

    @pytest.mark.needs("small-disk")
    @pytest.mark.parametrize("name", ["fill_a_small_disk", "write_to_a_read_only_disk", "prefer_the_disk_with_room"])
    def test_a_small_disk(self, folder: Path, name: str) -> None:
        folder.mkdir()
        mount = f'mount -t tmpfs -o size=4m small {folder} && exec "$@"'
        run_child(name, folder, "unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh")
