"""Bodies of POST locations, and lists of locations under change."""

from typing import Any

import pytest

from blick.model.errors import Forbidden, Invalid, LimitExceeded
from blick.model.image_patch import LocationChange
from blick.model.location import GivenLocation, LocationList, NewLocation, Validation, parse, scheme_of, without_secrets


def place(url: str, **metadata: Any) -> dict[str, Any]:
    return {"url": url, "metadata": metadata}


def listed(*urls: str) -> LocationList:
    return LocationList(tuple(GivenLocation(url, {}, number) for number, url in enumerate(urls)))


def test_new_location() -> None:
    assert parse({"url": "http://x"}) == NewLocation("http://x", None)
    assert parse({"url": "http://x", "validation_data": {}}) == NewLocation("http://x", None)
    assert parse({"url": "http://x", "metadata": {}, "more": 1}) == NewLocation("http://x", None)
    given = {"os_hash_algo": "sha256", "os_hash_value": "AB" * 32}
    assert parse({"url": "rbd://x", "validation_data": given}).validation == Validation("sha256", "ab" * 32)


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"url": None},
        {"url": 1},
        {"url": ""},
        {"url": "x" * 5000},
        {"url": "http://x\U0001f600"},
        {"url": "x", "validation_data": None},
        {"url": "x", "validation_data": []},
        {"url": "x", "validation_data": {"os_hash_algo": "sha512"}},
        {"url": "x", "validation_data": {"os_hash_value": "00"}},
        {"url": "x", "validation_data": {"os_hash_algo": "sha1", "os_hash_value": "0" * 40, "checksum": "0" * 32}},
        {"url": "x", "validation_data": {"os_hash_algo": "sha3", "os_hash_value": "0" * 40}},
        {"url": "x", "validation_data": {"os_hash_algo": ["sha1"], "os_hash_value": "0" * 40}},
        {"url": "x", "validation_data": {"os_hash_algo": "sha1", "os_hash_value": 0}},
        {"url": "x", "validation_data": {"os_hash_algo": "sha1", "os_hash_value": "0" * 39}},
        {"url": "x", "validation_data": {"os_hash_algo": "sha1", "os_hash_value": "x" * 40}},
        {"url": "x", "validation_data": {"os_hash_algo": "md5", "os_hash_value": "0" * 31 + "٠"}},
    ],
)
def test_malformed(body: object) -> None:
    with pytest.raises(Invalid):
        parse(body)


def test_schemes() -> None:
    assert [scheme_of(uri) for uri in ("HTTP://x", "swift+config://x", "x", "")] == ["http", "swift+config", "x", ""]


def test_add_and_remove() -> None:
    first = listed("a").changed(LocationChange("add", 0, place("b")), -1)
    assert [entry.uri for entry in first.entries] == ["b", "a"]
    assert [entry.uri for entry in first.added] == ["b"]
    without_new = first.changed(LocationChange("remove", 0), -1)
    assert (without_new.added, without_new.removed) == ((), ())
    without_old = first.changed(LocationChange("remove", 1), -1)
    assert [entry.id for entry in without_old.removed] == [0]
    with pytest.raises(Forbidden):
        without_old.changed(LocationChange("remove", 0), -1)
    with pytest.raises(Invalid):
        listed("a", "b").changed(LocationChange("remove", 2), -1)


def test_replace_keeps_the_records() -> None:
    changed = listed("a", "b").changed(LocationChange("replace", None, [place("b", x="1"), place("a")]), -1)
    assert [(entry.uri, entry.id, entry.metadata) for entry in changed.entries] == [("b", 1, {"x": "1"}), ("a", 0, {})]
    twice = LocationList((GivenLocation("a", {}, 1), GivenLocation("a", {"x": "1"}, 2)))
    changed = twice.changed(LocationChange("replace", None, [place("a", y="1"), place("a", y="2")]), -1)
    assert [entry.id for entry in changed.entries] == [1, 2]
    for wrong in ([place("a")], [place("a"), place("b"), place("c")], [place("a"), place("c")]):
        with pytest.raises(Invalid):
            listed("a", "b").changed(LocationChange("replace", None, wrong), -1)
    with pytest.raises(Forbidden):
        listed("a").changed(LocationChange("replace", None, []), -1)


def test_quota_and_doubles() -> None:
    with pytest.raises(LimitExceeded):
        listed("a").changed(LocationChange("add", None, place("b")), 1)
    with pytest.raises(Invalid):
        listed("a").changed(LocationChange("add", None, place("a")), -1)
    assert len(listed("a").changed(LocationChange("add", None, place("a", x="1")), 2).entries) == 2


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("rbd://fsid/pool/image/snap", "rbd://fsid/pool/image/snap"),
        ("file:///srv/at@home/image?x", "file:///srv/at@home/image?x"),
        ("s3://key:se/cr@et@host/bucket/image", "s3://***@host/bucket/image"),
        ("swift+https://project%3Auser:key@auth/v3/c/image", "swift+https://***@auth/v3/c/image"),
        ("https://host/image?signature=1", "https://host/image?***"),
        ("undecrypted", "undecrypted"),
    ],
)
def test_what_people_may_see_of_a_uri(uri: str, shown: str) -> None:
    assert without_secrets(uri) == shown
