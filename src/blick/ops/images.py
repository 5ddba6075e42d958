"""Image records: create, show, list, change, delete, switch off and on (spec: images-api §5–9, §12)."""

import dataclasses
from collections.abc import Mapping
from contextlib import AsyncExitStack

from blick.db import image_pages, image_visibility, images, import_lock, imports, jobs, outbox
from blick.db import locations as db_locations
from blick.db import staging as db_staging
from blick.model import image_patch
from blick.model.context import RequestContext
from blick.model.errors import Forbidden, NotFound
from blick.model.image import ACTIVE, COMMUNITY, DEACTIVATED, IMPORTING, PUBLIC, QUEUED, STAGE_HOST, UPLOADING, Image
from blick.model.image_input import NewImage, check_property_quota, check_tag_quota
from blick.model.image_query import ImageQuery
from blick.model.quota import IMAGE_COUNT_TOTAL, Quota
from blick.ops import access, forwarding, image_copies, locations, quota, staging, store_access
from blick.ops.cleanup import CLAIM_MS, remove_bytes
from blick.ops.forwarding import Forwardable
from blick.ops.services import Services
from blick.stream.nodes import NodeAnswer

_VISIBILITY_RULES: Mapping[str, str] = {PUBLIC: "publicize_image", COMMUNITY: "communitize_image"}


async def create(services: Services, context: RequestContext, new: NewImage) -> Image:
    """Register an image without data.

    Raises Forbidden, LimitExceeded, Conflict (the id is taken), ServiceUnavailable (limits cannot be read).
    """
    image, limits = await plan(services, context, new)
    await services.database.write(images.insert_image, image, limits)
    return (await _as_seen(services, context, [image]))[0]


async def plan(services: Services, context: RequestContext, new: NewImage) -> tuple[Image, Quota | None]:
    """The record of a new image that the caller may have, and the limits that it has to fit into; writes nothing.

    Raises Forbidden, LimitExceeded, ServiceUnavailable.
    """
    access.require_writer(context)
    owner = _owner_of_new(context, new)
    target = {"project_id": owner, "owner": owner, "visibility": new.visibility}
    await services.policy.require("add_image", context, target)
    if new.visibility in _VISIBILITY_RULES:
        await services.policy.require(_VISIBILITY_RULES[new.visibility], context, target)
    if services.protections is not None:
        await services.protections.require_new(new.properties, context)
    quotas = services.settings.quotas
    check_tag_quota(len(new.tags), quotas.image_tag_quota)
    check_property_quota(len(new.properties), quotas.image_property_quota)
    now = services.now()
    image = Image(
        id=new.id or services.new_id(),
        name=new.name,
        status=QUEUED,
        visibility=new.visibility,
        owner=owner,
        disk_format=new.disk_format,
        container_format=new.container_format,
        size=None,
        virtual_size=None,
        checksum=None,
        os_hash_algo=None,
        os_hash_value=None,
        min_disk=new.min_disk,
        min_ram=new.min_ram,
        protected=new.protected,
        os_hidden=new.os_hidden,
        created_at=now,
        updated_at=now,
        properties=new.properties,
        tags=tuple(dict.fromkeys(new.tags)),
    )
    return image, await quota.unified(services, context.project_id, IMAGE_COUNT_TOTAL)


def _owner_of_new(context: RequestContext, new: NewImage) -> str | None:
    if not new.owner_given:
        return context.project_id
    if context.is_admin:
        return new.owner or None
    if new.owner != context.project_id:
        raise Forbidden(f"You are not permitted to create images owned by '{new.owner}'.")
    return new.owner


async def show(services: Services, context: RequestContext, image_id: str) -> Image:
    """One image, as the caller may see it. Raises NotFound."""
    image = await access.load_for(services, context, image_id, "get_image")
    return (await _as_seen(services, context, [image]))[0]


async def _as_seen(services: Services, context: RequestContext, found: list[Image]) -> list[Image]:
    """The images without the properties that are kept from the caller.

    For answers only: whatever decides about an image has to know all of it.
    """
    if services.protections is None:
        return found
    return await services.protections.readable(found, context)


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """Part of a list. `last_id` is set where more images may follow, and names the one to go on after."""

    images: tuple[Image, ...]
    last_id: str | None


async def list_images(services: Services, context: RequestContext, query: ImageQuery) -> Page:
    """The images that the caller may see and asks for. Raises Forbidden, Invalid or NotFound for a bad marker."""
    await services.policy.require(
        "get_images", context, {"project_id": context.project_id, "owner": context.project_id}
    )
    if query.limit == 0 and query.marker is None:
        return Page((), None)
    scope = image_visibility.Scope(context.project_id, context.is_admin)
    found = await services.database.read(image_pages.page, query, scope)
    seen = await services.policy.visible(context, found)
    more = len(found) == query.limit and bool(seen)
    return Page(tuple(await _as_seen(services, context, seen)), found[-1].id if more else None)


