"""`glance-status upgrade check`, and the same as `blick status` (spec: commands; docs: commands)."""

import asyncio
import json
import sys
import textwrap
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from blick.cli.database import configured, database_options
from blick.cli.glance_flags import Chosen
from blick.cli.main import run
from blick.cli.output import format_option, print_records
from blick.conf import load
from blick.conf.load import Examined
from blick.conf.log import set_up_logging
from blick.conf.settings import LogSettings
from blick.model.errors import StartRefused
from blick.ops.upgrade_check.outcome import Outcome, Result
from blick.ops.upgrade_check.run import run as run_checks

_FILE = click.Path(path_type=Path)
_CRASHED = 255
_TITLE = "Upgrade Check Results"
_DETAILS_COLUMNS = 60


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config-file", "config_files", type=_FILE, multiple=True, help="A configuration file; repeatable.")
@click.option("--config-dir", "config_dirs", type=_FILE, multiple=True, help="A folder whose *.conf are read last.")
@click.pass_context
def glance_status(ctx: click.Context, config_files: tuple[Path, ...], config_dirs: tuple[Path, ...]) -> None:
    """Look whether an upgrade would go well."""
    ctx.obj = Chosen(config_files, config_dirs, {})


@glance_status.group()
def upgrade() -> None:
    """Before an upgrade, or a move from Glance."""


@upgrade.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def check(flags: Chosen, as_json: bool) -> None:
    """Look at configuration, policies, database and stores; change nothing.

    Exits with 0 if all is well, 1 for warnings, 2 if something would fail.
    """
    files = flags.files or (() if flags.dirs else load.default_files("glance-api"))
    if not files and not flags.dirs:
        raise StartRefused("No configuration file found. Name one with --config-file.")
    outcomes = _outcomes(load.examine(files, flags.dirs))
    click.echo(_document(outcomes) if as_json else "\n".join(_table(outcomes)))
    sys.exit(max(one.result for one in outcomes))


@click.command()
@database_options
@format_option
def status(data: Path, config_files: tuple[Path, ...], format_name: str) -> None:
    """Look whether all is well with configuration, policies, database and stores; change nothing.

    Exits with 0 if it is, 1 for warnings, 2 if the service would not start or not work.
    """
    examined = load.examine(config_files) if config_files else Examined(configured(data, ()), (), (), ())
    outcomes = _outcomes(examined)
    records = [
        {"check": one.check, "result": one.result.name.lower(), "details": one.details or ""} for one in outcomes
    ]
    print_records(records, ("check", "result", "details"), format_name)
    sys.exit(max(one.result for one in outcomes))


def _outcomes(examined: Examined) -> list[Outcome]:
    # The service's own log file may not be this user's to write, or to make.
    set_up_logging(LogSettings())
    return asyncio.run(run_checks(examined))


def _document(outcomes: Sequence[Outcome]) -> str:
    checks = [{"check": one.check, "result": int(one.result), "details": one.details} for one in outcomes]
    return json.dumps({"name": "glance", "checks": checks})


def _table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    cells = [[_TITLE], *([*_lines(one)] for one in outcomes)]
    width = max(len(line) for cell in cells for line in cell)
    edge = f"+{'-' * (width + 2)}+"
    yield edge
    for cell in cells:
        for line in cell:
            yield f"| {line.ljust(width)} |"
        yield edge


def _lines(one: Outcome) -> Iterator[str]:
    yield f"Check: {one.check}"
    yield f"Result: {Result(one.result).name.capitalize()}"
    for number, text in enumerate((one.details or "None").splitlines()):
        yield from textwrap.wrap(
            text, _DETAILS_COLUMNS, initial_indent="  " if number else "Details: ", subsequent_indent="  "
        )


def main() -> None:
    """The `glance-status` of installers. Exits with 255 where it cannot tell because of a fault of its own."""
    try:
        run(glance_status, prog_name="glance-status")
    except Exception:
        traceback.print_exc()
        sys.exit(_CRASHED)
