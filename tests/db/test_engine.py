"""Transactions in trouble: conflicts, lost connections, values that do not fit."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, event, select, text, update
from sqlalchemy.exc import IntegrityError

from blick.conf.settings import DatabaseSettings
from blick.db import images
from blick.db.engine import Database, Reconnection, open_database
from blick.db.tables import images as table
from blick.model.errors import Invalid, NotFound, ServiceUnavailable
from tests.support.databases import on_every_server
from tests.support.records import ID, NOW, image, race

OTHER = "9f1f4d5e-9c4b-4d42-8a5f-2c4f9d3b7a11"


def end_connection(database: Database, connection: Connection) -> None:
    """What a failing server or a proxy does: this connection is cut, whatever goes on."""
    mysql = database.dialect == "mysql"
    number = connection.execute(text("SELECT CONNECTION_ID()" if mysql else "SELECT pg_backend_pid()")).scalar()
    with database.engine.connect() as other:
        other.execute(text(f"KILL {number}" if mysql else f"SELECT pg_terminate_backend({number})"))


class Counted:
    """A transaction that counts how often it runs."""

    def __init__(self, work: Callable[[Connection, int], Any]) -> None:
        self.runs = 0
        self._work = work

    def __call__(self, connection: Connection) -> Any:
        self.runs += 1
        return self._work(connection, self.runs)


def set_ram(connection: Connection, image_id: str, mib: int) -> None:
    assert connection.execute(update(table).where(table.c.id == image_id).values(min_ram=mib)).rowcount == 1


def ram(database: Database, image_id: str = ID) -> int:
    found = database.read_now(images.get, image_id, None)
    assert found is not None
    return found.min_ram


@on_every_server
def test_a_deadlock_is_tried_again(database: Database) -> None:
    for image_id in (ID, OTHER):
        database.write_now(images.insert_image, image(image_id))
    both_hold_one = threading.Barrier(2)

    def crosswise(first: str, second: str, mib: int) -> Counted:
        def work(connection: Connection, run: int) -> None:
            set_ram(connection, first, mib)
            if run == 1:
                both_hold_one.wait(60)
            set_ram(connection, second, mib)

        return Counted(work)

    rivals = [crosswise(ID, OTHER, 1), crosswise(OTHER, ID, 2)]
    assert race([lambda each=each: database.write_now(each) for each in rivals]) == [None, None]  # type: ignore[misc]
    assert sum(each.runs for each in rivals) > 2
    assert ram(database) == ram(database, OTHER)


@on_every_server
def test_a_lock_time_out_is_tried_again(database: Database) -> None:
    database.write_now(images.insert_image, image())
    with database.engine.connect() as connection:
        short = "innodb_lock_wait_timeout = 1" if database.dialect == "mysql" else "lock_timeout = '200ms'"
        connection.execute(text(f"SET SESSION {short}"))
    held, several_tries = threading.Event(), threading.Event()

    def hold(connection: Connection) -> None:
        set_ram(connection, ID, 1)
        held.set()
        several_tries.wait(60)

    def wait_for_it(connection: Connection, run: int) -> None:
        held.wait(60)
        connection.execute(text(f"SET SESSION {short}"))
        if run == 3:
            several_tries.set()
        set_ram(connection, ID, 2)

    waiting = Counted(wait_for_it)
    assert race([lambda: database.write_now(hold), lambda: database.write_now(waiting)]) == [None, None]
    assert waiting.runs >= 3
    assert ram(database) == 2


@on_every_server
def test_a_connection_lost_before_the_commit_is_replaced(database: Database) -> None:
    database.write_now(images.insert_image, image())

    def work(connection: Connection, run: int) -> None:
        connection.execute(update(table).values(min_ram=table.c.min_ram + 1))
        if run == 1:
            end_connection(database, connection)
        connection.execute(select(1))

    writing = Counted(work)
    database.write_now(writing)
    assert (writing.runs, ram(database)) == (2, 1)

    def look(connection: Connection, run: int) -> None:
        if run == 1:
            end_connection(database, connection)
        connection.execute(select(1))

    reading = Counted(look)
    database.read_now(reading)
    assert reading.runs == 2


@on_every_server
def test_a_connection_lost_at_the_commit_is_not_tried_again(database: Database) -> None:
    database.write_now(images.insert_image, image())
    writing = Counted(lambda connection, _run: set_ram(connection, ID, 5))
    cut = lambda connection: end_connection(database, connection)  # noqa: E731
    event.listen(database.engine, "commit", cut)
    with pytest.raises(ServiceUnavailable, match="not known"):
        database.write_now(writing)
    event.remove(database.engine, "commit", cut)
    assert writing.runs == 1
    assert ram(database) == 0


@on_every_server
def test_idle_connections_that_died_are_nobodys_trouble(database: Database) -> None:
    database.write_now(images.insert_image, image())
    names = ("one", "two", "three")

    def cut_all(connection: Connection) -> None:
        mysql = database.dialect == "mysql"
        others = (
            "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
            if mysql
            else "SELECT pid FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid()"
        )
        for number in connection.execute(text(others)).scalars().all():
            connection.execute(text(f"KILL {number}" if mysql else f"SELECT pg_terminate_backend({number})"))

    race([lambda: ram(database) for _ in names])  # so that there are several
    database.read_now(cut_all)
    assert race([lambda: ram(database) for _ in names]) == [0, 0, 0]
    database.read_now(cut_all)
    assert database.write_now(images.set_status, ID, ("queued",), "saving", NOW)


@on_every_server
def test_a_read_only_server_is_left(database: Database) -> None:
    """It was made a replica. Another connection may lead to the new primary; here it does the second time."""

    def work(connection: Connection, run: int) -> None:
        if run == 1:
            connection.execute(text("SET SESSION TRANSACTION READ ONLY" if mysql else "SET TRANSACTION READ ONLY"))
            if mysql:
                connection.exec_driver_sql("COMMIT")
        images.insert_image(connection, image())

    mysql = database.dialect == "mysql"
    writing = Counted(work)
    database.write_now(writing)
    assert writing.runs == 2
    assert ram(database) == 0


def test_errors_of_the_transaction_itself_are_not_tried_again(database: Database) -> None:
    def fail(connection: Connection, _run: int) -> None:
        images.insert_image(connection, image())
        raise NotFound("no")

    failing = Counted(fail)
    with pytest.raises(NotFound):
        database.write_now(failing)
    assert failing.runs == 1
    assert database.read_now(images.get, ID, None) is None
    database.write_now(images.insert_image, image())
    doubled = Counted(lambda connection, _run: connection.execute(table.insert(), {**ROW, "id": ID}))
    with pytest.raises(IntegrityError):
        database.write_now(doubled)
    assert doubled.runs == 1


ROW = {"status": "queued", "min_disk": 0, "min_ram": 0, "created_at": NOW, "deleted": False}


@on_every_server
@pytest.mark.parametrize("values", [{"name": "n" * 256}, {"min_ram": 2**31}])
def test_a_value_that_does_not_fit_is_invalid(database: Database, values: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="no place for"):
        database.write_now(lambda connection: connection.execute(table.insert(), {**ROW, "id": ID, **values}))


@on_every_server
def test_a_character_that_the_columns_lack_is_invalid(database: Database) -> None:
    bad = "\U0001f600" if database.dialect == "mysql" else "\x00"
    with pytest.raises(Invalid):
        database.write_now(images.insert_image, image(name=bad))
    with pytest.raises(Invalid):
        database.read_now(lambda connection: connection.execute(select(table).where(table.c.name == bad)).all())


@on_every_server
def test_every_session_is_set_up_alike(database: Database, engine: str) -> None:
    def look(connection: Connection) -> tuple[Any, ...]:
        if database.dialect == "mysql":
            names = ("time_zone", "sql_mode", "innodb_lock_wait_timeout", "tx_isolation")
            return tuple(connection.execute(text(f"SELECT @@SESSION.{name}")).scalar() for name in names)
        names = ("lock_timeout", "transaction_isolation")
        return tuple(connection.execute(text(f"SHOW {name}")).scalar() for name in names)

    found = database.write_now(look)
    if engine == "mariadb":
        assert found[0] == "+00:00"
        assert {"STRICT_TRANS_TABLES", "TRADITIONAL"} <= set(found[1].split(","))
        assert found[2:] == (5, "READ-COMMITTED")
    else:
        assert found == ("5s", "read committed")


@on_every_server
def test_the_operators_session_options_count(database_url: str, engine: str) -> None:
    if engine != "mariadb":
        pytest.skip("options of MySQL and Galera")
    settings = DatabaseSettings(database_url, mysql_sql_mode="ANSI,NO_ZERO_DATE", mysql_wsrep_sync_wait=3)
    opened = open_database(settings)
    mode = opened.read_now(lambda connection: connection.execute(text("SELECT @@sql_mode, @@wsrep_sync_wait")).one())
    assert {"ANSI", "NO_ZERO_DATE"} <= set(mode[0].split(","))
    assert "STRICT_TRANS_TABLES" not in mode[0]
    assert mode[1] == 3
    opened.write_now(images.insert_image, image(properties={"a": "b"}))
    assert opened.read_now(images.get, ID, None) == image(properties={"a": "b"})
    opened.close()


def test_a_pool_of_one_serves_everybody(database_url: str) -> None:
    opened = open_database(DatabaseSettings(database_url, max_pool_size=1, max_overflow=0, sqlite_synchronous=False))
    opened.write_now(images.insert_image, image())
    assert race([lambda: ram(opened) for _ in range(8)]) == [0] * 8
    opened.close()


def test_reconnection_waits_longer_each_time() -> None:
    growing = Reconnection(attempts=5, pause_s=1, grows=True, longest_pause_s=5)
    assert [growing.pause_before(attempt) for attempt in (1, 2, 3, 4, 99)] == [1, 2, 4, 5, 5]
    steady = Reconnection(attempts=5, pause_s=3, grows=False, longest_pause_s=10)
    assert [steady.pause_before(attempt) for attempt in (1, 2, 9)] == [3, 3, 3]


@on_every_server
def test_a_read_is_nothing_but_its_statement(database: Database, engine: str) -> None:
    """No BEGIN before it and no ROLLBACK after it, which would each be another trip to the server."""
    count = (
        "SELECT SUM(variable_value) FROM information_schema.global_status WHERE variable_name IN "
        "('COM_BEGIN', 'COM_ROLLBACK', 'COM_COMMIT')"
        if engine == "mariadb"
        else "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()"
    )

    def counted() -> int:
        return database.read_now(lambda connection: int(connection.execute(text(count)).scalar() or 0))

    database.read_now(images.get, ID, None)
    before = counted()
    for _ in range(20):
        database.read_now(images.get, ID, None)
    assert counted() == before


@on_every_server
def test_a_write_is_nothing_but_one_transaction(database: Database, engine: str) -> None:
    """No ROLLBACK behind its COMMIT."""
    count = (
        "SELECT SUM(variable_value) FROM information_schema.global_status WHERE variable_name = 'COM_ROLLBACK'"
        if engine == "mariadb"
        else "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()"
    )

    def counted() -> int:
        return database.read_now(lambda connection: int(connection.execute(text(count)).scalar() or 0))

    database.write_now(images.insert_image, image())
    before = counted()
    for value in range(20):
        database.write_now(set_ram, ID, value)
    assert counted() == before


@on_every_server
def test_what_writes_by_mistake_where_only_reading_is_meant_is_refused(database: Database) -> None:
    database.write_now(images.insert_image, image())
    with pytest.raises(ServiceUnavailable):
        database.read_now(set_ram, ID, 5)
    assert ram(database) == 0


@on_every_server
def test_a_failed_write_is_undone_beside_reads(database: Database) -> None:
    def broken(connection: Connection) -> None:
        images.insert_image(connection, image())
        raise NotFound("no")

    with pytest.raises(NotFound):
        database.write_now(broken)
    assert database.read_now(images.get, ID, None) is None
