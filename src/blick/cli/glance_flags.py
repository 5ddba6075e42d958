"""The flags that every command of Glance's has, and the settings they lead to (spec: commands, common flags)."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from blick.cli.completion import SHELLS, script
from blick.conf import load
from blick.conf.log import set_up_logging
from blick.conf.settings import Settings
from blick.model.errors import StartRefused

F = TypeVar("F", bound=Callable[..., Any])

# What Blick stands in for; installers ask the commands for it.
GLANCE_RELEASE = "33.0.0"

_FILE = click.Path(path_type=Path)

_FLAGS = (
    click.option("--config-file", "config_files", type=_FILE, multiple=True, help="A configuration file; repeatable."),
    click.option("--config-dir", "config_dirs", type=_FILE, multiple=True, help="A folder whose *.conf are read last."),
    click.option("--debug/--nodebug", "-d", default=None, help="Log more."),
    click.option("--log-config-append", "--log-config", "--log_config", help="A logging configuration file."),
    click.option("--log-date-format", help="How log lines tell the time."),
    click.option("--log-dir", "--logdir", help="The folder of log files."),
    click.option("--log-file", "--logfile", help="The log file. [default: stderr]"),
    click.option("--use-syslog/--nouse-syslog", default=None, help="Log to syslog."),
    click.option("--syslog-log-facility", help="The facility of lines in syslog."),
    click.option("--use-journal/--nouse-journal", default=None, help="Log to the journal."),
    click.option("--use-json/--nouse-json", default=None, help="Log in JSON."),
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the flags said: where the configuration is, and the options given on the command line."""

    files: tuple[Path, ...]
    dirs: tuple[Path, ...]
    options: Mapping[str, Any]


def glance_flags(command: F) -> F:
    """Adds the flags; the command is called with all of them, for `chosen`."""
    for flag in reversed(_FLAGS):
        command = flag(command)
    command = click.option(
        "--shell_completion",
        type=click.Choice(SHELLS),
        is_eager=True,
        expose_value=False,
        callback=_print_completion,
        help="Print a completion script for that shell.",
    )(command)
    return click.version_option(GLANCE_RELEASE, message="%(version)s")(command)


def chosen(config_files: tuple[Path, ...], config_dirs: tuple[Path, ...], **options: Any) -> Chosen:
    """The flags of `glance_flags`, sorted."""
    return Chosen(config_files, config_dirs, {name: value for name, value in options.items() if value is not None})


def settings_for(program: str, flags: Chosen, groups: Collection[str] | None = None) -> Settings:
    """Settings of `program` from its files, logging set up. Wrong values count in `groups` only if given: no other is
    used then. Raises StartRefused.
    """
    files = flags.files or (() if flags.dirs else load.default_files(program))
    if not files and not flags.dirs:
        raise StartRefused("No configuration file found. Name one with --config-file.")
    examined = load.examine(files, flags.dirs, overrides=flags.options)
    if wrong := [finding for finding in examined.errors if groups is None or finding.group in groups]:
        raise StartRefused("\n".join(map(str, wrong)))
    set_up_logging(examined.settings.log, program)
    return examined.settings


def settings_without_files(program: str, flags: Chosen) -> Settings:
    """Like `settings_for`, for a program that can do without any file, and reads nothing but [DEFAULT]."""
    examined = load.examine(flags.files or load.default_files(program), flags.dirs, overrides=flags.options)
    if wrong := [finding for finding in examined.errors if finding.group == "DEFAULT"]:
        raise StartRefused("\n".join(map(str, wrong)))
    set_up_logging(examined.settings.log, program)
    return examined.settings


def _print_completion(ctx: click.Context, _parameter: click.Parameter, shell: str | None) -> None:
    if not shell:
        return
    click.echo(script(shell, ctx.info_name or ""))
    ctx.exit()
