"""The `blick` command: every subcommand by name, loaded when it is called."""

import importlib
import os
import sys
from typing import Any, NoReturn

import click

from blick.model.errors import BlickError

# name → (module, attribute). A start must not load what it does not need.
COMMANDS = {
    "serve": ("blick.cli.serve", "serve"),
    "worker": ("blick.cli.worker", "worker"),
    "job": ("blick.cli.job", "job"),
    "config": ("blick.cli.config", "config"),
    "db": ("blick.cli.manage", "database_actions"),
    "stores": ("blick.cli.stores", "stores"),
    "scrub": ("blick.cli.scrub", "scrub"),
    "replicate": ("blick.cli.replicator", "replicate"),
    "status": ("blick.cli.status", "status"),
    "user": ("blick.cli.user", "user"),
    "project": ("blick.cli.project", "project"),
    "role": ("blick.cli.role", "role"),
    "completion": ("blick.cli.completion", "completion"),
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="blick", prog_name="blick")
def blick() -> None:
    """An image service for clouds: finds, registers, stores and delivers disk images for virtual machines."""


def main() -> None:
    """Run the command line. A mistake of the operator ends with one line on stderr and exit code 1."""
    run(blick)


def run(command: click.Command, **options: Any) -> None:
    """Run `command` with our way of telling errors."""
    try:
        command.main(**options)
    except BlickError as error:
        _end(str(error))
    except OSError as error:
        if error.filename is None:  # nothing that an operator could mend
            raise
        _end(f"{os.fsdecode(error.filename)}: {error.strerror}.")


def _end(reason: str) -> NoReturn:
    click.echo(f"ERROR: {reason}", err=True)
    sys.exit(1)
