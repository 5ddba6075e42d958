"""Commands, run to their end: as programs of their own, or in this process."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from blick.cli.main import run
from tests.support.parts import VENV_BIN
from tests.support.server import clean_environment

TIMEOUT_S = 120.0


def run_command(
    folder: Path, *arguments: object, program: str = "blick", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs `blick ARGUMENTS` in `folder`, which is also its home; the exit status is the caller's to judge."""
    return subprocess.run(
        [str(VENV_BIN / program), *map(str, arguments)],
        env=clean_environment(folder) | dict(environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        cwd=folder,
    )


def run_program(
    folder: Path, module: str, *arguments: object, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs the program whose `main` is in `module`, in `folder`; the exit status is the caller's to judge."""
    return subprocess.run(
        program_command(module, *arguments),
        env=clean_environment(folder) | dict(environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        cwd=folder,
    )


def program_command(module: str, *arguments: object) -> list[str]:
    """The command line of `run_program`, for who needs the process while it runs."""
    return [sys.executable, "-c", f"from {module} import main; main()", *map(str, arguments)]


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    def document(self) -> Any:
        """What it printed as JSON."""
        return json.loads(self.out)


Call = Callable[..., Ended]


def ended(command: click.Command, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> Ended:
    """Runs the command in this process; what was printed before is left out."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        run(command, args=arguments)
    captured = capsys.readouterr()
    return Ended(int(end.value.code or 0), captured.out, captured.err)
