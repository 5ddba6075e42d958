"""The store of type s3 when something goes wrong: the right error, nothing left behind, and the next attempt works."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

import pytest

from blick.model.blob import ByteRange, Location
from blick.model.errors import (
    DataExists,
    DataNotFound,
    RangeInvalid,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from blick.stores.conformance import DATA, MIB, get, listed, new_key, put, require_missing
from blick.stores.s3.store import S3Store
from tests.support import s3
from tests.support.breaking_line import BreakingLine, breaking_line
from tests.support.moto import Moto
from tests.support.server import free_port
from tests.support.swift import Swift

PARTS = [bytes([number]) * MIB for number in range(20)]  # four parts of the store's, the last one short


class Bucket:
    """A bucket of one test's, and what is really in it."""

    def __init__(self, server: s3.S3Server) -> None:
        self.server = server
        self.name = s3.new_bucket(server)
        self.client = s3.client(server)

    def options(self, **more: Any) -> dict[str, Any]:
        """Of a store in it."""
        return s3.options(self.server, self.name, **more)

    def put(self, key: str, data: bytes) -> None:
        """An object that the store knows nothing of."""
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def uploads(self) -> list[str]:
        """The names of unfinished uploads."""
        found = self.client.list_multipart_uploads(Bucket=self.name)
        return [upload["Key"] for upload in found.get("Uploads", [])]

    def objects(self) -> list[str]:
        """The names of objects."""
        return [entry["Key"] for entry in self.client.list_objects_v2(Bucket=self.name).get("Contents", [])]


@pytest.fixture(
    params=[
        pytest.param("moto", marks=pytest.mark.needs("moto")),
        pytest.param("swift", marks=pytest.mark.needs("swift")),
    ]
)
def bucket(request: pytest.FixtureRequest) -> Iterator[Bucket]:
    """Of a lenient server, and of a strict one."""
    made = Bucket(request.getfixturevalue(request.param))
    yield made
    made.client.close()


@pytest.fixture
async def store(bucket: Bucket) -> AsyncIterator[S3Store]:
    made = S3Store("s3", bucket.options())
    yield made
    await made.aclose()


@pytest.fixture
def line(bucket: Bucket) -> Iterator[BreakingLine]:
    """To the bucket's server; the store `far` is at its end."""
    with breaking_line(bucket.server.port) as made:  # type: ignore[attr-defined]  # both have one
        yield made


@pytest.fixture
async def far(bucket: Bucket, line: BreakingLine) -> AsyncIterator[S3Store]:
    made = S3Store("s3", bucket.options(s3_store_host=f"http://{line.address}"))
    yield made
    await made.aclose()


async def write(
    store: S3Store,
    key: str,
    pieces: Sequence[bytes],
    *,
    first: Callable[[], None] = lambda: None,
    last: Callable[[], None] = lambda: None,
) -> Location:
    """Store an object; `first` is called before its bytes, and `last` before the commit."""
    async with store.writer(key, None) as writer:
        first()
        for piece in pieces:
            await writer.write(memoryview(piece))
        last()
        return await writer.commit()


async def read_on(pieces: AsyncGenerator[memoryview, None]) -> None:
    """Read to the end; nothing of the other object, which is made of the letter z, may come."""
    async for piece in pieces:
        assert b"z" not in bytes(piece)


@pytest.mark.needs("swift")
@pytest.mark.parametrize("wrong", ["s3_store_access_key", "s3_store_secret_key"])
async def test_wrong_credentials(swift: Swift, wrong: str) -> None:
    bucket = Bucket(swift)
    place = Location("s3", f"s3://{swift.address}/{bucket.name}/x")
    store = S3Store("s3", bucket.options(**{wrong: "wrong"}))
    calls: list[Callable[[], Any]] = [
        store.probe,
        lambda: put(store, new_key(), DATA),
        lambda: get(store, place),
        lambda: store.size_bytes(place),
        lambda: store.delete(place),
        lambda: store.discard(new_key()),
        lambda: listed(store, "x"),
    ]
    for call in calls:
        with pytest.raises(StoreDenied) as refused:
            await call()
        assert swift.s3_secret_key not in str(refused.value)
    await store.aclose()
    assert bucket.uploads() == bucket.objects() == []
    bucket.client.close()


