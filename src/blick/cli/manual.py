"""A manual page for every command, made from its parser: `python -m blick.cli.manual FOLDER` (or `make man`)."""

import re
from collections.abc import Iterator
from importlib.metadata import version
from inspect import cleandoc
from pathlib import Path

import click

from blick.cli.main import run
from blick.cli.programs import PROGRAMS, children, commands

_SECTION = 1
_MANUAL = "Blick"
_EXIT_STATUS = (
    ("0", "It was done."),
    ("1", "It was not, for the reason on standard error."),
    ("2", "The command line makes no sense."),
)


def pages() -> Iterator[tuple[str, str]]:
    """(name of a file, text in roff) for every command of every program."""
    for program in PROGRAMS:
        for context in commands(program):
            yield f"{_page_name(context)}.{_SECTION}", page(context)


def page(context: click.Context) -> str:
    """The page of one command."""
    return "\n".join(_lines(context)) + "\n"


def _lines(context: click.Context) -> Iterator[str]:
    command, name = context.command, _page_name(context)
    yield f'.TH "{name.upper()}" "{_SECTION}" "" "Blick {version("blick")}" "{_MANUAL}"'
    yield ".SH NAME"
    yield f"{_text(name)} \\- {_text(command.get_short_help_str(limit=1000).rstrip('.'))}"
    yield ".SH SYNOPSIS"
    yield f".B {_text(context.command_path)}"
    yield _text(" ".join(command.collect_usage_pieces(context)))
    yield ".SH DESCRIPTION"
    yield from _paragraphs(command.help or "")
    yield ".SH OPTIONS"
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record is not None:
            yield from _entry(*record)
    yield from _variables(context)
    if isinstance(command, click.Group):
        yield ".SH COMMANDS"
        for child in children(context):
            yield from _entry(child.info_name or "", child.command.get_short_help_str(limit=1000))
    yield ".SH EXIT STATUS"
    yield "Unless the description says otherwise:"
    for number, meaning in _EXIT_STATUS:
        yield from _entry(number, meaning)
    if related := [f"\\fB{_text(_page_name(other))}\\fR({_SECTION})" for other in _related(context)]:
        yield ".SH SEE ALSO"
        yield ", ".join(related)


def _variables(context: click.Context) -> Iterator[str]:
    found = [one for one in context.command.params if isinstance(one, click.Option) and one.envvar]
    if found:
        yield ".SH ENVIRONMENT"
    for option in found:
        names = [option.envvar] if isinstance(option.envvar, str) else option.envvar or ()
        yield from _entry(", ".join(names), f"Stands for {option.opts[0]}, where that is not given.")


def _related(context: click.Context) -> Iterator[click.Context]:
    if context.parent is not None:
        yield context.parent
    yield from children(context)


def _page_name(context: click.Context) -> str:
    return context.command_path.replace(" ", "-")


def _entry(term: str, meaning: str) -> Iterator[str]:
    yield ".TP"
    yield f"\\fB{_text(term)}\\fR"
    yield _text(" ".join(meaning.split()))


def _paragraphs(help_text: str) -> Iterator[str]:
    """A help text's paragraphs; one that begins with \\b has lines of its own, as in the terminal."""
    for number, paragraph in enumerate(re.split(r"\n\s*\n", cleandoc(help_text).partition("\f")[0])):
        first, _, rest = paragraph.partition("\n")
        if number:
            yield ".PP"
        if first.strip() == "\b":
            yield ".nf"
            yield from map(_text, rest.splitlines())
            yield ".fi"
        else:
            yield _text(" ".join(paragraph.split()))


def _text(plain: str) -> str:
    """Plain text as roff takes it for such: nothing in it is an escape, a request, or a typographic hyphen."""
    escaped = plain.replace("\\", "\\e").replace("-", "\\-")
    escaped = re.sub(r"[^\x00-\x7e]", lambda found: f"\\[u{ord(found[0]):04X}]", escaped)
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def manual(folder: Path) -> None:
    """Write the manual pages of all programs into FOLDER/man1, for `man -M FOLDER` or an installation."""
    place = folder / f"man{_SECTION}"
    try:
        place.mkdir(parents=True, exist_ok=True)
        for name, text in pages():
            (place / name).write_text(text, "utf-8")
    except OSError as error:
        raise click.FileError(str(place), error.strerror) from error


if __name__ == "__main__":
    run(manual, prog_name="blick.cli.manual")
