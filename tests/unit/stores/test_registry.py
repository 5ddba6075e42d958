"""Opening the configured stores, and finding the right one."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from blick.conf.settings import StoreSettings, StoresSettings
from blick.model.errors import DataNotFound, Invalid, StartRefused, StoreUnavailable
from blick.model.image import ImageLocation
from blick.stores import registry
from blick.stores.conformance import get, put
from blick.stores.file.store import FileStore
from blick.stores.memory import MemoryStore
from blick.stores.registry import Stores, open_stores


def place(uri: str, metadata: Mapping[str, Any] | None = None) -> ImageLocation:
    return ImageLocation(uri, metadata or {})


def _settings(*stores: StoreSettings, default: str = "main") -> StoresSettings:
    return StoresSettings(default_store=default, stores=stores, multi_store=True)


def _file(store_id: str, folder: Path, weight: int = 0) -> StoreSettings:
    return StoreSettings(store_id, "file", {"filesystem_store_datadir": str(folder)}, weight=weight)


async def test_stores_are_opened_by_type_and_found_by_id(tmp_path: Path) -> None:
    stores = open_stores(_settings(StoreSettings("quick", "memory"), _file("main", tmp_path)))
    assert stores.ids == ("quick", "main")
    assert isinstance(stores.default, FileStore)
    assert stores.default.name == "main"
    assert isinstance(stores.by_id("quick"), MemoryStore)
    with pytest.raises(Invalid, match="nobody"):
        stores.by_id("nobody")
    location = await put(stores.default, "key", b"data")
    assert await get(stores.for_location(location.uri, {}), location) == b"data"
    await stores.aclose()


async def test_a_location_finds_its_store(tmp_path: Path) -> None:
    stores = open_stores(_settings(_file("main", tmp_path / "a"), _file("other", tmp_path / "b")))
    in_other = f"file://{tmp_path}/b/key"
    assert stores.for_location(in_other, {"store": "main"}).name == "main"
    assert stores.for_location(in_other, {}).name == "other"
    assert stores.for_location(in_other, {"store": "renamed"}).name == "other"
    for uri in (f"file://{tmp_path}/c/key", "rbd://a/b/c/snap", "nonsense"):
        with pytest.raises(DataNotFound):
            stores.for_location(uri, {})
    await stores.aclose()


async def test_locations_are_read_from_the_heaviest_store_first(tmp_path: Path) -> None:
    light, heavy = _file("main", tmp_path / "a"), _file("heavy", tmp_path / "b", weight=10)
    negative = StoreSettings("negative", "memory", weight=-1)
    stores = open_stores(_settings(light, heavy, negative))
    places = [
        place("1", {"store": "negative"}),
        place("2", {"store": "main"}),
        place("3", {"store": "unknown"}),
        place("4", {"store": "heavy"}),
        place("5"),
        place("6", {"store": "heavy"}),
    ]
    assert [found.uri for found in stores.ordered(places)] == ["4", "6", "2", "3", "5", "1"]
    await stores.aclose()


@pytest.mark.parametrize("multi_store", [True, False])
async def test_a_location_without_a_known_store_belongs_to_the_one_it_is_in(tmp_path: Path, multi_store: bool) -> None:
    light, heavy = _file("main", tmp_path / "a"), _file("heavy", tmp_path / "b", weight=10)
    stores = open_stores(replace(_settings(light, heavy, StoreSettings("broken", "none")), multi_store=multi_store))
    in_heavy = f"file://{tmp_path}/b/x"
    places = [
        place("1", {"store": "main"}),
        place("nobody://s"),
        place(in_heavy, {"store": "gone", "kept": "yes"}),
        place(in_heavy, {"store": "broken"}),
        place(in_heavy, {"store": ["no id"]}),
        place(in_heavy),
    ]
    found = [(each.uri, dict(each.metadata)) for each in stores.ordered(places)]
    named = [
        (in_heavy, {"store": "heavy", "kept": "yes"}),
        (in_heavy, {"store": "heavy"}),
        (in_heavy, {"store": "heavy"}),
    ]
    others = [("1", {"store": "main"}), ("nobody://s", {}), (in_heavy, {"store": "broken"})]
    assert found == ([*named, *others] if multi_store else [(each.uri, dict(each.metadata)) for each in places])
    await stores.aclose()


async def test_secrets_of_the_oldest_uris_are_left_out(tmp_path: Path) -> None:
    """Whether or not there is a store that they belong to."""
    stores = open_stores(_settings(_file("main", tmp_path)))
    places = [place("s3://key:sec/ret@host/bucket/x", {"store": "gone"}), place("http://user:password@host/x")]
    assert [found.uri for found in stores.ordered(places)] == ["s3://host/bucket/x", "http://user:password@host/x"]
    await stores.aclose()


@pytest.mark.parametrize(
    ("broken", "text"),
    [
        (StoreSettings("main", "no-such-type"), "no driver for the type 'no-such-type'"),
        (StoreSettings("main", "file", {"filesystem_store_file_perm": 9}), "filesystem_store_file_perm"),
    ],
)
def test_the_default_store_must_open(broken: StoreSettings, text: str) -> None:
    with pytest.raises(StartRefused, match=text):
        open_stores(_settings(StoreSettings("other", "memory"), broken))


def test_the_default_store_must_be_there() -> None:
    with pytest.raises(StartRefused, match="'main'"):
        open_stores(_settings(StoreSettings("other", "memory")))


async def test_another_broken_store_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        stores = open_stores(_settings(StoreSettings("main", "memory"), StoreSettings("broken", "no-such-type")))
    assert "store broken is left out" in caplog.text
    assert stores.ids == ("main",)
    assert "no driver" in stores.left_out["broken"]
    with pytest.raises(StoreUnavailable):
        stores.by_id("broken")
    with pytest.raises(StoreUnavailable):
        stores.for_location("x://y", {"store": "broken"})
    await stores.aclose()


async def test_a_store_that_was_left_out_is_opened_when_it_can_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    late = tmp_path / "late"
    late.write_text("a file where the directory should be")
    stores = open_stores(_settings(_file("early", late), StoreSettings("main", "memory")))
    await stores.look_after(patience_s=60)
    assert stores.ids == ("main",)
    assert "not a directory" in stores.trouble["early"]
    late.unlink()
    with caplog.at_level(logging.WARNING):
        await stores.look_after(patience_s=60)
    assert "store early is open now" in caplog.text
    assert stores.ids == ("early", "main")
    assert not stores.trouble
    location = await put(stores.by_id("early"), "key", b"data")
    assert stores.for_location(location.uri, {"store": "early"}).name == "early"
    await stores.aclose()


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("s3", "blick_no_such_library.s3:Store [s3]", "blick.stores")
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
    with pytest.raises(StartRefused, match=r"pip install 'blick\[s3\]'"):
        open_stores(_settings(StoreSettings("main", "s3")))


async def test_every_store_is_closed_even_if_one_fails() -> None:
    class Failing(MemoryStore):
        async def aclose(self) -> None:
            raise StoreUnavailable(self.name)

    first, last = MemoryStore("first", {}), MemoryStore("last", {})
    location = await put(first, "key", b"data")
    stores = Stores(last, [first, Failing("failing", {}), last])
    with pytest.raises(StoreUnavailable):
        await stores.aclose()
    with pytest.raises(DataNotFound):
        await first.size_bytes(location)
