"""How many rows a database looks at while something is read: a measure of cost that no clock is part of."""

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Connection, event, text

_STEPS_PER_ROW = 10  # of SQLite's machine, in round numbers


def rows_read(connection: Connection, read: Callable[[], object]) -> int:
    """Rows and index entries that the server looked at for the statements of `read`.

    What is counted differs between engines: compare figures of one engine only.
    """
    counters = {"sqlite": _sqlite, "postgresql": _postgresql}
    return counters.get(connection.dialect.name, _mysql)(connection, read)


def _sqlite(connection: Connection, read: Callable[[], object]) -> int:
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    raw.set_progress_handler(count, _STEPS_PER_ROW)
    try:
        read()
    finally:
        raw.set_progress_handler(None, 0)
    return steps


def _mysql(connection: Connection, read: Callable[[], object]) -> int:
    connection.execute(text("FLUSH STATUS"))
    read()
    shown = connection.execute(text("SHOW SESSION STATUS LIKE 'Handler_read%'"))
    return sum(int(value) for _, value in shown)


def _postgresql(connection: Connection, read: Callable[[], object]) -> int:
    statements: list[tuple[str, Any]] = []

    def remember(*call: Any) -> None:
        statements.append((call[2], call[3]))

    event.listen(connection, "before_cursor_execute", remember)
    try:
        read()
    finally:
        event.remove(connection, "before_cursor_execute", remember)
    plans = [
        connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).scalar_one()
        for statement, parameters in statements
    ]
    return round(sum(_scanned(node) for plan in plans for node in _nodes(plan[0]["Plan"])))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("Plans", ()):
        yield from _nodes(below)


def _scanned(node: dict[str, Any]) -> float:
    """Rows that this node took from a table or an index, kept or not."""
    if "Scan" not in node["Node Type"] or node["Node Type"] == "Subquery Scan":
        return 0
    found = [node["Actual Rows"], node.get("Rows Removed by Filter", 0), node.get("Rows Removed by Index Recheck", 0)]
    return float(sum(found) * node["Actual Loops"])
