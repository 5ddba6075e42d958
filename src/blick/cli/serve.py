"""`blick serve`: one command to a running image service."""

from pathlib import Path

import click

_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.option("--data", type=_FOLDER, envvar="BLICK_DATA", help="Folder of a standalone service. [default: blick-data]")
@click.option("--config-file", "config_files", type=_FILE, multiple=True, help="A Glance configuration file.")
@click.option("--config-dir", "config_dirs", type=_FOLDER, multiple=True, help="A folder of configuration files.")
@click.option("--host", help="Address to listen on. [default: 127.0.0.1, or bind_host]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on. [default: 9292, or bind_port]")
@click.option("--workers", type=click.IntRange(1, 1024), help="Number of worker processes.")
@click.option("--cert-file", type=_FILE, help="TLS certificate (PEM).")
@click.option("--key-file", type=_FILE, help="Private key of the certificate.")
@click.option("--insecure", is_flag=True, help="Listen beyond this machine without TLS, knowing what that means.")
@click.option(
    "--grace", "grace_s", type=click.IntRange(0), help="Seconds for transfers to end at a stop. [default: 30]"
)
@click.option("--debug", "-d", is_flag=True, help="Log more.")
@click.option("--drop-in", is_flag=True, hidden=True)
def serve(
    data: Path | None,
    config_files: tuple[Path, ...],
    config_dirs: tuple[Path, ...],
    drop_in: bool,
    debug: bool,
    **listener: object,
) -> None:
    """Start the image service.

    With no options it stands alone: its own users and projects, SQLite and one folder of images. With a
    configuration file it runs as that file says, with the options that Glance has.
    """
    from blick.cli.server import run_configured, run_standalone

    if config_files or config_dirs or drop_in:
        run_configured(config_files, config_dirs, listener, debug=debug)
    else:
        run_standalone(data or Path("blick-data"), listener, debug=debug)
