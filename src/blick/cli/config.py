"""`blick config`: what a configuration says, before it is started with."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blick.cli.output import format_option, print_document, table_columns
from blick.model.errors import StartRefused

if TYPE_CHECKING:
    from blick.conf.load import Examined
    from blick.conf.reading import SetOption

_FILE = click.Path(path_type=Path)
_MASK = "***"
_COLOURS = {"info": "dim", "warning": "yellow", "error": "bold red"}


@click.group()
def config() -> None:
    """Look into configuration files."""


@config.command()
@click.argument("files", type=_FILE, nargs=-1)
@click.option("--config-dir", "folders", type=_FILE, multiple=True, help="A folder whose *.conf files are read last.")
@format_option
def check(files: tuple[Path, ...], folders: tuple[Path, ...], format_name: str) -> None:
    """Explain configuration FILES, or those that the service would find by itself.

    Shows every option that is set, its value (no secrets) and where it is known from, then what there is to say about
    it, with file and line. Exits with 1 if the service would refuse to start.
    """
    from blick.conf.load import default_files, examine

    chosen = files or (() if folders else default_files("glance-api"))
    if not chosen and not folders:
        raise StartRefused("No configuration file found. Name one.")
    examined = examine(chosen, folders)
    if format_name == "table":
        _print_tables(examined)
    else:
        print_document(_document(examined), format_name)
    sys.exit(1 if examined.errors else 0)


@config.command()
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write instead of stdout.")
def sample(output: Path | None) -> None:
    """Print a configuration file with every option in it, explained and commented out."""
    from blick.conf.sample import sample as text

    if output is None:
        click.echo(text(), nl=False)
        return
    try:
        output.write_text(text(), "utf-8")
    except OSError as error:
        raise StartRefused(f"{output}: {error.strerror}.") from error


def _shown(known: "SetOption") -> Any:
    """The value for everybody's eyes."""
    return _MASK if known.option.secret and known.value else known.value


def _document(examined: "Examined") -> dict[str, Any]:
    return {
        "starts": not examined.errors,
        "files": [str(file) for file in examined.files],
        "options": [
            {"group": known.group, "name": known.option.name, "value": _listed(_shown(known)), "from": known.place}
            for known in examined.options
        ],
        "findings": [
            {
                "level": finding.level,
                "kind": finding.kind,
                "group": finding.group,
                "name": finding.name,
                "text": finding.text,
                "from": finding.place,
            }
            for finding in examined.findings
        ],
    }


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _print_tables(examined: "Examined") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from blick.conf.sample import written

    console = Console(soft_wrap=False, width=table_columns())
    options = Table(title="Options that are set", title_justify="left", show_edge=False)
    for heading in ("option", "value", "from"):
        options.add_column(heading, overflow="fold")
    for known in examined.options:
        value = _MASK if _shown(known) == _MASK else written(known.option, known.value)
        # Text, because a value in brackets would be taken for markup.
        options.add_row(Text(f"{known.group}.{known.option.name}"), Text(value), Text(known.place))
    console.print(options)
    findings = Table(title="\nWhat there is to say", title_justify="left", show_edge=False)
    for heading in ("level", "option", "remark", "from"):
        findings.add_column(heading, overflow="fold")
    for finding in examined.findings:
        place = f"{finding.group}.{finding.name}" if finding.name else f"[{finding.group}]"
        level = Text(finding.level, style=_COLOURS[finding.level])
        findings.add_row(level, Text(place), Text(finding.text), Text(finding.place))
    if examined.findings:
        console.print(findings)
    _print_summary(examined.files, [finding.level for finding in examined.findings])


def _print_summary(files: Sequence[Path], levels: Sequence[str]) -> None:
    errors, warnings = levels.count("error"), levels.count("warning")
    outcome = "The service would refuse to start." if errors else "The service would start."
    click.echo(f"\n{len(files)} file(s), {errors} error(s), {warnings} warning(s). {outcome}")
