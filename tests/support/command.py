"""The `blick` command, run to its end."""

import subprocess
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
