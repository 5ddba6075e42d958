"""What copying images decides without asking anybody: addresses, differences, patches, checks of data."""

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blick.cli.replication import documents
from blick.cli.replication.address import service_url
from blick.cli.replication.documents import Difference
from blick.cli.replication.fingerprint import Check, Fingerprint, checked
from blick.model.errors import Invalid, SourceBroken

BASE = {
    "id": "i", "status": "active", "name": "n", "visibility": "shared", "owner": "p", "protected": False,
    "os_hidden": False, "min_disk": 0, "min_ram": 0, "disk_format": "raw", "container_format": "bare", "tags": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("images:9292", "http://images:9292"),
        ("127.0.0.1:80", "http://127.0.0.1:80"),
        ("[::1]:9292", "http://[::1]:9292"),
        ("https://images.example.com", "https://images.example.com"),
        ("https://example.com/image/v2/", "https://example.com/image"),
        ("http://example.com:9292/", "http://example.com:9292"),
    ],
)
def test_addresses(text: str, url: str) -> None:
    assert service_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "images",
        "images:",
        "images:0",
        "images:65536",
        "::1:9292",
        "ftp://a:1",
        "https://",
        "https://u:p@a",
        "http://a?b",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(Invalid):
        service_url(text)


def patch(source: dict[str, Any], target: dict[str, Any], *left_out: str) -> list[dict[str, Any]]:
    found = documents.differences(source, target, left_out)
    return documents.changes(found, source, target)


def test_patches() -> None:
    source = {**BASE, "name": "new", "tags": ["b", "a"], "a/b~": "1", "both": "s", "size": 1, "os_glance_x": "y"}
    target = {**BASE, "tags": ["a", "b"], "gone": "1", "both": "t", "size": 2, "stores": "x", "owner": "q"}
    assert patch(source, target, "owner") == [
        {"op": "add", "path": "/a~1b~0", "value": "1"},
        {"op": "replace", "path": "/both", "value": "s"},
        {"op": "remove", "path": "/gone"},
        {"op": "replace", "path": "/name", "value": "new"},
    ]
    assert patch(source, source) == []


def test_formats_are_settled_as_soon_as_there_is_data() -> None:
    source, target = {**BASE, "disk_format": "qcow2"}, dict(BASE)
    found = documents.differences(source, target, ())
    assert found == [Difference("disk_format", "qcow2", "raw")]
    assert documents.unchangeable(found, target) == ["disk_format"]
    assert documents.changes(found, source, target) == []
    waiting = {**target, "status": "queued"}
    assert documents.unchangeable(found, waiting) == []
    assert documents.changes(found, source, waiting) == [{"op": "replace", "path": "/disk_format", "value": "qcow2"}]


def test_new_images_have_what_can_be_told() -> None:
    document = {
        **BASE,
        "name": None,
        "checksum": "x",
        "self": "/v2/images/i",
        "custom": None,
        "owner": "p",
        "note": "n",
    }
    body = documents.new_image(document, ["owner"])
    assert "name" not in body
    assert {"checksum", "self", "status", "owner"} & set(body) == set()
    assert (body["id"], body["custom"], body["note"]) == ("i", None, "n")


@pytest.mark.parametrize(
    ("source", "target", "same"),
    [
        ({"size": 1}, {"size": 1}, True),
        ({"size": 1}, {"size": 2}, False),
        ({"os_hash_algo": "sha512", "os_hash_value": "a"}, {"os_hash_algo": "sha512", "os_hash_value": "b"}, False),
        ({"os_hash_algo": "sha512", "os_hash_value": "a"}, {"os_hash_algo": "sha256", "os_hash_value": "b"}, True),
        (
            {"os_hash_algo": "sha512", "os_hash_value": "a", "checksum": "c"},
            {"os_hash_algo": "sha256", "os_hash_value": "b", "checksum": "d"},
            False,
        ),
    ],
)
def test_data_is_compared_by_the_hash_that_both_have(
    source: dict[str, Any], target: dict[str, Any], same: bool
) -> None:
    assert documents.is_same_data({**BASE, **source}, {**BASE, **target}) is same


def pieces_of(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@given(st.binary(max_size=200), st.integers(1, 50))
def test_right_data_passes_whole(data: bytes, size: int) -> None:
    wanted = Fingerprint(len(data), "sha256", hashlib.sha256(data).hexdigest())
    assert b"".join(checked(pieces_of(data, size), Check(wanted, "it"))) == data


@given(st.binary(min_size=1, max_size=200), st.integers(1, 50), st.sampled_from(["short", "long", "flipped"]))
def test_nobody_gets_wrong_data_complete(data: bytes, size: int, fault: str) -> None:
    wanted = Fingerprint(len(data), "sha256", hashlib.sha256(data).hexdigest())
    wrong = {"short": data[:-1], "long": data + b"x", "flipped": bytes([data[0] ^ 1]) + data[1:]}[fault]
    passed: list[bytes] = []
    pieces = map(passed.append, checked(pieces_of(wrong, size), Check(wanted, "it")))
    with pytest.raises(SourceBroken):
        list(pieces)
    assert len(b"".join(passed)) < len(data)


def test_which_hash_counts() -> None:
    both = {"size": 3, "os_hash_algo": "sha256", "os_hash_value": "v", "checksum": "c"}
    assert Fingerprint.of(both) == Fingerprint(3, "sha256", "v")
    assert Fingerprint.of({**both, "os_hash_algo": "unheard-of"}) == Fingerprint(3, "md5", "c")
    assert not Fingerprint.of({"size": 3}).is_hashed
