"""The one way to the database: a transaction is a synchronous function, run in a thread, retried where that is safe."""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from blick.conf.settings import DatabaseSettings
from blick.db.connecting import SQLITE_THREADS, Engines, make_engines
from blick.db.faults import Fault, fault_of, reason_of
from blick.db.location_cipher import use_cipher
from blick.model.errors import Invalid, ServiceUnavailable, StartRefused
from blick.stream.hop import hop

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger(__name__)

# Threads that run transactions on a server; they wait for it most of the time.
_SERVER_THREADS = 16
# How long a transaction is tried anew while others are in its way.
_CONFLICT_PATIENCE_S = 30.0
_CONFLICT_PAUSE_S = 0.01
_LONGEST_CONFLICT_PAUSE_S = 0.5

_GONE = "The database does not answer. Try again later."
_BUSY = "Too many others change the same thing at present. Try again."
_UNKNOWN = "The database broke off while it was saving: whether it has saved is not known. Look before trying again."
_UNFIT = "The request contains a value that the database has no place for: too long, or with characters it lacks."


@dataclass(frozen=True, slots=True)
class Reconnection:
    """How often a transaction is begun anew after its connection was lost, and how long to wait before each time."""

    attempts: float = 2
    pause_s: float = 0.1
    grows: bool = True
    longest_pause_s: float = 10.0

    def pause_before(self, attempt: int) -> float:
        """Seconds to wait before the `attempt`th time, counted from 1."""
        return min(self.pause_s * (2 ** min(attempt - 1, 30) if self.grows else 1), self.longest_pause_s)


