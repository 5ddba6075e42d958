"""`glance-control`: servers in the background, for hosts without a service manager (spec: commands; docs: commands)."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from blick.cli import pid_file as pid_files
from blick.cli.launching import Program, find_program, launch, launch_and_watch, set_limits
from blick.cli.main import run
from blick.cli.pid_file import PidFile
from blick.model.errors import StartRefused

_FOLDER = Path("/var/run/glance")
_SERVERS = ("api", "scrubber")
_RELOADABLE = frozenset({"glance-api"})
_ENDS_WITHIN_S = 15.0
_LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Order:
    """What to do with one server."""

    server: str
    conf: Path | None
    pid_path: Path
    await_child_s: float | None
    respawn: bool
    capture_output: bool

    @property
    def pid_file(self) -> PidFile:
        """Its file, where it should be."""
        return PidFile(self.pid_path, self.server)


def start(order: Order) -> int:
    """Start it in the background, unless it runs; give the exit status."""
    pid_file, reason = pid_files.usable(order.pid_path, order.server)
    if reason:
        click.echo(reason, err=True)
    with pid_file.held():
        if pid_file.pid() is not None:
            click.echo(f"{order.server} appears to already be running: {pid_file.path}")
            return 0
        program = Program(order.server, find_program(order.server), order.conf, order.capture_output)
        set_limits(lambda text: click.echo(text, err=True))
        click.echo(f"Starting {order.server}" + (f" with {order.conf}" if order.conf is not None else ""))
        if order.respawn:
            launch_and_watch(program, pid_file)
            return 0
        process = launch(program)
        pid_file.write(process.pid)
    return 0 if order.await_child_s is None else _await(process, pid_file, order.await_child_s)


def status(order: Order) -> int:
    """Tell whether it runs."""
    pid = order.pid_file.pid()
    click.echo(f"{order.server} is stopped" if pid is None else f"{order.server} (pid {pid}) is running...")
    return 0


def stop(order: Order) -> int:
    """Tell it to end, and wait for a while: it finishes the transfers that are under way."""
    pid_file = order.pid_file
    if not pid_file.path.exists():
        click.echo(f"{order.server} is already stopped")
        return 0
    with pid_file.held():
        pid = pid_file.pid()
        if pid is None:
            pid_file.remove()
            click.echo(f"{order.server} is already stopped")
            return 0
        click.echo(f"Stopping {order.server} (pid {pid}) with signal({int(signal.SIGTERM)})")
        _tell(order, pid, signal.SIGTERM)
        # While it is held: whoever watches over the server must not find it named and ended.
        pid_file.remove()
    give_up_at = time.monotonic() + _ENDS_WITHIN_S
    while pid_files.is_alive(pid):
        if time.monotonic() > give_up_at:
            click.echo(f"{order.server} (pid {pid}) has not ended after {_ENDS_WITHIN_S:g} seconds.", err=True)
            break
        time.sleep(_LOOK_EVERY_S)
    return 0


def restart(order: Order) -> int:
    """Stop it, then start it."""
    stop(order)
    return start(order)


def reload(order: Order) -> int:
    """Have it read its configuration again."""
    if order.server not in _RELOADABLE:
        click.echo(f"Reload of {order.server} not supported", err=True)
        return 1
    pid = order.pid_file.pid()
    if pid is None:
        click.echo(f"{order.server} is stopped", err=True)
        return 1
    click.echo(f"Reloading {order.server} (pid {pid}) with signal({int(signal.SIGHUP)})")
    _tell(order, pid, signal.SIGHUP)
    return 0


def _tell(order: Order, pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it has just ended
    except OSError as error:
        raise StartRefused(f"{order.server} (pid {pid}): {error.strerror}.") from error


_COMMANDS: dict[str, Callable[[Order], int]] = {
    "start": start,
    "status": status,
    "stop": stop,
    "shutdown": stop,
    "restart": restart,
    "reload": reload,
    "force-reload": reload,
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--pid-file", type=click.Path(path_type=Path), help=f"The pid file. [default: {_FOLDER}/<server>.pid]")
@click.option(
    "--await-child",
    "await_child_s",
    metavar="SECS",
    type=click.FloatRange(0),
    help="After a start wait so long; exit with the server's status if it has ended by then.",
)
@click.option("--capture-output", is_flag=True, help="What the server prints goes to syslog, not to nowhere.")
@click.option("--respawn", is_flag=True, help="Start the server again whenever it ends, unless it ends at once.")
@click.argument("server", type=click.Choice([*_SERVERS, "all", *(f"glance-{name}" for name in _SERVERS)]))
@click.argument("command", type=click.Choice(list(_COMMANDS)))
@click.argument("conf", metavar="[CONFPATH]", type=click.Path(path_type=Path), required=False)
def glance_control(
    pid_file: Path | None,
    await_child_s: float | None,
    capture_output: bool,
    respawn: bool,
    server: str,
    command: str,
    conf: Path | None,
) -> None:
    """Start, stop and look at servers in the background. Service managers do that better."""
    if await_child_s is not None and respawn:
        raise StartRefused("--await-child and --respawn exclude each other.")
    if server == "all" and pid_file is not None:
        raise StartRefused("--pid-file is about one server, not about all.")
    names = [f"glance-{name}" for name in _SERVERS] if server == "all" else [f"glance-{server.removeprefix('glance-')}"]
    statuses = [
        _COMMANDS[command](
            Order(name, conf, pid_file or _FOLDER / f"{name}.pid", await_child_s, respawn, capture_output)
        )
        for name in names
    ]
    sys.exit(max(statuses))


def _await(process: "subprocess.Popen[bytes]", pid_file: PidFile, patience_s: float) -> int:
    """The exit status of a server that ends within that time, 0 of one that goes on."""
    try:
        status = process.wait(patience_s)
    except subprocess.TimeoutExpired:
        return 0
    pid_file.remove()
    click.echo(f"The server has ended with {status}.", err=True)
    return status if status >= 0 else 128 - status


def main() -> None:
    """The `glance-control` of init scripts."""
    run(glance_control, prog_name="glance-control")
