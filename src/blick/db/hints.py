"""How to tell an engine in which order to go about a statement, where it cannot know.

MariaDB, MySQL and SQLite do not think of the limit when they choose, and know little of how values are distributed.
PostgreSQL takes no hints and needs none.
"""

from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.selectable import Join

_JOINED_AS_WRITTEN = {"sqlite": "CROSS JOIN", "mysql": "STRAIGHT_JOIN", "mariadb": "STRAIGHT_JOIN"}


class JoinedAsWritten(Join):
    """An inner join that reads its left side first."""

    inherit_cache = True


@compiles(JoinedAsWritten)
def _join(element: JoinedAsWritten, compiler: Any, **options: Any) -> str:
    words = _JOINED_AS_WRITTEN.get(compiler.dialect.name, "JOIN")
    left = compiler.process(element.left, **options | {"asfrom": True})
    right = compiler.process(element.right, **options | {"asfrom": True})
    return f"{left} {words} {right} ON {compiler.process(element.onclause, from_linter=options.get('from_linter'))}"


def joined_as_written(left: FromClause, right: FromClause, condition: ColumnElement[bool]) -> JoinedAsWritten:
    """`left` joined to `right`, in that order."""
    return JoinedAsWritten(left, right, condition)


def force(selection: Select[Any], table: FromClause, index: str | None) -> Select[Any]:
    """Let MariaDB and MySQL take this index of `table`; None: whichever they like."""
    if index is None:
        return selection
    for dialect in ("mysql", "mariadb"):
        selection = selection.with_hint(table, f"FORCE INDEX ({index})", dialect)
    return selection