async def test_the_bucket_is_missing(bucket: Bucket) -> None:
    store = S3Store("s3", bucket.options(s3_store_bucket="blick-is-not-there"))
    place = Location("s3", store.uri_of("x"))
    calls: list[Callable[[], Any]] = [
        store.probe,
        lambda: put(store, new_key(), DATA),
        lambda: get(store, place),
        lambda: store.size_bytes(place),
        lambda: store.delete(place),
    ]
    for call in calls:
        # Nothing is known to be lost: whoever created the bucket elsewhere has it still.
        with pytest.raises(StoreUnavailable, match="bucket"):
            await call()
    await store.aclose()


async def test_the_bucket_is_created_when_it_is_first_needed(bucket: Bucket) -> None:
    name = f"{bucket.name}-2"
    store = S3Store("s3", bucket.options(s3_store_bucket=name, s3_store_create_bucket_on_put=True))
    await store.probe()
    await store.discard(new_key())
    assert await listed(store, "x") == []
    location = await put(store, new_key(), DATA)
    assert await get(store, location) == DATA
    await put(store, new_key(), DATA)
    await store.aclose()


async def test_nobody_there() -> None:
    options = {
        "s3_store_host": f"http://127.0.0.1:{free_port()}",
        "s3_store_access_key": "key",
        "s3_store_secret_key": "secret",
        "s3_store_bucket": "bucket",
    }
    store = S3Store("s3", options)
    place = Location("s3", store.uri_of("x"))
    calls: list[Callable[[], Any]] = [
        store.probe,
        lambda: put(store, new_key(), DATA),
        lambda: get(store, place),
        lambda: store.size_bytes(place),
        lambda: store.delete(place),
        lambda: store.discard(new_key()),
        lambda: listed(store, "x"),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable) as refused:
            await call()
        assert "secret" not in str(refused.value)
    await store.aclose()


@pytest.mark.parametrize("sent_bytes", [0, 3 * MIB, 13 * MIB])
async def test_the_server_goes_in_the_middle_of_an_upload(
    bucket: Bucket, line: BreakingLine, far: S3Store, sent_bytes: int
) -> None:
    key = new_key()
    with pytest.raises(StoreUnavailable):
        await write(far, key, PARTS, first=lambda: line.cut_after(sent_bytes))
    assert bucket.objects() == []
    line.mend()
    assert await get(far, await put(far, key, *PARTS)) == b"".join(PARTS)
    assert bucket.uploads() == []  # the new writer has cleaned up after the old one


async def test_the_server_goes_before_the_commit(bucket: Bucket, line: BreakingLine, far: S3Store) -> None:
    key = new_key()
    with pytest.raises(StoreUnavailable):
        await write(far, key, PARTS, last=line.cut)
    assert bucket.objects() == []
    line.mend()
    await far.discard(key)
    assert bucket.uploads() == bucket.objects() == []


async def test_a_part_that_broke_off_is_sent_again(bucket: Bucket, line: BreakingLine, far: S3Store) -> None:
    location = await write(far, new_key(), PARTS, first=lambda: line.reset_after(1))  # at the first answer to a part
    assert await get(far, location) == b"".join(PARTS)


async def test_an_answer_to_the_commit_that_was_lost(bucket: Bucket, line: BreakingLine, far: S3Store) -> None:
    key = new_key()
    # Wherever the line breaks between the last part and the end, the outcome is what is there.
    for answered_bytes in (1, 300, 700, 1000):
        location = await write(far, key, [DATA], last=partial(line.reset_after, answered_bytes))
        line.mend()
        assert await get(far, location) == DATA
        await far.delete(location)
    assert bucket.uploads() == bucket.objects() == []


@pytest.mark.parametrize("wanted", [None, ByteRange(MIB, 17 * MIB)])
async def test_a_read_goes_on_where_it_broke(
    store: S3Store, line: BreakingLine, far: S3Store, wanted: ByteRange | None
) -> None:
    location = await put(store, new_key(), *PARTS)
    data = b"".join(PARTS)
    far_place = Location("s3", location.uri.replace(location.uri.split("/")[2], line.address))
    line.reset_after(7 * MIB)
    part = slice(None) if wanted is None else slice(wanted.offset_bytes, wanted.end_bytes)
    assert await get(far, far_place, wanted) == data[part]


