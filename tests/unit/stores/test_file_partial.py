"""Growing files: what is left out of them, and how they get their names where hard links do not exist."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blick.model.errors import DataExists, StoreUnavailable
from blick.stores.file.directories import Folder
from blick.stores.file.partial import PartialFile
from blick.stream.holes import HOLE_BYTES, data_pieces


def _assembled(data: bytes, offset: int) -> bytearray:
    """What a reader finds at `offset` after only the pieces were written to a file of zeros."""
    file = bytearray(offset + len(data))
    for place, piece in data_pieces(memoryview(data), offset):
        assert len(piece) > 0
        assert place >= offset
        file[place : place + len(piece)] = piece
    return file[offset:]


@given(
    runs=st.lists(st.tuples(st.sampled_from([b"\0", b"x"]), st.integers(0, 2 * HOLE_BYTES + 1)), max_size=6),
    offset=st.integers(0, 3 * HOLE_BYTES),
)
def test_what_is_left_out_is_zero(runs: list[tuple[bytes, int]], offset: int) -> None:
    data = b"".join(byte * count for byte, count in runs)
    assert _assembled(data, offset) == data


def test_neighbours_come_as_one_piece() -> None:
    assert [len(piece) for _, piece in data_pieces(memoryview(b"x" * 5 * HOLE_BYTES), 100)] == [5 * HOLE_BYTES]


def test_blocks_are_cut_where_the_file_s_are() -> None:
    data = b"x" + bytes(2 * HOLE_BYTES) + b"y"
    pieces = [(place, len(piece)) for place, piece in data_pieces(memoryview(data), HOLE_BYTES - 1)]
    assert pieces == [(HOLE_BYTES - 1, 1), (3 * HOLE_BYTES, 1)]


def test_zeros_alone_give_nothing() -> None:
    assert list(data_pieces(memoryview(bytes(3 * HOLE_BYTES + 5)), 17)) == []
    assert list(data_pieces(memoryview(b""), 17)) == []


def _opened(path: Path) -> Folder:
    return Folder(path, os.open(path, os.O_RDONLY | os.O_DIRECTORY))


@pytest.fixture
def partial(tmp_path: Path) -> PartialFile:
    begun = PartialFile("s", "key", None, leave_holes=False)
    begun.begin(_opened(tmp_path))
    begun.append(memoryview(b"data"))
    return begun


def test_renaming_gives_the_final_name(partial: PartialFile, tmp_path: Path) -> None:
    partial.publish_by_renaming()
    partial.close(keep=True)
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert (tmp_path / "key").read_bytes() == b"data"


def test_renaming_does_not_replace_an_object(partial: PartialFile, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"first")
    with pytest.raises(DataExists):
        partial.publish_by_renaming()
    partial.close(keep=False)
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert (tmp_path / "key").read_bytes() == b"first"


def test_renaming_does_not_take_another_writer_s_file(partial: PartialFile, tmp_path: Path) -> None:
    other = PartialFile("s", "key", None, leave_holes=False)
    other.begin(_opened(tmp_path))
    with pytest.raises(StoreUnavailable):
        partial.publish_by_renaming()
    partial.close(keep=False)
    other.append(memoryview(b"other"))
    other.publish()
    other.close(keep=True)
    assert (tmp_path / "key").read_bytes() == b"other"


def test_what_was_published_but_not_kept_is_removed(partial: PartialFile, tmp_path: Path) -> None:
    partial.publish()
    assert (tmp_path / "key").exists()
    partial.close(keep=False)
    assert list(tmp_path.iterdir()) == []


def test_closing_what_never_began_does_nothing(tmp_path: Path) -> None:
    PartialFile("s", "key", None, leave_holes=False).close(keep=False)
    assert list(tmp_path.iterdir()) == []
