"""Who sees which image in a list, as ways to it: each way starts from an index of its own (spec: images-api §5.2).

`own or public or shared with me` can use no index in the list's order; three lists that each use one, merged, can.
"""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, bindparam, exists, false, or_, select
from sqlalchemy.sql.expression import literal_column

from blick.db.exact import exactly
from blick.db.tables import IMAGE_VISIBILITY, image_members, images
from blick.model.image import COMMUNITY, PRIVATE, PUBLIC, SHARED

EVERYTHING = "blick_images_page"  # the index of all images
_OWNER, _VISIBILITY = "blick_images_owner", "blick_images_visibility"
_VISIBILITIES = frozenset({PRIVATE, PUBLIC, SHARED, COMMUNITY})


@dataclass(frozen=True, slots=True)
class Scope:
    """For whom the list is: a project, or an administrator, who sees every project's images."""

    project_id: str | None
    is_admin: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which images a caller sees and asks for: `visibility` as in ImageQuery."""

    visibility: str | None
    any_member_status: bool
    is_admin: bool
    has_project: bool


@dataclass(frozen=True, slots=True)
class Way:
    """Images that satisfy `condition`, along `index`, in the list's usual order.

    `by_membership`: images joined to a row of image_members that satisfies it; `index` is then that table's.
    """

    condition: ColumnElement[bool] | None
    index: str
    by_membership: bool = False


def ways(wanted: Wanted) -> list[Way]:
    """Together they give every image that the caller may see and asks for, some of them more than once."""
    if wanted.is_admin:
        return [Way(_for_admin(wanted), _VISIBILITY if wanted.visibility in _VISIBILITIES else EVERYTHING)]
    own = images.c.owner == bindparam("project_id")
    asked = wanted.visibility
    found: list[Way] = []
    if wanted.has_project:
        if asked in (None, "all"):
            found.append(Way(own, _OWNER))
        elif asked in (PRIVATE, SHARED):
            found.append(Way(own & _is(asked), _OWNER))
        if asked in (None, "all", SHARED):
            found.append(Way(_membership(wanted) & _is(SHARED), "blick_image_members_member", by_membership=True))
    if asked in (None, "all", PUBLIC):
        found.append(Way(_is(PUBLIC), _VISIBILITY))
    if asked in ("all", COMMUNITY):
        found.append(Way(_is(COMMUNITY), _VISIBILITY))
    return found


def visible(wanted: Wanted) -> ColumnElement[bool] | None:
    """All ways as one condition over images alone, for a list that is found by other means; None: everything."""
    conditions = [
        exists(select(image_members.c.id).where(image_members.c.image_id == images.c.id, way.condition))
        if way.by_membership and way.condition is not None
        else way.condition
        for way in ways(wanted)
    ]
    known = [condition for condition in conditions if condition is not None]
    return or_(false(), *known) if len(known) == len(conditions) else None


def _for_admin(wanted: Wanted) -> ColumnElement[bool] | None:
    if wanted.visibility == "all":
        return None
    if wanted.visibility is None:
        others = images.c.visibility != _literal(COMMUNITY)
        return or_(images.c.owner == bindparam("project_id"), others) if wanted.has_project else others
    return _is(wanted.visibility)


def _membership(wanted: Wanted) -> ColumnElement[bool]:
    member = image_members.c
    found = and_(exactly(member.member, bindparam("project_id")), member.deleted == false())
    return found if wanted.any_member_status else found & (member.status == bindparam("member_status"))


def _is(visibility: str) -> ColumnElement[bool]:
    return images.c.visibility == _literal(visibility)


def _literal(visibility: str) -> ColumnElement[str]:
    """One of our four words, in the statement's text: a planner that knows it knows how many images it means."""
    return literal_column(f"'{visibility}'", IMAGE_VISIBILITY)
