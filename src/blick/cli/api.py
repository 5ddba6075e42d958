"""`glance-api`, the name that init scripts and packages call."""

import click

from blick.cli.main import run
from blick.cli.serve import serve


def main() -> None:
    """Serve from Glance's configuration files."""
    command = click.version_option(package_name="blick", prog_name="glance-api")(serve)
    run(command, prog_name="glance-api", default_map={"drop_in": True})
