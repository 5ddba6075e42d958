"""docs/moving-from-glance.md, followed step by step: the shell blocks are taken from the page and run in its order."""

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.peer.test_adoption import calling, glance, two_places
from tests.support import environments
from tests.support.databases import Databases
from tests.support.glance_records import collect
from tests.support.parts import VENV_BIN
from tests.support.server import clean_environment
from tests.support.upstream import UpstreamGlance
from tests.support.web_server import WebServer

pytestmark = [pytest.mark.needs("upstream", "mariadb", "clients"), pytest.mark.database_server]

PAGE = Path(__file__).parents[2] / "docs/moving-from-glance.md"
TIMEOUT_S = 600.0

# Stands in for the init system: starts what the units say, in the background, and stops it.
SYSTEMCTL = """#!/bin/bash
set -eu
cd {folder}
case $1 in
  start) setsid {run}/$2 >>$2.log 2>&1 </dev/null & echo $! >$2.pid ;;
  stop) kill -TERM $(cat $2.pid); while kill -0 $(cat $2.pid) 2>/dev/null; do sleep 0.1; done ;;
  *) exit 1 ;;
esac
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def unit_command(upstream: UpstreamGlance) -> str:
    """What the page's unit runs, with this machine's places."""
    [unit] = blocks("ini")
    [command] = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    return command.replace("/opt/blick/bin", str(VENV_BIN)).replace(
        "/etc/glance/glance-api.conf", str(upstream.config_file)
    )


def exports(environment: dict[str, str]) -> str:
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())


@pytest.fixture
def machine(tmp_path: Path, databases: Databases) -> Iterator[dict[str, str]]:
    """A controller on which Glance runs, filled; gives the shell's environment."""
    url = databases.untouched("mariadb", tmp_path)
    with WebServer() as web:
        upstream = glance(tmp_path, url, web)
        with upstream, calling(upstream.url) as call:
            collect(call, two_places(web))
    run = tmp_path / "run"
    theirs = exports(dict(upstream.environment()))
    executable(run / "glance-api", f"#!/bin/bash\n{theirs}exec {shlex.join(upstream.command())}\n")
    executable(run / "blick", f"#!/bin/bash\nexec {unit_command(upstream)}\n")
    executable(tmp_path / "bin/systemctl", SYSTEMCTL.format(folder=tmp_path, run=run))
    reached = make_url(url)
    (tmp_path / ".my.cnf").write_text(
        f"[client]\nhost={reached.host}\nport={reached.port}\nuser={reached.username}\npassword={reached.password}\n"
    )
    environment = clean_environment(tmp_path)
    environment |= {
        "PATH": f"{tmp_path / 'bin'}:{environment['PATH']}",
        "BLICK": str(VENV_BIN),
        "GLANCE": str(environments.environment("upstream") / "bin"),
        "GLANCE_CONF": str(upstream.config_file),
        "GLANCE_URL": upstream.url,
        "BACKUP": str(tmp_path / "before blick"),
        "OS_AUTH_TYPE": "none",
        "OS_ENDPOINT": upstream.url,
        "PYTHONWARNINGS": "ignore",
    }
    start = "systemctl start glance-api; until curl -sf -o /dev/null $GLANCE_URL/healthcheck; do sleep 1; done"
    subprocess.run(["/bin/bash", "-c", start], env=environment, check=True, timeout=TIMEOUT_S)
    yield environment
    for file in tmp_path.glob("*.pid"):
        try:
            os.killpg(int(file.read_text()), signal.SIGKILL)
        except ProcessLookupError:
            continue  # stopped by the page itself


def test_every_step_of_the_page(machine: dict[str, str], tmp_path: Path) -> None:
    steps = blocks("sh")
    assert len(steps) == 10
    script = "".join(f"echo STEP {number}\n{step}" for number, step in enumerate(steps, 1))
    done = subprocess.run(
        ["/bin/bash", "-x", "-eu", "-o", "pipefail", "-c", script],
        env=machine,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    listed = Path(machine["BACKUP"], "images-back.csv").read_text("utf-8")
    assert "Zürich" in listed
    assert "CREATE TABLE `images`" in Path(machine["BACKUP"], "database.sql").read_text("utf-8")
