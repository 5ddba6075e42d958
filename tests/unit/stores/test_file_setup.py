"""The file driver's options."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from blick.model.errors import StartRefused
from blick.stores.file.setup import DEFAULT_DATADIR, DataDirectory, Mount, read_options


def test_without_options_there_is_the_default_directory() -> None:
    options = read_options("s", {})
    assert options.directories == (DataDirectory(Path(DEFAULT_DATADIR)),)
    assert options.file_mode is None
    assert not options.thin_provisioning
    assert options.mounts == ()


def test_one_directory() -> None:
    assert read_options("s", {"filesystem_store_datadir": "/a//b/"}).directories == (DataDirectory(Path("/a/b")),)


def test_a_relative_directory_becomes_absolute() -> None:
    (directory,) = read_options("s", {"filesystem_store_datadir": "images"}).directories
    assert directory.path == Path(os.getcwd(), "images")


def test_several_directories_with_priorities() -> None:
    entries = ["/a:200", "/b", " /c : -1 ", "/with:colon:7"]
    assert read_options("s", {"filesystem_store_datadirs": entries}).directories == (
        DataDirectory(Path("/a"), 200),
        DataDirectory(Path("/b"), 0),
        DataDirectory(Path("/c"), -1),
        DataDirectory(Path("/with:colon"), 7),
    )


def test_the_default_directory_gives_way_to_several() -> None:
    options = {"filesystem_store_datadir": DEFAULT_DATADIR, "filesystem_store_datadirs": ["/a:1"]}
    assert read_options("s", options).directories == (DataDirectory(Path("/a"), 1),)


def test_a_directory_named_twice_counts_once_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        options = read_options("s", {"filesystem_store_datadirs": ["/a:1", "/a/:1"]})
    assert options.directories == (DataDirectory(Path("/a"), 1),)
    assert "names /a twice" in caplog.text


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"filesystem_store_datadir": "/x", "filesystem_store_datadirs": ["/a:1"]}, "exclude each other"),
        ({"filesystem_store_datadirs": ["/a:first"]}, "not a whole number"),
        ({"filesystem_store_datadirs": ["/a:"]}, "not a whole number"),
        ({"filesystem_store_datadirs": [":1"]}, "no directory"),
        ({"filesystem_store_datadirs": ["/a:1", "/a:2"]}, "two different priorities"),
        ({"filesystem_store_file_perm": 689}, "not octal"),
        ({"filesystem_store_file_perm": -640}, "not octal"),
        ({"filesystem_store_file_perm": 4755}, "not octal"),
        ({"filesystem_store_file_perm": 240}, "could not read"),
        ({"filesystem_store_metadata_file": "/no/such/file"}, "cannot read"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], text: str) -> None:
    with pytest.raises(StartRefused, match=text) as refused:
        read_options("my-store", options)
    assert "my-store" in str(refused.value)
    assert "filesystem_store_" in str(refused.value)


@pytest.mark.parametrize(("digits", "mode"), [(0, None), (400, 0o400), (640, 0o640), (777, 0o777)])
def test_the_digits_of_the_mode_are_octal(digits: int, mode: int | None) -> None:
    assert read_options("s", {"filesystem_store_file_perm": digits}).file_mode == mode


def _with_metadata(tmp_path: Path, text: str) -> dict[str, str]:
    path = tmp_path / "metadata.json"
    path.write_text(text)
    return {"filesystem_store_metadata_file": str(path)}


@pytest.mark.parametrize("as_list", [True, False])
def test_the_metadata_file(tmp_path: Path, as_list: bool) -> None:
    entry = {"id": "share", "mountpoint": "/mnt/share", "hosts": ["a", "b"], "more": {"x": "y"}}
    options = _with_metadata(tmp_path, json.dumps([entry] if as_list else entry))
    assert read_options("s", options).mounts == (Mount(Path("/mnt/share"), entry),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "3",
        '"text"',
        "[3]",
        "{}",
        '{"id": "x"}',
        '{"mountpoint": "/x"}',
        '{"id": "", "mountpoint": "/x"}',
        '{"id": 3, "mountpoint": "/x"}',
        '{"id": "x", "mountpoint": "/x", "more": 3}',
        '{"id": "x", "mountpoint": "/x", "more": {"deep": [null]}}',
    ],
)
def test_a_metadata_file_that_makes_no_sense(tmp_path: Path, text: str) -> None:
    with pytest.raises(StartRefused, match="filesystem_store_metadata_file"):
        read_options("s", _with_metadata(tmp_path, text))
