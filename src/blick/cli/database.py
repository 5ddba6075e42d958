"""Opening the service's database from a command."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from blick.conf import load
from blick.conf.settings import Settings
from blick.db import identity as directory
from blick.db.engine import Database, open_database, told
from blick.model.errors import StartRefused

F = TypeVar("F", bound=Callable[..., Any])

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


def database_options(command: F) -> F:
    """Adds --data and --config-file; the command is called with `data` and `config_files`."""
    command = click.option(
        "--config-file", "config_files", type=_FILE, multiple=True, help="The configuration file that the service has."
    )(command)
    return click.option(
        "--data",
        type=_FOLDER,
        envvar="BLICK_DATA",
        default=Path("blick-data"),
        show_default=True,
        help="The standalone service's folder.",
    )(command)


@contextmanager
def identity_database(data: Path, config_files: Sequence[Path]) -> Iterator[Database]:
    """The database of the service in `data`, or of the one configured by files; closed afterwards.

    Raises StartRefused where there is none yet, or where it holds no users because identity is elsewhere.
    """
    settings = configured(data, config_files)
    database = open_database(settings.database)
    try:
        with told(database):
            if not database.read_now(directory.tables_exist):
                raise StartRefused(
                    "The database has no tables for users yet: start the service once with `blick serve`."
                )
            yield database
    finally:
        database.close()


def configured(data: Path, config_files: Sequence[Path]) -> Settings:
    """The settings of the service in `data`, or of the one configured by files. Raises StartRefused without either."""
    if config_files:
        return load.load(config_files).settings
    if not (data / "blick.sqlite3").exists():
        raise StartRefused(
            f"There is no service in {data}: start it once with `blick serve`, or name its folder with --data."
        )
    return load.standalone(data)
