"""Every program that an installation has, and its parser: for what concerns all of them."""

import importlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

import click

# name → (module, attribute); the same names are in pyproject.toml, with each module's `main`.
PROGRAMS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "blick": ("blick.cli.main", "blick"),
        "glance-api": ("blick.cli.api", "api"),
        "glance-control": ("blick.cli.control", "glance_control"),
        "glance-manage": ("blick.cli.manage", "glance_manage"),
        "glance-replicator": ("blick.cli.replicator", "glance_replicator"),
        "glance-scrubber": ("blick.cli.scrub", "glance_scrubber"),
        "glance-status": ("blick.cli.status", "glance_status"),
    }
)


def parser(name: str) -> click.Command:
    """What parses the command line of the program called so."""
    module, attribute = PROGRAMS[name]
    found: click.Command = getattr(importlib.import_module(module), attribute)
    return found


def commands(name: str) -> Iterator[click.Context]:
    """A context for the program and for each of its subcommands, those that have subcommands before them."""
    yield from _walk(_context(parser(name), name))


def children(context: click.Context) -> Iterator[click.Context]:
    """A context for each subcommand that people are shown."""
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            if command is not None and not command.hidden:
                yield _context(command, name, context)


def _walk(context: click.Context) -> Iterator[click.Context]:
    yield context
    for child in children(context):
        yield from _walk(child)


def _context(command: click.Command, name: str, parent: click.Context | None = None) -> click.Context:
    return click.Context(command, info_name=name, parent=parent, **command.context_settings)
