"""`purge` and `purge_images_table` of `glance-manage db`, and of `blick db` (spec: commands)."""

import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import click

from blick.cli.output import format_option, print_records
from blick.conf.settings import DatabaseSettings
from blick.db import upgrade
from blick.db.engine import open_database, told
from blick.db.purge import Purge, Removed
from blick.model.errors import StartRefused
from blick.ops import purge as ops
from blick.ops.purge import Wanted

_log = logging.getLogger(__name__)

_CHILDREN_AGE_DAYS = 30
_IMAGES_AGE_DAYS = 180
_MAX_ROWS = 100
_ALL = -1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Show = Callable[[str, int], None]
"""Told after each batch what was removed of which table."""


class _Outcome:
    """What became of a purge so far."""

    def __init__(self, targets: Sequence[Purge]) -> None:
        self.removed: Counter[str] = Counter({target.table: 0 for target in targets})
        self.needed: Counter[str] = Counter()
        self.held = 0

    def add(self, table: str, batch: Removed) -> None:
        """One batch more."""
        self.removed.update(batch.rows)
        self.needed[table] += batch.needed
        self.held += batch.held


class _WithNegativeWords(click.Command):
    """`-1` among the words is a number, as it is for the reference."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        result = super().parse_args(ctx, args)
        for word in ctx.params.get("words") or ():
            if word.startswith("-") and not word[1:].isdigit():
                raise click.NoSuchOption(word, ctx=ctx)
        return result


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.argument("words", metavar="[action_args]...", nargs=-1)(command)
    command = click.option(
        "--max_rows",
        "--max-rows",
        "max_rows",
        type=int,
        metavar="N",
        help=f"Remove at most so many rows of each table; {_ALL}: all.  [default: {_MAX_ROWS}]",
    )(command)
    return click.option(
        "--age_in_days", "--age-in-days", "age_days", type=int, metavar="N", help="Only what was deleted so long ago."
    )(command)


def _command(name: str, help_: str, default_age_days: int, targets: Sequence[Purge]) -> tuple[click.Command, ...]:
    """The command for scripts, which logs, and the one for people, which prints."""
    help_ += f" After {default_age_days} days, unless --age_in_days says otherwise."

    @click.command(name, cls=_WithNegativeWords, help=help_, context_settings={"ignore_unknown_options": True})
    @_options
    @click.pass_context
    def logging_one(ctx: click.Context, /, age_days: int | None, max_rows: int | None, words: tuple[str, ...]) -> None:
        age_days, limit = _judged(words, age_days, max_rows, default_age_days)
        outcome = _purge(ctx.obj(), targets, age_days, limit)
        for table, count in outcome.removed.items():
            _log.info("removed %d row(s) of %s that were deleted more than %d day(s) ago", count, table, age_days)
        _end(outcome)

    @click.command(name, cls=_WithNegativeWords, help=help_, context_settings={"ignore_unknown_options": True})
    @_options
    @format_option
    @click.pass_context
    def printing_one(
        ctx: click.Context,
        /,
        age_days: int | None,
        max_rows: int | None,
        words: tuple[str, ...],
        format_name: str,
    ) -> None:
        age_days, limit = _judged(words, age_days, max_rows, default_age_days)
        outcome = _purge(ctx.obj(), targets, age_days, limit)
        records = [
            {"table": table, "removed": count, "still needed": outcome.needed[table]}
            for table, count in outcome.removed.items()
        ]
        print_records(records, ("table", "removed", "still needed"), format_name)
        _end(outcome)

    return logging_one, printing_one


def _judged(
    words: Sequence[str], age_days: int | None, max_rows: int | None, default_age_days: int
) -> tuple[int, int | None]:
    """The age in days, and the limit (None: none). Ends the process for what makes no sense."""
    if len(words) > 2:
        _refuse(f"There are more than two words: {' '.join(words)}")
    given = (*words, *(None,) * 2)
    age = age_days if age_days is not None else _number("age_in_days", given[0], default_age_days)
    rows = max_rows if max_rows is not None else _number("max_rows", given[1], _MAX_ROWS)
    if age < 0:
        _refuse("Must supply a non-negative value for age.")
    if age >= (datetime.now(UTC) - _EPOCH).days:
        _refuse("Maximal age is count of days since epoch.")
    if rows < _ALL:
        _refuse(f"Minimal rows limit is {_ALL}.")
    return age, None if rows == _ALL else rows


def _number(name: str, word: str | None, usual: int) -> int:
    if word is None:
        return usual
    try:
        return int(word)
    except ValueError:
        _refuse(f"Invalid int value for {name}: {word}")


def _refuse(text: str) -> NoReturn:
    click.echo(text, err=True)
    sys.exit(1)


def _purge(settings: DatabaseSettings, targets: Sequence[Purge], age_days: int, limit: int | None) -> _Outcome:
    outcome = _Outcome(targets)
    before = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=age_days)
    database = open_database(settings)
    try:
        if not upgrade.is_current(database):
            raise StartRefused("The database is not up to date. Run `glance-manage db sync` first.")
        with told(database), _showing() as show:
            for table, batch in ops.purge(database, targets, Wanted(before, limit)):
                outcome.add(table, batch)
                show(table, outcome.removed[table])
    finally:
        database.close()
    return outcome


def _end(outcome: _Outcome) -> None:
    if outcome.held:
        click.echo(
            f"ERROR: {outcome.held} image(s) stay, because rows of other tables belong to them (properties, tags, "
            f"members, locations). Remove those first with `glance-manage db purge`.",
            err=True,
        )
        sys.exit(1)


def _say_nothing(_table: str, _count: int) -> None:
    """See Show."""


@contextmanager
def _showing() -> Iterator[Show]:
    """On stderr, if that is a terminal; else nowhere."""
    if not sys.stderr.isatty():
        yield _say_nothing
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed:>12,.0f} {task.description}", markup=False))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as progress:
        lines: dict[str, Any] = {}

        def show(table: str, count: int) -> None:
            if table not in lines:
                lines[table] = progress.add_task(f"rows of {table} removed", total=None)
            progress.update(lines[table], completed=count)

        yield show


logged_purge, printed_purge = _command(
    "purge",
    "Remove for good what was deleted: rows of every table but images.",
    _CHILDREN_AGE_DAYS,
    ops.ALL_BUT_IMAGES,
)
logged_purge_images, printed_purge_images = _command(
    "purge_images_table",
    "Remove for good the records of deleted images, whose ids are free after that.",
    _IMAGES_AGE_DAYS,
    ops.ONLY_IMAGES,
)
