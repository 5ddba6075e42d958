"""Brings a database to what this release needs: from nothing, or from Glance's own tables.

Alembic keeps our history in a table of our own; that of Glance's tables is in `alembic_version` (blick.db.adoption).
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, inspect, select, table, text, update
from sqlalchemy import column as sql_column
from sqlalchemy.exc import DBAPIError

from blick.db import adoption
from blick.db.engine import Database, told
from blick.db.faults import Fault, fault_of, reason_of
from blick.model.errors import ServiceUnavailable, StartRefused

_log = logging.getLogger(__name__)

# The newest migration; a test holds it against the folder. Known here so that a start need not load alembic.
HEAD = "0010"
# Migrations of one database take turns: a lock with this number, or a name made of the database's.
_POSTGRESQL_LOCK = 0x426C69636B
_MYSQL_LOCK = "CONCAT('blick_', MD5(DATABASE()))"
_LOCK_WAIT_S = 86_400


@dataclass(frozen=True, slots=True)
class Patience:
    """How often, and how many seconds apart, a start tries to reach its server again; negative: for ever."""

    max_retries: int
    retry_interval_s: int


NO_PATIENCE = Patience(0, 0)


def ensure_current(database: Database, patience: Patience = NO_PATIENCE) -> bool:
    """Upgrade if need be; True if something was done. Safe when several processes start at once.

    Where the server does not answer yet, tries again as `patience` says. Raises StartRefused if the database was made
    by a newer release, or by a Glance that is too old or too new, and where it cannot be used.
    """
    with told(database):
        _await(database, patience)
        if _is_current(database):
            database.write_now(_require_writable)
            return False
        return database.write_now(_upgrade_alone)


def is_current(database: Database) -> bool:
    """Would `ensure_current` find nothing to do? Changes nothing. Raises StartRefused where that would."""
    with told(database):
        return _is_current(database)


def _is_current(database: Database) -> bool:
    database.read_now(adoption.require_adoptable)
    revision = database.read_now(current_revision)
    if revision is not None and revision > HEAD:
        raise StartRefused(
            f"The database is at revision {revision}, which this release does not know: it was made by a newer one. "
            "Install that release, or restore a backup from before the upgrade."
        )
    return revision == HEAD


def _await(database: Database, patience: Patience) -> None:
    """Return once the server answers. Raises ServiceUnavailable or DBAPIError if it does not, or refuses us."""
    attempts = 0
    while True:
        try:
            database.read_now(lambda connection: connection.execute(select(1)))
        except ServiceUnavailable as error:
            cause = error.__cause__
            if not isinstance(cause, DBAPIError) or fault_of(cause) is not Fault.LOST:
                raise
            if 0 <= patience.max_retries <= attempts:
                raise
            attempts += 1
            _log.warning("trying the database again in %d s: %s", patience.retry_interval_s, reason_of(cause))
            time.sleep(patience.retry_interval_s)
        else:
            return


def current_revision(connection: Connection) -> str | None:
    """Our newest migration that was applied here; None if none was."""
    if not inspect(connection).has_table(adoption.OUR_VERSION_TABLE):
        return None
    return connection.execute(select(sql_column("version_num")).select_from(table(adoption.OUR_VERSION_TABLE))).scalar()


def _require_writable(connection: Connection) -> None:
    """A file or a replica that can only be read fails here, and not with the first user's request."""
    version = table(adoption.OUR_VERSION_TABLE, sql_column("version_num"))
    connection.execute(update(version).where(version.c.version_num.is_(None)).values(version_num=None))


def _upgrade_alone(connection: Connection) -> bool:
    """Upgrade while no other process does; False if another one had done it by then."""
    with _lock(connection):
        adoption.require_adoptable(connection)
        if current_revision(connection) == HEAD:
            return False
        _upgrade(connection)
        return True


@contextmanager
def _lock(connection: Connection) -> Iterator[None]:
    """Wait until no other process migrates this database, and keep others from it.

    Of SQLite's writing transactions there is only one anyway. In a Galera cluster the lock holds for one node: of
    migrations on several nodes at once those that come late fail, and can be started again.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_POSTGRESQL_LOCK})"))
    if connection.dialect.name != "mysql":
        yield
        return
    # A table is made or changed in a transaction of its own there: the lock has to outlive them, and to be given back
    # only when the last change can be seen.
    if connection.execute(text(f"SELECT GET_LOCK({_MYSQL_LOCK}, {_LOCK_WAIT_S})")).scalar() != 1:
        raise StartRefused("Another process has been changing this database's tables for too long.")
    try:
        yield
        connection.exec_driver_sql("COMMIT")
    finally:
        if not connection.invalidated:
            connection.execute(text(f"SELECT RELEASE_LOCK({_MYSQL_LOCK})"))


def _upgrade(connection: Connection) -> None:
    # Alembic takes half as long to load as everything else together: only who upgrades pays for it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
