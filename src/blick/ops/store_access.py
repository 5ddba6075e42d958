"""Who may read an image's bytes directly from a store that has access lists of its own (spec: stores §5, ACLs).

Such a store refuses even us where we act for a member it does not know of, so it is told first and the record follows:
what fails changes nothing.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from blick.db import members
from blick.model.blob import Location, ReadAccess
from blick.model.context import RequestContext
from blick.model.errors import DataNotFound, StoreError
from blick.model.image import COMMUNITY, PUBLIC, SHARED, Image
from blick.ops.image_copies import copy_at
from blick.ops.services import Services
from blick.stores.base import HasAccessLists, Store

_log = logging.getLogger(__name__)


@asynccontextmanager
async def changing(
    services: Services,
    context: RequestContext,
    image: Image,
    *,
    visibility: str | None = None,
    added: str | None = None,
    removed: str | None = None,
) -> AsyncIterator[None]:
    """Tell the image's stores what is about to change, then let the caller record it.

    Whatever goes wrong in the body has the stores told again what the record says. Raises StoreError where a store
    refuses: then the body does not run.
    """
    if not _has_lists(services, image):
        yield
        return
    recorded = await _recorded(services, image.visibility, image.id)
    wanted = await _recorded(services, visibility or image.visibility, image.id)
    projects = dict.fromkeys((*wanted.projects, added) if added else wanted.projects)
    projects.pop(removed or "", None)
    await _tell(services, context, image, ReadAccess(wanted.public, tuple(projects)))
    try:
        yield
    except BaseException:
        try:
            await _tell(services, context, image, recorded)
        except StoreError as error:
            _log.error("who may read image %s in its store is not what the record says: %s", image.id, error)
        raise


async def tell_of_new(services: Services, store: Store, location: Location, image: Image) -> None:
    """Tell the store who may read what was just written there. Raises StoreError."""
    if isinstance(store, HasAccessLists):
        await store.set_access(location, await _recorded(services, image.visibility, image.id))


def _has_lists(services: Services, image: Image) -> bool:
    if not image.locations:
        return False
    return any(isinstance(services.stores.by_id(store_id), HasAccessLists) for store_id in services.stores.ids)


async def _recorded(services: Services, visibility: str, image_id: str) -> ReadAccess:
    if visibility in (PUBLIC, COMMUNITY):
        return ReadAccess(public=True)
    if visibility != SHARED:
        return ReadAccess()
    found = await services.database.read(members.of_image, image_id, None)
    return ReadAccess(projects=tuple(member.member_id for member in found))


async def _tell(services: Services, context: RequestContext, image: Image, access: ReadAccess) -> None:
    for place in image.locations:
        try:
            copy = copy_at(services, context, place)
            if isinstance(copy.store, HasAccessLists):
                await copy.store.set_access(copy.location, access)
        except DataNotFound:
            _log.warning("image %s has no data at one of its locations; nobody can be let in there", image.id)
