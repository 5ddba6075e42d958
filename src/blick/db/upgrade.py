"""Brings a database to what this release needs: from nothing, or from Glance's own tables.

Alembic keeps our history in a table of our own; that of Glance's tables is in `alembic_version` (blick.db.adoption).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, inspect, select, table, update
from sqlalchemy import column as sql_column
from sqlalchemy.exc import DBAPIError

from blick.db import adoption
from blick.db.engine import Database
from blick.model.errors import ServiceUnavailable, StartRefused

# The newest migration; a test holds it against the folder. Known here so that a start need not load alembic.
HEAD = "0003"


def ensure_current(database: Database) -> bool:
    """Upgrade if need be; True if something was done. Safe when several processes start at once.

    Raises StartRefused if the database was made by a newer release, or by a Glance that is too old or too new, and
    where it cannot be used.
    """
    with _told(database):
        if _is_current(database):
            database.write_now(_require_writable)
            return False
        database.write_now(_upgrade)
    return True


def is_current(database: Database) -> bool:
    """Would `ensure_current` find nothing to do? Changes nothing. Raises StartRefused where that would."""
    with _told(database):
        return _is_current(database)


@contextmanager
def _told(database: Database) -> Iterator[None]:
    """Trouble with the database, told as an operator needs it."""
    try:
        yield
    except (ServiceUnavailable, DBAPIError) as error:
        raise StartRefused(f"The database {database.engine.url!r} cannot be used: {_reason(error)}.") from error


def _is_current(database: Database) -> bool:
    database.read_now(adoption.require_adoptable)
    revision = database.read_now(current_revision)
    if revision is not None and revision > HEAD:
        raise StartRefused(
            f"The database is at revision {revision}, which this release does not know: it was made by a newer one. "
            "Install that release, or restore a backup from before the upgrade."
        )
    return revision == HEAD


def current_revision(connection: Connection) -> str | None:
    """Our newest migration that was applied here; None if none was."""
    if not inspect(connection).has_table(adoption.OUR_VERSION_TABLE):
        return None
    return connection.execute(select(sql_column("version_num")).select_from(table(adoption.OUR_VERSION_TABLE))).scalar()


def _require_writable(connection: Connection) -> None:
    """A file or a replica that can only be read fails here, and not with the first user's request."""
    version = table(adoption.OUR_VERSION_TABLE, sql_column("version_num"))
    connection.execute(update(version).where(version.c.version_num.is_(None)).values(version_num=None))


def _reason(error: ServiceUnavailable | DBAPIError) -> str:
    """What the driver said, in its own words and on one line."""
    found = error.__cause__ if isinstance(error, ServiceUnavailable) else error
    return " ".join(str(found.orig if isinstance(found, DBAPIError) else found).split()).rstrip(".")


def _upgrade(connection: Connection) -> None:
    # Alembic takes half as long to load as everything else together: only who upgrades pays for it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
