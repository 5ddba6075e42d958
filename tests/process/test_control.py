"""glance-control: real servers in the background, started, watched over, told to reload and to end."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.command import run_program
from tests.support.config_file import configured_server
from tests.support.server import BlickServer
from tests.support.waiting import eventually

MODULE = "blick.cli.control"
SERVICE_UP_WITHIN_S = 120


class Control:
    """glance-control with pid files and configurations of a test."""

    def __init__(self, folder: Path, server: BlickServer) -> None:
        self.folder = folder
        self.server = server
        self.conf = server.folder / "glance-api.conf"
        self.pid_path = folder / "run" / "glance-api.pid"

    def __call__(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        done = run_program(self.folder, MODULE, "--pid-file", self.pid_path, *arguments)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    @property
    def pid(self) -> int:
        return int(self.pid_path.read_text())

    def is_up(self) -> bool:
        try:
            return httpx.get(f"{self.server.url}/healthcheck", timeout=10).status_code == 200
        except httpx.HTTPError:
            return False

    def await_up(self) -> None:
        eventually(self.is_up, within_s=SERVICE_UP_WITHIN_S, what="the server answers")

    def processes(self) -> list[psutil.Process]:
        """Whatever was started here and still runs."""
        return [process for process in psutil.process_iter() if str(self.folder) in _command_line(process)]


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    made = Control(tmp_path, configured_server(tmp_path / "blick", program="glance-api"))
    yield made
    made.pid_path.unlink(missing_ok=True)  # whoever watches over a server ends with it
    for process in made.processes():
        process.kill()
    psutil.wait_procs(made.processes(), timeout=60)


def test_from_start_to_stop(control: Control) -> None:
    assert control("api", "status").stdout == "glance-api is stopped\n"
    started = control("api", "start", control.conf)
    assert (started.returncode, started.stdout) == (0, f"Starting glance-api with {control.conf}\n")
    control.await_up()
    assert os.getsid(control.pid) == control.pid
    process = psutil.Process(control.pid)
    for kind, wanted in ((resource.RLIMIT_NOFILE, 32768), (resource.RLIMIT_DATA, 2 << 30)):
        limit, hard = process.rlimit(kind)
        assert limit == (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard))
    pid = control.pid
    assert control("glance-api", "status").stdout == f"glance-api (pid {pid}) is running...\n"
    again = control("api", "start", control.conf)
    assert (again.returncode, again.stdout) == (
        0, f"glance-api appears to already be running: {control.pid_path}\n",
    )  # fmt: skip
    assert control.pid == pid
    restarted = control("api", "restart", control.conf)
    assert restarted.returncode == 0
    assert f"Stopping glance-api (pid {pid}) with signal(15)\n" in restarted.stdout
    assert control.pid != pid
    control.await_up()
    stopped = control("api", "stop")
    assert stopped.returncode == 0
    assert not control.pid_path.exists()
    assert not control.is_up()
    assert control.processes() == []
    assert control("api", "stop").stdout == "glance-api is already stopped\n"


def test_reload_reads_the_configuration_again(control: Control) -> None:
    control("api", "start", control.conf)
    control.await_up()
    pid = control.pid
    url = f"{control.server.url}/v2/images"
    assert "x-openstack-request-id" in httpx.get(url).headers
    control.conf.write_text(control.conf.read_text().replace("[DEFAULT]", "[DEFAULT]\nlimit_param_default = 1", 1))
    for name in ("one", "two"):
        assert httpx.post(url, json={"name": name}).status_code == 201
    assert len(httpx.get(url).json()["images"]) == 2
    assert control("api", "reload").stdout == f"Reloading glance-api (pid {pid}) with signal(1)\n"
    eventually(lambda: len(httpx.get(url).json()["images"]) == 1, what="the new limit counts")
    assert control.pid == pid
    assert control("api", "shutdown").returncode == 0
    eventually(lambda: not control.is_up())


def test_what_cannot_be_reloaded(control: Control) -> None:
    stopped = control("api", "reload")
    assert (stopped.returncode, stopped.stderr) == (1, "glance-api is stopped\n")
    refused = control("scrubber", "force-reload")
    assert (refused.returncode, refused.stderr) == (1, "Reload of glance-scrubber not supported\n")


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_respawn(control: Control, signal_number: int) -> None:
    assert control("--respawn", "api", "start", control.conf).returncode == 0
    control.await_up()
    pid = control.pid
    os.kill(pid, signal_number)
    eventually(lambda: control.pid_path.exists() and control.pid != pid, what="another one is started")
    control.await_up()
    assert control("api", "stop").returncode == 0
    eventually(lambda: control.processes() == [], what="nobody starts it again, and nobody watches any more")
    assert not control.pid_path.exists()


def test_what_ends_at_once_is_not_started_again_and_again(control: Control) -> None:
    program = control.folder / "bin" / "glance-scrubber"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho started >> {control.folder / 'starts'}\nexit 3\n")
    program.chmod(0o755)
    starts = control.folder / "starts"
    script = (
        "import sys; from pathlib import Path; from blick.cli import launching; from blick.cli.pid_file import PidFile;"
        "program, pid_file = map(Path, sys.argv[1:]);"
        "launching.launch_and_watch(launching.Program(program.name, program), PidFile(pid_file, program.name))"
    )
    control.pid_path.parent.mkdir()
    subprocess.run([sys.executable, "-c", script, program, control.pid_path], check=True, timeout=120)
    eventually(lambda: starts.exists() and not control.pid_path.exists(), what="it is given up")
    assert starts.read_text() == "started\n"


def test_await_child_gives_its_exit_code(control: Control) -> None:
    control.conf.write_text("[DEFAULT]\nbind_port = 0\n")  # no database
    ended = control("--await-child", "100", "api", "start", control.conf)
    assert ended.returncode == 1
    assert control("api", "status").stdout == "glance-api is stopped\n"


def test_await_child_of_one_that_goes_on(control: Control) -> None:
    assert control("--await-child", "0.5", "api", "start", control.conf).returncode == 0
    control.await_up()
    assert control("api", "stop").returncode == 0


def test_what_it_prints_goes_to_logger(control: Control) -> None:
    bin_folder, captured = control.folder / "bin", control.folder / "captured"
    bin_folder.mkdir()
    (bin_folder / "logger").write_text(f'#!/bin/sh\necho "$@" > {captured}\nexec cat >> {captured}\n')
    (bin_folder / "logger").chmod(0o755)
    path = {"PATH": f"{bin_folder}:{os.environ['PATH']}"}
    arguments = ("--pid-file", control.pid_path, "--capture-output", "api", "start", control.conf)
    assert run_program(control.folder, MODULE, *arguments, environment=path).returncode == 0
    control.await_up()
    eventually(lambda: "Blick serves on" in captured.read_text(), what="its output is there")
    assert captured.read_text().startswith("-t glance-api\n")
    assert control("api", "stop").returncode == 0


def test_the_scrubber(control: Control) -> None:
    control("--await-child", "0", "api", "start", control.conf)
    control.await_up()
    control("api", "stop")
    conf = control.folder / "glance-scrubber.conf"
    log = control.folder / "scrubber.log"
    text = control.conf.read_text().replace("[DEFAULT]", f"[DEFAULT]\ndaemon = true\nlog_file = {log}", 1)
    conf.write_text(text)
    assert control("scrubber", "start", conf).stdout == f"Starting glance-scrubber with {conf}\n"
    eventually(lambda: log.exists() and "scrubbed" in log.read_text(), what="a round is done")
    assert control("scrubber", "stop").returncode == 0
    assert control.processes() == []


def test_a_pid_that_is_somebody_elses_now(control: Control) -> None:
    """After a crash of the machine, numbers of processes are given anew: nobody else may be told to end."""
    with subprocess.Popen(["/bin/sleep", "600"]) as somebody:
        control.pid_path.parent.mkdir()
        control.pid_path.write_text(str(somebody.pid))
        assert control("api", "status").stdout == "glance-api is stopped\n"
        assert control("api", "stop").stdout == "glance-api is already stopped\n"
        assert somebody.poll() is None
        somebody.kill()
    for text in ("", "nonsense", "0", "-1", "99999999"):
        control.pid_path.write_text(text)
        assert control("api", "stop").stdout == "glance-api is already stopped\n"


def test_a_pid_file_that_cannot_be_written(control: Control) -> None:
    blocking = control.folder / "file"
    blocking.write_text("")
    done = run_program(control.folder, MODULE, "--pid-file", blocking / "glance-api.pid", "api", "start", control.conf)
    assert done.returncode == 0
    assert "Unable to use the pid file" in done.stderr
    control.pid_path = Path(done.stderr.partition("Using ")[2].partition(";")[0])
    control.await_up()
    assert control("api", "stop").returncode == 0
    control.pid_path.parent.joinpath("glance-api.pid.lock").unlink()
    control.pid_path.parent.rmdir()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--await-child", "1", "--respawn", "api", "start"), 1, "exclude each other"),
        (("all", "status"), 1, "one server"),
        (("registry", "start"), 2, "registry"),
        (("api", "dance"), 2, "dance"),
        (("api",), 2, "Missing argument"),
    ],
)
def test_mistakes(control: Control, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = control(*arguments)
    assert done.returncode == code
    assert said in done.stderr


def test_all(tmp_path: Path) -> None:
    done = run_program(tmp_path, MODULE, "all", "status")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["glance-api", "glance-scrubber"]
