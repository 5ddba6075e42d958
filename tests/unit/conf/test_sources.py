"""Which files a program reads."""

from pathlib import Path

import pytest

from blick.conf.load import default_files
from blick.conf.sources import find_file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("etc/glance", "usr/share/glance", "home/.glance"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def _touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def _found(root: Path, program: str = "glance-api", **environment: str) -> list[str]:
    files = default_files(program, {"HOME": str(root / "home"), **environment}, root)
    return [str(file.relative_to(root)) for file in files]


def test_nothing_there(root: Path) -> None:
    assert _found(root) == []


def test_first_folder_wins(root: Path) -> None:
    _touch(root, "etc/glance-api.conf", "etc/glance/glance-api.conf")
    assert _found(root) == ["etc/glance/glance-api.conf"]
    _touch(root, "home/glance-api.conf")
    assert _found(root) == ["home/glance-api.conf"]
    _touch(root, "home/.glance/glance-api.conf")
    assert _found(root) == ["home/.glance/glance-api.conf"]


def test_distribution_first_then_import_file_then_own_then_folder(root: Path) -> None:
    _touch(
        root,
        "usr/share/glance/glance-api-dist.conf",
        "etc/glance/glance-api.conf",
        "etc/glance/glance-image-import.conf",
        "etc/glance/glance-api.conf.d/20.conf",
        "etc/glance/glance-api.conf.d/10.conf",
        "etc/glance/glance-api.conf.d/notes.txt",
    )
    assert _found(root) == [
        "usr/share/glance/glance-api-dist.conf",
        "etc/glance/glance-image-import.conf",
        "etc/glance/glance-api.conf",
        "etc/glance/glance-api.conf.d/10.conf",
        "etc/glance/glance-api.conf.d/20.conf",
    ]


def test_config_dir_of_the_environment(root: Path) -> None:
    _touch(root, "etc/glance/glance-api.conf", "srv/glance-api.conf", "srv/glance-image-import.conf")
    assert _found(root, OS_GLANCE_CONFIG_DIR=str(root / "srv")) == [
        "srv/glance-image-import.conf",
        "srv/glance-api.conf",
    ]


@pytest.mark.parametrize(
    ("program", "files"),
    [
        ("glance-manage", ["etc/glance/glance-api.conf", "etc/glance/glance-manage.conf"]),
        ("glance-scrubber", ["etc/glance/glance-scrubber.conf"]),
        ("glance-cache-pruner", ["etc/glance/glance-cache.conf"]),
    ],
)
def test_files_of_other_programs(root: Path, program: str, files: list[str]) -> None:
    _touch(root, *(f"etc/glance/glance-{name}.conf" for name in ("api", "manage", "scrubber", "cache")))
    assert _found(root, program) == files


def test_no_home(root: Path) -> None:
    _touch(root, "etc/glance/glance-api.conf")
    assert default_files("glance-api", {}, root) == (root / "etc/glance/glance-api.conf",)


def test_find_file(root: Path) -> None:
    _touch(root, "etc/glance/a.yaml", "etc/b.yaml", "home/a.yaml")
    configuration = root / "etc/glance/glance-api.conf"
    assert find_file("a.yaml", [configuration], [root / "home"]) == root / "etc/glance/a.yaml"
    assert find_file("b.yaml", [configuration], [root / "home", root / "etc"]) == root / "etc/b.yaml"
    assert find_file("c.yaml", [configuration], [root / "home"]) == Path("c.yaml")
    assert find_file("/x/c.yaml", [configuration], [root / "home"]) == Path("/x/c.yaml")
