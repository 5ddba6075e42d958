"""What an import takes over from another region's record of an image (spec: import-and-tasks §9)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blick.model.errors import Invalid, SourceBroken, SourceError
from blick.model.import_job import Expected
from blick.model.remote_image import RemoteImage, parse
from blick.model.schema import image_schema

ID = "6d0c0e0a-1f0b-4c55-9a57-0d3d1f9c6a11"
SCHEMA = image_schema(("raw", "qcow2"), ("bare",))
PREFIXES = ("hw_", "trait:", "os_distro", "os_secure_boot", "os_type")
MD5, SHA512 = "0123456789abcdef" * 2, "0123456789ABCDEF" * 8
RECORD: dict[str, Any] = {
    "id": ID,
    "name": "theirs",
    "status": "active",
    "size": 5,
    "disk_format": "qcow2",
    "container_format": "bare",
    "checksum": MD5,
    "os_hash_algo": "sha512",
    "os_hash_value": SHA512,
    "os_hidden": True,
    "tags": ["a"],
    "owner": "theirs",
    "hw_disk_bus": "scsi",
    "trait:CUSTOM_X": "required",
    "os_distro": "debian",
    "os_version": "13",
    "os_glance_import_task": "x",
    "kernel_id": None,
}


def read(prefixes: tuple[str, ...] = PREFIXES, **changes: Any) -> RemoteImage:
    return parse({**RECORD, **changes}, ID, SCHEMA, prefixes)


def test_takes_over_what_it_should() -> None:
    remote = read()
    assert remote.values == {"disk_format": "qcow2", "container_format": "bare"}
    assert remote.properties == {"hw_disk_bus": "scsi", "trait:CUSTOM_X": "required", "os_distro": "debian"}
    assert remote.expected == Expected(5, MD5, "sha512", SHA512.lower())


def test_the_prefixes_are_the_operators() -> None:
    assert read(()).properties == {}
    everything = read(("o", "k", "n", "t", "c", "d", "s", "i")).properties
    assert everything == {"trait:CUSTOM_X": "required", "os_distro": "debian", "os_version": "13"}, "never base names"
    with_odd_names = read(("l", "deleted"), location="x", locations="y", deleted="z")
    assert with_odd_names.properties == {}


def test_hashes_that_are_not_known_here() -> None:
    assert read(os_hash_algo="whirlpool").expected == Expected(5, MD5)
    assert read(os_hash_algo="shake_128").expected == Expected(5, MD5)
    assert read(os_hash_algo=None, os_hash_value=None, checksum=None).expected == Expected(5)
    assert read(os_hash_algo="sha3_256", os_hash_value="0" * 64).expected.os_hash_algo == "sha3_256"


@pytest.mark.parametrize("status", ["queued", "deactivated", "deleted", None, 3, "<script>", ["active"]])
def test_only_active_ones(status: Any) -> None:
    with pytest.raises(SourceError, match="not active") as refused:
        read(status=status)
    assert "script" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"id": "another"}, SourceBroken),
        ({"id": None}, SourceBroken),
        ({"size": None}, SourceBroken),
        ({"size": "5"}, SourceBroken),
        ({"size": True}, SourceBroken),
        ({"size": 5.0}, SourceBroken),
        ({"size": -1}, SourceBroken),
        ({"size": 2**63}, SourceBroken),
        ({"disk_format": None}, SourceBroken),
        ({"disk_format": ["raw"]}, SourceBroken),
        ({"disk_format": "vhd"}, SourceError),
        ({"container_format": "ova"}, SourceError),
        ({"checksum": "0"}, SourceBroken),
        ({"checksum": 0}, SourceBroken),
        ({"checksum": "z" * 32}, SourceBroken),
        ({"os_hash_value": "0"}, SourceBroken),
        ({"os_hash_value": 7}, SourceBroken),
        ({"hw_x": 7}, Invalid),
        ({"hw_x": ["y"]}, Invalid),
        ({"hw_x": {"y": "z"}}, Invalid),
        ({"hw_x": "\x00"}, Invalid),
        ({"hw_x": "\U0001f600"}, Invalid),
        ({"hw_" + "x" * 300: "y"}, Invalid),
    ],
)
def test_what_makes_no_sense(changes: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        read(**changes)


@pytest.mark.parametrize("document", [None, [], "x", 5, {}, [RECORD]])
def test_no_record(document: Any) -> None:
    with pytest.raises(SourceBroken):
        parse(document, ID, SCHEMA, PREFIXES)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*RECORD, "hw_x", "os_type", "stores", "locations"]), JSON_VALUES))
def test_whatever_comes_is_read_or_refused(changes: dict[str, Any]) -> None:
    document = json.loads(json.dumps({**RECORD, **changes}))
    try:
        remote = parse(document, ID, SCHEMA, PREFIXES)
    except (SourceError, Invalid):
        return
    assert all(isinstance(value, str) and name.startswith(PREFIXES) for name, value in remote.properties.items())
    assert not any(name.startswith("os_glance") for name in remote.properties)
    assert isinstance(remote.expected.size_bytes, int)
