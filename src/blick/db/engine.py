"""The one way to the database: a transaction is a synchronous function, run in a thread, retried where that is safe."""

import random
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from blick.conf.settings import DatabaseSettings
from blick.db.location_cipher import use_cipher
from blick.model.errors import ServiceUnavailable, StartRefused
from blick.stream.hop import hop

P = ParamSpec("P")
T = TypeVar("T")

_ATTEMPTS = 8
# MySQL: 1205 lock wait timeout, 1213 deadlock (Galera's certification failures too); PostgreSQL: SQLSTATE class 40.
_MYSQL_RETRY = frozenset({1205, 1213})
_POSTGRESQL_RETRY = frozenset({"40001", "40P01"})
_KNOWN = frozenset({"sqlite", "mysql", "mariadb", "postgresql"})
_KINDS = "SQLite, MariaDB, MySQL and PostgreSQL"
# Threads that run transactions. SQLite has no network to wait for and one writer at a time: a few suffice, and each
# holds a connection with a cache of its own. Elsewhere the threads wait for the server most of the time.
_SQLITE_THREADS = 4
_SERVER_THREADS = 16
_SQLITE_CACHE_KIB = 1024


class Database:
    """An engine and the threads that run transactions on it. Made by `boot`, closed with `close`."""

    def __init__(self, engine: Engine, threads: int) -> None:
        self.engine = engine
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="db")

    @property
    def dialect(self) -> str:
        """`sqlite`, `mysql` (MariaDB too) or `postgresql`."""
        return self.engine.dialect.name

    async def write(self, transaction: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `transaction(connection, *args)` in one read-write transaction, in one hop; commit, give its result.

        It may run several times: it is repeated after a deadlock, a lock time-out or a serialization failure,
        so it must do nothing but speak to the database. Any error rolls back. Raises ServiceUnavailable where
        the database does not answer; after an error at commit the outcome is not known.
        """
        return await hop(self._threads, lambda: self.write_now(transaction, *args, **kwargs))

    async def read(self, transaction: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `write`, for functions that only read; nothing is committed."""
        return await hop(self._threads, lambda: self.read_now(transaction, *args, **kwargs))

    def write_now(self, transaction: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`write` for blocking callers, such as commands."""

        def once() -> T:
            with self.engine.connect().execution_options(blick_writes=True) as connection, connection.begin():
                return transaction(connection, *args, **kwargs)

        return _retried(once)

    def read_now(self, transaction: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`read` for blocking callers."""

        def once() -> T:
            with self.engine.connect() as connection:
                return transaction(connection, *args, **kwargs)

        return _retried(once)

    def close(self) -> None:
        """Let running transactions end, then close every connection."""
        self._threads.shutdown(wait=True)
        self.engine.dispose()


def open_database(settings: DatabaseSettings) -> Database:
    """An engine for `settings.connection`. Connects lazily; sqlite files are created by the first connection.

    Raises StartRefused for what is no URL, a kind of database that we do not know, or a driver that is missing.
    """
    try:
        url = make_url(settings.connection)
        if url.get_backend_name() not in _KNOWN:
            raise StartRefused(f"[database] connection: Blick works with {_KINDS}, not with {url.get_backend_name()}.")
        database = _open(url, settings)
    except ImportError as error:
        raise StartRefused(f"[database] connection: the driver {error.name} is not installed.") from error
    except ArgumentError as error:
        raise StartRefused(f"[database] connection: {error}.") from error
    except ValueError as error:  # whose text would quote parts of the URL, which is a secret
        raise StartRefused("[database] connection: this is not a SQLAlchemy URL.") from error
    use_cipher(database.engine, settings.location_key)
    return database


def _open(url: URL, settings: DatabaseSettings) -> Database:
    if url.get_backend_name() == "sqlite":
        engine = create_engine(
            url,
            poolclass=QueuePool,
            pool_size=_SQLITE_THREADS,
            max_overflow=4,
            connect_args={"check_same_thread": False, "timeout": 30, "cached_statements": 128},
        )
        event.listen(engine, "connect", _sqlite_pragmas(synchronous=settings.sqlite_synchronous))
        event.listen(engine, "begin", _sqlite_begin)
        return Database(engine, _SQLITE_THREADS)
    options: dict[str, Any] = {
        "pool_size": settings.max_pool_size,
        "max_overflow": settings.max_overflow,
        "pool_recycle": settings.connection_recycle_time_s,
        "pool_pre_ping": True,
    }
    if settings.pool_timeout_s is not None:
        options["pool_timeout"] = settings.pool_timeout_s
    if url.get_backend_name() in ("mysql", "mariadb"):
        options["isolation_level"] = "READ COMMITTED"
    return Database(create_engine(url, **options), _SERVER_THREADS)


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


def _retried(once: Callable[[], T]) -> T:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return once()
        except DBAPIError as error:
            if attempt == _ATTEMPTS or not _may_pass(error):
                raise _outward(error) from error
            time.sleep(random.uniform(0.5, 1.5) * 0.005 * 2**attempt)  # noqa: S311 - jitter, not a secret
    raise AssertionError("unreachable")


def _may_pass(error: DBAPIError) -> bool:
    """Is this a conflict with another transaction, that vanishes when tried again?"""
    original = error.orig
    if isinstance(original, sqlite3.OperationalError):
        return "locked" in str(original) or "busy" in str(original)
    if (
        getattr(original, "sqlstate", None) in _POSTGRESQL_RETRY
        or getattr(original, "pgcode", None) in _POSTGRESQL_RETRY
    ):
        return True
    arguments: tuple[object, ...] = getattr(original, "args", ())
    return len(arguments) > 0 and arguments[0] in _MYSQL_RETRY


def _outward(error: SQLAlchemyError) -> Exception:
    """Connection trouble becomes ServiceUnavailable; what is left (constraint violations …) goes on as it is."""
    if isinstance(error, OperationalError):
        return ServiceUnavailable("The database does not answer. Try again later.")
    return error
