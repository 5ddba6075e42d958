"""Comparing texts character by character on every engine.

MariaDB and MySQL compare as the database's collation says, mostly without regard to case, accents and spaces at the
end. Sorting and the filters of lists keep to that, as they do with Glance; who is a member, and which tag or property
is meant, does not.
"""

from collections.abc import Iterable
from typing import Any, Self

from sqlalchemy import Boolean, ColumnElement, Connection, false, or_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from blick.model.text import is_storable


class exactly(FunctionElement[bool]):  # noqa: N801 - reads like the operator that it stands for
    """`exactly(column, value)`: the column is that text, to the letter. Uses an index as `=` does."""

    type = Boolean()
    name = "exactly"
    inherit_cache = True

    def self_group(self, against: Any = None) -> Self:  # noqa: ARG002 - SQLAlchemy's
        """As it is: SQLAlchemy would write `… = 1`, which no index answers, where booleans are numbers."""
        return self


def exactly_one_of(column: ColumnElement[str], values: Iterable[str]) -> ColumnElement[bool]:
    """The column is one of those texts, to the letter."""
    return or_(false(), *[exactly(column, value) for value in values])


def can_hold(connection: Connection, text: str) -> bool:
    """Could a column of this database be that text? For MariaDB and MySQL comparing with what none can is an error."""
    return connection.dialect.name not in ("mysql", "mariadb") or is_storable(text)


@compiles(exactly)
def _default(element: exactly, compiler: Any, **options: Any) -> str:
    column, value = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} = {value}"


@compiles(exactly, "mysql")
@compiles(exactly, "mariadb")
def _mysql(element: exactly, compiler: Any, **options: Any) -> str:
    column, value = element.clauses
    equal, same = (
        [compiler.process(clause, **options) for clause in (column, value)],
        [f"CAST({compiler.process(clause, **options)} AS BINARY)" for clause in (column, value)],
    )
    return f"({equal[0]} = {equal[1]} AND {same[0]} = {same[1]})"
