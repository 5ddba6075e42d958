"""Pages of the image list: who may see what is part of the query, and so is the place to go on from.

One statement per page, whatever its size, and one more to look up a marker (spec: images-api §5).
"""

from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, false, func, or_, select, true

from blick.db.images import base_of, children_of, record
from blick.db.tables import image_members, image_properties, image_tags, images
from blick.model.errors import Forbidden, Invalid
from blick.model.image import COMMUNITY, KILLED, PRIVATE, PUBLIC, SHARED, Image
from blick.model.image_query import Comparison, ImageQuery, SortKey

_NULL_SORTS_AS: dict[str, Any] = {"name": "", "container_format": "", "disk_format": "", "size": 0}


@dataclass(frozen=True, slots=True)
class Scope:
    """For whom the list is: a project, or an administrator, who sees every project's images."""

    project_id: str | None
    is_admin: bool


def page(connection: Connection, query: ImageQuery, scope: Scope) -> list[Image]:
    """Up to `query.limit` images, in order. Raises Invalid for an unknown marker, Forbidden for an invisible one."""
    wanted = [images.c.os_hidden == query.os_hidden, images.c.deleted == false(), images.c.status != KILLED]
    if query.marker is not None:
        wanted.append(_after(connection, query.marker, query.sort, scope))
    if query.matches_nothing:
        return []
    wanted += [_visible(query, scope), *map(_comparison, query.comparisons)]
    wanted += [_has_property(name, value) for name, value in query.properties]
    wanted += [_has_tag(tag) for tag in query.tags]
    # The page is cut out first: children are gathered for its rows only.
    cut = select(images).where(*wanted).order_by(*map(_ordered, query.sort)).limit(query.limit).subquery("images_page")
    order = [_ordered(key, cut.c) for key in query.sort]
    rows = connection.execute(select(*base_of(cut), *children_of(cut)).order_by(*order))
    return [_seen(record(row, None, None), scope) for row in rows]


def _seen(image: Image, scope: Scope) -> Image:
    """A shared image of somebody else is in a project's list only because the project is a member."""
    if scope.is_admin or image.visibility != SHARED or image.owner == scope.project_id:
        return image
    return replace(image, member_id=scope.project_id)


def _visible(query: ImageQuery, scope: Scope) -> ColumnElement[bool]:
    asked = query.visibility
    own: ColumnElement[bool] = images.c.owner == scope.project_id if scope.project_id is not None else false()
    community = images.c.visibility == COMMUNITY
    if scope.is_admin:
        if asked == "all" or (asked is None and scope.project_id is None):
            return true()
        return images.c.visibility == asked if asked else or_(own, ~community)
    ways: dict[str, ColumnElement[bool]] = {
        PUBLIC: images.c.visibility == PUBLIC,
        COMMUNITY: community,
        PRIVATE: own & (images.c.visibility == PRIVATE),
        SHARED: (images.c.visibility == SHARED) & (own | _is_member(query.member_status, scope)),
    }
    if asked in ways:
        return ways[asked]
    listed = [own, ways[PUBLIC], ways[SHARED]]
    return or_(*listed, community) if asked == "all" else or_(*listed)


def _is_member(member_status: str, scope: Scope) -> ColumnElement[bool]:
    member = image_members.c
    membership = select(member.image_id).where(member.member == scope.project_id, member.deleted == false())
    if member_status != "all":
        membership = membership.where(member.status == member_status)
    return images.c.id.in_(membership)


def _comparison(comparison: Comparison) -> ColumnElement[bool]:
    column = images.c[comparison.column]
    first = comparison.values[0]
    match comparison.operator:
        case "eq":
            return column == first
        case "neq":
            return column != first
        case "in":
            return column.in_(comparison.values)
        case "gt":
            return column > first
        case "gte":
            return column >= first
        case "lt":
            return column < first
        case "lte":
            return column <= first


def _has_property(name: str, value: str) -> ColumnElement[bool]:
    prop = image_properties.c
    found = select(prop.image_id).where(prop.name == name, prop.value == value, prop.deleted == false())
    return images.c.id.in_(found)


def _has_tag(tag: str) -> ColumnElement[bool]:
    found = select(image_tags.c.image_id).where(image_tags.c.value == tag, image_tags.c.deleted == false())
    return images.c.id.in_(found)


def _sortable(key: SortKey, columns: Any = images.c) -> ColumnElement[Any]:
    column: ColumnElement[Any] = columns[key.name]
    if key.name == "updated_at":
        return func.coalesce(column, columns.created_at)  # as it is shown
    return func.coalesce(column, _NULL_SORTS_AS[key.name]) if key.name in _NULL_SORTS_AS else column


def _ordered(key: SortKey, columns: Any = images.c) -> ColumnElement[Any]:
    column = _sortable(key, columns)
    return column.desc() if key.descending else column.asc()


def _after(connection: Connection, marker: str, sort: tuple[SortKey, ...], scope: Scope) -> ColumnElement[bool]:
    """What comes after the marker in this order: keyset paging, whose cost does not grow with the page's number."""
    member = image_members.c
    is_member = (
        select(member.id)
        .where(member.image_id == images.c.id, member.member == scope.project_id, member.deleted == false())
        .exists()
    )
    found = connection.execute(
        select(
            images.c.owner,
            images.c.visibility,
            images.c.deleted,
            is_member.label("is_member"),
            *[_sortable(key).label(f"sort_{key.name}") for key in sort],
        ).where(images.c.id == marker)
    ).first()
    if found is None or (found.deleted and not scope.is_admin):
        raise Invalid(f"Invalid marker: there is no image {marker!r:.80}.")
    if not _may_see_marker(found, scope):
        raise Forbidden(f"The image {marker!r:.80} is not visible.")
    values = [(_sortable(key), getattr(found, f"sort_{key.name}"), key.descending) for key in sort]
    alternatives = []
    for position, (column, value, descending) in enumerate(values):
        ties = [earlier == same for earlier, same, _ in values[:position]]
        alternatives.append(and_(*ties, column < value if descending else column > value))
    return reduce(or_, alternatives)


def _may_see_marker(found: Row[Any], scope: Scope) -> bool:
    if scope.is_admin or found.owner is None or found.owner == scope.project_id:
        return True
    return found.visibility in (PUBLIC, COMMUNITY) or (found.visibility == SHARED and bool(found.is_member))
