"""Filters of an image list as conditions: base columns, custom properties and tags (spec: images-api §5.3)."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, and_, bindparam, false, literal_column, select

from blick.db.tables import beginning, image_properties, image_tags, images
from blick.model.image_query import ImageQuery, Operator

_COMPARE: dict[str, Callable[[Any, Any], ColumnElement[bool]]] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
# Base columns whose filters can be answered from an index, and which, where it is one of ours.
_INDEXED: dict[str, str | None] = {
    "name": "blick_images_name",
    "size": "blick_images_size",
    "status": "blick_images_status",
    "owner": "blick_images_owner",
    "id": None,
    "checksum": None,
    "os_hash_value": None,
    "updated_at": "blick_images_updated_at",
}
_THEN_BY_AGE = frozenset({"name", "size", "status", "owner"})


@dataclass(frozen=True, slots=True)
class ColumnFilter:
    """A base column against the parameter of this number."""

    column: str
    operator: Operator
    number: int
    table = images

    @property
    def indexed(self) -> bool:
        """Can a list start from the images that it finds?"""
        return self.column in _INDEXED and self.operator != "neq"

    @property
    def index(self) -> str | None:
        """The index of ours that finds them, if there is one."""
        return _INDEXED.get(self.column)

    @property
    def keeps_usual_order(self) -> bool:
        """Does `index` have the images that it finds in the list's usual order?"""
        return self.operator == "eq" and self.column in _THEN_BY_AGE

    def condition(self, dialect: str) -> ColumnElement[bool]:  # noqa: ARG002 - as of a ChildFilter
        """Over rows of `table`."""
        column, name = images.c[self.column], f"value_{self.number}"
        if self.operator == "in":
            return column.in_(bindparam(name, expanding=True))
        return _COMPARE[self.operator](column, bindparam(name))

    def holds(self, dialect: str) -> ColumnElement[bool]:
        """Over images."""
        return self.condition(dialect)


@dataclass(frozen=True, slots=True)
class ChildFilter:
    """Images must have the tag, or the property, of the parameters with this number."""

    is_tag: bool
    number: int
    indexed = True
    keeps_usual_order = False

    @property
    def table(self) -> Table:
        """Where its rows are."""
        return image_tags if self.is_tag else image_properties

    @property
    def index(self) -> str:
        """The index that finds them."""
        return "blick_image_tags_value" if self.is_tag else "blick_image_properties_value"

    def condition(self, dialect: str) -> ColumnElement[bool]:
        """Over rows of `table`, in the words of its index."""
        if self.is_tag:
            return and_(image_tags.c.value == bindparam(f"tag_{self.number}"), image_tags.c.deleted == false())
        prop = image_properties.c
        value = bindparam(f"property_value_{self.number}", type_=prop.value.type)
        wanted = [prop.name == bindparam(f"property_name_{self.number}"), prop.value == value, prop.deleted == false()]
        if dialect == "postgresql":  # whose indexes hold no long texts
            wanted.append(beginning(prop.value) == beginning(value))
        return and_(*wanted)

    def holds(self, dialect: str) -> ColumnElement[bool]:
        """Over images, to be looked up row by row: written so that no engine makes a join of it."""
        row = self.table.c
        found: Select[Any] = (
            select(literal_column("1")).where(row.image_id == images.c.id, self.condition(dialect)).limit(1)
        )
        return found.correlate(images).scalar_subquery().is_not(None)


Filter = ColumnFilter | ChildFilter


def filters_of(query: ImageQuery) -> tuple[Filter, ...]:
    """The query's filters, numbered as in `parameters`."""
    return (
        *[ChildFilter(is_tag=True, number=number) for number in range(len(query.tags))],
        *[ChildFilter(is_tag=False, number=number) for number in range(len(query.properties))],
        *[ColumnFilter(each.column, each.operator, number) for number, each in enumerate(query.comparisons)],
    )


def parameters(query: ImageQuery) -> dict[str, Any]:
    """The values that the query's filters compare with."""
    found: dict[str, Any] = {}
    for number, each in enumerate(query.comparisons):
        found[f"value_{number}"] = each.values if each.operator == "in" else next(iter(each.values), None)
    for number, (name, value) in enumerate(query.properties):
        found |= {f"property_name_{number}": name, f"property_value_{number}": value}
    for number, tag in enumerate(query.tags):
        found[f"tag_{number}"] = tag
    return found
