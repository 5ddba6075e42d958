"""`glance-api`, the name that init scripts and packages call."""

from typing import Any

import click

from blick.cli.glance_flags import chosen, glance_flags
from blick.cli.main import run
from blick.cli.serve import LISTENER_NAMES, listener_flags


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@glance_flags
@listener_flags
def api(**flags: Any) -> None:
    """Serve the Images API as Glance's configuration files say."""
    from blick.cli.server import run_configured

    listener = {name: flags.pop(name) for name in LISTENER_NAMES}
    asked = chosen(**flags)
    run_configured(asked.files, asked.dirs, listener, asked.options)


def main() -> None:
    """Run the command line. A mistake of the operator ends with one line on stderr and exit code 1."""
    run(api, prog_name="glance-api")
