"""Folders kept between runs: whole or not at all, made once."""

import threading
from pathlib import Path

import pytest

from tests.support.environments import NAMES, kept, requirements_file


def test_what_was_made_is_kept(tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "file").write_text("first")

    def make_again(folder: Path) -> None:
        (folder / "file").write_text("second")

    assert kept(tmp_path / "kept", make) == kept(tmp_path / "kept", make_again)
    assert (tmp_path / "kept/file").read_text() == "first"


def test_what_ended_half_way_is_made_anew(tmp_path: Path) -> None:
    def die(folder: Path) -> None:
        (folder / "left").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept(tmp_path / "kept", die)
    assert not (tmp_path / "kept").exists()
    assert not (kept(tmp_path / "kept", lambda folder: None) / "left").exists()


def test_two_at_once_make_it_once(tmp_path: Path) -> None:
    both, made = threading.Barrier(2, timeout=60), []

    def ask() -> None:
        both.wait()
        kept(tmp_path / "kept", made.append)

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert len(made) == 1


@pytest.mark.parametrize("name", NAMES)
def test_every_requirement_is_one_version(name: str) -> None:
    lines = [line for line in requirements_file(name).read_text().splitlines() if not line.startswith("#")]
    assert lines
    assert [line for line in lines if line.count("==") != 1] == []
