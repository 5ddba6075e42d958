"""Rows of a child table, gathered into one JSON object per image inside the statement that reads the image.

One statement per page then carries everything, and no join multiplies properties by tags by locations. An object and
not an array, because MariaDB gathers arrays by way of a temporary table on disk, and cuts them off at a length.
"""

from typing import Any

from sqlalchemy import ColumnElement, FromClause, Text, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ScalarSelect
from sqlalchemy.sql.functions import FunctionElement


class json_rows(FunctionElement[str]):  # noqa: N801 - named like the SQL function that it stands for
    """Aggregate over (key, value): `{"key": value, …}` as text, one entry per row; `{}` without rows."""

    type = Text()
    name = "json_rows"
    inherit_cache = True


class json_row(FunctionElement[str]):  # noqa: N801 - named like the SQL function that it stands for
    """`[a, b, …]`, to be a value of `json_rows`."""

    type = Text()
    name = "json_row"
    inherit_cache = True


class json_record(FunctionElement[str]):  # noqa: N801 - named like the SQL function that it stands for
    """`[a, b, …]` as text, to be a column of a result: drivers written in Python take their time over each column."""

    type = Text()
    name = "json_record"
    inherit_cache = True


@compiles(json_rows, "sqlite")
def _sqlite(element: json_rows, compiler: Any, **options: Any) -> str:
    return f"json_group_object({compiler.process(element.clauses, **options)})"


@compiles(json_rows, "mysql")
@compiles(json_rows, "mariadb")
def _mysql(element: json_rows, compiler: Any, **options: Any) -> str:
    return f"COALESCE(JSON_OBJECTAGG({compiler.process(element.clauses, **options)}), '{{}}')"


@compiles(json_rows, "postgresql")
def _postgresql(element: json_rows, compiler: Any, **options: Any) -> str:
    return f"COALESCE(CAST(json_object_agg({compiler.process(element.clauses, **options)}) AS TEXT), '{{}}')"


@compiles(json_row)
@compiles(json_record)
def _row(element: json_row, compiler: Any, **options: Any) -> str:
    return f"JSON_ARRAY({compiler.process(element.clauses, **options)})"


@compiles(json_row, "postgresql")
def _postgresql_row(element: json_row, compiler: Any, **options: Any) -> str:
    return f"json_build_array({compiler.process(element.clauses, **options)})"


@compiles(json_record, "postgresql")
def _postgresql_record(element: json_record, compiler: Any, **options: Any) -> str:
    return f"CAST(json_build_array({compiler.process(element.clauses, **options)}) AS TEXT)"


def gathered(
    key: ColumnElement[Any], value: ColumnElement[Any], where: ColumnElement[bool], outer: FromClause
) -> ScalarSelect[str]:
    """The child rows that satisfy `where`, as one JSON column of a statement over `outer`; no `key` is null."""
    return select(json_rows(key, value)).where(where).correlate(outer).scalar_subquery()
