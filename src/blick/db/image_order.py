"""The order of an image list, and where a page goes on, in words that each engine answers from an index.

A place in the order becomes one or more alternatives. Each is a range of one index, in the wanted order: what a page
costs then depends neither on its number nor on the size of the table. Null comes before every value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, and_, bindparam, not_, or_, tuple_

from blick.db.tables import images
from blick.model.image_query import SortKey

_NULLABLE = frozenset({"name", "container_format", "disk_format", "size", "updated_at"})
# MariaDB and MySQL read a row comparison row by row from the index's start, and a chain of `or` as a range of it.
_COMPARE_ROWS = frozenset({"postgresql", "sqlite"})


def deciding(sort: tuple[SortKey, ...]) -> tuple[SortKey, ...]:
    """The keys up to the id, after which there are no ties."""
    names = [key.name for key in sort]
    return sort[: names.index("id") + 1]


def ordered(sort: Sequence[SortKey], dialect: str, columns: Any = images.c) -> list[ColumnElement[Any]]:
    """What to order by; `columns` are those of `images` or of a selection that holds the keys."""
    return [_ordered(key, columns[key.name], dialect) for key in sort]


def _ordered(key: SortKey, column: ColumnElement[Any], dialect: str) -> ColumnElement[Any]:
    told = column.desc() if key.descending else column.asc()
    if dialect != "postgresql" or key.name not in _NULLABLE:
        return told
    return told.nulls_last() if key.descending else told.nulls_first()


def marker_parameter(key: SortKey) -> str:
    """The name of the parameter that holds the marker's value for `key`."""
    return f"marker_{key.name}"


@dataclass(frozen=True, slots=True)
class Place:
    """A part of what is left of the order: a condition, and the keys that still differ among its rows."""

    condition: ColumnElement[bool] | None
    sort: Sequence[SortKey]


def after(sort: Sequence[SortKey], nulls: frozenset[str], dialect: str) -> list[Place]:
    """What comes after the marker, in parts that exclude each other.

    `nulls` names the keys for which the marker has no value; parameters hold the others.
    """
    found: list[Place] = []
    ties: list[ColumnElement[bool]] = []
    for position, key in enumerate(sort):
        rest = sort[position:]
        if _is_one_range(rest):
            found.append(Place(and_(*ties, _beyond_all(rest, dialect)), rest))
            break
        if key.name not in nulls:
            found.append(Place(and_(*ties, _past(key)), rest))
        if key.name in _NULLABLE and key.descending is not (key.name in nulls):
            is_null = images.c[key.name].is_(None)
            found.append(
                Place(and_(*ties, not_(is_null)), rest) if key.name in nulls else Place(and_(*ties, is_null), rest[1:])
            )
        ties.append(images.c[key.name].is_(None) if key.name in nulls else images.c[key.name] == _value(key))
    if len([key for key in sort if key.name in _NULLABLE]) > 1:  # no index has such an order
        return [Place(or_(*[place.condition for place in found if place.condition is not None]), sort)]
    return found


def _is_one_range(keys: Sequence[SortKey]) -> bool:
    return not any(key.name in _NULLABLE for key in keys) and len({key.descending for key in keys}) == 1


def _beyond_all(keys: Sequence[SortKey], dialect: str) -> ColumnElement[bool]:
    columns = [images.c[key.name] for key in keys]
    values = [_value(key) for key in keys]
    if dialect in _COMPARE_ROWS and len(keys) > 1:
        row, place = tuple_(*columns), tuple_(*values)
        return row < place if keys[0].descending else row > place
    alternatives = []
    for position, key in enumerate(keys):
        ties = [column == value for column, value in zip(columns[:position], values[:position], strict=True)]
        alternatives.append(and_(*ties, _past(key)))
    return or_(*alternatives)


def _past(key: SortKey) -> ColumnElement[bool]:
    column = images.c[key.name]
    return column < _value(key) if key.descending else column > _value(key)


def _value(key: SortKey) -> BindParameter[Any]:
    return bindparam(marker_parameter(key), type_=images.c[key.name].type)
