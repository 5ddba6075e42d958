"""From [database] to an engine: the driver, the pool, and what every new connection is told first."""

import importlib.util
import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import QueuePool

from blick.conf.settings import DatabaseSettings
from blick.db.faults import Fault, fault_of
from blick.model.errors import StartRefused

_log = logging.getLogger(__name__)

_KINDS = "SQLite, MariaDB, MySQL and PostgreSQL"
# Other names that URLs have for the same kind.
_BACKENDS: Mapping[str, str] = MappingProxyType(
    {"sqlite": "sqlite", "mysql": "mysql", "mariadb": "mysql", "postgresql": "postgresql", "postgres": "postgresql"}
)
# Synchronous drivers by kind: SQLAlchemy's name, the module, the extra of ours that brings it. Ours first.
_DRIVERS: Mapping[str, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        "mysql": (("pymysql", "pymysql"), ("mysqldb", "MySQLdb")),
        "postgresql": (("psycopg", "psycopg"), ("psycopg2", "psycopg2")),
    }
)
# Threads that run transactions. SQLite has no network to wait for and one writer at a time: a few suffice, and each
# holds a connection with a cache of its own.
SQLITE_THREADS = 4
_SQLITE_CACHE_KIB = 1024
# A row that is not free after so long is worth another try from the beginning (see `Database`).
_LOCK_WAIT_S = 5
_CONNECT_TIMEOUT_S = 10
# The children of an image arrive as one text, which must not be cut off (MariaDB counts it as a GROUP_CONCAT).
_GROUP_CONCAT_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Engines:
    """The way to one database. `reading` is for functions that only read, and saves them a server's round trips:
    every statement is a transaction of its own there, which at READ COMMITTED shows them the same. The other is for
    the rest; both may be one.
    """

    writing: Engine
    reading: Engine

    def dispose(self) -> None:
        """Close every connection."""
        self.writing.dispose()
        self.reading.dispose()


def make_engines(settings: DatabaseSettings, answer_within_s: int | None = None) -> Engines:
    """Engines for `settings.connection`. They connect lazily; the first connection creates a sqlite file.

    `answer_within_s`: how long a server may be silent in the middle of a statement before it counts as gone; None: for
    ever. Raises StartRefused for what is no URL, a kind of database that we do not know, or a driver that is missing.
    """
    _log_statements(settings.connection_debug)
    try:
        url = _with_driver(make_url(settings.connection))
        if url.get_backend_name() == "sqlite":
            engine = _sqlite(url, settings)
            return Engines(engine, engine)
        return Engines(
            _server(url, settings, answer_within_s, reads_only=False),
            _server(url, settings, answer_within_s, reads_only=True),
        )
    except ImportError as error:
        raise StartRefused(f"[database] connection: the driver {error.name} is not installed.") from error
    except ArgumentError as error:
        raise StartRefused(f"[database] connection: {error}.") from error
    except ValueError as error:  # whose text would quote parts of the URL, which is a secret
        raise StartRefused("[database] connection: this is not a SQLAlchemy URL.") from error


def _with_driver(url: URL) -> URL:
    """The URL with a driver that is there: the one it names, else ours (adr/0006)."""
    name, _, wanted = url.drivername.partition("+")
    kind = _BACKENDS.get(name)
    if kind is None:
        raise StartRefused(f"[database] connection: Blick works with {_KINDS}, not with {name}.")
    if kind == "sqlite":
        return url.set(drivername="sqlite")
    present = [driver for driver, module in _DRIVERS[kind] if importlib.util.find_spec(module) is not None]
    if not present:
        raise StartRefused(
            f"[database] connection: no driver for {name} is installed. Install Blick's extra: pip install "
            f"'blick[{kind}]'."
        )
    driver = wanted if wanted in present else present[0]
    if wanted not in ("", driver):
        _log.info("[database] connection: using the driver %s instead of %s", driver, wanted)
    return url.set(drivername=f"{kind}+{driver}")


def _log_statements(debug: int) -> None:
    """[database] connection_debug: from 50 statements are logged, from 100 rows as well."""
    if debug >= 50:
        logging.getLogger("sqlalchemy.engine").setLevel(logging.DEBUG if debug >= 100 else logging.INFO)


# SQLite


def _sqlite(url: URL, settings: DatabaseSettings) -> Engine:
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=SQLITE_THREADS,
        max_overflow=4,
        hide_parameters=True,
        connect_args={"check_same_thread": False, "timeout": 30, "cached_statements": 128},
    )
    event.listen(engine, "connect", _sqlite_pragmas(synchronous=settings.sqlite_synchronous))
    event.listen(engine, "begin", _sqlite_begin)
    return engine


