"""How commands show records: as a table for people, as JSON or YAML for programs."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

Record = Mapping[str, Any]

# Texts get at least so much room in a terminal that is too narrow for them: an id fits in.
_TEXT_COLUMNS = 36
# What is longer is no word that anybody copies with his eyes, but a URI; it may be folded as texts may.
_WORD_COLUMNS = 80
# Wide enough that nothing is cut when the output goes to another program.
_PIPE_COLUMNS = 1000


def format_option(command: F) -> F:
    """Adds --format; the command is called with `format_name`."""
    option = click.option(
        "--format",
        "-f",
        "format_name",
        type=click.Choice(["table", "json", "yaml"]),
        default="table",
        show_default=True,
        help="How to print.",
    )
    return option(command)


def print_records(records: Sequence[Record], columns: Sequence[str], format_name: str) -> None:
    """A list, one line each in a table. `columns` are the keys to show and their order."""
    if format_name != "table":
        print_document([{column: record[column] for column in columns} for record in records], format_name)
        return
    _print_table(columns, [[record[column] for column in columns] for record in records])


def print_record(record: Record, format_name: str) -> None:
    """One record, one line per field in a table."""
    if format_name != "table":
        print_document(dict(record), format_name)
        return
    _print_table(("field", "value"), list(record.items()))


def print_document(data: Any, format_name: str) -> None:
    """Anything that JSON can hold, as `json` or `yaml`."""
    import msgspec

    if format_name == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(data), indent=2).decode())
    else:
        click.echo(msgspec.yaml.encode(data).decode(), nl=False)


def table_columns() -> int | None:
    """How wide a table may be; None: as wide as the terminal."""
    return None if sys.stdout.isatty() else _PIPE_COLUMNS


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from rich.box import SQUARE
    from rich.console import Console
    from rich.table import Table

    # No markup: a name like "[red]" is a name.
    console = Console(markup=False, emoji=False, highlight=False, width=table_columns())
    cells = [[_cell(value) for value in row] for row in rows]
    table = Table(box=SQUARE)
    narrowest = 1
    for index, column in enumerate(columns):
        values = [row[index] for row in cells]
        width = max(map(len, (column, *values)))
        is_text = width > _WORD_COLUMNS or any(" " in value for value in values)
        narrowest += 3 + (min(width, _TEXT_COLUMNS) if is_text else width)
        table.add_column(column, overflow="fold", no_wrap=not is_text)
    for row in cells:
        table.add_row(*row)
    # An id that is cut in pieces is of no use to anybody: rather let the terminal break the lines.
    console.size = (max(console.width, narrowest), console.height)
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)
