"""Rows of a child table, gathered into one JSON text per image inside the statement that reads the image.

One statement per page then carries everything, and no join multiplies properties by tags by locations.
"""

from typing import Any

from sqlalchemy import ColumnElement, FromClause, Text, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ScalarSelect
from sqlalchemy.sql.functions import FunctionElement


class json_rows(FunctionElement[str]):  # noqa: N801 - named like the SQL function that it stands for
    """Aggregate: `[[a, b], [a, b] …]` as text, one inner array per row; `[]` without rows."""

    type = Text()
    name = "json_rows"
    inherit_cache = True


@compiles(json_rows, "sqlite")
def _sqlite(element: json_rows, compiler: Any, **options: Any) -> str:
    return f"json_group_array(json_array({compiler.process(element.clauses, **options)}))"


@compiles(json_rows, "mysql")
@compiles(json_rows, "mariadb")
def _mysql(element: json_rows, compiler: Any, **options: Any) -> str:
    return f"COALESCE(JSON_ARRAYAGG(JSON_ARRAY({compiler.process(element.clauses, **options)})), '[]')"


@compiles(json_rows, "postgresql")
def _postgresql(element: json_rows, compiler: Any, **options: Any) -> str:
    columns = compiler.process(element.clauses, **options)
    return f"COALESCE(CAST(json_agg(json_build_array({columns})) AS TEXT), '[]')"


def gathered(columns: list[ColumnElement[Any]], where: ColumnElement[bool], outer: FromClause) -> ScalarSelect[str]:
    """The `columns` of the child rows that satisfy `where`, as one JSON column of a statement over `outer`."""
    return select(json_rows(*columns)).where(where).correlate(outer).scalar_subquery()