async def test_a_read_is_given_up_when_nobody_is_there_any_more(
    store: S3Store, line: BreakingLine, far: S3Store
) -> None:
    location = await put(store, new_key(), *PARTS)
    far_place = Location("s3", location.uri.replace(location.uri.split("/")[2], line.address))
    line.cut_after(7 * MIB, "down")
    with pytest.raises(StoreUnavailable):
        await get(far, far_place)
    line.mend()
    assert await get(far, far_place) == b"".join(PARTS)


async def test_a_read_never_goes_on_in_another_object(
    bucket: Bucket, store: S3Store, line: BreakingLine, far: S3Store
) -> None:
    key = new_key()
    location = await put(store, key, *PARTS)
    far_place = Location("s3", location.uri.replace(location.uri.split("/")[2], line.address))
    async with aclosing(far.read(far_place)) as pieces:
        assert bytes(await anext(pieces))[:1] == b"\x00"
        bucket.put(key, b"z" * 20 * MIB)
        line.cut()
        line.mend()
        with pytest.raises(RangeInvalid):
            await read_on(pieces)


async def test_objects_that_are_missing_or_short(bucket: Bucket, store: S3Store) -> None:
    location = await put(store, new_key(), *PARTS)
    key = location.uri.rpartition("/")[2]
    bucket.put(key, b"short")
    with pytest.raises(RangeInvalid):
        await get(store, location, ByteRange(0, 20 * MIB))
    assert await store.size_bytes(location) == 5
    bucket.client.delete_object(Bucket=bucket.name, Key=key)
    await require_missing(store, location)
    with pytest.raises(DataNotFound):
        await store.delete(location)


async def test_an_object_that_appears_while_it_is_written(bucket: Bucket, store: S3Store) -> None:
    key = new_key()
    with pytest.raises(DataExists):
        await write(store, key, [DATA], last=lambda: bucket.put(key, b"somebody else's"))
    assert await get(store, Location("s3", store.uri_of(key))) == b"somebody else's"
    assert bucket.uploads() == []


async def test_sizes_that_no_server_takes(bucket: Bucket, store: S3Store) -> None:
    with pytest.raises(StoreFull):
        async with store.writer(new_key(), (5 << 40) + 1):
            pass
    assert bucket.uploads() == []


@pytest.mark.needs("moto")
async def test_a_silent_server_does_not_hold_up_who_is_cancelled(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Moto(tmp_path_factory.mktemp("moto")) as server:
        bucket = Bucket(server)
        store = S3Store("s3", bucket.options())
        location = await put(store, new_key(), *PARTS)
        reading = store.read(location)
        await anext(reading)
        written = asyncio.Event()

        async def upload() -> None:
            async with store.writer(new_key(), None) as writer:
                written.set()
                while True:
                    await writer.write(memoryview(PARTS[0]))

        uploading = asyncio.create_task(upload())
        await written.wait()
        server.pause()
        calls = [asyncio.create_task(call) for call in (store.probe(), store.size_bytes(location), anext(reading))]
        calls += [asyncio.create_task(store.discard(f"x{number}")) for number in range(3)]
        await asyncio.sleep(0.1)
        for task in (uploading, *calls):
            task.cancel()
        # Not the minute after which the server would be given up: only the upload's cleaning up waits a little.
        _, late = await asyncio.wait({uploading, *calls}, timeout=40)
        assert not late
        server.go_on()
        with suppress(StoreError):
            await reading.aclose()
        assert await get(store, location) == b"".join(PARTS)
        await store.aclose()
        bucket.client.close()


async def test_what_a_killed_process_left(bucket: Bucket, store: S3Store) -> None:
    key = new_key()
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.stores.s3_child", key],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    with child, child.stdin:
        child.stdin.write(repr(bucket.options()) + "\n")
        child.stdin.flush()
        assert await asyncio.to_thread(child.stdout.readline) == "written\n"
        child.send_signal(signal.SIGKILL)
    entries = await listed(store, key)
    assert [(entry.key, entry.location) for entry in entries or []] == [(key, None)]
    await store.discard(key)
    assert bucket.uploads() == bucket.objects() == []
    assert await get(store, await put(store, key, DATA)) == DATA
