"""Sharing an image with projects (spec: images-api §13)."""

from blick.db import members
from blick.model.context import RequestContext
from blick.model.errors import Forbidden, NotFound
from blick.model.image import SHARED, Image
from blick.model.member import Member
from blick.model.member_input import require_status
from blick.model.text import is_storable
from blick.ops import access, store_access
from blick.ops.services import Services
from blick.policy.enforcer import image_target


async def list_members(services: Services, context: RequestContext, image_id: str) -> list[Member]:
    """All members for the owner and admins; a member sees itself only."""
    image = await access.load_for(services, context, image_id, "get_image")
    await services.policy.require_on_image("get_members", context, image)
    _require_shared(image)
    only = None if context.is_admin or image.owner == context.project_id else context.project_id
    found = await services.database.read(members.of_image, image.id, only)
    if not await services.policy.allows("get_member", context, image_target(image)):
        return []
    return found


async def add(services: Services, context: RequestContext, image_id: str, member_id: str) -> Member:
    """Share with `member_id`, pending. Raises Conflict if it is a member, LimitExceeded over the quota."""
    access.require_writer(context)
    image = await access.load_for(services, context, image_id, "get_image")
    await services.policy.require_on_image("add_member", context, image)
    access.require_owner_by_old_defaults(services, context, image)
    _require_shared(image)
    quota = services.settings.quotas.image_member_quota
    async with store_access.changing(services, context, image, added=member_id):
        return await services.database.write(members.add, image.id, member_id, quota, services.now())


async def show(services: Services, context: RequestContext, image_id: str, member_id: str) -> Member:
    """One membership. Whatever is refused is NotFound here."""
    image = await access.load_for(services, context, image_id, "get_image")
    allowed = await services.policy.allows("get_member", context, image_target(image))
    own_business = context.is_admin or context.project_id in (image.owner, member_id)
    if image.visibility != SHARED or not allowed or not own_business:
        raise NotFound(f"{member_id} not found in the member list of the image {image_id}.")
    return await _existing(services, image, member_id)


async def set_status(services: Services, context: RequestContext, image_id: str, member_id: str, status: str) -> Member:
    """Accept, reject or reconsider: the member's own decision, not the owner's.

    Raises NotFound, Forbidden, Invalid (no such status).
    """
    access.require_writer(context)
    image = await access.load_for(services, context, image_id, "get_image")
    await services.policy.require_on_image("get_member", context, image)
    _require_shared(image)
    _hide_others(context, image, member_id)
    await _existing(services, image, member_id)
    await services.policy.require_on_image("modify_member", context, image)
    old_defaults = not services.settings.policy.enforce_new_defaults
    if old_defaults and not context.is_admin and context.project_id == image.owner:
        raise Forbidden("The owner of an image cannot accept or reject a share of it.")
    require_status(status)
    changed = await services.database.write(members.set_status, image.id, member_id, status, services.now())
    if changed is None:
        raise NotFound(f"{member_id} not found in the member list of the image {image_id}.")
    return changed


async def remove(services: Services, context: RequestContext, image_id: str, member_id: str) -> None:
    """End a membership: the owner's decision."""
    access.require_writer(context)
    image = await access.load_for(services, context, image_id, "get_image")
    await services.policy.require_on_image("get_member", context, image)
    await services.policy.require_on_image("delete_member", context, image)
    access.require_owner_by_old_defaults(services, context, image)
    _require_shared(image)
    async with store_access.changing(services, context, image, removed=member_id):
        if not is_storable(member_id) or not await services.database.write(
            members.remove, image.id, member_id, services.now()
        ):
            raise NotFound(f"{member_id} not found in the member list of the image {image_id}.")


async def _existing(services: Services, image: Image, member_id: str) -> Member:
    found = await services.database.read(members.of_image, image.id, member_id) if is_storable(member_id) else None
    if not found:
        raise NotFound(f"{member_id} not found in the member list of the image {image.id}.")
    return found[0]


def _hide_others(context: RequestContext, image: Image, member_id: str) -> None:
    """One member does not learn who the others are."""
    if not context.is_admin and context.project_id not in (image.owner, member_id):
        raise NotFound(f"{member_id} not found in the member list of the image {image.id}.")


def _require_shared(image: Image) -> None:
    if image.visibility != SHARED:
        raise Forbidden("Only shared images have members.")
