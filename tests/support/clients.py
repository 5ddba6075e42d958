"""The real client programs, run as a user runs them: at a terminal, with the files that the server wrote for them."""

import json
import os
import pty
import select
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.parts import VENV_BIN

TIMEOUT_S = 120.0
READ_BYTES = 64 * 1024


class ClientFailedError(Exception):
    """A client program ended with an error; the text is what it printed."""


@dataclass(frozen=True, slots=True)
class Clients:
    """`openstack` and `glance` as one user: `environment` holds the OS_ settings and everything else they see."""

    environment: Mapping[str, str]

    def openstack(self, *arguments: object) -> str:
        """What `openstack ARGUMENTS` prints."""
        return self.run("openstack", *arguments)

    def openstack_json(self, *arguments: object) -> Any:
        """What `openstack ARGUMENTS -f json` prints, decoded."""
        return json.loads(self.run("openstack", *arguments, "-f", "json"))

    def glance(self, *arguments: object) -> str:
        """What `glance ARGUMENTS` prints."""
        return self.run("glance", *arguments)

    def glance_record(self, *arguments: object) -> dict[str, str]:
        """The table of one thing that `glance ARGUMENTS` prints: value by property."""
        return {cells[0]: cells[1] for cells in self._glance_table(*arguments) if len(cells) == 2}

    def glance_list(self, *arguments: object) -> list[tuple[str, ...]]:
        """The rows of the list that `glance ARGUMENTS` prints, without the headings."""
        return self._glance_table(*arguments)[1:]

    def _glance_table(self, *arguments: object) -> list[tuple[str, ...]]:
        """What is between the lines of a table."""
        lines = [line for line in self.glance(*arguments).splitlines() if line.startswith("|")]
        return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]

    def run(self, program: str, *arguments: object) -> str:
        """Runs a client whose output goes into a pipe and whose input is a terminal; ClientFailedError when it fails.

        The clients take an input that is no terminal for image data, even an empty one.
        """
        controller, terminal = pty.openpty()
        try:
            done = subprocess.run(
                [str(VENV_BIN / program), *map(str, arguments)],
                env=dict(self.environment),
                stdin=terminal,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
            )
        finally:
            os.close(terminal)
            os.close(controller)
        if done.returncode != 0:
            raise ClientFailedError(f"{program} {' '.join(map(str, arguments))}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def run_on_terminal(self, program: str, *arguments: object) -> str:
        """Runs a client whose input and output are a terminal, the only place where the clients draw progress bars."""
        controller, terminal = pty.openpty()
        try:
            process = subprocess.Popen(
                [str(VENV_BIN / program), *map(str, arguments)],
                env=dict(self.environment),
                stdin=terminal,
                stdout=terminal,
                stderr=terminal,
                start_new_session=True,
            )
            os.close(terminal)
            said = _read_until_end(controller, process)
        finally:
            os.close(controller)
        if process.returncode != 0:
            raise ClientFailedError(f"{program} {' '.join(map(str, arguments))}:\n{said}")
        return said


def _read_until_end(controller: int, process: subprocess.Popen[bytes]) -> str:
    """What a process prints on its terminal until it ends; it is killed after TIMEOUT_S."""
    parts: list[bytes] = []
    give_up_at = time.monotonic() + TIMEOUT_S
    while time.monotonic() < give_up_at:
        ready, _, _ = select.select([controller], [], [], 1.0)
        if not ready:
            continue
        try:
            part = os.read(controller, READ_BYTES)
        except OSError:  # the last holder of the terminal's other end is gone
            break
        parts.append(part)
    else:
        process.kill()
    process.wait()
    return b"".join(parts).decode(errors="replace")
