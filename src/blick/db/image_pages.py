"""Pages of the image list: who may see what is part of the query, and so is the place to go on from.

One statement per page, whatever its size; one more to look up a marker, one more to weigh filters by tag and property
(spec: images-api §5). The statement finds the page's ids first, by short walks along indexes that are then merged, and
reads whole records and their children for those alone.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Row,
    Select,
    bindparam,
    false,
    literal_column,
    or_,
    select,
    true,
    union,
)

from blick.db import image_filters
from blick.db.exact import exactly
from blick.db.hints import force, joined_as_written
from blick.db.image_filters import Filter
from blick.db.image_order import Place, after, deciding, marker_parameter, ordered
from blick.db.image_visibility import EVERYTHING, Scope, Wanted, Way, visible, ways
from blick.db.image_weights import Question, Weights, weigh
from blick.db.images import base_of, children_of, plausible_id, record
from blick.db.tables import image_members, images
from blick.model.errors import Forbidden, Invalid
from blick.model.image import COMMUNITY, KILLED, PUBLIC, SHARED, Image
from blick.model.image_query import ImageQuery, SortKey

# Orders that an index of all images has; the list's usual one is that of every way's own index.
_SORT_INDEXES = {
    "name": "blick_images_name",
    "size": "blick_images_size",
    "status": "blick_images_status",
    "updated_at": "blick_images_updated_at",
}
_USUAL_SORT = "created_at"


def page(connection: Connection, query: ImageQuery, scope: Scope) -> list[Image]:
    """Up to `query.limit` images, in order. Raises Invalid for an unknown marker, Forbidden for an invisible one."""
    sort = deciding(query.sort)
    parameters = _parameters(query, scope)
    nulls = None
    if query.marker is not None:
        place = _marker_values(connection, query.marker, sort, scope)
        nulls = frozenset([key.name for key in sort if place[marker_parameter(key)] is None])
        parameters |= place
    if query.matches_nothing:
        return []
    filters = image_filters.filters_of(query)
    wanted = Wanted(query.visibility, query.member_status == "all", scope.is_admin, scope.project_id is not None)
    question = Question(
        connection.dialect.name, filters, None if sort[0].name == _USUAL_SORT else wanted, query.os_hidden
    )
    weights = weigh(connection, question, parameters)
    shape = _Shape(connection.dialect.name, sort, query.os_hidden, filters, wanted, weights, nulls)
    rows = connection.execute(_statement(shape), parameters)
    return [_seen(record(row, None, None), scope) for row in rows]


@dataclass(frozen=True, slots=True)
class _Shape:
    """What of a query decides how its statement reads; everything else is a parameter of it.

    `marker_nulls`: which keys of the marker have no value; None on a first page.
    """

    dialect: str
    sort: tuple[SortKey, ...]
    os_hidden: bool
    filters: tuple[Filter, ...]
    wanted: Wanted
    weights: Weights
    marker_nulls: frozenset[str] | None


def _parameters(query: ImageQuery, scope: Scope) -> dict[str, Any]:
    return image_filters.parameters(query) | {
        "page_limit": query.limit,
        "project_id": scope.project_id,
        "member_status": query.member_status,
    }


# Writing a statement down costs five times as much as running it, so it is done once per shape. A deployment's clients
# ask a few dozen; the bound is for those who play.
@lru_cache(maxsize=256)
def _statement(shape: _Shape) -> Select[Any]:
    start = shape.weights.start
    found = [_from_filter(shape, start)] if start is not None else _along_indexes(shape)
    if len(found) > 1:
        # SQLite takes parts that are sorted and limited only as subqueries, the others only in parentheses.
        parts = [select(*part.subquery().c) for part in found] if shape.dialect == "sqlite" else found
        merged = union(*parts).subquery("seen")
        found = [_limited(select(*merged.c).order_by(*ordered(shape.sort, shape.dialect, merged.c)))]
    ids = found[0].subquery("images_page")
    return (
        select(base_of(images), *children_of(images))
        .select_from(ids.join(images, images.c.id == ids.c.id))
        .order_by(*ordered(shape.sort, shape.dialect, ids.c))
    )


def _along_indexes(shape: _Shape) -> list[Select[Any]]:
    """One selection for each way to an image and each part of the order; together they give each page's images."""
    found = []
    for number, way in enumerate(ways(shape.wanted)):
        for place in _places(shape):
            wanted = [each for each in (*_always(shape), way.condition, place.condition) if each is not None]
            selection = _keys(shape).where(*wanted)
            if way.by_membership:
                joined = joined_as_written(image_members, images, images.c.id == image_members.c.image_id)
                selection = force(selection.select_from(joined), image_members, way.index)
            else:
                is_small = number in shape.weights.small
                selection = force(selection, images, _index(shape, way, is_small=is_small))
                if is_small:
                    found.append(_first(shape, selection))
                    continue
            found.append(_limited(selection.order_by(*ordered(place.sort, shape.dialect))))
    return found or [_limited(_keys(shape).where(false()))]


