"""`--require`: what happens to a test whose real part is not there. Each case is a pytest run of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CONFTEST = """
from tests.conftest import *
from tests.support.parts import PARTS, Part

PARTS["gone"] = Part("a thing that is nowhere", lambda: "no thing")
PARTS["slow"] = Part("a thing that takes long", lambda: None, on_demand=True)
PARTS["here"] = Part("a thing that is here", lambda: None)
"""
TESTS = """
import pytest

@pytest.mark.needs("gone")
def test_gone(): ...

@pytest.mark.needs("here")
def test_here(): ...
"""


def run_pytest(folder: Path, *arguments: str, tests: str = TESTS) -> tuple[int, str]:
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_parts.py").write_text(tests)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", *arguments, str(folder)],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("processes", ["0", "2"])
def test_missing_part_skips_its_test_and_is_listed_at_the_end(tmp_path: Path, processes: str) -> None:
    code, said = run_pytest(tmp_path, "-n", processes)
    assert code == 0
    assert "1 passed, 1 skipped" in said
    assert "gone: 1 test(s) skipped, no thing — a thing that is nowhere" in said


def test_missing_part_that_is_required_fails_its_test(tmp_path: Path) -> None:
    code, said = run_pytest(tmp_path, "--require", "here,gone")
    assert code == 1
    assert "1 passed, 1 error" in said
    assert "gone is required, but there is no thing" in said


def test_all_stands_for_every_part(tmp_path: Path) -> None:
    code, _ = run_pytest(tmp_path, "--require", "all")
    assert code == 1


def test_what_is_on_demand_is_not_among_all(tmp_path: Path) -> None:
    tests = "import pytest\n@pytest.mark.needs('slow')\ndef test_slow(): ...\n"
    code, said = run_pytest(tmp_path, "--require", "here", tests=tests)
    assert code == 0
    assert "slow: 1 test(s) skipped, on demand only: --require slow — a thing that takes long" in said
    code, said = run_pytest(tmp_path, "--require", "slow", tests=tests)
    assert code == 0
    assert "1 passed" in said


def test_unknown_part_is_refused_with_the_list_of_parts(tmp_path: Path) -> None:
    code, said = run_pytest(tmp_path, "--require", "spaceship")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "no part called spaceship; there are: clients" in said


def test_unknown_part_in_a_test_is_refused(tmp_path: Path) -> None:
    code, said = run_pytest(tmp_path, tests="import pytest\n@pytest.mark.needs('qemo')\ndef test_typo(): ...\n")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "needs qemo" in said