class Database:
    """An engine and the threads that run transactions on it. Made by `open_database`, closed with `close`.

    What is retried, and what callers are told where that does not help:

    - a conflict with another transaction (deadlock, lock time-out, serialization or certification failure) undoes the
      transaction as a whole; it is tried anew for half a minute, then ServiceUnavailable;
    - a connection lost before the commit was asked for: nothing was saved, so the transaction is begun anew on another
      connection, a few times; then ServiceUnavailable;
    - a connection lost at the commit: whether it was saved is not known, and saving twice may be wrong, so it is not
      tried again; ServiceUnavailable says so;
    - a value that does not fit into its column: Invalid.
    """

    def __init__(self, engines: Engines, threads: int, reconnection: Reconnection) -> None:
        self.engines = engines
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="db")
        self._reconnection = reconnection
        self._closing = threading.Event()

    @property
    def engine(self) -> Engine:
        """The one that writes."""
        return self.engines.writing

    @property
    def dialect(self) -> str:
        """`sqlite`, `mysql` (MariaDB too) or `postgresql`."""
        return self.engine.dialect.name

    async def write(self, transaction: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `transaction(connection, *args)` in one read-write transaction, in one hop; commit, give its result.

        It may run several times (see the class), so it must do nothing but speak to the database. Any error rolls
        back. Raises what the transaction raises, ServiceUnavailable and Invalid as the class says.
        """
        with _logged():
            return await hop(self._threads, lambda: self.write_now(transaction, *args, **kwargs))

    async def read(self, transaction: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `write`, for functions that only read; nothing is committed.

        On a server each statement is a transaction of its own: what others commit between two of them shows.
        """
        with _logged():
            return await hop(self._threads, lambda: self.read_now(transaction, *args, **kwargs))

    def write_now(self, transaction: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`write` for blocking callers, such as commands."""

        def once(attempt: _Attempt) -> T:
            with self.engine.connect().execution_options(blick_writes=True) as connection, connection.begin() as begun:
                result = transaction(connection, *args, **kwargs)
                attempt.at_commit = True
                begun.commit()
            return result

        return self._retried(once)

    def read_now(self, transaction: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`read` for blocking callers."""

        def once(_attempt: _Attempt) -> T:
            with self.engines.reading.connect() as connection:
                return transaction(connection, *args, **kwargs)

        return self._retried(once)

    def close(self) -> None:
        """Let running transactions end, then close every connection."""
        self._closing.set()
        self._threads.shutdown(wait=True)
        self.engines.dispose()

    def _retried(self, once: "Callable[[_Attempt], T]") -> T:
        trouble = _Trouble(self._reconnection, time.monotonic() + _CONFLICT_PATIENCE_S)
        while True:
            attempt = _Attempt()
            try:
                return once(attempt)
            except PoolTimeout as error:
                raise ServiceUnavailable(_BUSY) from error
            except DBAPIError as error:
                pause_s = trouble.pause_after(error, attempt)
                if pause_s is None or self._closing.wait(pause_s):
                    raise _outward(error, attempt) from error


@dataclass(slots=True)
class _Attempt:
    at_commit: bool = False


@dataclass(slots=True)
class _Trouble:
    """What one transaction has met so far."""

    reconnection: Reconnection
    give_up_at: float
    conflicts: int = 0
    losses: int = 0

    def pause_after(self, error: DBAPIError, attempt: _Attempt) -> float | None:
        """How long to wait before the next attempt, in seconds; None if there should be none."""
        fault = fault_of(error)
        if fault is Fault.CONFLICT and time.monotonic() < self.give_up_at:
            self.conflicts += 1
            pause_s: float = min(_CONFLICT_PAUSE_S * 2 ** min(self.conflicts, 10), _LONGEST_CONFLICT_PAUSE_S)
            return pause_s * random.uniform(0.5, 1.5)  # noqa: S311 - so that rivals part, not a secret
        if fault is Fault.LOST and not attempt.at_commit and self.losses < self.reconnection.attempts:
            self.losses += 1
            return self.reconnection.pause_before(self.losses)
        return None


def _outward(error: DBAPIError, attempt: _Attempt) -> Exception:
    """What callers are told."""
    match fault_of(error):
        case Fault.CONFLICT:
            return ServiceUnavailable(_BUSY)
        case Fault.LOST | Fault.REFUSED:
            return ServiceUnavailable(_UNKNOWN if attempt.at_commit else _GONE)
        case Fault.UNFIT:
            return Invalid(_UNFIT)
        case Fault.OTHER:
            return error


@contextmanager
def _logged() -> Iterator[None]:
    """What the caller of a running service is not told, its operator is."""
    try:
        yield
    except ServiceUnavailable as error:
        if isinstance(error.__cause__, DBAPIError):
            _log.error("the database says: %s", reason_of(error.__cause__))
        raise


@contextmanager
def told(database: Database) -> Iterator[None]:
    """Trouble with the database becomes StartRefused, with the reason: what a command says to its operator."""
    try:
        yield
    except (ServiceUnavailable, Invalid, DBAPIError) as error:
        found = error if isinstance(error, DBAPIError) else error.__cause__
        if isinstance(error, Invalid) and not isinstance(found, DBAPIError):
            raise
        reason = reason_of(found) if isinstance(found, DBAPIError) else str(error).rstrip(".")
        raise StartRefused(f"The database {database.engine.url!r} cannot be used: {reason}.") from error
    except TypeError as error:  # a driver's word for a parameter of the URL that it does not know
        raise StartRefused(f"[database] connection: {error}.") from error


def open_database(settings: DatabaseSettings, answer_within_s: int | None = None) -> Database:
    """The database of `settings.connection`. Connects lazily; sqlite files are created by the first connection.

    `answer_within_s`: how long a server may be silent in the middle of a statement before it counts as gone; None, for
    commands and migrations: for ever. Raises StartRefused for what is no URL, a kind of database that we do not know,
    or a driver that is missing.
    """
    engines = make_engines(settings, answer_within_s)
    for engine in {engines.writing, engines.reading}:
        use_cipher(engine, settings.location_key)
    if engines.writing.dialect.name == "sqlite":
        return Database(engines, SQLITE_THREADS, Reconnection(attempts=0))
    # A thread without a connection would only wait for one.
    connections = settings.max_pool_size + settings.max_overflow
    unbounded = settings.max_pool_size == 0 or settings.max_overflow < 0
    threads = _SERVER_THREADS if unbounded else max(1, min(_SERVER_THREADS, connections))
    return Database(engines, threads, _reconnection(settings))


def _reconnection(settings: DatabaseSettings) -> Reconnection:
    if not settings.use_db_reconnect:
        return Reconnection()
    return Reconnection(
        attempts=settings.db_max_retries if settings.db_max_retries >= 0 else float("inf"),
        pause_s=settings.db_retry_interval_s,
        grows=settings.db_inc_retry_interval,
        longest_pause_s=settings.db_max_retry_interval_s,
    )
