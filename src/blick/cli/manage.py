"""`glance-manage`, and the same actions as `blick db` (spec: commands; what they mean here: adr/0005).

Output on stdout, logs on stderr; an expected failure is `ERROR: …` on stderr and exit code 1.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from blick.cli.database import configured, database_options
from blick.cli.glance_flags import chosen, glance_flags, settings_for
from blick.cli.main import run
from blick.cli.metadefs import (
    legacy_export,
    legacy_load,
    logged_export,
    logged_load,
    printed_export,
    printed_load,
    printed_unload,
    unload,
)
from blick.cli.purge import logged_purge, logged_purge_images, printed_purge, printed_purge_images
from blick.conf.settings import DatabaseSettings
from blick.db import adoption, upgrade
from blick.db.engine import Database, open_database, told
from blick.model.errors import StartRefused

_CHECK_EXPAND = 3
_UP_TO_DATE = "Database is up to date. No migrations needed."
_UNMANAGED = (
    "Database is either not under migration control or under legacy migration control, please run "
    '"glance-manage db sync" to place the database under alembic migration control.'
)

# Where the database is: known only when the group's options were read, needed only when an action runs.
Settings = Callable[[], DatabaseSettings]


# Old scripts may put words behind any action, such as a revision behind `sync`; most mean nothing.
_words = click.argument("words", metavar="[action_args]...", nargs=-1)


@contextmanager
def _database(ctx: click.Context) -> Iterator[Database]:
    settings: Settings = ctx.obj
    database = open_database(settings())
    try:
        with told(database):
            yield database
    finally:
        database.close()


@click.command()
@_words
@click.pass_context
def version(ctx: click.Context, /, **_words: Any) -> None:
    """Print the database's current migration level."""
    with _database(ctx) as database:
        revisions = database.read_now(adoption.find).revisions
    click.echo("\n".join(revisions) or _UNMANAGED)


@click.command()
@_words
@click.pass_context
def check(ctx: click.Context, /, **_words: Any) -> None:
    """Report any pending database upgrades; exits with 3 if there are any."""
    with _database(ctx) as database:
        current = upgrade.is_current(database)
    if current:
        click.echo("Database is up to date. No upgrades needed.")
        return
    click.echo("Your database is not up to date. Your first step is to run `glance-manage db expand`.")
    sys.exit(_CHECK_EXPAND)


@click.command()
@click.option("--version", metavar="<version>", help="Ignored: there is one version to go to.")
@_words
@click.pass_context
def sync(ctx: click.Context, /, **_words: Any) -> None:
    """Perform a complete (offline) database migration."""
    with _database(ctx) as database:
        try:
            changed = _expand(database)
        except StartRefused as error:
            click.echo(f"Failed to sync database: ERROR: {error}", err=True)
            sys.exit(1)
    click.echo("Database is synced successfully." if changed else _UP_TO_DATE)


@click.command("upgrade")
@click.option("--version", "option", metavar="<version>", help="The revision to go to.")
@_words
@click.pass_context
def upgrade_(ctx: click.Context, /, option: str | None, words: tuple[str, ...]) -> None:
    """Upgrade the database's migration level."""
    wanted = option or next(iter(words), None)
    with _database(ctx) as database:
        if wanted not in (None, "heads", "head"):
            database.read_now(adoption.require_reached, wanted)
        upgrade.ensure_current(database)
        revisions = ", ".join(database.read_now(adoption.find).revisions)
    target = "" if wanted is None else f" to: {wanted}"
    click.echo(f"Upgraded database{target}, current revision(s): {revisions}")


@click.command()
@click.option("--version", "option", metavar="<version>", help="The revision that the tables are at.")
@_words
@click.pass_context
def version_control(ctx: click.Context, /, option: str | None, words: tuple[str, ...]) -> None:
    """Place a database under migration control."""
    wanted = option or next(iter(words), None)
    with _database(ctx) as database:
        placed = database.write_now(adoption.place_at, wanted)
    click.echo(f"Placed database under migration control at revision: {placed}")


