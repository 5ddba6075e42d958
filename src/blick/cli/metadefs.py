"""`load_metadefs`, `unload_metadefs` and `export_metadefs` of `glance-manage db`, and of `blick db` (spec: commands).

For scripts they log, and end well whatever single files are like, as they always have. For people they print a table,
and end with 1 where something was not loaded.
"""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from blick.cli.output import format_option, print_records
from blick.conf.settings import DatabaseSettings
from blick.db import upgrade
from blick.db.engine import Database, open_database
from blick.model.errors import Invalid, NotFound, StartRefused
from blick.model.metadef_file import mode_of
from blick.ops.metadefs import files
from blick.ops.metadefs.files import Loaded
from blick.ops.services import utc_now

_log = logging.getLogger(__name__)

# Where Glance's packages put theirs. If nobody named a folder and this one is not there, Blick's own catalog counts.
_USUAL_FOLDER: Final = Path("/etc/glance/metadefs")
_LOADED = ("file", "namespace", "outcome")
_EXPORTED = ("namespace", "file")

Command = Callable[..., Any]

_words = click.argument("words", metavar="[action_args]...", nargs=-1)
_path = click.option("--path", "path", metavar="PATH", help="A file, or a folder with *.json files in it.")
_LOAD_HELP = "Load metadata definitions from files."
_UNLOAD_HELP = "Remove all metadata definitions."
_EXPORT_HELP = "Write metadata definitions into files, one for each namespace."


def _load_options(command: Command) -> Command:
    for flags, help_ in (
        (("--overwrite",), "With --merge: make anew what is there already."),
        (
            ("--prefer_new", "--prefer-new"),
            "With --merge: replace what is there already, and leave what files do not have.",
        ),
        (("--merge",), "Add what is missing in namespaces that are there already."),
    ):
        command = click.option(*flags, flags[0][2:], is_flag=True, help=help_)(command)
    return _path(_words(command))


@contextmanager
def _database(settings: DatabaseSettings) -> Iterator[Database]:
    database = open_database(settings)
    try:
        if not upgrade.is_current(database):
            raise StartRefused("The database is not up to date. Run `glance-manage db sync` first.")
        yield database
    finally:
        database.close()


def _source(given: str | None, settings: DatabaseSettings) -> Path:
    """What to load: as asked for, as configured, or what comes with Blick."""
    if given:
        return Path(given)
    configured = settings.metadata_source_path
    if configured is not None and (configured != _USUAL_FOLDER or configured.exists()):
        return configured
    return files.SHIPPED


def _load(
    settings: DatabaseSettings,
    words: Sequence[str],
    path: str | None = None,
    *,
    merge: bool = False,
    prefer_new: bool = False,
    overwrite: bool = False,
) -> list[Loaded]:
    """Raises Invalid for flags that make no sense together, NotFound where nothing is to be loaded."""
    given = _at_most(words, 4)
    mode = mode_of(
        merge=merge or bool(given[1]),
        prefer_new=prefer_new or bool(given[2]),
        overwrite=overwrite or bool(given[3]),
    )
    source = _source(path or given[0], settings)
    with _database(settings) as database:
        return list(files.load(database, source, mode, utc_now))


def _at_most(words: Sequence[str], most: int) -> list[str]:
    """The words in the places that their order gives them; empty ones where there are fewer."""
    if len(words) > most:
        raise click.UsageError(f"Unexpected argument: {words[most]}")
    return [*words, *[""] * (most - len(words))]


def _folder(given: str | None, settings: DatabaseSettings) -> Path:
    if given:
        return Path(given)
    if settings.metadata_source_path is None:
        raise click.UsageError("Name a folder with --path.")
    return settings.metadata_source_path


def _export(settings: DatabaseSettings, words: Sequence[str], path: str | None = None) -> list[tuple[str, Path]]:
    folder = _folder(path or _at_most(words, 1)[0], settings)
    try:
        with _database(settings) as database:
            return list(files.export(database, folder))
    except OSError as error:
        raise StartRefused(f"{folder} cannot be written: {error.strerror}.") from error


def _unload(settings: DatabaseSettings) -> int:
    with _database(settings) as database:
        return files.unload(database)


def _load_and_log(settings: DatabaseSettings, words: Sequence[str], **flags: Any) -> None:
    """Whatever is wrong about flags, folders and files is a line in the log, and no failure."""
    try:
        loaded = _load(settings, words, **flags)
    except (Invalid, NotFound) as error:
        _log.error("no metadata definitions are loaded: %s", error)
        return
    faulty = sum(each.outcome is None for each in loaded)
    _log.info("metadata definitions: %d file(s) loaded or skipped, %d faulty", len(loaded) - faulty, faulty)


@click.command("load_metadefs", help=_LOAD_HELP)
@_load_options
@click.pass_context
def logged_load(ctx: click.Context, /, words: tuple[str, ...], **flags: Any) -> None:
    """For scripts."""
    _load_and_log(ctx.obj(), words, **flags)


@click.command("db_load_metadefs", help=_LOAD_HELP)
@click.argument("words", metavar="[path] [merge] [prefer_new] [overwrite]", nargs=-1)
@click.pass_context
def legacy_load(ctx: click.Context, /, words: tuple[str, ...]) -> None:
    """For old scripts: any word that is not empty means yes."""
    _load_and_log(ctx.obj(), words)


@click.command("load_metadefs", help=_LOAD_HELP)
@_load_options
@format_option
@click.pass_context
def printed_load(ctx: click.Context, /, words: tuple[str, ...], format_name: str, **flags: Any) -> None:
    """For people."""
    try:
        loaded = _load(ctx.obj(), words, **flags)
    except (Invalid, NotFound) as error:
        raise StartRefused(str(error)) from error
    records = [
        {
            "file": str(each.file),
            "namespace": each.namespace,
            "outcome": each.fault if each.outcome is None else each.outcome.value,
        }
        for each in loaded
    ]
    print_records(records, _LOADED, format_name)
    if any(each.outcome is None for each in loaded):
        sys.exit(1)


@click.command("unload_metadefs", help=_UNLOAD_HELP)
@_words
@click.pass_context
def unload(ctx: click.Context, /, words: tuple[str, ...]) -> None:  # noqa: ARG001 - they mean nothing
    """For scripts."""
    _unload(ctx.obj())


@click.command("unload_metadefs", help=_UNLOAD_HELP)
@click.pass_context
def printed_unload(ctx: click.Context, /) -> None:
    """For people."""
    click.echo(f"Removed {_unload(ctx.obj())} namespace(s) of metadata definitions.")


@click.command("export_metadefs", help=_EXPORT_HELP)
@_path
@_words
@click.pass_context
def logged_export(ctx: click.Context, /, words: tuple[str, ...], path: str | None) -> None:
    """For scripts."""
    _export(ctx.obj(), words, path)


@click.command("db_export_metadefs", help=_EXPORT_HELP)
@click.argument("words", metavar="[path]", nargs=-1)
@click.pass_context
def legacy_export(ctx: click.Context, /, words: tuple[str, ...]) -> None:
    """For old scripts."""
    _export(ctx.obj(), words)


@click.command("export_metadefs", help=_EXPORT_HELP)
@_path
@_words
@format_option
@click.pass_context
def printed_export(ctx: click.Context, /, words: tuple[str, ...], path: str | None, format_name: str) -> None:
    """For people."""
    written = [{"namespace": name, "file": str(file)} for name, file in _export(ctx.obj(), words, path)]
    print_records(written, _EXPORTED, format_name)
