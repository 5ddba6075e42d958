"""`blick serve`: one command to a running image service."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)

_LISTENER = (
    click.option("--host", help="Address to listen on. [default: 127.0.0.1, or bind_host]"),
    click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on. [default: 9292, or bind_port]"),
    click.option("--workers", type=click.IntRange(1, 1024), help="Number of worker processes."),
    click.option("--cert-file", type=_FILE, help="TLS certificate (PEM)."),
    click.option("--key-file", type=_FILE, help="Private key of the certificate."),
    click.option("--insecure", is_flag=True, help="Listen beyond this machine without TLS, knowing what that means."),
    click.option(
        "--grace", "grace_s", type=click.IntRange(0), help="Seconds for transfers to end at a stop. [default: 30]"
    ),
)
LISTENER_NAMES = ("host", "port", "workers", "cert_file", "key_file", "insecure", "grace_s")


def listener_flags(command: F) -> F:
    """Adds the flags that say where to listen and how; the command is called with all of LISTENER_NAMES."""
    for flag in reversed(_LISTENER):
        command = flag(command)
    return command


@click.command()
@click.option("--data", type=_FOLDER, envvar="BLICK_DATA", help="Folder of a standalone service. [default: blick-data]")
@click.option("--config-file", "config_files", type=_FILE, multiple=True, help="A Glance configuration file.")
@click.option("--config-dir", "config_dirs", type=_FOLDER, multiple=True, help="A folder of configuration files.")
@listener_flags
@click.option("--debug", "-d", is_flag=True, help="Log more.")
def serve(
    data: Path | None,
    config_files: tuple[Path, ...],
    config_dirs: tuple[Path, ...],
    debug: bool,
    **listener: object,
) -> None:
    """Start the image service.

    With no options it stands alone: its own users and projects, SQLite and one folder of images. With a
    configuration file it runs as that file says, with the options that Glance has.
    """
    from blick.cli.server import run_configured, run_standalone

    if config_files or config_dirs:
        run_configured(config_files, config_dirs, listener, {"debug": True} if debug else {})
    else:
        run_standalone(data or Path("blick-data"), listener, debug=debug)