@click.command()
@_words
@click.pass_context
def expand(ctx: click.Context, /, **_words: Any) -> None:
    """Run the expansion phase of a database migration."""
    with _database(ctx) as database:
        if not _expand(database):
            click.echo(_UP_TO_DATE)


@click.command()
@_words
@click.pass_context
def migrate(ctx: click.Context, /, **_words: Any) -> None:
    """Run the data migration phase of a database migration."""
    _nothing_after_expand(ctx, "Data migration")


@click.command()
@_words
@click.pass_context
def contract(ctx: click.Context, /, **_words: Any) -> None:
    """Run the contraction phase of a database migration."""
    _nothing_after_expand(ctx, "Database contraction")


def _expand(database: Database) -> bool:
    """Add what is missing, and tell; all that this release ever does to a database. False: there was nothing to do."""
    if not upgrade.ensure_current(database):
        return False
    revisions = ", ".join(database.read_now(adoption.find).revisions)
    click.echo(f"Upgraded database to: blick {upgrade.HEAD}, current revision(s): {revisions}")
    return True


def _nothing_after_expand(ctx: click.Context, phase: str) -> None:
    with _database(ctx) as database:
        current = upgrade.is_current(database)
    if not current:
        click.echo(
            f"{phase} did not run. {phase} cannot be run before database expansion. "
            'Run database expansion first using "glance-manage db expand"',
            err=True,
        )
        sys.exit(1)
    click.echo(_UP_TO_DATE)


_ACTIONS: dict[str, click.Command] = {
    "check": check,
    "contract": contract,
    "expand": expand,
    "migrate": migrate,
    "sync": sync,
    "upgrade": upgrade_,
    "version": version,
    "version_control": version_control,
}


class _Actions(click.Group):
    """Named alone it lists the actions, as it always has, and ends as a usage error."""

    def invoke(self, ctx: click.Context) -> Any:
        if not ctx._protected_args and not ctx.args:
            click.echo("Available actions for 'db':")
            for name, action in sorted(self.commands.items()):
                click.echo(f"\t{name} - {action.help}")
            ctx.exit(2)
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            raise _moved(error, ctx) from error


def _moved(error: click.NoSuchOption, ctx: click.Context) -> click.NoSuchOption:
    """What to say of an option behind an action: where it belongs, if there is such a place."""
    asking = ctx
    while asking.parent is not None and not any(error.option_name in one.opts for one in asking.command.params):
        asking = asking.parent
    if not any(error.option_name in one.opts for one in asking.command.params):
        return error
    right = f"it stands before the action: {asking.command_path} {error.option_name} …"
    return click.NoSuchOption(error.option_name, f"No such option {error.option_name!r} here; {right}", ctx=error.ctx)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@glance_flags
@click.pass_context
def glance_manage(ctx: click.Context, /, **flags: Any) -> None:
    """Manage the image service's database."""
    ctx.obj = lambda: settings_for("glance-manage", chosen(**flags), ("database",)).database


@glance_manage.group("db", cls=_Actions, invoke_without_command=True)
def _database_group() -> None:
    """Manage the database."""


@click.group("db", cls=_Actions, invoke_without_command=True)
@database_options
@click.pass_context
def database_actions(ctx: click.Context, /, data: Path, config_files: tuple[Path, ...]) -> None:
    """Make the service's database, or take over Glance's."""
    ctx.obj = lambda: configured(data, config_files).database


for _name, _command in _ACTIONS.items():
    _database_group.add_command(_command, _name)
    database_actions.add_command(_command, _name)
    glance_manage.add_command(_command, f"db_{_name}")
# They came when nobody wrote db_… any more.
for _command in (logged_purge, logged_purge_images):
    _database_group.add_command(_command)
for _command in (printed_purge, printed_purge_images):
    database_actions.add_command(_command)
for _command in (logged_load, unload, logged_export):
    _database_group.add_command(_command)
for _command in (printed_load, printed_unload, printed_export):
    database_actions.add_command(_command)
for _command in (legacy_load, legacy_export):
    glance_manage.add_command(_command)
glance_manage.add_command(unload, "db_unload_metadefs")


def main() -> None:
    """The `glance-manage` of init scripts and installers."""
    run(glance_manage, prog_name="glance-manage")
