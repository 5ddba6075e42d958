"""What only the rbd store does: URIs, snapshots, clones, thin images, copies, and what is left of killed processes."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from blick.model.blob import ByteRange, Location, StoredObject
from blick.model.errors import (
    DataExists,
    DataInUse,
    DataNotFound,
    Invalid,
    RangeInvalid,
    StartRefused,
    StoreDenied,
    StoreUnavailable,
)
from blick.stores.conformance import MIB, get, new_key, put, require_missing
from blick.stores.rbd.reader import PIECE_BYTES
from blick.stores.rbd.store import RbdStore
from blick.stores.rbd.uri import RbdPlace, place_of
from tests.stores.rbd_store import kill_a_writer, names_in, open_store
from tests.support.ceph import Ceph, CommandFailedError

pytestmark = pytest.mark.needs("ceph", "rbd")

DATA = os.urandom(64 << 10)


@pytest.fixture
async def store(ceph: Ceph) -> AsyncIterator[RbdStore]:
    opened = open_store(ceph.conf_path)
    yield opened
    await opened.aclose()


@pytest.fixture
async def elsewhere(ceph: Ceph) -> AsyncIterator[RbdStore]:
    """A store in the pool volumes, whose user has every right in both."""
    ceph.create_user("both", mon="profile rbd", osd="profile rbd pool=images, profile rbd pool=volumes")
    opened = open_store(ceph.conf_path, rbd_store_pool="volumes", rbd_store_user="both")
    yield opened
    await opened.aclose()


async def listed(store: RbdStore, key: str) -> list[StoredObject]:
    async with aclosing(store.objects()) as objects:
        return [found async for found in objects if found.key == key]


def image_id(ceph: Ceph, name: str) -> str:
    [line] = [line for line in ceph.rbd("info", f"images/{name}").splitlines() if line.strip().startswith("id:")]
    return line.split()[1]


def data_objects(ceph: Ceph, name: str) -> int:
    """How many RADOS objects hold bytes of the image."""
    prefix = f"rbd_data.{image_id(ceph, name)}."
    return sum(line.startswith(prefix) for line in ceph.program("rados", "-p", "images", "ls").splitlines())


# Options and URIs


@pytest.mark.parametrize(
    ("option", "value"),
    [("rbd_store_chunk_size", 3), ("rbd_store_chunk_size", 64), ("rbd_store_pool", ""), ("rbd_store_ceph_conf", "/no")],
)
def test_refuses_to_start_with(option: str, value: object) -> None:
    with pytest.raises(StartRefused, match=f"Store rbd: {option}"):
        RbdStore("rbd", {option: value})


def test_names_the_packages_that_are_missing() -> None:
    program = (
        "from blick.stores import ceph_bindings\n"
        "from blick.stores.rbd.store import RbdStore\n"
        "ceph_bindings.DISTRIBUTION_FOLDERS = ()\n"
        "RbdStore('images', {})\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "StartRefused: Store images: " in done.stderr
    assert "python3-rados and python3-rbd" in done.stderr


@pytest.mark.parametrize(
    "uri",
    [
        "rbd://",
        "rbd://a/b",
        "rbd://a/b/c",
        "rbd://a/b/c/d/e",
        "rbd://a//c/d",
        "file:///a",
        "rbd://\u00e4",
        "rbd://a%00",
    ],
)
def test_takes_no_other_uris(uri: str) -> None:
    assert place_of(uri) is None


def test_encodes_every_part_of_a_uri() -> None:
    place = RbdPlace("an image", "f/sid", "p@ol", "sn%ap")
    assert place.uri == "rbd://f%2Fsid/p%40ol/an%20image/sn%25ap"
    assert place_of(place.uri) == place


async def test_locations_are_as_nova_and_cinder_parse_them(store: RbdStore, ceph: Ceph) -> None:
    key = new_key()
    location = await put(store, key, DATA)
    assert location.uri == f"rbd://{ceph.fsid}/images/{key}/snap"
    assert store.owns(location.uri)
    assert not store.owns(location.uri.replace("/images/", "/volumes/"))
    assert not store.owns(location.uri.replace(ceph.fsid, new_key()))


async def test_tells_services_the_best_way_to_it(store: RbdStore, ceph: Ceph) -> None:
    expected = {"chunk_size": 8 * MIB, "pool": "images", "thin_provisioning": False, "fsid": ceph.fsid}
    assert await store.properties() == expected


async def test_an_image_is_what_clients_of_rbd_expect(store: RbdStore, ceph: Ceph) -> None:
    key = new_key()
    await put(store, key, DATA)
    info = ceph.rbd("info", f"images/{key}@snap")
    assert "format: 2" in info
    assert "order 23" in info
    assert "protected: True" in info
    assert "layering, exclusive-lock, object-map, fast-diff, deep-flatten" in info
    assert ceph.program("rados", "-p", "images", "ls").count(f"rbd_header.{image_id(ceph, key)}") == 1


async def test_refuses_names_that_are_no_ids(store: RbdStore) -> None:
    with pytest.raises(Invalid):
        await put(store, "pool/image@snap", DATA)


async def test_reads_what_others_wrote(store: RbdStore, ceph: Ceph, tmp_path: Path) -> None:
    key, source = new_key(), tmp_path / "source"
    source.write_bytes(DATA)
    ceph.rbd("import", "--image-format", "2", str(source), f"images/{key}")
    assert await get(store, Location("rbd", f"rbd://{key}")) == DATA
    whole = Location("rbd", f"rbd://{ceph.fsid}/images/{key}/snap")
    await require_missing(store, whole)  # not before it has its snapshot
    ceph.rbd("snap", "create", f"images/{key}@snap")
    assert await get(store, whole, ByteRange(10, 20)) == DATA[10:30]
    assert await store.size_bytes(Location("rbd", f"rbd://{key}")) == len(DATA)
    await store.delete(whole)
    assert key not in names_in(ceph)


async def test_notices_that_an_object_is_shorter_than_recorded(store: RbdStore) -> None:
    location = await put(store, new_key(), DATA)
    with pytest.raises(RangeInvalid):
        await get(store, location, ByteRange(0, len(DATA) + 1))


# Sizes and holes


@pytest.mark.parametrize("hint", [None, 1, 40 * MIB, 41 * MIB + 1, 90 * MIB])
async def test_an_image_has_the_size_of_its_bytes_whatever_the_hint(
    store: RbdStore, ceph: Ceph, hint: int | None
) -> None:
    key, pieces = new_key(), [os.urandom(MIB) for _ in range(41)]
    async with store.writer(key, hint) as writer:
        for piece in pieces:
            await writer.write(memoryview(piece))
        await writer.write(memoryview(b"e"))
        location = await writer.commit()
    assert await store.size_bytes(location) == 41 * MIB + 1
    assert await get(store, location) == b"".join(pieces) + b"e"
    assert data_objects(ceph, key) == 6
    await store.delete(location)


@pytest.mark.parametrize(("thin", "objects"), [(True, 1), (False, 3)])
async def test_zeros_take_no_room_if_asked(ceph: Ceph, thin: bool, objects: int) -> None:
    store, key = open_store(ceph.conf_path, rbd_thin_provisioning=thin), new_key()
    data = bytes(9 * MIB) + b"x" + bytes(14 * MIB)
    location = await put(store, key, data)
    assert data_objects(ceph, key) == objects
    assert await get(store, location) == data
    await store.delete(location)
    await store.aclose()


# Clones, snapshots, watchers: deleting


async def test_an_image_with_clones_is_in_use_until_they_are_gone(store: RbdStore, ceph: Ceph) -> None:
    key = new_key()
    location = await put(store, key, DATA)
    ceph.rbd("clone", "--rbd-default-clone-format", "1", f"images/{key}@snap", f"volumes/{key}")
    with pytest.raises(DataInUse):
        await store.require_unused(location)
    with pytest.raises(DataInUse):
        await store.delete(location)
    assert await get(store, location) == DATA
    assert "protected: True" in ceph.rbd("info", f"images/{key}@snap")
    ceph.rbd("rm", f"volumes/{key}")
    await store.require_unused(location)
    await store.delete(location)
    await require_missing(store, location)
    await store.require_unused(location)


async def test_an_image_with_newer_clones_lives_on_in_the_trash(store: RbdStore, ceph: Ceph, tmp_path: Path) -> None:
    key, copy = new_key(), tmp_path / "copy"
    location = await put(store, key, DATA)
    ceph.rbd("clone", "--rbd-default-clone-format", "2", f"images/{key}@snap", f"volumes/{key}")
    await store.require_unused(location)
    await store.delete(location)
    await require_missing(store, location)
    assert f"{key}*" in names_in(ceph)
    assert await listed(store, key) == [], "it is not ours to reclaim"
    ceph.rbd("export", f"volumes/{key}", str(copy))
    assert copy.read_bytes() == DATA
    ceph.rbd("rm", f"volumes/{key}")
    [left] = await listed(store, key)
    assert left.location is None
    await store.discard(key)
    assert f"{key}*" not in names_in(ceph)


async def test_an_image_with_snapshots_of_others_goes_into_the_trash(store: RbdStore, ceph: Ceph) -> None:
    key = new_key()
    location = await put(store, key, DATA)
    ceph.rbd("snap", "create", f"images/{key}@somebody-s")
    await store.delete(location)
    await require_missing(store, location)
    assert f"{key}*" in names_in(ceph)
    with pytest.raises(DataNotFound):
        await store.delete(location)


async def test_what_an_upload_left_in_the_trash_goes_with_its_object(store: RbdStore, ceph: Ceph) -> None:
    """A copy that broke off there is a clone still, and would keep its original from going."""
    key = new_key()
    missing = Location("rbd", f"rbd://{ceph.fsid}/images/{key}/snap")
    original = await put(store, new_key(), DATA)
    place = place_of(original.uri)
    assert place is not None
    ceph.rbd("clone", "--rbd-default-clone-format", "1", f"images/{place.image}@snap", f"images/{key}")
    ceph.rbd("trash", "mv", f"images/{key}")
    with pytest.raises(DataInUse):
        await store.delete(original)
    with pytest.raises(DataNotFound):
        await store.delete(missing)
    await store.delete(original)
    assert {f"{key}*", place.image}.isdisjoint(names_in(ceph))


async def test_what_a_writer_elsewhere_holds_is_not_taken_for_gone(
    store: RbdStore, ceph: Ceph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blick.stores.rbd.store._FORGOTTEN_AFTER_S", 0.0)
    key, other = new_key(), open_store(ceph.conf_path)
    missing = Location("rbd", f"rbd://{ceph.fsid}/images/{key}/snap")
    async with other.writer(key, None) as writer:
        await writer.write(memoryview(DATA))
        with pytest.raises(StoreUnavailable, match="open somewhere"):
            await store.discard(key)
        assert names_in(ceph).count(f"{key}*") == 1
        with pytest.raises(DataInUse):
            await store.delete(missing)
    await store.discard(key)
    assert {key, f"{key}*"}.isdisjoint(names_in(ceph))
    await other.aclose()


async def test_an_image_that_is_open_somewhere_is_in_use_and_stays_whole(store: RbdStore, ceph: Ceph) -> None:
    key = new_key()
    location = await put(store, key, DATA)
    watch = [sys.executable, "-c", WATCH, str(ceph.conf_path), key]
    with subprocess.Popen(watch, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == "open\n"
        with pytest.raises(DataInUse):
            await store.require_unused(location)
        with pytest.raises(DataInUse):
            await store.delete(location)
        assert await get(store, location) == DATA
        assert "protected: True" in ceph.rbd("info", f"images/{key}@snap")
        watcher.communicate("")
    await store.delete(location)
    assert key not in names_in(ceph)


WATCH = """
import sys
from blick.stores.ceph_bindings import load_bindings
ceph = load_bindings("test")
with ceph.rados.Rados(conffile=sys.argv[1], rados_id="admin") as client:
    with client.open_ioctx("images") as pool, ceph.rbd.Image(pool, sys.argv[2]):
        print("open", flush=True)
        sys.stdin.read()