def _index(shape: _Shape, way: Way, *, is_small: bool) -> str:
    """An index that has the way's images in the list's order, if there is one; else one that has just those."""
    usual = shape.sort[0].name == _USUAL_SORT
    if usual and way.index == EVERYTHING:
        return next((each.index for each in shape.filters if each.index and each.keeps_usual_order), way.index)
    return way.index if usual or is_small else _SORT_INDEXES.get(shape.sort[0].name, way.index)


def _from_filter(shape: _Shape, start: Filter) -> Select[Any]:
    """One selection that looks at every row which the filter finds."""
    places = [place.condition for place in _places(shape) if place.condition is not None]
    conditions = (*_always(shape, start), visible(shape.wanted), or_(*places) if places else None)
    wanted = [each for each in conditions if each is not None]
    selection = force(_keys(shape).where(start.condition(shape.dialect), *wanted), start.table, start.index)
    if start.table is not images:
        children = start.table
        joined = joined_as_written(children, images, images.c.id == children.c.image_id)
        selection = selection.select_from(joined).distinct()
    return _first(shape, selection)


def _first(shape: _Shape, few: Select[Any]) -> Select[Any]:
    """The first rows, in order, of a selection that is known to find few: all of them are read and sorted."""
    if shape.dialect != "postgresql":
        return _limited(few.order_by(*ordered(shape.sort, shape.dialect)))
    # It would rather walk along an index of the order where its statistics say that there are many.
    fenced = few.offset(literal_column("0")).subquery()
    return _limited(select(*fenced.c).order_by(*ordered(shape.sort, shape.dialect, fenced.c)))


def _always(shape: _Shape, besides: Filter | None = None) -> list[ColumnElement[bool]]:
    hidden = images.c.os_hidden == (true() if shape.os_hidden else false())
    filters = [each.holds(shape.dialect) for each in shape.filters if each is not besides]
    return [images.c.deleted == false(), hidden, images.c.status != literal_column(f"'{KILLED}'"), *filters]


def _places(shape: _Shape) -> list[Place]:
    if shape.marker_nulls is None:
        return [Place(None, shape.sort)]
    return after(shape.sort, shape.marker_nulls, shape.dialect)


def _keys(shape: _Shape) -> Select[Any]:
    return select(*[images.c[key.name] for key in shape.sort])


def _limited(selection: Select[Any]) -> Select[Any]:
    return selection.limit(bindparam("page_limit", type_=Integer))


def _seen(image: Image, scope: Scope) -> Image:
    """A shared image of somebody else is in a project's list only because the project is a member."""
    if scope.is_admin or image.visibility != SHARED or image.owner == scope.project_id:
        return image
    return replace(image, member_id=scope.project_id)


def _marker_values(connection: Connection, marker: str, sort: tuple[SortKey, ...], scope: Scope) -> dict[str, Any]:
    """Where the marker stands in this order, as the parameters of `after`. Raises Invalid, Forbidden."""
    known = plausible_id(marker)
    parameters = {"marker_id": marker, "project_id": scope.project_id}
    found = connection.execute(_marker_statement(sort), parameters).first() if known else None
    if found is None or (found.deleted and not scope.is_admin):
        raise Invalid(f"Invalid marker: there is no image {marker!r:.80}.")
    if not _may_see_marker(found, scope):
        raise Forbidden(f"The image {marker!r:.80} is not visible.")
    return {marker_parameter(key): getattr(found, marker_parameter(key)) for key in sort}


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
        *[images.c[key.name].label(marker_parameter(key)) for key in sort],
    ).where(images.c.id == bindparam("marker_id"))


def _may_see_marker(found: Row[Any], scope: Scope) -> bool:
    if scope.is_admin or found.owner is None or found.owner == scope.project_id:
        return True
    return found.visibility in (PUBLIC, COMMUNITY) or (found.visibility == SHARED and bool(found.is_member))