async def delete(
    services: Services, context: RequestContext, image_id: str, asked: Forwardable | None = None
) -> NodeAnswer | None:
    """Delete the record, then the bytes. The bytes' removal is recorded in the transaction that deletes the record;
    what cannot be removed now is tried again later. Where deletion is delayed, bytes are left to the scrubber. Staged
    data goes, too; what is left of it is swept. If another node has that, the request, which is `asked`, is made there:
    then this gives the node's answer.

    Raises NotFound, Forbidden (policy, protected), DataInUse, StoreUnavailable (it cannot tell whether they are).
    """
    access.require_writer(context)
    image = await access.load_for(services, context, image_id, "delete_image")
    access.require_owner_in_database(context, image)
    if image.protected:
        raise Forbidden(f"Image {image_id} is protected and cannot be deleted.")
    answer = await forwarding.deletion_to_stage_host(services, image, asked) if asked is not None else None
    if answer is not None:
        return answer
    delayed = services.settings.api.delayed_delete
    if not delayed:  # else the scrubber waits until it may
        await image_copies.require_unused(services, context, image.locations)
    until_ms = services.now_ms() + CLAIM_MS
    entries = await services.database.write(outbox.delete_image, image.id, services.now(), until_ms, delayed=delayed)
    if entries is None and STAGE_HOST in image.properties:
        return None  # the node that was asked has done it, and was not heard
    if entries is None:
        raise NotFound(f"No image found with ID {image_id}")
    await _end_work(services, image)
    for entry in entries:
        await remove_bytes(services, entry, context)
    # Whoever is at the data still removes it himself, once he finds the image gone.
    if image.status in (UPLOADING, IMPORTING) and await services.database.read(db_staging.is_idle, image.id):
        await staging.discard(services, image.id)
    return None


async def _end_work(services: Services, image: Image) -> None:
    """Nobody needs what is being fetched, converted or hashed for an image that is gone. The lock names the job."""
    job_id = image.properties.get(import_lock.PROPERTY)
    if job_id:
        await services.database.write(jobs.request_cancel, job_id, services.now_ms(), imports.ABORTED)


async def deactivate(services: Services, context: RequestContext, image_id: str) -> None:
    """active → deactivated; fine if it is already. Raises Forbidden in any other status."""
    await _switch(services, context, image_id, ("deactivate", ACTIVE, DEACTIVATED))


async def reactivate(services: Services, context: RequestContext, image_id: str) -> None:
    """deactivated → active; fine if it is already. Raises Forbidden in any other status."""
    await _switch(services, context, image_id, ("reactivate", DEACTIVATED, ACTIVE))


async def _switch(services: Services, context: RequestContext, image_id: str, action: tuple[str, str, str]) -> None:
    rule, from_, to = action
    access.require_writer(context)
    image = await access.load_for(services, context, image_id, rule)
    access.require_owner_in_database(context, image)
    if image.status == to:
        return
    if image.status != from_ or not await services.database.write(
        images.set_status, image.id, (from_,), to, services.now()
    ):
        raise Forbidden(f"Not allowed to {rule} image in status '{image.status}'")


async def change(
    services: Services, context: RequestContext, image_id: str, changes: tuple[image_patch.Change, ...]
) -> Image:
    """Apply a PATCH, all of it or nothing; gives the image as the caller may see it then.

    Raises NotFound, Forbidden, Conflict, Invalid, LimitExceeded; DataInUse, StoreUnavailable for removed locations.
    """
    access.require_writer(context)
    image = await access.load(services, context, image_id)
    if not changes:
        await services.policy.require_on_image("get_image", context, image)
        return (await _as_seen(services, context, [image]))[0]
    # First of all, so that one who may not change the image learns nothing more of it.
    of_locations = [change for change in changes if change.name == "locations"]
    if of_locations:
        await locations.require_changeable(services, context, image, of_locations)
    if len(of_locations) < len(changes):
        await services.policy.require_on_image("modify_image", context, image)
    access.require_owner_in_database(context, image)
    rights = await _property_rights(services, context, changes)
    subject = image_patch.PatchSubject(image.status, image.properties, rights)
    plan = image_patch.plan(changes, subject, services.image_schema, is_admin=context.is_admin)
    await _require_planned(services, context, image, plan)
    if plan.tags is not None:
        check_tag_quota(len(plan.tags), services.settings.quotas.image_tag_quota)
    # Whatever the image has by then, these do not fit; told before thousands of them are written and taken back.
    check_property_quota(len(plan.created), services.settings.quotas.image_property_quota)
    limits = images.ChangeLimits(
        services.settings.quotas.image_property_quota,
        (QUEUED, IMPORTING) if plan.base.keys() & {"disk_format", "container_format"} else (),
        context.project_id,
    )
    async with AsyncExitStack() as stack:
        visibility = plan.base.get("visibility", image.visibility)
        if visibility != image.visibility:
            await stack.enter_async_context(store_access.changing(services, context, image, visibility=visibility))
        if plan.locations:
            changed = await _change_with_locations(services, context, image, plan, limits)
        else:
            changed = await services.database.write(images.change, image.id, plan, limits, services.now())
    return (await _as_seen(services, context, [changed]))[0]


async def _change_with_locations(
    services: Services,
    context: RequestContext,
    image: Image,
    plan: image_patch.PatchPlan,
    limits: images.ChangeLimits,
) -> Image:
    formats = locations.Formats(
        plan.base.get("disk_format", image.disk_format), plan.base.get("container_format", image.container_format)
    )
    writes = await locations.plan(services, image, plan.locations, formats)
    await image_copies.require_unused(services, context, writes.removed)
    changed, removed = await services.database.write(
        db_locations.change_image, image.id, plan, limits, writes, services.now()
    )
    for entry in removed:
        await remove_bytes(services, entry, context)
    return changed


async def _property_rights(
    services: Services, context: RequestContext, changes: tuple[image_patch.Change, ...]
) -> image_patch.PropertyRights:
    if services.protections is None:
        return image_patch.PropertyRights()
    touched = [change.name for change in changes if not services.image_schema.is_base(change.name)]
    return await services.protections.rights(touched, context)


async def _require_planned(
    services: Services, context: RequestContext, image: Image, plan: image_patch.PatchPlan
) -> None:
    visibility_rule = _VISIBILITY_RULES.get(plan.base.get("visibility", ""))
    if visibility_rule is not None:
        await services.policy.require_on_image(visibility_rule, context, image)