def _sqlite_pragmas(*, synchronous: bool) -> Callable[[Any, Any], None]:
    def on_connect(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun by `write`, not guessed by the driver
        # WAL lets readers and one writer work side by side; FULL keeps a commit through a power failure.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'FULL' if synchronous else 'OFF'}")
        connection.execute("PRAGMA busy_timeout=30000")
        connection.execute(f"PRAGMA cache_size=-{_SQLITE_CACHE_KIB}")
        connection.execute("PRAGMA temp_store=MEMORY")

    return on_connect


def _sqlite_begin(connection: Connection) -> None:
    # A writer takes the write lock at once: a lock that is upgraded later cannot wait for its turn.
    writes = connection.get_execution_options().get("blick_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


# Servers


# Whatever the server's default is: rows that others have committed meanwhile are seen by the next statement.
_WRITING: Mapping[str, Any] = MappingProxyType({"isolation_level": "READ COMMITTED"})
_READING: Mapping[str, Any] = MappingProxyType({"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True})


def _server(url: URL, settings: DatabaseSettings, answer_within_s: int | None, *, reads_only: bool) -> Engine:
    is_mysql = url.get_backend_name() == "mysql"
    arguments = _mysql_arguments(answer_within_s) if is_mysql else _postgresql_arguments(answer_within_s)
    options = dict(_READING if reads_only else _WRITING)
    if settings.pool_timeout_s is not None:
        options["pool_timeout"] = settings.pool_timeout_s
    engine = create_engine(
        url,
        pool_size=settings.max_pool_size,
        max_overflow=settings.max_overflow,
        pool_recycle=settings.connection_recycle_time_s,
        # `Database` ends every transaction itself: another ROLLBACK would be a trip to the server for nothing, and
        # an alarm in the log when that has gone meanwhile.
        pool_reset_on_return=None,
        hide_parameters=True,
        # What the operator's URL says counts more.
        connect_args={name: value for name, value in arguments.items() if name not in url.query},
        **options,
    )
    begin_session = [_mysql_session(settings) if is_mysql else f"SET lock_timeout = '{_LOCK_WAIT_S}s'"]
    if reads_only:  # what writes by mistake is refused, not saved by halves
        begin_session.append(
            "SET SESSION TRANSACTION READ ONLY" if is_mysql else "SET default_transaction_read_only = on"
        )
    event.listen(engine, "connect", _session(begin_session))
    event.listen(engine, "handle_error", _give_up_lost_connections)
    return engine


def _mysql_arguments(answer_within_s: int | None) -> dict[str, Any]:
    arguments: dict[str, Any] = {"connect_timeout": _CONNECT_TIMEOUT_S}
    if answer_within_s is not None:
        arguments |= {"read_timeout": answer_within_s, "write_timeout": answer_within_s}
    return arguments


def _postgresql_arguments(answer_within_s: int | None) -> dict[str, Any]:
    arguments = {"connect_timeout": _CONNECT_TIMEOUT_S}
    if answer_within_s is not None:
        # libpq notices a machine that is gone, not a server that hangs.
        idle_s = max(1, answer_within_s // 2)
        arguments |= {"keepalives_idle": idle_s, "keepalives_interval": max(1, idle_s // 3), "keepalives_count": 3}
        arguments["tcp_user_timeout"] = answer_within_s * 1000
    return arguments


def _mysql_session(settings: DatabaseSettings) -> str:
    assignments = {
        "time_zone": "'+00:00'",
        "innodb_lock_wait_timeout": str(_LOCK_WAIT_S),
        "group_concat_max_len": str(_GROUP_CONCAT_BYTES),
    }
    if settings.mysql_wsrep_sync_wait is not None:
        assignments["wsrep_sync_wait"] = str(settings.mysql_wsrep_sync_wait)
    mode = settings.mysql_sql_mode
    if mode:
        assignments["sql_mode"] = "'" + mode.replace("\\", "\\\\").replace("'", "''") + "'"
    told = ", ".join(f"{name} = {value}" for name, value in assignments.items())
    # MySQL 8 rounds half seconds up where MariaDB cuts them off; a comment of that number is text for MySQL 8 only.
    return f"SET SESSION {told} /*!80000 , sql_mode = CONCAT(@@sql_mode, ',TIME_TRUNCATE_FRACTIONAL') */"


def _session(statements: Sequence[str]) -> Callable[[Any, Any], None]:
    def on_connect(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        connection.commit()  # PostgreSQL would forget the setting with the transaction

    return on_connect


def _give_up_lost_connections(context: ExceptionContext) -> None:
    """A node that does not serve us any more is left, with every connection to it."""
    error = context.sqlalchemy_exception
    if isinstance(error, DBAPIError) and not context.is_disconnect and fault_of(error) is Fault.LOST:
        context.is_disconnect = True
