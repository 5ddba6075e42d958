"""The `blick` command, run to its end."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

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
