"""Pages of the image list: who may see what is part of the query, and so is the place to go on from.

One statement per page, whatever its size, and one more to look up a marker (spec: images-api §5).
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Integer,
    Row,
    Select,
    and_,
    bindparam,
    false,
    func,
    or_,
    select,
    true,
)

from blick.db.exact import exactly
from blick.db.images import base_of, children_of, plausible_id, record
from blick.db.tables import image_members, image_properties, image_tags, images
from blick.model.errors import Forbidden, Invalid
from blick.model.image import COMMUNITY, KILLED, PRIVATE, PUBLIC, SHARED, Image
from blick.model.image_query import ImageQuery, Operator, SortKey

_COMPARE: dict[str, Callable[[Any, Any], ColumnElement[bool]]] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_NULL_SORTS_AS: dict[str, Any] = {"name": "", "container_format": "", "disk_format": "", "size": 0}


@dataclass(frozen=True, slots=True)
class Scope:
    """For whom the list is: a project, or an administrator, who sees every project's images."""

    project_id: str | None
    is_admin: bool


def page(connection: Connection, query: ImageQuery, scope: Scope) -> list[Image]:
    """Up to `query.limit` images, in order. Raises Invalid for an unknown marker, Forbidden for an invisible one."""
    parameters = _parameters(query, scope)
    if query.marker is not None:
        parameters |= _marker_values(connection, query.marker, query.sort, scope)
    if query.matches_nothing:
        return []
    rows = connection.execute(_statement(_shape(query, scope)), parameters)
    return [_seen(record(row, None, None), scope) for row in rows]


@dataclass(frozen=True, slots=True)
class _Shape:
    """What of a query decides how its statement reads; everything else is a parameter of it."""

    sort: tuple[SortKey, ...]
    comparisons: tuple[tuple[str, Operator], ...]
    properties: int
    tags: int
    visibility: str | None
    any_member_status: bool
    is_admin: bool
    has_project: bool
    goes_on: bool


def _shape(query: ImageQuery, scope: Scope) -> _Shape:
    return _Shape(
        sort=query.sort,
        comparisons=tuple([(comparison.column, comparison.operator) for comparison in query.comparisons]),
        properties=len(query.properties),
        tags=len(query.tags),
        visibility=query.visibility,
        any_member_status=query.member_status == "all",
        is_admin=scope.is_admin,
        has_project=scope.project_id is not None,
        goes_on=query.marker is not None,
    )


def _parameters(query: ImageQuery, scope: Scope) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "page_limit": query.limit,
        "os_hidden": query.os_hidden,
        "project_id": scope.project_id,
        "member_status": query.member_status,
    }
    for number, comparison in enumerate(query.comparisons):
        several = comparison.operator == "in"
        parameters[f"value_{number}"] = comparison.values if several else next(iter(comparison.values), None)
    for number, (name, value) in enumerate(query.properties):
        parameters |= {f"property_name_{number}": name, f"property_value_{number}": value}
    for number, tag in enumerate(query.tags):
        parameters[f"tag_{number}"] = tag
    return parameters


# Writing a statement down costs five times as much as running it, so it is done once per shape. A deployment's clients
# ask a few dozen; the bound is for those who play.
@lru_cache(maxsize=256)
def _statement(shape: _Shape) -> Select[Any]:
    wanted = [images.c.os_hidden == bindparam("os_hidden"), images.c.deleted == false(), images.c.status != KILLED]
    if shape.goes_on:
        wanted.append(_after(shape.sort))
    wanted.append(_visible(shape))
    wanted += [_comparison(*comparison, f"value_{number}") for number, comparison in enumerate(shape.comparisons)]
    wanted += [_has_property(number) for number in range(shape.properties)]
    wanted += [_has_tag(number) for number in range(shape.tags)]
    # The page is cut out first: children are gathered for its rows only.
    order = [_ordered(key) for key in shape.sort]
    cut = select(images).where(*wanted).order_by(*order).limit(bindparam("page_limit", type_=Integer))
    rows = cut.subquery("images_page")
    return select(*base_of(rows), *children_of(rows)).order_by(*[_ordered(key, rows.c) for key in shape.sort])


def _seen(image: Image, scope: Scope) -> Image:
    """A shared image of somebody else is in a project's list only because the project is a member."""
    if scope.is_admin or image.visibility != SHARED or image.owner == scope.project_id:
        return image
    return replace(image, member_id=scope.project_id)