"""


async def check_rest(reader: AsyncIterator[memoryview], data: bytes) -> None:
    """Fail if the reader gives anything else, or all of it."""
    while True:
        piece = await anext(reader)
        assert data.startswith(piece)
        data = data[len(piece) :]
        assert data, "nothing was removed meanwhile"


async def test_a_reader_whose_image_is_removed_gets_no_zeros(store: RbdStore, ceph: Ceph) -> None:
    pieces = [os.urandom(MIB)] * 64
    location = await put(store, new_key(), *pieces)
    async with aclosing(store.read(location)) as reader:
        assert len(await anext(reader)) == PIECE_BYTES
        await store.delete(location)
        with pytest.raises(DataNotFound):
            await check_rest(reader, b"".join(pieces)[PIECE_BYTES:])


async def test_a_reader_takes_true_zeros_for_what_they_are(store: RbdStore) -> None:
    location = await put(store, new_key(), bytes(MIB) * 33)
    assert await get(store, location) == bytes(33 * MIB)
    await store.delete(location)


# What was left behind


async def test_replaces_and_discards_what_others_left(store: RbdStore, ceph: Ceph) -> None:
    replaced, discarded = new_key(), new_key()
    for key in (replaced, discarded):
        ceph.rbd("create", "--size", "1G", f"images/{key}")
        [left] = await listed(store, key)
        assert (left.location, left.size_bytes) == (None, 1 << 30)
    location = await put(store, replaced, DATA)
    assert await get(store, location) == DATA
    await store.discard(discarded)
    assert discarded not in names_in(ceph)
    [whole] = await listed(store, replaced)
    assert (whole.location, whole.size_bytes) == (location, len(DATA))
    assert whole.modified_at_s is not None


async def test_lists_only_what_may_be_an_image(store: RbdStore, ceph: Ceph) -> None:
    name = f"volume-{new_key()}"
    ceph.rbd("create", "--size", "1G", f"images/{name}")
    assert await listed(store, name) == []
    ceph.rbd("rm", f"images/{name}")


@pytest.mark.parametrize("how", ["write", "delete", "discard"])
async def test_ends_a_removal_that_broke_off(store: RbdStore, ceph: Ceph, how: str) -> None:
    key = new_key()
    location = await put(store, key, DATA)
    # RBD removes an image's data, then its header, then its name.
    ceph.program("rados", "-p", "images", "rm", f"rbd_header.{image_id(ceph, key)}")
    if how == "write":
        assert await get(store, await put(store, key, DATA)) == DATA
    elif how == "delete":
        await store.delete(location)
    else:
        await store.discard(key)
    assert (key in names_in(ceph)) == (how == "write")


async def test_deletes_what_lost_its_snapshot_before_the_process_died(store: RbdStore, ceph: Ceph) -> None:
    key = new_key()
    location = await put(store, key, DATA)
    ceph.rbd("snap", "unprotect", f"images/{key}@snap")
    ceph.rbd("snap", "rm", f"images/{key}@snap")
    await require_missing(store, location)
    await store.delete(location)
    assert key not in names_in(ceph)


async def test_nothing_is_left_of_a_process_that_was_killed(store: RbdStore, ceph: Ceph) -> None:
    replaced, discarded, finished = new_key(), new_key(), new_key()
    kill_a_writer(ceph, replaced, finished)
    kill_a_writer(ceph, discarded, new_key())
    location, _, _ = await asyncio.gather(put(store, replaced, DATA), store.discard(discarded), store.discard(finished))
    assert await get(store, location) == DATA
    for key in (discarded, finished):
        assert {key, f"{key}*"}.isdisjoint(names_in(ceph))
        assert await listed(store, key) == []
        assert await get(store, await put(store, key, DATA)) == DATA
    await store.discard(replaced)
    assert {replaced, f"{replaced}*"}.isdisjoint(names_in(ceph))


# Rights


async def test_a_user_without_rights_is_denied(ceph: Ceph) -> None:
    ceph.create_user("reader", mon="profile rbd", osd="profile rbd-read-only pool=images")
    reader, stranger = (
        open_store(ceph.conf_path, rbd_store_user="reader"),
        open_store(ceph.conf_path, rbd_store_pool="volumes"),
    )
    owner, key = open_store(ceph.conf_path), new_key()
    location = await put(owner, key, DATA)
    await reader.probe()
    assert await get(reader, location) == DATA
    with pytest.raises(StoreDenied):
        await put(reader, new_key(), DATA)
    with pytest.raises(StoreDenied):
        await reader.delete(location)
    assert await get(owner, location) == DATA
    for refused in (stranger.probe(), put(stranger, key, DATA), stranger.discard(key)):
        with pytest.raises(StoreDenied):
            await refused
    for opened in (reader, stranger, owner):
        await opened.aclose()


async def test_a_wrong_key_is_denied(ceph: Ceph) -> None:
    keyring = ceph.create_user("changed", mon="profile rbd", osd="profile rbd")
    other = ceph.create_user("other", mon="profile rbd", osd="profile rbd").read_text()
    keyring.write_text(other.replace("client.other", "client.changed"))
    store = open_store(ceph.conf_path, rbd_store_user="changed")
    with pytest.raises(StoreDenied) as refused:
        await store.probe()
    assert str(ceph.folder) not in str(refused.value)
    await store.aclose()


async def test_a_missing_key_and_a_missing_pool_are_told(ceph: Ceph) -> None:
    nobody = open_store(ceph.conf_path, rbd_store_user="nobody")
    with pytest.raises(StoreUnavailable, match="the key of its user is missing"):
        await nobody.probe()
    nowhere = open_store(ceph.conf_path, rbd_store_pool="nowhere")
    for refused in (nowhere.probe(), put(nowhere, new_key(), DATA), nowhere.discard(new_key())):
        with pytest.raises(StoreUnavailable, match="no pool 'nowhere'"):
            await refused
    await nobody.aclose()
    await nowhere.aclose()


# Copies


async def test_copies_within_the_cluster_and_lets_the_source_go(
    store: RbdStore, elsewhere: RbdStore, ceph: Ceph
) -> None:
    key, data = new_key(), DATA * 400 + bytes(9 * MIB) + b"end"
    source = await put(store, key, data)
    copy = await elsewhere.copy_from(store, source, key)
    assert copy is not None
    assert copy.uri == f"rbd://{ceph.fsid}/volumes/{key}/snap"
    assert "parent" not in ceph.rbd("info", f"volumes/{key}")
    assert "conf_" not in ceph.rbd("image-meta", "ls", f"volumes/{key}")
    with pytest.raises(DataExists):
        await elsewhere.copy_from(store, source, key)
    await store.delete(source)
    assert await get(elsewhere, copy) == data
    await elsewhere.delete(copy)
    with pytest.raises(DataNotFound):
        await elsewhere.copy_from(store, source, key)
    assert key not in names_in(ceph, "volumes")


async def test_leaves_to_reading_what_it_cannot_clone(store: RbdStore, elsewhere: RbdStore, ceph: Ceph) -> None:
    location = await put(elsewhere, new_key(), DATA)
    key = new_key()
    assert await store.copy_from(elsewhere, location, key) is None, "no rights in the other pool"
    away = Location("rbd", location.uri.replace(ceph.fsid, new_key()))
    assert await elsewhere.copy_from(store, away, key) is None, "another cluster"
    assert await elsewhere.copy_from(store, Location("rbd", f"rbd://{key}"), key) is None
    assert await elsewhere.copy_from(store, Location("file", "file:///tmp/x"), key) is None
    assert key not in names_in(ceph)


@pytest.mark.parametrize("rounds", [0, 1, 20, 200])
async def test_a_cancelled_copy_leaves_all_or_nothing(
    store: RbdStore, elsewhere: RbdStore, ceph: Ceph, rounds: int
) -> None:
    key = new_key()
    source = await put(store, key, DATA * 1000)
    copying = asyncio.create_task(elsewhere.copy_from(store, source, key))
    for _ in range(rounds):
        await asyncio.sleep(0.001)
    copying.cancel()
    with suppress(asyncio.CancelledError):
        await copying
    assert (key in names_in(ceph, "volumes")) == (not copying.cancelled())
    with suppress(CommandFailedError):
        ceph.rbd("snap", "unprotect", f"volumes/{key}@snap")
    await store.delete(source)