def _visible(shape: _Shape) -> ColumnElement[bool]:
    asked = shape.visibility
    own: ColumnElement[bool] = images.c.owner == bindparam("project_id") if shape.has_project else false()
    community = images.c.visibility == COMMUNITY
    if shape.is_admin:
        if asked == "all" or (asked is None and not shape.has_project):
            return true()
        return images.c.visibility == asked if asked else or_(own, ~community)
    ways: dict[str, ColumnElement[bool]] = {
        PUBLIC: images.c.visibility == PUBLIC,
        COMMUNITY: community,
        PRIVATE: own & (images.c.visibility == PRIVATE),
        SHARED: (images.c.visibility == SHARED) & (own | _is_member(shape)),
    }
    if asked in ways:
        return ways[asked]
    listed = [own, ways[PUBLIC], ways[SHARED]]
    return or_(*listed, community) if asked == "all" else or_(*listed)


def _is_member(shape: _Shape) -> ColumnElement[bool]:
    member = image_members.c
    membership = select(member.image_id).where(
        exactly(member.member, bindparam("project_id")), member.deleted == false()
    )
    if not shape.any_member_status:
        membership = membership.where(member.status == bindparam("member_status"))
    return images.c.id.in_(membership)


def _comparison(name: str, compare: Operator, parameter: str) -> ColumnElement[bool]:
    column = images.c[name]
    if compare == "in":
        return column.in_(bindparam(parameter, expanding=True))
    return _COMPARE[compare](column, bindparam(parameter))


def _has_property(number: int) -> ColumnElement[bool]:
    prop = image_properties.c
    found = select(prop.image_id).where(
        prop.name == bindparam(f"property_name_{number}"),
        prop.value == bindparam(f"property_value_{number}"),
        prop.deleted == false(),
    )
    return images.c.id.in_(found)


def _has_tag(number: int) -> ColumnElement[bool]:
    tag = image_tags.c
    found = select(tag.image_id).where(tag.value == bindparam(f"tag_{number}"), tag.deleted == false())
    return images.c.id.in_(found)


def _sortable(key: SortKey, columns: Any = images.c) -> ColumnElement[Any]:
    column: ColumnElement[Any] = columns[key.name]
    if key.name == "updated_at":
        return func.coalesce(column, columns.created_at)  # as it is shown
    return func.coalesce(column, _NULL_SORTS_AS[key.name]) if key.name in _NULL_SORTS_AS else column


def _ordered(key: SortKey, columns: Any = images.c) -> ColumnElement[Any]:
    column = _sortable(key, columns)
    return column.desc() if key.descending else column.asc()


def _after(sort: tuple[SortKey, ...]) -> ColumnElement[bool]:
    """What comes after the marker in this order: keyset paging, whose cost does not grow with the page's number."""
    alternatives = []
    for position, key in enumerate(sort):
        ties = [_sortable(earlier) == bindparam(f"marker_{earlier.name}") for earlier in sort[:position]]
        column = _sortable(key)
        value: BindParameter[Any] = bindparam(f"marker_{key.name}")
        alternatives.append(and_(*ties, column < value if key.descending else column > value))
    return reduce(or_, alternatives)


def _marker_values(connection: Connection, marker: str, sort: tuple[SortKey, ...], scope: Scope) -> dict[str, Any]:
    """Where the marker stands in this order, as the parameters of `_after`. Raises Invalid, Forbidden."""
    known = plausible_id(marker)
    parameters = {"marker_id": marker, "project_id": scope.project_id}
    found = connection.execute(_marker_statement(sort), parameters).first() if known else None
    if found is None or (found.deleted and not scope.is_admin):
        raise Invalid(f"Invalid marker: there is no image {marker!r:.80}.")
    if not _may_see_marker(found, scope):
        raise Forbidden(f"The image {marker!r:.80} is not visible.")
    return {f"marker_{key.name}": getattr(found, f"marker_{key.name}") for key in sort}


@lru_cache(maxsize=64)
def _marker_statement(sort: tuple[SortKey, ...]) -> Select[Any]:
    member = image_members.c
    is_member = (
        select(member.id)
        .where(
            member.image_id == images.c.id, exactly(member.member, bindparam("project_id")), member.deleted == false()
        )
        .exists()
    )
    return select(
        images.c.owner,
        images.c.visibility,
        images.c.deleted,
        is_member.label("is_member"),
        *[_sortable(key).label(f"marker_{key.name}") for key in sort],
    ).where(images.c.id == bindparam("marker_id"))


def _may_see_marker(found: Row[Any], scope: Scope) -> bool:
    if scope.is_admin or found.owner is None or found.owner == scope.project_id:
        return True
    return found.visibility in (PUBLIC, COMMUNITY) or (found.visibility == SHARED and bool(found.is_member))
